"""Indexing: files in, a library out; only what is missing is computed (§4.1).

Each batch is written in one transaction, by this process alone, so a run that is killed at any
moment loses at most what is not written yet and doubles nothing.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout

from visuallens.augment.base import Estimate, File, IndexReport, Progress
from visuallens.augment.reading import BatchRead, Job, Team, read_files
from visuallens.augment.records import (
    Known,
    Made,
    PhotoRecord,
    agreed_captions,
    drop_unseen_photos,
    forget_refusals,
    has_unseen_photos,
    known_sightings,
    photos_read_by,
    save_moments,
    save_photos,
    save_refusals,
    users_to_group,
)
from visuallens.augment.store import DuplicateCounts, Library
from visuallens.config import Settings
from visuallens.errors import LibraryBusyError, LibraryReadOnlyError
from visuallens.images import display_path
from visuallens.models.base import PhotoReader
from visuallens.types import Refusal, RefusalReason

_PATIENCE_S = 600.0
_LONG_RUN_S = 60.0


@dataclass(slots=True)
class _Run:
    """The state of one index run."""

    library: Library
    team: Team
    user_id: str
    settings: Settings
    progress: Progress | None
    complete: tuple[set[str], ...] = ()
    announced: bool = False
    done: int = 0
    cost: float = 0.0
    indexed: int = 0
    unchanged: int = 0
    users: set[str] = field(default_factory=set)
    refused: list[Refusal] = field(default_factory=list)
    skipped: list[Refusal] = field(default_factory=list)

    @property
    def readers(self) -> Sequence[PhotoReader]:
        return self.team.readers


def index(
    library: Library,
    files: Iterable[File | Refusal],
    readers: Sequence[PhotoReader] | Team,
    *,
    user_id: str,
    settings: Settings,
    progress: Progress | None = None,
) -> IndexReport:
    """Add photos to a library.

    Args:
        library: open for writing.
        files: from a source; refusals are passed on.
        readers: what they have made already is not made again; a team, where others read.
        user_id: of files whose source does not say.
        settings: `images`, `index`.
        progress: told how it goes, or None.

    Returns:
        What was done. One photo that cannot be read, or that a server will not describe, never
        stops a run.

    Raises:
        LibraryFullError: the disk is full; what was written before is safe.
        LibraryBusyError: another run has been writing for ten minutes.
        WorkerError: a worker of the team was lost; what was written before is safe.

    Choice: a photo whose file is gone stays in the history, which outlives files; `forget` removes
        it. A file that was refused is tried again, since a new package may read it. A date or
        place that a source gives later replaces the known one, and the town in captions with it;
        a date in a caption made before stays. A caption that a source gives replaces those of
        models.
    """
    start = time.perf_counter()
    team = readers if isinstance(readers, Team) else Team(readers)
    run = _Run(library, team, user_id, settings, progress)
    with index_lock(library.path, progress):
        run.complete = tuple(photos_read_by(library, reader) for reader in run.readers)
        todo = _plan(run, files)
        if progress is not None:
            progress.total(len(todo))
        for batch in read_files(todo, team, Job(user_id, settings, run.complete)):
            _save(run, batch)
            _announce(run, len(todo), time.perf_counter() - start)
        _finish(run, [display_path(file.path) for file in todo])
        counts = [library.duplicates(user) for user in sorted(run.users)]
    return IndexReport(
        indexed=run.indexed,
        unchanged=run.unchanged,
        duplicates=DuplicateCounts(
            sum(count.same_bytes for count in counts),
            sum(count.same_picture for count in counts),
            sum(count.same_moment for count in counts),
        ),
        refused=tuple(run.refused),
        skipped=tuple(run.skipped),
        seconds=time.perf_counter() - start,
    )


def unread_files(
    library: Library,
    files: Iterable[File | Refusal],
    readers: Sequence[PhotoReader],
    *,
    user_id: str,
    settings: Settings,
) -> list[File]:
    """List the files that an index run would open; see `index` for the arguments."""
    run = _Run(library, Team(readers), user_id, settings, None)
    run.complete = tuple(photos_read_by(library, reader) for reader in readers)
    return _plan(run, files)


@contextmanager
def index_lock(
    path: Path, progress: Progress | None = None, patience_s: float = _PATIENCE_S
) -> Iterator[None]:
    """Let one run at a time change a library; the system frees it when a run is killed.

    Args:
        path: the library file.
        progress: told when there is something to wait for.
        patience_s: how long to wait.

    Raises:
        LibraryBusyError: another run did not finish in time.
        LibraryReadOnlyError: the library's folder cannot be written.
    """
    lock = FileLock(path.with_name(path.name + ".lock"))
    try:
        try:
            lock.acquire(blocking=False)
        except Timeout:
            if progress is not None:
                progress.note("Another run is writing to this library; waiting for it to finish.")
            lock.acquire(timeout=patience_s)
    except Timeout as error:
        raise LibraryBusyError(path, patience_s) from error
    except OSError as error:
        raise LibraryReadOnlyError(path) from error
    try:
        yield
    finally:
        lock.release()


def _plan(run: _Run, files: Iterable[File | Refusal]) -> list[File]:
    """Walk the source once, and keep the files that must be opened."""
    known = known_sightings(run.library)
    describes = any(reader.describes for reader in run.readers)
    captions = agreed_captions(run.library) if describes else None
    todo = []
    run.users.add(run.user_id)
    for file in files:
        if isinstance(file, Refusal):
            side_file = file.reason is RefusalReason.SIDE_FILE
            (run.skipped if side_file else run.refused).append(file)
            continue
        user = file.user_id or run.user_id
        run.users.add(user)
        found = known.get((user, os.fsencode(file.path)))
        if (
            found is not None
            and _is_same(found, file)
            and (captions is None or file.caption in {None, captions.get(found.photo_id)})
            and all(found.photo_id in complete for complete in run.complete)
        ):
            run.unchanged += 1
        else:
            todo.append(file)
    return todo


def _is_same(known: Known, file: File) -> bool:
    """Tell whether neither the file nor what its source says of it has changed."""
    if (known.size_bytes, known.modified_ns) != (file.size_bytes, file.modified_ns):
        return False
    if file.taken_at is not None and known.taken_at != file.taken_at.isoformat():
        return False
    place = file.location
    return place is None or known.place == (place.latitude, place.longitude)


def _save(run: _Run, batch: BatchRead) -> None:
    """Write what was read of a batch in one transaction."""
    made: dict[str, list[Made]] = {}
    for reader, complete, readings in zip(run.readers, run.complete, batch.readings, strict=True):
        for photo_id, one in readings.items():
            if photo_id not in complete:
                made.setdefault(photo_id, []).append(Made(reader, one.embedding, one.description))
    records = [
        PhotoRecord(
            one.photo_id,
            one.sighting,
            one.metadata,
            one.fingerprint,
            tuple(made.get(one.photo_id, ())),
            one.placed_by_source,
            one.caption,
        )
        for one in batch.opened
    ]
    if records:
        save_photos(run.library, records)
    for complete in run.complete:
        complete.update(made)
    run.refused += batch.refused
    run.indexed += len(made)
    run.unchanged += len(records) - len(made)
    run.done += batch.files
    run.cost += batch.cost
    if run.progress is not None:
        run.progress.advance(batch.files)


def _announce(run: _Run, todo: int, seconds: float) -> None:
    """Say after the first batch how long the rest will take, and what it will cost.

    Choice: where several workers read, after the first batch of each.
    """
    first = run.team.workers.count * run.settings.index.batch_size
    if run.progress is None or run.announced or run.done < min(first, todo):
        return
    run.announced = True
    share = (todo - run.done) / run.done
    cost = run.cost * share
    if seconds * share > _LONG_RUN_S or cost > 0:
        run.progress.note(str(Estimate(todo - run.done, seconds * share, cost)))


def _finish(run: _Run, tried: Sequence[str]) -> None:
    """Write refusals, drop photos whose file was overwritten, and group what belongs together.

    What is left to do is read from the library, so that a run also ends what a killed one began.
    """
    forget_refusals(run.library, run.user_id, tried)
    save_refusals(run.library, run.user_id, run.refused)
    if has_unseen_photos(run.library):
        with run.library.transaction() as connection:
            drop_unseen_photos(connection)
    encoder = next((reader for reader in run.readers if reader.encodes), None)
    if encoder is not None:
        for user in sorted(users_to_group(run.library, encoder.id)):
            save_moments(run.library, user, encoder.id, run.settings.index)
