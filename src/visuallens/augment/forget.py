"""Forgetting: delete what is known of photos, and prove that it is gone."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from visuallens.augment.pipeline import index_lock
from visuallens.augment.proof import find_traces, read_pieces
from visuallens.augment.records import drop_unseen_photos
from visuallens.augment.schema import BUSY_TIMEOUT_S, translated
from visuallens.augment.store import Library, readable_path, side_files
from visuallens.errors import LibraryBusyError, LibraryError, RequestError
from visuallens.models.server.cache import answer_files, delete_answers

_LEAST_PREFIX = 8
_PATTERN_BYTES = 64
_ROWS_PER_PIECE = 1000
_TABLES = ("photos", "sightings", "embeddings", "augmentations", "moments", "refusals")


@dataclass(frozen=True, slots=True)
class ForgottenPhoto:
    """One photo that is gone, and where its files were."""

    id: str
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Receipt:
    """What is gone, and the proof.

    Attributes:
        photos: deleted with everything made of them.
        files: paths that were forgotten; their photos may live on under other paths.
        rows: number of rows deleted, by table.
        answers_deleted: of model servers that were kept on this machine, about any photo.
        patterns_searched: byte patterns (hashes, paths, pieces of embeddings) that were looked for
            in the library file afterwards.
        patterns_found: always 0 in a receipt; otherwise there is an error instead.
    """

    photos: tuple[ForgottenPhoto, ...]
    files: int
    rows: dict[str, int]
    answers_deleted: int
    patterns_searched: int
    patterns_found: int
    seconds: float

    def __str__(self) -> str:
        deleted = ", ".join(f"{count:,} {table}" for table, count in self.rows.items() if count)
        answers = (
            f"Deleted all {self.answers_deleted:,} answers of model servers that were kept on this "
            "machine, for they do not tell which photo they are about.\n"
        )
        return (
            f"Forgot {len(self.photos):,} photos seen in {self.files:,} files "
            f"({deleted} rows).\n"
            f"{answers if self.answers_deleted else ''}"
            f"Proof: {self.patterns_searched:,} traces (hashes, paths, pieces of embeddings) were "
            f"searched for in the bytes of the library; {self.patterns_found} were found.\n"
            "Your photo files were not touched: indexing their folder again would read them again."
        )


@dataclass(frozen=True, slots=True)
class _Target:
    """One file to be forgotten."""

    user_id: str
    path: bytes
    photo: int
    photo_id: str


@dataclass(frozen=True, slots=True)
class _Wish:
    """What to forget.

    Attributes:
        photo: as given.
        path: the same as the path of a file.
        folder: its path with a separator at the end.
    """

    photo: str | None
    path: bytes | None
    folder: bytes | None
    user: str | None

    def covers(self, user_id: str, path: bytes, photo_id: str | None = None) -> bool:
        """Tell whether a file, readable or refused, is meant."""
        if self.user is not None and user_id != self.user:
            return False
        if self.folder is not None:
            return path.startswith(self.folder)
        if self.photo is None:
            return self.user is not None
        return path == self.path or (photo_id is not None and self.begins(photo_id))

    def begins(self, photo_id: str) -> bool:
        """Tell whether the wish is the beginning of a photo's id."""
        photo = self.photo
        return photo is not None and len(photo) >= _LEAST_PREFIX and photo_id.startswith(photo)


def forget(
    library: Library,
    *,
    photo: str | None = None,
    folder: Path | None = None,
    user: str | None = None,
) -> Receipt:
    """Delete photos from a library and prove it.

    Args:
        library: open for writing.
        photo: path, id, or at least 8 characters of the beginning of one id.
        folder: all photos and refused files below it.
        user: whose; alone it means all of the user's photos.

    Returns:
        The receipt.

    Raises:
        RequestError: nothing matches, or the beginning of an id matches several photos.
        LibraryBusyError: somebody reads or writes the library; nothing was deleted.
        LibraryError: a trace was found after deleting, or kept answers of a server cannot be
            deleted; the message says which.

    Choice: traces that what stays has too (the path of a file below, an equal picture, the same
        photo of another user) are neither searched for nor counted. Kept answers of model servers
        hold captions, but not of which photo: all of them are deleted, before anything else, so
        that a failure leaves the whole command to be run again.
    """
    start = time.perf_counter()
    wish = _wish(photo, folder, user)
    with index_lock(library.path):
        targets, refused = _targets(library, wish), _refused(library, wish)
        if not targets and not refused:
            raise RequestError(
                "Nothing in the library matches. `visuallens status --json` lists the users; paths "
                "are matched as they were indexed."
            )
        if not _checkpoint(library):
            raise LibraryBusyError(library.path, BUSY_TIMEOUT_S)
        traces = {*_traces(library, targets), *(path.encode() for _, path in refused)}
        answers = sum(_delete_answers(file) for file in answer_files())
        rows, gone = _delete(library, targets, refused)
        _compact(library)
        shared = _prove(library, traces)
    paths: dict[str, list[str]] = {}
    for target in targets:
        paths.setdefault(target.photo_id, []).append(readable_path(target.path))
    return Receipt(
        photos=tuple(ForgottenPhoto(id_, tuple(paths[id_])) for id_ in paths if id_ in gone),
        files=len(targets),
        rows=rows,
        answers_deleted=answers,
        patterns_searched=len(traces) - len(shared),
        patterns_found=0,
        seconds=time.perf_counter() - start,
    )


def _wish(photo: str | None, folder: Path | None, user: str | None) -> _Wish:
    # Links are kept as they are named, as in indexing.
    path = None if photo is None else os.fsencode(os.path.abspath(photo))  # noqa: PTH100
    below = None
    if folder is not None:
        below = os.fsencode(os.path.join(os.path.abspath(folder), ""))  # noqa: PTH100, PTH118
    return _Wish(photo, path, below, user)


def _targets(library: Library, wish: _Wish) -> list[_Target]:
    rows = library.connection.execute(
        "SELECT s.user_id, s.path, s.photo, p.id FROM sightings s "
        "JOIN photos p ON p.number = s.photo"
    )
    targets = [
        target
        for target in (_Target(*row) for row in rows)
        if wish.covers(target.user_id, target.path, target.photo_id)
    ]
    meant = {target.photo_id for target in targets if wish.begins(target.photo_id)}
    if len(meant) > 1:
        raise RequestError(
            f"{len(meant)} photos have an id that begins with {wish.photo!r}. Give more of it."
        )
    return targets


def _refused(library: Library, wish: _Wish) -> list[tuple[str, str]]:
    rows = library.connection.execute("SELECT DISTINCT user_id, path FROM refusals")
    shown = replace(wish, path=_as_shown(wish.path), folder=_as_shown(wish.folder))
    return [(user, path) for user, path in rows if shown.covers(user, path.encode())]


def _as_shown(path: bytes | None) -> bytes | None:
    """Write a path as refusals keep it: as text."""
    return None if path is None else readable_path(path).encode()


def _traces(library: Library, targets: Sequence[_Target]) -> Iterator[bytes]:
    """Collect what must not be found afterwards."""
    for target in targets:
        yield target.photo_id.encode()
        yield target.path
        for (start,) in library.connection.execute(
            "SELECT substr(vector, 1, ?) FROM embeddings WHERE photo = ?",
            (_PATTERN_BYTES, target.photo),
        ):
            if any(start):
                yield start


def _delete_answers(file: Path) -> int:
    try:
        return delete_answers(file)
    except (OSError, sqlite3.Error) as error:
        raise LibraryError(
            file,
            f"the kept answers of model servers cannot be deleted ({error}), so nothing of the "
            "library was forgotten. Close the programs that use this file, or delete it, and run "
            "the same command again.",
        ) from error


def _delete(
    library: Library, targets: Sequence[_Target], refused: Sequence[tuple[str, str]]
) -> tuple[dict[str, int], set[str]]:
    before = {table: _count(library.connection, table) for table in _TABLES}
    with library.transaction() as connection:
        connection.executemany(
            "DELETE FROM sightings WHERE user_id = ? AND path = ?",
            [(target.user_id, target.path) for target in targets],
        )
        connection.execute(
            "DELETE FROM moments WHERE NOT EXISTS (SELECT 1 FROM sightings s WHERE "
            "s.user_id = moments.user_id AND s.photo = moments.photo)"
        )
        drop_unseen_photos(connection)
        connection.executemany("DELETE FROM refusals WHERE user_id = ? AND path = ?", refused)
        connection.execute(
            "DELETE FROM models WHERE number NOT IN (SELECT model FROM embeddings UNION "
            "SELECT model FROM augmentations)"
        )
    rows = {table: before[table] - _count(library.connection, table) for table in _TABLES}
    left = {photo for (photo,) in library.connection.execute("SELECT id FROM photos")}
    return rows, {target.photo_id for target in targets} - left


def _checkpoint(library: Library) -> bool:
    """Move everything into the library file itself, unless somebody reads it for too long."""
    with translated(library.path):
        ((busy, _, _),) = library.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return not busy


def _compact(library: Library) -> None:
    with translated(library.path):
        library.connection.execute("VACUUM")
    if not _checkpoint(library):
        raise LibraryError(
            library.path,
            "what you asked for is deleted, but another program began to read the library, so its "
            "old bytes are not overwritten yet and there is no proof. Close that program; the next "
            "`visuallens index` overwrites them.",
        )


def _prove(library: Library, traces: set[bytes]) -> set[bytes]:
    """Look for all traces in the bytes of the library's files, and return those that may stay."""
    files = (library.path, *side_files(library.path))
    found = find_traces(chain.from_iterable(read_pieces(file) for file in files), traces)
    shared = find_traces(_kept(library), found) if found else set()
    if left := len(found - shared):
        raise LibraryError(
            library.path,
            f"{left} traces of what was forgotten are still in the library's bytes. Delete the "
            "library and index again what you want to keep.",
        )
    return shared


def _kept(library: Library) -> Iterator[bytes]:
    """Give everything that stays and that a trace could lie in."""
    for query in (
        "SELECT path FROM sightings",
        "SELECT CAST(path AS BLOB) FROM refusals",
        "SELECT CAST(id AS BLOB) FROM photos",
        "SELECT vector FROM embeddings",
    ):
        rows = library.connection.execute(query)
        while some := rows.fetchmany(_ROWS_PER_PIECE):
            yield b"\n".join([b"", *(value for (value,) in some), b""])


def _count(connection: sqlite3.Connection, table: str) -> int:
    ((count,),) = connection.execute(f"SELECT COUNT(*) FROM {table}")  # noqa: S608 - a constant
    return int(count)
