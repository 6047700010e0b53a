"""Writing an export so that it is either finished or not there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from visuallens.benchmark.writing import discard, refuse_existing


@contextmanager
def finished(out: Path) -> Iterator[Path]:
    """Give a folder to write into, which becomes `out` when all went well and else is deleted.

    Args:
        out: does not exist, or is an empty folder; folders above it are made.

    Yields:
        An empty folder on the same disk.

    Raises:
        BenchmarkFolderError: there is something at `out` already.
    """
    refuse_existing(out)
    work = out.with_name(out.name + ".part")
    discard(work)
    work.mkdir(parents=True)
    try:
        yield work
        if out.exists():
            out.rmdir()
        work.rename(out)
    finally:
        discard(work)
