"""The library: photos, what models made of them, and who they belong to, in one SQLite file.

Source: §4.1. What a model makes is keyed by photo, model id and revision, prompt version and
round, so several models live side by side and only what is missing is ever computed.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, overload

import numpy as np
from numpy.typing import NDArray

from visuallens.augment.duplicates import Groups, repeated
from visuallens.augment.schema import SCHEMA_VERSION, connect, translated
from visuallens.images import display_path
from visuallens.types import (
    Augmentation,
    DateSource,
    FloatArray,
    GeoPoint,
    Photo,
    PhotoMetadata,
    VisualHistory,
)

_IDS_PER_QUERY = 500


@dataclass(frozen=True, slots=True)
class DuplicateCounts:
    """How many photos are beyond the first of their kind, at each level."""

    same_bytes: int
    same_picture: int
    same_moment: int


@dataclass(frozen=True, slots=True)
class LibraryStatus:
    """What a library holds."""

    photos: int
    users: int
    user_ids: tuple[str, ...]
    refused: int
    duplicates: DuplicateCounts
    models: tuple[str, ...]
    size_bytes: int
    schema_version: int


@dataclass(frozen=True, slots=True)
class Describer:
    """Who wrote captions and aspect words: a model and a version of its prompt."""

    model: str
    prompt_version: str


@dataclass(frozen=True, slots=True)
class StoredHistory:
    """A user's photos as one model sees them; photos that it has not read are left out.

    Attributes:
        embeddings: (photos, dim) float32, in the order of the history.
        moments: (photos,) int64; photos of one moment share a number.
    """

    history: VisualHistory
    embeddings: FloatArray
    moments: Groups


class Library:
    """An open library file. Use `Library.open`, and close it or use it in a `with` block."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self.connection = connection
        self.path = path

    @classmethod
    def open(cls, path: Path, *, create: bool = False, writable: bool = False) -> Self:
        """Open a library file; see `schema.connect` for what can go wrong."""
        return cls(connect(path, create=create, writable=writable), path)

    def close(self) -> None:
        """Close the file."""
        self.connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Write all or nothing.

        Yields:
            The connection, inside the transaction.

        Raises:
            LibraryFullError: the disk is full; what was committed before stays.
            LibraryReadOnlyError: the file cannot be written.
            LibraryBusyError: another process is writing for too long.
        """
        with translated(self.path):
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield self.connection
            except BaseException:
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")
                raise
            self.connection.execute("COMMIT")

    def users(self) -> tuple[str, ...]:
        """List the users who have photos."""
        rows = self._all("SELECT DISTINCT user_id FROM sightings ORDER BY user_id")
        return tuple(user for (user,) in rows)

    def history(self, user_id: str, model: str) -> StoredHistory:
        """Load a user's photos and their embeddings into memory.

        Args:
            user_id: an unknown user has an empty history.
            model: id of the model whose embeddings are wanted.

        Returns:
            Photos oldest first, those without a date before all others.
        """
        rows = self._all(_HISTORY, (user_id, user_id, model))
        table = _PhotoTable(rows)
        embeddings = self._embeddings(model, [row[0] for row in rows])
        moments = np.array([row[1] for row in rows], dtype=np.int64)
        return StoredHistory(VisualHistory(user_id, table), embeddings, moments)

    def descriptions(
        self, photo_ids: Sequence[str], model: str, prompt_version: str, refinement: int = 0
    ) -> dict[str, Augmentation]:
        """Look up captions and aspect words.

        Args:
            photo_ids: any number.
            model: id of the model that made them.
            prompt_version: version of its prompt.
            refinement: round j.

        Returns:
            By photo id; photos without any are left out.
        """
        found = {}
        for start in range(0, len(photo_ids), _IDS_PER_QUERY):
            some = photo_ids[start : start + _IDS_PER_QUERY]
            marks = ", ".join("?" * len(some))
            query = _DESCRIPTIONS.format(marks=marks)
            for photo_id, caption, words in self._all(
                query, (*some, model, prompt_version, refinement)
            ):
                found[photo_id] = Augmentation(
                    photo_id, model, prompt_version, refinement, caption, tuple(json.loads(words))
                )
        return found

    def describers(self, user_id: str) -> tuple[Describer, ...]:
        """List who described photos of a user, the latest last."""
        rows = self._all(_DESCRIBERS, (user_id,))
        return tuple(Describer(model, prompt_version) for model, prompt_version in rows)

    def word_shares(self, user_id: str, model: str, prompt_version: str) -> Mapping[str, float]:
        """Compute which share of a user's photos has each aspect word, at round 0."""
        texts = self._all(_WORDS, (user_id, model, prompt_version))
        total = sum(count for _, count in texts)
        shares: dict[str, float] = {}
        for words, count in texts:
            for word in set(json.loads(words)):
                shares[word] = shares.get(word, 0.0) + count / total
        return shares

    def duplicates(self, user_id: str | None = None) -> DuplicateCounts:
        """Count duplicates of one user, or of all."""
        users = self.users() if user_id is None else (user_id,)
        same_bytes = same_picture = same_moment = 0
        for user in users:
            ((files, photos),) = self._all(
                "SELECT COUNT(*), COUNT(DISTINCT photo) FROM sightings WHERE user_id = ?", (user,)
            )
            rows = self._all("SELECT picture, burst FROM moments WHERE user_id = ?", (user,))
            groups = np.array(rows, dtype=np.int64).reshape(len(rows), 2)
            same_bytes += files - photos
            same_picture += repeated(groups[:, 0])
            same_moment += repeated(groups[:, 1])
        return DuplicateCounts(same_bytes, same_picture, same_moment)

    def status(self) -> LibraryStatus:
        """Count what the library holds."""
        users = self.users()
        ((photos,),) = self._all("SELECT COUNT(*) FROM photos")
        ((refused,),) = self._all("SELECT COUNT(*) FROM refusals")
        models = self._all("SELECT id FROM models ORDER BY id")
        files = (self.path, *side_files(self.path))
        return LibraryStatus(
            photos=photos,
            users=len(users),
            user_ids=users,
            refused=refused,
            duplicates=self.duplicates(),
            models=tuple(model for (model,) in models),
            size_bytes=sum(file.stat().st_size for file in files if file.exists()),
            schema_version=SCHEMA_VERSION,
        )

    def _embeddings(self, model: str, numbers: Sequence[int]) -> FloatArray:
        """Fill one matrix in the order of the given photos.

        The table is read from front to back rather than through its index, because the vectors
        are most of the file and lie there in order.
        """
        rows = {number: row for row, number in enumerate(numbers)}
        matrix = np.zeros((0, 0), np.float32)
        with translated(self.path):
            for number, vector in self.connection.execute(_EMBEDDINGS, (model,)):
                row = rows.get(number)
                if row is None:
                    continue
                if not matrix.size:
                    matrix = np.empty((len(rows), len(vector) // 4), np.float32)
                matrix[row] = np.frombuffer(vector, np.float32)
        return matrix

    # Any, here and below: SQLite's rows hold whatever their columns hold.
    def _all(self, query: str, values: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        with translated(self.path):
            return self.connection.execute(query, values).fetchall()


class _PhotoTable(Sequence[Photo]):
    """Photos as rows; a record is only made for the photo that is asked for."""

    def __init__(self, rows: Sequence[tuple[Any, ...]]) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> Photo: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Photo]: ...
    def __getitem__(self, index: int | slice) -> Photo | Sequence[Photo]:
        if isinstance(index, slice):
            return _PhotoTable(self._rows[index])
        _, moment, photo_id, path, width, height, taken_at, source, latitude, longitude = (
            self._rows[index]
        )
        located = latitude is not None and longitude is not None
        metadata = PhotoMetadata(
            taken_at=None if taken_at is None else datetime.fromisoformat(taken_at),
            date_source=DateSource(source),
            location=GeoPoint(latitude, longitude) if located else None,
            width_px=width,
            height_px=height,
        )
        return Photo(photo_id, os.fsdecode(path), metadata, moment)


def side_files(path: Path) -> tuple[Path, ...]:
    """Name the files that SQLite keeps beside a library while it is open."""
    return tuple(path.with_name(path.name + suffix) for suffix in ("-wal", "-shm"))


def readable_path(path: bytes) -> str:
    """Write a stored path for display."""
    return display_path(path)


def signed(fingerprint: int) -> int:
    """Turn an unsigned 64-bit hash into the signed number that SQLite stores."""
    return fingerprint - (1 << 64) if fingerprint >= 1 << 63 else fingerprint


def unsigned(fingerprints: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Undo `signed`."""
    return fingerprints.view(np.uint64)


_HISTORY = """
SELECT p.number, COALESCE(m.moment, -p.number), p.id, s.path, p.width_px, p.height_px,
       p.taken_at, p.date_source, p.latitude, p.longitude
FROM (SELECT photo, MIN(path) AS path FROM sightings WHERE user_id = ? GROUP BY photo) s
JOIN photos p ON p.number = s.photo
LEFT JOIN moments m ON m.user_id = ? AND m.photo = p.number
WHERE EXISTS (
    SELECT 1 FROM embeddings e JOIN models d ON d.number = e.model
    WHERE d.id = ? AND e.photo = p.number
)
ORDER BY p.taken_at_s IS NOT NULL, p.taken_at_s, p.id
"""
_EMBEDDINGS = """
SELECT photo, vector FROM embeddings NOT INDEXED
WHERE model = (SELECT number FROM models WHERE id = ?)
"""
_DESCRIPTIONS = """
SELECT p.id, a.caption, a.aspect_words
FROM augmentations a JOIN photos p ON p.number = a.photo JOIN models d ON d.number = a.model
WHERE p.id IN ({marks}) AND d.id = ? AND a.prompt_version = ? AND a.round = ?
"""
_DESCRIBERS = """
SELECT d.id, a.prompt_version
FROM augmentations a JOIN models d ON d.number = a.model
WHERE a.photo IN (SELECT photo FROM sightings WHERE user_id = ?)
GROUP BY d.id, a.prompt_version ORDER BY MAX(a.made_at), d.id
"""
_WORDS = """
SELECT a.aspect_words, COUNT(*)
FROM augmentations a JOIN models d ON d.number = a.model
WHERE a.photo IN (SELECT photo FROM sightings WHERE user_id = ?)
  AND d.id = ? AND a.prompt_version = ? AND a.round = 0
GROUP BY a.aspect_words
"""
