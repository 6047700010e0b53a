"""Rank correlations: of two rows of numbers, and of two orders of each candidate list.

Source: Figure 4, "loosely correlated with number of training data"; Spearman 1904, Kendall 1938.
"""

from __future__ import annotations

import numpy as np

from visuallens.benchmark.lists import CandidateLists, Flags, Ints
from visuallens.evaluation.statistics import RESAMPLES, Floats

_AT_ONCE = 4_000_000
"""Pairs of candidates looked at together."""


def spearman(first: Floats, second: Floats) -> float:
    """Correlate the ranks of two rows of numbers.

    Args:
        first: (n,) finite.
        second: (n,) finite.

    Returns:
        Between -1 and 1; NaN where one of them is constant, or n is below 2.

    Choice: equal numbers share the mean of their ranks.
    """
    ranks = np.stack((_shared_ranks(first), _shared_ranks(second)))
    centred = ranks - (len(first) + 1) / 2
    lengths = np.sqrt((centred**2).sum(axis=1)).prod()
    return float(centred.prod(axis=0).sum() / lengths) if lengths > 0 else float("nan")


def spearman_p_value(
    first: Floats, second: Floats, *, resamples: int = RESAMPLES, seed: int = 0
) -> float:
    """Test whether two rows of numbers are correlated, by shuffling one of them.

    Args:
        first: (n,) finite.
        second: (n,) finite.
        resamples: how many shuffles are drawn.
        seed: of the draws.

    Returns:
        Two-sided p-value, at least 1 / (resamples + 1); NaN where there is no correlation.
    """
    observed = spearman(first, second)
    if np.isnan(observed):
        return float("nan")
    generator = np.random.default_rng((seed, 11))
    ranks = _shared_ranks(first) - (len(first) + 1) / 2
    others = _shared_ranks(second)
    shuffled = generator.permuted(np.tile(others, (resamples, 1)), axis=1)
    least = abs(float(ranks @ others)) - 1e-9
    return float((1 + (np.abs(shuffled @ ranks) >= least).sum()) / (resamples + 1))


def spearman_of_lists(lists: CandidateLists, first: Ints, second: Ints) -> Floats:
    """Correlate two orders of each candidate list.

    Args:
        lists: each with at least two candidates.
        first: (candidates,) ranks within each list, none twice, from any number.
        second: (candidates,) other ranks, from the same number.

    Returns:
        (examples,) between -1 and 1: 1 - 6 Σd² / (n (n² - 1)).
    """
    squares = np.add.reduceat((first - second).astype(np.float64) ** 2, lists.starts)
    counts = lists.lengths.astype(np.float64)
    return np.asarray(1 - 6 * squares / (counts * (counts**2 - 1)))


def kendall_of_lists(lists: CandidateLists, first: Ints, second: Ints) -> Floats:
    """Correlate two orders of each candidate list by the pairs that both put the same way round.

    Args:
        lists: each with at least two candidates.
        first: (candidates,) ranks within each list, none twice.
        second: (candidates,) other ranks.

    Returns:
        (examples,) tau between -1 and 1: the share of such pairs minus that of the others.
    """
    by_first = second[np.lexsort((first, lists.rows))]
    found = np.empty(len(lists))
    for count in np.unique(lists.lengths).tolist():
        rows = np.flatnonzero(lists.lengths == count)
        later: Flags = np.triu(np.ones((count, count), np.bool_), 1)
        at_once = max(1, _AT_ONCE // count**2)
        for begin in range(0, len(rows), at_once):
            some = rows[begin : begin + at_once]
            ranks = by_first[lists.starts[some][:, None] + np.arange(count)]
            turned = ((ranks[:, :, None] > ranks[:, None, :]) & later).sum(axis=(1, 2))
            found[some] = 1 - 4 * turned / (count * (count - 1))
    return found


def _shared_ranks(values: Floats) -> Floats:
    """Rank numbers from 1; equal ones share the mean of their ranks."""
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[which])
