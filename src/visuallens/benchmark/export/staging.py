"""Writing a folder so that it is either finished or not there, by one command at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from visuallens.benchmark.writing import discard, refuse_existing
from visuallens.errors import BenchmarkFolderError


@contextmanager
def finished(out: Path) -> Iterator[Path]:
    """Give a folder to write into, which becomes `out` when all went well and else is deleted.

    Args:
        out: does not exist, or is an empty folder; folders above it are made.

    Yields:
        An empty folder on the same disk.

    Raises:
        BenchmarkFolderError: there is something at `out` already, another command is writing it, or
            the disk refuses.
    """
    out = out.resolve()
    with unfinished(out) as work:
        yield work
        if not out.exists():
            work.rename(out)
            return
        for entry in work.iterdir():  # an empty folder may be where somebody stands
            entry.rename(out / entry.name)


@contextmanager
def unfinished(out: Path) -> Iterator[Path]:
    """Give a folder to write into, for one command at a time; it is deleted at the end.

    Args:
        out: where the folder is to be moved; resolved. It does not exist, or is an empty folder;
            folders above it are made.

    Yields:
        An empty folder on the same disk.

    Raises:
        BenchmarkFolderError: there is something at `out` already, another command is writing it, or
            the disk refuses.
    """
    around = out.with_name(out.name + ".part")
    try:
        refuse_existing(out)
        around.mkdir(parents=True, exist_ok=True)
        with _alone(around):
            try:
                refuse_existing(out)  # the command before may have finished it
                work = around / "work"
                discard(work)
                work.mkdir()
                yield work
            finally:
                discard(around)
    except OSError as error:
        raise BenchmarkFolderError(
            error.filename or out,
            f"it cannot be read or written ({error.strerror or error})",
            f"Make room or mend its permissions, or choose another --out than {out}.",
        ) from error


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    lock = FileLock(folder / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise BenchmarkFolderError(
            folder, "another command is writing here", "Wait for it, or choose another --out."
        ) from error
    try:
        yield
    finally:
        lock.release()
