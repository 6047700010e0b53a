"""Exact scores of many short rankings at once, equal scores broken by chance.

Candidate lists of different lengths lie one after another in flat arrays; `starts` says where each
begins. No list is empty.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from visuallens.benchmark.chance import mrr_by_chance

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
Flags = NDArray[np.bool_]


def reciprocal_ranks(scores: Floats, starts: Counts, relevant: Flags) -> Floats:
    """Compute the expected reciprocal rank of the first relevant candidate of each list.

    Args:
        scores: (candidates,) higher is better; NaN comes last.
        starts: (lists,) where each list begins.
        relevant: (candidates,) which are ground truth.

    Returns:
        (lists,) between 0 and 1; 0 for a list without a relevant candidate.

    Choice: the expectation over all orders of equal scores, so that a control that says nothing
        scores exactly what chance does.
    """
    known = np.where(np.isnan(scores), -np.inf, scores)
    best = _spread(np.maximum.reduceat(np.where(relevant, known, -np.inf), starts), starts, known)
    better = np.add.reduceat((known > best).astype(np.int64), starts)
    tied = np.add.reduceat((known == best).astype(np.int64), starts)
    hits = np.add.reduceat(((known == best) & relevant).astype(np.int64), starts)
    facts = np.stack((better, tied, hits), axis=1)
    kinds, which = np.unique(facts, axis=0, return_inverse=True)
    values = np.array([_expected(*(int(one) for one in kind)) for kind in kinds])
    return np.asarray(values[which.reshape(-1)], dtype=np.float64)


def chance_variances(starts: Counts, relevant: Flags) -> Floats:
    """Compute the variance of the reciprocal rank of the first relevant one of a random order.

    Args:
        starts: (lists,) where each list begins.
        relevant: (candidates,) which are ground truth.

    Returns:
        (lists,) exact; 0 for a list without a relevant candidate, and where all are relevant.
    """
    sizes = _lengths(starts, len(relevant))
    hits = np.add.reduceat(relevant.astype(np.int64), starts)
    kinds, which = np.unique(np.stack((sizes, hits), axis=1), axis=0, return_inverse=True)
    values = np.array([_variance(int(size), int(hit)) for size, hit in kinds])
    return np.asarray(values[which.reshape(-1)], dtype=np.float64)


def first_shares(scores: Floats, starts: Counts, chosen: Flags, among: Flags) -> Floats:
    """Compute the probability that a chosen candidate comes first among some of each list.

    Args:
        scores: (candidates,) higher is better; NaN comes last.
        starts: (lists,) where each list begins.
        chosen: (candidates,) at most one of each list.
        among: (candidates,) those that it is compared with; includes the chosen.

    Returns:
        (lists,) 0, or 1 / (candidates that share the best score).
    """
    known = np.where(np.isnan(scores), np.finfo(np.float64).min, scores)
    compared = np.where(among, known, -np.inf)
    best = _spread(np.maximum.reduceat(compared, starts), starts, known)
    at_top = (compared == best) & among
    ties = np.add.reduceat(at_top.astype(np.int64), starts)
    hit = np.add.reduceat((at_top & chosen).astype(np.int64), starts)
    return np.asarray(hit / np.maximum(ties, 1), dtype=np.float64)


def medians(values: Floats, starts: Counts) -> Floats:
    """Compute the median of each list and spread it over the list.

    Args:
        values: (candidates,) NaN is left out.
        starts: (lists,) where each list begins.

    Returns:
        (candidates,) the median of the list that each belongs to; NaN where all of it is NaN.
    """
    lists = np.repeat(np.arange(len(starts)), _lengths(starts, len(values)))
    order = np.lexsort((values, lists))  # NaN sorts last
    ordered = values[order]
    counts = np.add.reduceat((~np.isnan(values)).astype(np.int64), starts)
    low, high = starts + np.maximum(counts - 1, 0) // 2, starts + counts // 2
    high = np.where(counts > 0, high, starts)
    middles = (ordered[low] + ordered[high]) / 2
    return np.asarray(middles[lists], dtype=np.float64)


def _spread(per_list: Floats, starts: Counts, like: Floats) -> Floats:
    return np.repeat(per_list, _lengths(starts, len(like)))


def _lengths(starts: Counts, total: int) -> Counts:
    return np.diff(starts, append=total)


@lru_cache(maxsize=65_536)
def _variance(candidates: int, relevant: int) -> float:
    if relevant == 0:
        return 0.0
    square, none_yet = 0.0, 1.0
    for rank in range(1, candidates - relevant + 2):
        left = candidates - rank + 1
        square += none_yet * (relevant / left) / rank**2
        none_yet *= (left - relevant) / left
    return max(0.0, square - mrr_by_chance(candidates, relevant) ** 2)


@lru_cache(maxsize=262_144)
def _expected(better: int, tied: int, relevant: int) -> float:
    """Expect the reciprocal rank of the first relevant one of a tie that others precede."""
    if relevant == 0 or tied == 0:
        return 0.0
    if better == 0:
        return mrr_by_chance(tied, relevant)
    expected, none_yet = 0.0, 1.0
    for place in range(1, tied - relevant + 2):
        left = tied - place + 1
        expected += none_yet * (relevant / left) / (better + place)
        none_yet *= (left - relevant) / left
    return expected
