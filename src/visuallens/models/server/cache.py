"""Answers of a server, kept on this machine, so that a stopped run goes on for free.

Choice: the key is a digest of address, path and request. A request holds the images themselves,
    so a changed photo is a new request; nothing of it is stored but the digest, and no API key
    takes part. A server that swaps its weights under the same name is not noticed: delete the
    file, or run with `--set backbone.server.cache=false`. Only the user can read the file, and
    `visuallens forget` empties it, since no digest tells which photo an answer is about.
"""

from __future__ import annotations

import hashlib
import json
import logging
import sqlite3
import threading
from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from visuallens.models.runtime import cache_folder

logger = logging.getLogger(__name__)

Json = dict[str, Any]  # Any: JSON of requests and answers; every value is checked where it is read

FILE_NAME = "server-answers.sqlite"

_WAIT_S = 30.0  # for another process that is writing
_NO_DATABASE = frozenset((sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT))


def request_key(url: str, path: str, body: Mapping[str, Any]) -> str:
    """Digest one request; the order of keys in it does not matter.

    Args:
        url: of the server.
        path: of the route.
        body: the request, images included as data URLs.

    Returns:
        64 hexadecimal digits.
    """
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(f"{url}\0{path}\0{canonical}".encode()).hexdigest()


class AnswerCache:
    """Answers by request, in one SQLite file that threads and processes may share.

    Choice: a cache that cannot be read or written is reported once and then left alone: a run
        costs more without it, but does not fail.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or cache_folder() / FILE_NAME
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        try:
            self._connection = _opened(self.path)
        except (OSError, sqlite3.Error) as error:
            self._give_up(error)

    def get(self, key: str) -> Json | None:
        """Return the kept answer to a request, or None."""
        row = self._run("SELECT answer FROM answers WHERE key = ?", (key,))
        if row is None:
            return None
        answer = json.loads(row[0])
        return answer if isinstance(answer, dict) else None

    def put(self, key: str, answer: Json) -> None:
        """Keep the answer to a request; a second one for the same request replaces it."""
        text = json.dumps(answer, separators=(",", ":"))
        self._run("INSERT OR REPLACE INTO answers (key, answer) VALUES (?, ?)", (key, text))

    def close(self) -> None:
        """Close the file; afterwards nothing is found and nothing kept."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _run(self, statement: str, values: tuple[str, ...]) -> tuple[str, ...] | None:
        with self._lock:
            if self._connection is None:
                return None
            try:
                row: tuple[str, ...] | None = self._connection.execute(statement, values).fetchone()
            except sqlite3.Error as error:
                self._give_up(error)
                return None
        return row

    def _give_up(self, error: Exception) -> None:
        logger.warning("%s: answers are not kept in this run (%s).", self.path, error)
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def answer_files() -> tuple[Path, ...]:
    """Name the files that may hold kept answers, those of other versions included."""
    try:
        folder = cache_folder()
    except OSError:  # there is none, and none can be made
        return ()
    folders = {folder, *folder.parent.glob("models-*")}
    return tuple(sorted(found / FILE_NAME for found in folders))


def delete_answers(path: Path) -> int:
    """Delete all answers of a file, and overwrite their bytes.

    Args:
        path: of the file, which other processes may have open; nothing is made where there is none.

    Returns:
        How many answers there were; 0 for a file that is no database, which is deleted.

    Raises:
        sqlite3.Error: another process holds it for too long, or it cannot be written.
        OSError: it cannot be deleted.
    """
    if not path.exists():
        _unlink(path)  # what a crash may have left beside it
        return 0
    try:
        with closing(_opened(path)) as connection:
            connection.execute("PRAGMA secure_delete = ON")
            count = connection.execute("DELETE FROM answers").rowcount
            _checkpoint(connection)
            connection.execute("VACUUM")
            _checkpoint(connection)
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF not in _NO_DATABASE:
            raise
        _unlink(path)
        return 0
    return count


def _checkpoint(connection: sqlite3.Connection) -> None:
    """Move everything into the file itself, so that nothing stays in the log beside it."""
    ((busy, _, _),) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    if busy:
        raise sqlite3.OperationalError("another program is reading it")


def _unlink(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _opened(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        path.touch(mode=0o600)
    with suppress(OSError):  # somebody else's, who decides
        path.chmod(0o600)
    connection = sqlite3.connect(
        path, timeout=_WAIT_S, isolation_level=None, check_same_thread=False
    )
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, answer TEXT)")
    except sqlite3.Error:
        connection.close()
        raise
    return connection
