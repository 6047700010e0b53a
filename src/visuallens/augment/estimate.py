"""What describing a library would take, measured on a few of its photos before a long run."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from visuallens.augment.base import Estimate, File
from visuallens.augment.pipeline import index, unread_files
from visuallens.augment.store import Library
from visuallens.config import Settings
from visuallens.models.base import PhotoReader
from visuallens.types import Refusal

_SAMPLE = 4


def estimate(
    library: Library,
    files: Iterable[File | Refusal],
    readers: Sequence[PhotoReader],
    *,
    user_id: str,
    settings: Settings,
) -> Estimate:
    """Read four photos for real, into a library that is thrown away, and extrapolate.

    Args:
        library: open; it stays as it is.
        files: from a source.
        readers: as for `index`.
        user_id: as for `index`.
        settings: as for `index`.

    Returns:
        Time and cost of all files that an index run would read.

    Choice: the files are taken evenly from the whole source. A server's answers are kept, so the
        four are not paid twice.
    """
    todo = unread_files(library, files, readers, user_id=user_id, settings=settings)
    some = todo[:: max(1, -(-len(todo) // _SAMPLE))]
    if not some:
        return Estimate(0, 0.0)
    before = _cost(readers)
    with (
        tempfile.TemporaryDirectory(prefix="visuallens-") as scratch,
        Library.open(Path(scratch) / "sample.sqlite", create=True, writable=True) as sample,
    ):
        report = index(sample, some, readers, user_id=user_id, settings=settings)
    share = len(todo) / max(1, report.indexed)
    return Estimate(len(todo), report.seconds * share, (_cost(readers) - before) * share)


def _cost(readers: Sequence[PhotoReader]) -> float:
    return float(sum(getattr(reader, "cost", 0.0) for reader in readers))
