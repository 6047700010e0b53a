"""Forgetting: delete what is known of photos, and prove that it is gone."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from visuallens.augment.pipeline import index_lock
from visuallens.augment.records import drop_unseen_photos
from visuallens.augment.schema import translated
from visuallens.augment.store import Library, readable_path, side_files
from visuallens.errors import LibraryError, RequestError

_LEAST_PREFIX = 8
_PATTERN_BYTES = 64
_PROVEN_PHOTOS = 200


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
        patterns_searched: byte patterns (hashes, paths, pieces of embeddings) that were looked for
            in the library file afterwards.
        patterns_found: always 0 in a receipt; otherwise there is an error instead.
    """

    photos: tuple[ForgottenPhoto, ...]
    files: int
    rows: dict[str, int]
    patterns_searched: int
    patterns_found: int
    seconds: float

    def __str__(self) -> str:
        deleted = ", ".join(f"{count:,} {table}" for table, count in self.rows.items() if count)
        return (
            f"Forgot {len(self.photos):,} photos seen in {self.files:,} files "
            f"({deleted} rows).\n"
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
        photo: path, id, or at least 8 characters of the beginning of an id.
        folder: all photos below it.
        user: whose; alone it means all of the user's photos.

    Returns:
        The receipt.

    Raises:
        RequestError: nothing matches.
        LibraryError: a trace was found after deleting; the message says of what.

    Choice: at most 200 photos are searched for, chosen evenly, so that forgetting a large folder
        takes seconds; the receipt says how many traces that were.
    """
    start = time.perf_counter()
    with index_lock(library.path):
        targets = _targets(library, photo, folder, user)
        if not targets:
            raise RequestError(
                "Nothing in the library matches. `visuallens status --json` lists the users; paths "
                "are matched as they were indexed."
            )
        traces = _traces(library, targets)
        rows, gone = _delete(library, targets, folder, user)
        traces = _no_longer_used(library, traces)
        _compact(library)
    searched = _search(library.path, traces)
    paths: dict[str, list[str]] = {}
    for target in targets:
        paths.setdefault(target.photo_id, []).append(readable_path(target.path))
    return Receipt(
        photos=tuple(ForgottenPhoto(id_, tuple(paths[id_])) for id_ in paths if id_ in gone),
        files=len(targets),
        rows=rows,
        patterns_searched=searched,
        patterns_found=0,
        seconds=time.perf_counter() - start,
    )


def _targets(
    library: Library, photo: str | None, folder: Path | None, user: str | None
) -> list[_Target]:
    rows = library.connection.execute(
        "SELECT s.user_id, s.path, s.photo, p.id FROM sightings s "
        "JOIN photos p ON p.number = s.photo"
    )
    wanted_path = None if photo is None else os.fsencode(os.path.abspath(photo))  # noqa: PTH100
    prefix = None
    if folder is not None:
        prefix = os.fsencode(os.path.abspath(folder)).rstrip(b"/\\") + os.sep.encode()  # noqa: PTH100

    def matches(target: _Target) -> bool:
        if user is not None and target.user_id != user:
            return False
        if prefix is not None:
            return target.path.startswith(prefix)
        if photo is None:
            return user is not None
        by_id = len(photo) >= _LEAST_PREFIX and target.photo_id.startswith(photo)
        return by_id or target.path == wanted_path

    return [target for row in rows if matches(target := _Target(*row))]


def _traces(library: Library, targets: Sequence[_Target]) -> list[bytes]:
    """Collect what must not be found afterwards."""
    step = max(1, len(targets) // _PROVEN_PHOTOS)
    traces = []
    for target in targets[::step]:
        traces += [target.photo_id.encode(), target.path]
        vectors = library.connection.execute(
            "SELECT vector FROM embeddings WHERE photo = ?", (target.photo,)
        )
        traces += [vector[:_PATTERN_BYTES] for (vector,) in vectors if any(vector[:_PATTERN_BYTES])]
    return traces


def _delete(
    library: Library, targets: Sequence[_Target], folder: Path | None, user: str | None
) -> tuple[dict[str, int], set[str]]:
    tables = ("photos", "sightings", "embeddings", "augmentations", "moments", "refusals")
    before = {table: _count(library.connection, table) for table in tables}
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
        _delete_refusals(connection, folder, user)
        connection.execute(
            "DELETE FROM models WHERE number NOT IN (SELECT model FROM embeddings UNION "
            "SELECT model FROM augmentations)"
        )
    rows = {table: before[table] - _count(library.connection, table) for table in tables}
    left = {photo for (photo,) in library.connection.execute("SELECT id FROM photos")}
    return rows, {target.photo_id for target in targets} - left


def _delete_refusals(connection: sqlite3.Connection, folder: Path | None, user: str | None) -> None:
    if folder is not None:
        prefix = os.path.join(os.path.abspath(folder), "")  # noqa: PTH100, PTH118 - keeps the slash
        connection.execute(
            "DELETE FROM refusals WHERE substr(path, 1, ?) = ?", (len(prefix), prefix)
        )
    elif user is not None:
        connection.execute(
            "DELETE FROM refusals WHERE user_id = ? AND NOT EXISTS "
            "(SELECT 1 FROM sightings WHERE user_id = ?)",
            (user, user),
        )


def _no_longer_used(library: Library, traces: Sequence[bytes]) -> list[bytes]:
    """Leave out traces that photos which stay have too: a path below, an equal picture."""
    kept = [path for (path,) in library.connection.execute("SELECT path FROM sightings")]
    ids = [id_.encode() for (id_,) in library.connection.execute("SELECT id FROM photos")]
    names = b"\0".join([*kept, *ids])
    free = [trace for trace in dict.fromkeys(traces) if trace not in names]
    query = "SELECT 1 FROM embeddings WHERE instr(vector, ?) LIMIT 1"
    return [t for t in free if not library.connection.execute(query, (t,)).fetchall()]


def _compact(library: Library) -> None:
    with translated(library.path):
        library.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        library.connection.execute("VACUUM")
        library.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _search(path: Path, traces: Sequence[bytes]) -> int:
    """Look for each trace in the bytes of the library's files; finding one is a LibraryError."""
    for file in (path, *side_files(path)):
        content = file.read_bytes() if file.exists() else b""
        found = [trace for trace in traces if trace in content]
        if found:
            raise LibraryError(
                path,
                f"{len(found)} traces of what was forgotten are still in {file.name}. Delete the "
                "library and index again what you want to keep.",
            )
    return len(traces)


def _count(connection: sqlite3.Connection, table: str) -> int:
    ((count,),) = connection.execute(f"SELECT COUNT(*) FROM {table}")  # noqa: S608 - a constant
    return int(count)
