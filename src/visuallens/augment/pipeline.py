"""Indexing: files in, a library out; only what is missing is computed (§4.1).

Photos are opened on threads while the models read the batch before. Each batch is written in one
transaction, so a run that is killed at any moment loses at most that batch and doubles nothing.
"""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from filelock import FileLock, Timeout

from visuallens.augment.base import Estimate, File, IndexReport, Progress
from visuallens.augment.records import (
    Known,
    Made,
    PhotoRecord,
    Sighting,
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
from visuallens.errors import (
    LibraryBusyError,
    LibraryReadOnlyError,
    PhotoError,
    PromptTooLongError,
    ServerRefusedError,
)
from visuallens.images import OpenedPhoto, display_path, fingerprint, open_photo
from visuallens.models.base import PhotoReader, PreparedPhoto
from visuallens.types import (
    DateSource,
    PhotoMetadata,
    Refusal,
    RefusalReason,
)

logger = logging.getLogger(__name__)

_LOOK_AHEAD_BATCHES = 2
_PATIENCE_S = 600.0
_LONG_RUN_S = 60.0
_ABOUT_THE_PHOTO = frozenset((400, 413, 422))


@dataclass(slots=True)
class _Run:
    """The state of one index run."""

    library: Library
    readers: Sequence[PhotoReader]
    user_id: str
    settings: Settings
    progress: Progress | None
    complete: tuple[set[str], ...] = ()
    announced: bool = False
    indexed: int = 0
    unchanged: int = 0
    users: set[str] = field(default_factory=set)
    refused: list[Refusal] = field(default_factory=list)
    skipped: list[Refusal] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Opened:
    """One file after its thread is done with it.

    Attributes:
        inputs: one for each reader, None where that reader has read the photo already.
    """

    sighting: Sighting
    photo_id: str
    metadata: PhotoMetadata
    fingerprint: int
    inputs: tuple[PreparedPhoto | None, ...]
    placed_by_source: bool


def index(
    library: Library,
    files: Iterable[File | Refusal],
    readers: Sequence[PhotoReader],
    *,
    user_id: str,
    settings: Settings,
    progress: Progress | None = None,
) -> IndexReport:
    """Add photos to a library.

    Args:
        library: open for writing.
        files: from a source; refusals are passed on.
        readers: what they have made already is not made again.
        user_id: of files whose source does not say.
        settings: `images`, `index`.
        progress: told how it goes, or None.

    Returns:
        What was done. One photo that cannot be read, or that a server will not describe, never
        stops a run.

    Raises:
        LibraryFullError: the disk is full; what was written before is safe.
        LibraryBusyError: another run has been writing for ten minutes.

    Choice: a photo whose file is gone stays in the history, which outlives files; `forget` removes
        it. A file that was refused is tried again, since a new package may read it. A date or
        place that a source gives later replaces the known one, and the town in captions with it;
        a date in a caption made before stays.
    """
    start = time.perf_counter()
    run = _Run(library, readers, user_id, settings, progress)
    with index_lock(library.path, progress):
        run.complete = tuple(photos_read_by(library, reader) for reader in readers)
        todo = _plan(run, files)
        if progress is not None:
            progress.total(len(todo))
        for batch in _batches(run, _open_all(run, todo)):
            _read_and_save(run, batch)
            _announce(run, len(batch), len(todo), time.perf_counter() - start)
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
    run = _Run(library, readers, user_id, settings, None)
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


def _open_all(run: _Run, todo: Sequence[File]) -> Iterator[_Opened]:
    """Open files on threads, a bounded number ahead, in their order."""
    settings = run.settings.index
    ahead = settings.batch_size * _LOOK_AHEAD_BATCHES + settings.threads
    waiting: deque[tuple[File, Future[_Opened | Refusal]]] = deque()
    with ThreadPoolExecutor(settings.threads, thread_name_prefix="open-photo") as threads:
        try:
            for file in todo:
                waiting.append((file, threads.submit(_open, run, file)))
                if len(waiting) >= ahead:
                    yield from _taken(run, *waiting.popleft())
            while waiting:
                yield from _taken(run, *waiting.popleft())
        finally:
            threads.shutdown(wait=True, cancel_futures=True)


def _taken(run: _Run, file: File, future: Future[_Opened | Refusal]) -> Iterator[_Opened]:
    """Yield an opened file, or note its refusal."""
    try:
        result = future.result()
    # The outermost loop of a long job: one photo must never stop the other ten thousand.
    except Exception as error:
        logger.exception("a photo could not be opened")
        detail = f"it cannot be read ({type(error).__name__}: {error})"
        result = Refusal(display_path(file.path), RefusalReason.UNREADABLE, detail)
    if isinstance(result, Refusal):
        run.refused.append(result)
        if run.progress is not None:
            run.progress.advance(1)
    else:
        yield result


def _open(run: _Run, file: File) -> _Opened | Refusal:
    """Open one file and prepare it for the readers that have not read it; runs on a thread."""
    images = run.settings.images
    side_px = max((reader.input_side_px for reader in run.readers), default=1)
    try:
        photo = open_photo(file.path, min_side_px=side_px, max_pixels=images.max_pixels)
    except PhotoError as error:
        return error.refusal
    inputs = tuple(
        None if photo.id in complete else reader.prepare(photo.image)
        for reader, complete in zip(run.readers, run.complete, strict=True)
    )
    user = file.user_id or run.user_id
    sighting = Sighting(user, file.path, file.size_bytes, file.modified_ns)
    metadata = _with_news(photo, file)
    placed = file.location is not None
    return _Opened(sighting, photo.id, metadata, fingerprint(photo.image), inputs, placed)


def _with_news(photo: OpenedPhoto, file: File) -> PhotoMetadata:
    """Let the source's date and place win over the file's own."""
    metadata = photo.metadata
    if file.taken_at is not None:
        metadata = replace(metadata, taken_at=file.taken_at, date_source=DateSource.MANIFEST)
    return metadata if file.location is None else replace(metadata, location=file.location)


def _batches(run: _Run, opened: Iterable[_Opened]) -> Iterator[list[_Opened]]:
    """Collect opened files until one batch for the models is full."""
    batch: list[_Opened] = []
    for one in opened:
        batch.append(one)
        if len(batch) >= run.settings.index.batch_size:
            yield batch
            batch = []
    if batch:
        yield batch


def _read_and_save(run: _Run, batch: Sequence[_Opened]) -> None:
    """Run each reader over what it has not read, and write everything in one transaction."""
    made: dict[str, list[Made]] = {}
    for position, (reader, complete) in enumerate(zip(run.readers, run.complete, strict=True)):
        unread = {one.photo_id: one for one in batch if one.photo_id not in complete}
        for photo_id, result in _read(run, reader, position, list(unread.values())):
            made.setdefault(photo_id, []).append(result)
    save_photos(
        run.library,
        [
            PhotoRecord(
                one.photo_id,
                one.sighting,
                one.metadata,
                one.fingerprint,
                tuple(made.get(one.photo_id, ())),
                one.placed_by_source,
            )
            for one in batch
        ],
    )
    for complete in run.complete:
        complete.update(made)
    run.indexed += len(made)
    run.unchanged += len(batch) - len(made)
    if run.progress is not None:
        run.progress.advance(len(batch))


def _announce(run: _Run, batch: int, todo: int, seconds: float) -> None:
    """Say after the first batch how long the rest will take, and what it will cost."""
    if run.progress is None or run.announced:
        return
    run.announced = True
    share = (todo - batch) / batch
    cost = sum(getattr(reader, "cost", 0.0) for reader in run.readers) * share
    if seconds * share > _LONG_RUN_S or cost > 0:
        run.progress.note(str(Estimate(todo - batch, seconds * share, cost)))


def _read(
    run: _Run, reader: PhotoReader, position: int, photos: Sequence[_Opened]
) -> Iterator[tuple[str, Made]]:
    """Read a batch; where a server refuses it, photo by photo, so that one costs no other."""
    inputs = [array for photo in photos if (array := photo.inputs[position]) is not None]
    if not inputs:
        return
    try:
        readings = reader.read(inputs, [photo.metadata for photo in photos])
    except (ServerRefusedError, PromptTooLongError) as error:
        if isinstance(error, ServerRefusedError) and error.status not in _ABOUT_THE_PHOTO:
            raise
        if len(photos) > 1:
            for photo in photos:
                yield from _read(run, reader, position, [photo])
            return
        path = display_path(photos[0].sighting.path)
        run.refused.append(Refusal(path, RefusalReason.NOT_DESCRIBED, str(error)))
        return
    for row, photo in enumerate(photos):
        embedding = None if readings.embeddings is None else readings.embeddings[row]
        description = None if readings.descriptions is None else readings.descriptions[row]
        yield photo.photo_id, Made(reader, embedding, description)


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
