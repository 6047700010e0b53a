"""A benchmark and the library in which its photos are indexed, for commands that need both."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from visuallens.api import VisualLens
    from visuallens.benchmark.folder import Benchmark
    from visuallens.config import Settings
    from visuallens.profiles import BenchmarkProfiles


@contextmanager
def open_indexed(
    benchmark: Benchmark, library: Path | None, user: str, settings: Settings
) -> Iterator[tuple[VisualLens, BenchmarkProfiles]]:
    """Open a library as far as a benchmark needs it.

    Args:
        benchmark: whose photos are indexed.
        library: its folder; None: the system's.
        user: as whom they are indexed.
        settings: the whole tree.

    Yields:
        What opens models, and the profiles of the benchmark's requests; the library is closed
        afterwards.

    Raises:
        LibraryMissingError: there is no library.
        NothingIndexedError: the user has no photos in it.
    """
    from visuallens.api import VisualLens
    from visuallens.augment.store import Library
    from visuallens.profiles import BenchmarkProfiles
    from visuallens.users import open_user

    lens = VisualLens(library, settings=settings)
    with Library.open(lens.path) as store:
        indexed = open_user(store, user, lens.model, settings)
        yield lens, BenchmarkProfiles(benchmark, indexed, lens.model, settings)
