"""What describing a library would take, measured on a few of its photos before a long run."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path

from visuallens.augment.base import Estimate, File, IndexReport
from visuallens.augment.pipeline import index, unread_files
from visuallens.augment.store import Library
from visuallens.config import Settings
from visuallens.models.base import PhotoReader
from visuallens.types import Refusal

_SAMPLE = 4


def estimate(
    library: Library | None,
    files: Iterable[File | Refusal],
    readers: Sequence[PhotoReader],
    *,
    user_id: str,
    settings: Settings,
) -> Estimate:
    """Read four photos for real, into libraries that are thrown away, and extrapolate.

    Args:
        library: open; it stays as it is. None where there is none yet.
        files: from a source.
        readers: as for `index`.
        user_id: as for `index`.
        settings: as for `index`.

    Returns:
        Time and cost of all files that an index run would read.

    Choice: the files are taken evenly from the whole source. The first photo is not timed, for it
        may load and convert weights, which happens once; a single photo is read twice. What is
        timed is asked of a server afresh, since a kept answer takes no time and costs nothing;
        the new answers are kept, so that the index run does not pay for them.
    """
    with tempfile.TemporaryDirectory(prefix="visuallens-") as scratch:

        def read(name: str, some: Sequence[File]) -> IndexReport:
            path = Path(scratch) / f"{name}.sqlite"
            with Library.open(path, create=True, writable=True) as sample:
                return index(sample, some, readers, user_id=user_id, settings=settings)

        with ExitStack() as stack:
            known = library or stack.enter_context(
                Library.open(Path(scratch) / "empty.sqlite", create=True)
            )
            todo = unread_files(known, files, readers, user_id=user_id, settings=settings)
        some = todo[:: max(1, -(-len(todo) // _SAMPLE))]
        if not some:
            return Estimate(0, 0.0)
        read("first", some[:1])
        with ExitStack() as stack:
            for reader in readers:
                if hasattr(reader, "afresh"):
                    stack.enter_context(reader.afresh())
            before = _cost(readers)
            report = read("timed", some[1:] or some)
            cost = _cost(readers) - before
    share = len(todo) / max(1, report.indexed)
    return Estimate(len(todo), report.seconds * share, cost * share)


def _cost(readers: Sequence[PhotoReader]) -> float:
    return float(sum(getattr(reader, "cost", 0.0) for reader in readers))
