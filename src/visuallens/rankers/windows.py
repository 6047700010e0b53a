"""Ranking more candidates than fit one prompt: shuffled windows, then a merge.

Source: appendix D ranks at most 100 candidates. Choice: beyond the labels of a label space, each
    candidate is seen in several windows of shuffled company; the best meet in a last window.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from visuallens.types import FloatArray

_BELOW = float(np.log(2))

Window = tuple[int, ...]
"""Positions of candidates, in the order in which a prompt lists them."""
ScoreWindows = Callable[[Sequence[Window]], Sequence[FloatArray]]
"""Gives, for each window, one score per candidate: 0 is as likely as chance within the window, NaN
is nothing known."""


def rank_in_windows(
    count: int, size: int, rounds: int, generator: np.random.Generator | None, score: ScoreWindows
) -> FloatArray:
    """Score any number of candidates.

    Args:
        count: of candidates, at least one.
        size: most candidates of a window.
        rounds: how often each candidate is seen before the merge.
        generator: shuffles; None: all orders are as given.
        score: asks the backbone.

    Returns:
        (count,) float32, higher is better. With one window, the mean over the rounds; with
        several, those that reach the last window come first, in its order. A candidate of which
        no window told anything comes last.
    """
    windows = shuffled_windows(count, size, rounds, generator)
    scores = _means(count, windows, score(windows))
    if count <= size:
        return scores
    finalists = np.argsort(-scores, kind="stable")[:size]
    if generator is None:
        finalists = np.sort(finalists)
    final = shuffled_windows(len(finalists), size, rounds, generator)
    last = [tuple(int(finalists[at]) for at in window) for window in final]
    merged = _means(count, last, score(last))
    lowest = merged[finalists].min()
    rest = np.setdiff1d(np.arange(count), finalists)
    gap = max(0.0, float(scores[rest].max() - lowest)) + 1e-3
    merged[rest] = scores[rest] - gap
    return merged


def shuffled_windows(
    count: int, size: int, rounds: int, generator: np.random.Generator | None
) -> list[Window]:
    """Split candidates into windows of nearly equal size, shuffled anew in each round.

    Args:
        count: of candidates.
        size: most candidates of a window.
        rounds: each candidate is in so many windows.
        generator: shuffles; None: nobody does, and one round says all.

    Returns:
        The windows of all rounds.
    """
    parts = -(-count // size)
    if generator is None:
        orders = [np.arange(count)]
    else:
        orders = [generator.permutation(count) for _ in range(rounds)]
    return [
        tuple(int(at) for at in part) for order in orders for part in np.array_split(order, parts)
    ]


def _means(count: int, windows: Sequence[Window], scores: Sequence[FloatArray]) -> FloatArray:
    """Average what each candidate got in its windows; one that got nothing is below all others."""
    sums, seen = np.zeros(count), np.zeros(count)
    for window, row in zip(windows, scores, strict=True):
        at: NDArray[np.intp] = np.array(window, dtype=np.intp)
        known = ~np.isnan(row)
        sums[at[known]] += row[known]
        seen[at[known]] += 1
    means = sums / np.maximum(seen, 1)
    if seen.any():
        means[seen == 0] = means[seen > 0].min() - _BELOW
    return np.asarray(means, dtype=np.float32)
