"""Which examples of a benchmark's splits a task takes, and what it refuses."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from visuallens.benchmark.folder import Benchmark
from visuallens.errors import TrainingError
from visuallens.profiles import BenchmarkProfiles
from visuallens.types import Example

logger = logging.getLogger(__name__)


def count_examples(benchmark: Benchmark, split: str) -> int:
    """Count the examples of a split.

    Args:
        benchmark: opened.
        split: of it.

    Returns:
        At least 1.

    Raises:
        TrainingError: there are none.
    """
    count = benchmark.count(split)
    if count == 0:
        raise TrainingError(
            f"the {split} split of {benchmark.name} has no examples",
            "Build the benchmark with more users, or with other shares of the splits.",
        )
    return count


def draw_rows(benchmark: Benchmark, split: str, most: int, seed: int) -> list[int]:
    """Draw examples of a split; all, where there are no more.

    Args:
        benchmark: opened.
        split: of it.
        most: that are drawn.
        seed: of the run.

    Returns:
        Their numbers, ascending.

    Raises:
        TrainingError: the split has no examples.

    Choice: drawn with the run's seed alone, so that every evaluation of a run, and every task, is
        measured on the same examples.
    """
    count = count_examples(benchmark, split)
    generator = np.random.default_rng((seed, 5))
    drawn: list[int] = generator.choice(count, min(count, most), replace=False).tolist()
    return sorted(drawn)


def draw_examples(benchmark: Benchmark, split: str, most: int, seed: int) -> list[Example]:
    """Read some examples of a split; see `draw_rows`.

    Args:
        benchmark: opened.
        split: of it.
        most: that are drawn.
        seed: of the run.

    Returns:
        The examples, in the order of the file.

    Raises:
        TrainingError: the split has no examples.
    """
    rows = draw_rows(benchmark, split, most, seed)
    return [found.example for found in benchmark.some(split, rows)]


def refuse_unindexed(profiles: BenchmarkProfiles, examples: Sequence[Example]) -> None:
    """Refuse a library without the benchmark's photos; say how many are missing.

    Args:
        profiles: of the benchmark.
        examples: some of it.

    Raises:
        TrainingError: none of the photos in their histories is indexed.
    """
    histories = [example.request.history for example in examples]
    photos = sum(map(len, histories))
    indexed = sum(map(profiles.count_indexed, histories))
    if indexed == 0:
        raise TrainingError(
            f"no photo of {profiles.benchmark.name} is indexed in this library for this user",
            f"Index them first: visuallens index {profiles.benchmark.photos_folder} --library "
            "LIBRARY --user USER",
        )
    if indexed < photos:
        logger.warning(
            "Of %d photos in the histories of dev examples, %d are indexed; the others are left "
            "out.",
            photos,
            indexed,
        )
