"""From a file to what the models make of it, before anything is written (§4.1).

Photos are opened on threads while the models read the batch before; or whole batches of files are
opened and read by other processes or machines, which never touch the library.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial

from visuallens.augment.base import File
from visuallens.augment.records import Sighting
from visuallens.config import Settings
from visuallens.errors import PhotoError, PromptTooLongError, ServerRefusedError
from visuallens.images import OpenedPhoto, display_path, fingerprint, open_photo
from visuallens.models.base import Description, PhotoReader, PreparedPhoto
from visuallens.types import DateSource, FloatArray, PhotoMetadata, Refusal, RefusalReason
from visuallens.workers import Workers, in_order

logger = logging.getLogger(__name__)

_LOOK_AHEAD_BATCHES = 2
_ABOUT_THE_PHOTO = frozenset((400, 413, 422))

OpenReaders = Callable[[], Sequence[PhotoReader]]
"""Loads readers; importable by name, so that it travels."""


@dataclass(frozen=True, slots=True)
class Team:
    """Readers, and who opens and reads the photos.

    Attributes:
        readers: loaded here; they say what is missing in a library.
        open_readers: loads the same ones in a worker; None: only this process can read.
        workers: who they are.
    """

    readers: Sequence[PhotoReader]
    open_readers: OpenReaders | None = None
    workers: Workers = field(default_factory=Workers)


@dataclass(frozen=True, slots=True)
class Job:
    """What decides how files are opened and read.

    Attributes:
        user_id: of files whose source does not say.
        settings: `images`, `index`.
        complete: for each reader, the ids of photos for which it has nothing left to do.
    """

    user_id: str
    settings: Settings
    complete: Sequence[set[str]]


@dataclass(frozen=True, slots=True)
class Opened:
    """One file after its thread is done with it.

    Attributes:
        inputs: one for each reader, None where that reader has read the photo already.
        caption: what the source says of the photo.
    """

    sighting: Sighting
    photo_id: str
    metadata: PhotoMetadata
    fingerprint: int
    inputs: tuple[PreparedPhoto | None, ...]
    placed_by_source: bool
    caption: str | None


@dataclass(frozen=True, slots=True)
class Reading:
    """What one reader makes of one photo.

    Attributes:
        embedding: (dim,) float32, unit length, or None.
    """

    embedding: FloatArray | None
    description: Description | None


@dataclass(frozen=True, slots=True)
class BatchRead:
    """Files that were opened and read together.

    Attributes:
        files: how many they were.
        opened: those that are photos.
        readings: for each reader, photo id → what it makes of the photo.
        refused: the others, and photos that a server will not describe.
        cost: that servers charged for it, in their own currency.
    """

    files: int
    opened: tuple[Opened, ...]
    readings: tuple[Mapping[str, Reading], ...]
    refused: tuple[Refusal, ...]
    cost: float


def read_files(files: Sequence[File], team: Team, job: Job) -> Iterator[BatchRead]:
    """Open and read files, batch after batch, in their order.

    Args:
        files: that may be photos.
        team: who does it.
        job: what decides how. Its sets may grow meanwhile; what grew is known to this process at
            once, to a worker where it has read it itself.

    Yields:
        What was read; all batches together have all files.

    Choice: this process cuts batches after refusing what is no photo, so that they are full;
        workers are given files and find out themselves.
    Choice: two files of equal bytes are both read where two workers read them; the library keeps
        what was made of the first.
    """
    if team.workers.is_alone or team.open_readers is None:
        yield from _read_here(files, team.readers, job)
        return
    size = job.settings.index.batch_size
    batches = (files[first : first + size] for first in range(0, len(files), size))
    yield from in_order(partial(_reading, team.open_readers, job), batches, team.workers)


@contextmanager
def _reading(
    open_readers: OpenReaders, job: Job
) -> Iterator[Callable[[Sequence[File]], BatchRead]]:
    yield partial(_read_batch, open_readers(), job)


def _read_batch(readers: Sequence[PhotoReader], job: Job, files: Sequence[File]) -> BatchRead:
    """Open and read a batch in a worker, and leave behind what the library does not need."""
    found = list(_open_all(files, readers, job))
    opened = [one for one in found if isinstance(one, Opened)]
    read = _read(readers, opened, job.complete)
    # Batches are saved in order, and this one before any that this worker will be given.
    made = {photo_id for readings in read.readings for photo_id in readings}
    for complete in job.complete:
        complete.update(made)
    return replace(
        read,
        files=len(files),
        opened=tuple(replace(one, inputs=()) for one in opened),
        refused=(*(one for one in found if isinstance(one, Refusal)), *read.refused),
    )


def _read_here(
    files: Sequence[File], readers: Sequence[PhotoReader], job: Job
) -> Iterator[BatchRead]:
    """Read batches of opened photos; what is refused meanwhile goes with the next batch."""
    opened: list[Opened] = []
    refused: list[Refusal] = []
    for one in _open_all(files, readers, job):
        if isinstance(one, Refusal):
            refused.append(one)
        else:
            opened.append(one)
        if len(opened) >= job.settings.index.batch_size:
            yield _with_refused(_read(readers, opened, job.complete), refused)
            opened, refused = [], []
    if opened or refused:
        yield _with_refused(_read(readers, opened, job.complete), refused)


def _with_refused(read: BatchRead, refused: Sequence[Refusal]) -> BatchRead:
    return replace(read, files=read.files + len(refused), refused=(*refused, *read.refused))


def _open_all(
    files: Iterable[File], readers: Sequence[PhotoReader], job: Job
) -> Iterator[Opened | Refusal]:
    """Open files on threads, a bounded number ahead, in their order."""
    settings = job.settings.index
    ahead = settings.batch_size * _LOOK_AHEAD_BATCHES + settings.threads
    waiting: deque[tuple[File, Future[Opened | Refusal]]] = deque()
    with ThreadPoolExecutor(settings.threads, thread_name_prefix="open-photo") as threads:
        try:
            for file in files:
                waiting.append((file, threads.submit(_open, file, readers, job)))
                if len(waiting) >= ahead:
                    yield _taken(*waiting.popleft())
            while waiting:
                yield _taken(*waiting.popleft())
        finally:
            threads.shutdown(wait=True, cancel_futures=True)


def _taken(file: File, future: Future[Opened | Refusal]) -> Opened | Refusal:
    """Take an opened file, or its refusal."""
    try:
        return future.result()
    # The outermost loop of a long job: one photo must never stop the other ten thousand.
    except Exception as error:
        logger.exception("a photo could not be opened")
        detail = f"it cannot be read ({type(error).__name__}: {error})"
        return Refusal(display_path(file.path), RefusalReason.UNREADABLE, detail)


def _open(file: File, readers: Sequence[PhotoReader], job: Job) -> Opened | Refusal:
    """Open one file and prepare it for the readers that have not read it; runs on a thread."""
    side_px = max((reader.input_side_px for reader in readers), default=1)
    try:
        photo = open_photo(
            file.path, min_side_px=side_px, max_pixels=job.settings.images.max_pixels
        )
    except PhotoError as error:
        return error.refusal
    inputs = tuple(
        None if photo.id in complete else reader.prepare(photo.image)
        for reader, complete in zip(readers, job.complete, strict=True)
    )
    user = file.user_id or job.user_id
    sighting = Sighting(user, file.path, file.size_bytes, file.modified_ns)
    metadata = _with_news(photo, file)
    placed = file.location is not None
    hashed = fingerprint(photo.image)
    return Opened(sighting, photo.id, metadata, hashed, inputs, placed, file.caption)


def _with_news(photo: OpenedPhoto, file: File) -> PhotoMetadata:
    """Let the source's date and place win over the file's own."""
    metadata = photo.metadata
    if file.taken_at is not None:
        metadata = replace(metadata, taken_at=file.taken_at, date_source=DateSource.MANIFEST)
    return metadata if file.location is None else replace(metadata, location=file.location)


def _read(
    readers: Sequence[PhotoReader], opened: Sequence[Opened], complete: Sequence[set[str]]
) -> BatchRead:
    """Run each reader over what it has not read."""
    before = _cost(readers)
    readings: list[dict[str, Reading]] = []
    refused: list[Refusal] = []
    for position, (reader, done) in enumerate(zip(readers, complete, strict=True)):
        unread = {one.photo_id: one for one in opened if one.photo_id not in done}
        readings.append({})
        for photo_id, result in _read_by(reader, position, list(unread.values())):
            if isinstance(result, Refusal):
                refused.append(result)
            else:
                readings[-1][photo_id] = result
    cost = _cost(readers) - before
    return BatchRead(len(opened), tuple(opened), tuple(readings), tuple(refused), cost)


def _cost(readers: Sequence[PhotoReader]) -> float:
    return float(sum(getattr(reader, "cost", 0.0) for reader in readers))


def _read_by(
    reader: PhotoReader, position: int, photos: Sequence[Opened]
) -> Iterator[tuple[str, Reading | Refusal]]:
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
                yield from _read_by(reader, position, [photo])
            return
        path = display_path(photos[0].sighting.path)
        yield photos[0].photo_id, Refusal(path, RefusalReason.NOT_DESCRIBED, str(error))
        return
    for row, photo in enumerate(photos):
        embedding = None if readings.embeddings is None else readings.embeddings[row]
        description = None if readings.descriptions is None else readings.descriptions[row]
        yield photo.photo_id, Reading(embedding, description)
