"""How the scores of categories go with the number of their train examples.

Source: Figure 4, "the performance per category is loosely correlated with number of training data".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from visuallens.benchmark.folder import Benchmark
from visuallens.benchmark.lists import count_categories
from visuallens.evaluation.correlations import spearman, spearman_p_value
from visuallens.evaluation.statistics import RESAMPLES

_CATEGORIES = 5
"""Choice: with fewer categories than these, a correlation over them says nothing."""


@dataclass(frozen=True, slots=True)
class Correlation:
    """How the MRR of a run goes with the number of train examples, over categories.

    Attributes:
        categories: how many there are.
        spearman: NaN where one of the two is the same in all categories.
        p_value: of there being none; categories are shuffled.

    Choice: by ranks, so the number of train examples and its logarithm give the same.
    """

    run: str
    categories: int
    spearman: float
    p_value: float


def train_examples(benchmark: Benchmark) -> Counter[str]:
    """Count the examples of each category in the train split; others have 0."""
    return Counter(count_categories(benchmark, "train"))


def correlate(
    run: str,
    reached: Mapping[str, float],
    known: Mapping[str, int],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Correlation | None:
    """Correlate the MRR of a run with the number of train examples, over categories.

    Args:
        run: its name.
        reached: category → MRR.
        known: category → train examples.
        resamples: of the test.
        seed: of its draws.

    Returns:
        The correlation; None with fewer than five categories.
    """
    if len(reached) < _CATEGORIES:
        return None
    scores = np.array(list(reached.values()), np.float64)
    counts = np.array([known[category] for category in reached], np.float64)
    p = spearman_p_value(scores, counts, resamples=resamples, seed=seed)
    return Correlation(run, len(reached), spearman(scores, counts), p)
