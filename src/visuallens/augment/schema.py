"""The library file: its tables, and how it is opened.

One SQLite file holds everything about the photos of a library. Photos are numbered inside the file;
their identity outside is the sha256 of their bytes.
"""

from __future__ import annotations

import errno
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from visuallens.errors import (
    LibraryBusyError,
    LibraryError,
    LibraryFullError,
    LibraryMissingError,
    LibraryReadOnlyError,
    LibraryVersionError,
)

SCHEMA_VERSION = 1
BUSY_TIMEOUT_S = 30.0

_APPLICATION_ID = 0x564C4E53  # "VLNS"
# Three embeddings of 1,280 dimensions fit a page, so that loading them reads the file in order.
_PAGE_BYTES = 16384
_NO_HARD_LINKS = frozenset((errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS))

_TABLES = """
CREATE TABLE photos (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,          -- sha256 of the bytes, hex
    width_px INTEGER NOT NULL,
    height_px INTEGER NOT NULL,
    taken_at TEXT,                    -- ISO 8601
    taken_at_s REAL,                  -- the same in seconds since 1970, to sort by
    date_source TEXT NOT NULL,
    latitude REAL,
    longitude REAL,
    fingerprint INTEGER NOT NULL      -- perceptual hash, as a signed 64-bit number
);
CREATE TABLE sightings (              -- which file of which user shows which photo
    user_id TEXT NOT NULL,
    path BLOB NOT NULL,               -- bytes as the system gives them; need not be UTF-8
    photo INTEGER NOT NULL REFERENCES photos(number),
    size_bytes INTEGER NOT NULL,
    modified_ns INTEGER NOT NULL,
    PRIMARY KEY (user_id, path)
) WITHOUT ROWID;
CREATE INDEX sightings_by_photo ON sightings(photo);
CREATE TABLE refusals (
    user_id TEXT NOT NULL,
    path TEXT NOT NULL,
    reason TEXT NOT NULL,
    detail TEXT NOT NULL,
    PRIMARY KEY (user_id, path, detail)
) WITHOUT ROWID;
CREATE TABLE models (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE           -- model id and revision
);
CREATE TABLE embeddings (
    photo INTEGER NOT NULL REFERENCES photos(number),
    model INTEGER NOT NULL REFERENCES models(number),
    vector BLOB NOT NULL,             -- float32, unit length
    PRIMARY KEY (model, photo)
);
CREATE TABLE augmentations (
    photo INTEGER NOT NULL REFERENCES photos(number),
    model INTEGER NOT NULL REFERENCES models(number),
    prompt_version TEXT NOT NULL,
    round INTEGER NOT NULL,
    caption TEXT NOT NULL,
    aspect_words TEXT NOT NULL,       -- JSON list
    made_at TEXT NOT NULL,
    made_by TEXT NOT NULL,            -- version of VisualLens, or "people": who wrote the caption
    PRIMARY KEY (model, photo, prompt_version, round)
);
CREATE TABLE moments (                -- photos of a user that belong together
    user_id TEXT NOT NULL,
    photo INTEGER NOT NULL REFERENCES photos(number),
    picture INTEGER NOT NULL,         -- same picture
    burst INTEGER NOT NULL,           -- same moment
    moment INTEGER NOT NULL,          -- either
    PRIMARY KEY (user_id, photo)
) WITHOUT ROWID;
"""
# Deleting a photo asks every table that refers to it; without these, each asks all its rows.
_INDEXES = """
CREATE INDEX IF NOT EXISTS embeddings_by_photo ON embeddings(photo);
CREATE INDEX IF NOT EXISTS augmentations_by_photo ON augmentations(photo);
CREATE INDEX IF NOT EXISTS moments_by_photo ON moments(photo);
"""


def connect(path: Path, *, create: bool, writable: bool) -> sqlite3.Connection:
    """Open a library file, making it first where asked.

    Args:
        path: the file.
        create: make it, and its folder, when missing.
        writable: without it the file is never changed, not even its journal.

    Returns:
        An open connection.

    Raises:
        LibraryMissingError: there is none, and it should not be made.
        LibraryVersionError: it is no library, or a newer one.
        LibraryReadOnlyError: it should be written and cannot be.
    """
    if not path.exists():
        if not create:
            raise LibraryMissingError(path)
        _create(path)
    with translated(path):
        connection = _open_writable(path) if writable else _open_readable(path)
        try:
            _check(connection, path)
            if writable:  # a library made before they existed gets them now
                connection.executescript(_INDEXES)
        except BaseException:
            connection.close()
            raise
    return connection


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into those of the library."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        detailed = getattr(error, "sqlite_errorcode", 0)
        code = detailed & 0xFF
        # The second: there is no room for the side file that readers and writers share.
        if code == sqlite3.SQLITE_FULL or detailed == sqlite3.SQLITE_IOERR_SHMSIZE:
            raise LibraryFullError(path) from error
        if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
            raise LibraryReadOnlyError(path) from error
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise LibraryBusyError(path, BUSY_TIMEOUT_S) from error
        if code == sqlite3.SQLITE_NOTADB:
            raise LibraryVersionError(path, "unknown (not a library)", SCHEMA_VERSION) from error
        raise LibraryError(
            path,
            f"the library cannot be used ({error}). If the disk is healthy, restore a copy of the "
            "file, or delete it and index again.",
        ) from error


def _create(path: Path) -> None:
    """Make an empty library beside the path and move it there, so that nobody sees half of one.

    It is made without a journal of its own: a journal that a full disk keeps SQLite from merging
    when it closes would stay behind in the scratch folder, and with it half of the library.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".new-", dir=path.parent) as scratch:
            made = Path(scratch) / path.name
            with translated(path):
                connection = sqlite3.connect(made, isolation_level=None)
                try:
                    connection.executescript(
                        f"PRAGMA page_size = {_PAGE_BYTES}; PRAGMA journal_mode = OFF;"
                        f"BEGIN; {_TABLES} {_INDEXES} PRAGMA application_id = {_APPLICATION_ID};"
                        f"PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
                    )
                finally:
                    connection.close()
            _publish(made, path)
    except OSError as error:
        full = error.errno == errno.ENOSPC
        raise (LibraryFullError if full else LibraryReadOnlyError)(path) from error


def _publish(made: Path, path: Path) -> None:
    """Give a finished library its name, unless another run was faster: its own is as good."""
    try:
        path.hardlink_to(made)
    except FileExistsError:
        return
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        # Memory cards and some network drives. Of two runs, only one may move its file here.
        with FileLock(path.with_name(path.name + ".lock")):
            if not path.exists():
                made.rename(path)


def _open_writable(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA secure_delete = ON")
    connection.execute("PRAGMA foreign_keys = ON")
    return connection


def _open_readable(path: Path) -> sqlite3.Connection:
    """Open for reading; a folder that cannot be written has no room for SQLite's side files."""
    uri = path.absolute().as_uri()
    connection = sqlite3.connect(f"{uri}?mode=ro", uri=True, timeout=BUSY_TIMEOUT_S)
    try:
        connection.execute("SELECT COUNT(*) FROM sqlite_schema")
    except sqlite3.OperationalError as error:
        connection.close()
        if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise  # somebody is writing, so the file is anything but immutable
        connection = sqlite3.connect(f"{uri}?immutable=1", uri=True)
    connection.execute("PRAGMA mmap_size = 1073741824")
    return connection


def _check(connection: sqlite3.Connection, path: Path) -> None:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application != _APPLICATION_ID:
        raise LibraryVersionError(path, "unknown (not a library)", SCHEMA_VERSION)
    if version > SCHEMA_VERSION:
        raise LibraryVersionError(path, str(version), SCHEMA_VERSION)
