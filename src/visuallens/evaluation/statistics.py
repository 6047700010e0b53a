"""How sure a figure is: intervals, tests and effect sizes over users, not over examples.

The examples of one user are alike, so what is drawn again, or flipped, is a user with all of their
examples. Everything works on the sums of each user, so the cost grows with users, not examples.

Source: Table 3, "MRR difference over 0.4 has a p-value < 0.04"; the paper does not name its test.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

CONFIDENCE = 0.95
RESAMPLES = 2000

_AT_ONCE = 4_000_000
"""Numbers drawn at a time: 32 MB."""


@dataclass(frozen=True, slots=True, eq=False)
class UserSums:
    """Values added up over the examples of each user.

    Attributes:
        sums: (users, columns).
        counts: (users,) examples of each, at least 1.
    """

    sums: Floats
    counts: Floats

    @property
    def means(self) -> Floats:
        """(columns,) means over examples; NaN without any."""
        total = self.counts.sum()
        if total == 0:
            return np.full(self.sums.shape[1], np.nan)
        return np.asarray(self.sums.sum(axis=0) / total)


def user_sums(values: Floats, users: Ints) -> UserSums:
    """Add values up over the examples of each user.

    Args:
        values: (examples, columns) finite.
        users: (examples,) a number for each user.

    Returns:
        Users who have examples, by number.
    """
    people, codes = np.unique(users, return_inverse=True)
    sums = [np.bincount(codes, column, minlength=len(people)) for column in values.T]
    stacked = np.stack(sums, axis=1) if sums else np.zeros((len(people), 0))
    return UserSums(
        stacked.astype(np.float64), np.bincount(codes, minlength=len(people)).astype(np.float64)
    )


def intervals(
    sums: UserSums, *, resamples: int = RESAMPLES, seed: int = 0, confidence: float = CONFIDENCE
) -> Floats:
    """Compute percentile intervals of means over examples, by a bootstrap of users.

    Args:
        sums: of each user; columns that belong together, such as runs, see the same draws, so the
            interval of a difference column is a paired one.
        resamples: how often as many users are drawn as there are.
        seed: of the draws.
        confidence: of each interval.

    Returns:
        (columns, 2) low and high; NaN with fewer than two users, of whom nothing can be said.

    Source: Efron and Tibshirani 1993, chapter 13 (percentiles); Cameron, Gelbach and Miller 2008
        (clusters).
    Choice: a mean over examples, as the paper's N, so a drawn user weighs as much as they asked.
    """
    users, columns = sums.sums.shape
    if users < 2 or columns == 0:
        return np.full((columns, 2), np.nan)
    generator = np.random.default_rng((seed, 8))
    means = np.concatenate(
        [
            (drawn @ sums.sums) / (drawn @ sums.counts)[:, None]
            for drawn in _draws(users, resamples, generator)
        ]
    )
    outside = 100 * (1 - confidence) / 2
    return np.asarray(np.percentile(means, [outside, 100 - outside], axis=0).T, np.float64)


def p_values(differences: UserSums, *, resamples: int = RESAMPLES, seed: int = 0) -> Floats:
    """Test whether two runs differ, by flipping the sign of the difference of whole users.

    Args:
        differences: one run minus the other.
        resamples: how many patterns of signs are drawn.
        seed: of the draws.

    Returns:
        (columns,) two-sided p-values, at least 1 / (resamples + 1).

    Source: Smucker, Allan and Carterette 2007, randomisation test; here with users as clusters.
    Choice: the observed pattern counts as one of those drawn, so no p-value is 0.
    """
    sums = differences.sums
    observed = np.abs(sums.sum(axis=0))
    # What differs by rounding alone is as large.
    least = observed - 1e-9 * np.abs(sums).sum(axis=0)
    generator = np.random.default_rng((seed, 9))
    reached = np.ones(sums.shape[1])
    for rows in _portions(len(sums), resamples):
        signs = generator.integers(0, 2, (rows, len(sums)), np.int8).astype(np.float64) * 2 - 1
        reached += (np.abs(signs @ sums) >= least).sum(axis=0)
    return np.asarray(reached / (resamples + 1))


def effect_sizes(differences: UserSums) -> Floats:
    """Compute how large differences are beside how much users differ: paired Cohen's d.

    Args:
        differences: one run minus the other.

    Returns:
        (columns,) mean over users of their mean difference, divided by its deviation; 0 where
        nobody differs, infinite where everybody differs by the same, NaN with one user.

    Source: Cohen 1988, d for paired samples (d_z).
    """
    means = differences.sums / differences.counts[:, None]
    if len(means) < 2:
        return np.full(means.shape[1], np.nan)
    middle, spread = means.mean(axis=0), means.std(axis=0, ddof=1)
    middle = np.where(np.abs(middle) < 1e-12, 0.0, middle)
    same = spread < 1e-12
    infinite = np.where(middle == 0, 0.0, np.copysign(np.inf, middle))
    return np.asarray(np.where(same, infinite, middle / np.where(same, 1.0, spread)))


def holm(p: Sequence[float] | Floats) -> Floats:
    """Correct the p-values of one table, so that all of its claims together keep the error rate.

    Args:
        p: of every comparison in the table.

    Returns:
        As many, each at least as large, at most 1, in the same order.

    Source: Holm 1979.
    """
    raw = np.asarray(p, np.float64)
    order = np.argsort(raw, kind="stable")
    steps = raw[order] * np.arange(len(raw), 0, -1)
    adjusted = np.empty(len(raw))
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


def wilson(successes: int, trials: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Compute the interval of a share, for few independent trials such as human annotation.

    Args:
        successes: 0 to `trials`.
        trials: at least 0; without any, nothing is known: 0 to 1.
        confidence: of the interval.

    Returns:
        Low and high, between 0 and 1.

    Source: Wilson 1927.
    """
    if trials == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share, square = successes / trials, z * z / trials
    middle = (share + square / 2) / (1 + square)
    half = z * np.sqrt(share * (1 - share) / trials + square / (4 * trials)) / (1 + square)
    return max(0.0, float(middle - half)), min(1.0, float(middle + half))


def _draws(users: int, resamples: int, generator: np.random.Generator) -> Iterator[Floats]:
    """Yield how often each user is drawn, (resamples, users), some resamples at a time."""
    for rows in _portions(users, resamples):
        drawn = generator.integers(users, size=(rows, users)) + np.arange(rows)[:, None] * users
        counts = np.bincount(drawn.reshape(-1), minlength=rows * users)
        yield counts.reshape(rows, users).astype(np.float64)


def _portions(users: int, resamples: int) -> Iterator[int]:
    at_once = max(1, _AT_ONCE // max(users, 1))
    for start in range(0, resamples, at_once):
        yield min(at_once, resamples - start)
