"""Metrics of all questions of a run at once, one value for each question.

Source: §6.2, Hit@k and MRR. NDCG and MAP are ours, every relevant candidate worth the same.
Choice: a few lines of our own on flat arrays rather than ir-measures, which breaks equal scores by
    id and holds every ranking as a dictionary: 2.7 GB and half a minute for each run of 200,000
    questions with 45 candidates, before anything is drawn. A test holds ours to its Success@k, RR,
    nDCG and AP; what else it knows can be asked for by its name (`measures.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from visuallens.benchmark.lists import CandidateLists, Flags, Ints
from visuallens.errors import EvaluationError

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Ordered:
    """The candidate lists of a split in the order that a run gives them.

    Attributes:
        lists: as the benchmark has them.
        scores: (candidates,) of the run, in the order of the benchmark.
        order: (candidates,) places in the lists; those of each list together, best first.
    """

    lists: CandidateLists
    scores: Floats
    order: Ints

    @cached_property
    def relevant(self) -> Flags:
        """(candidates,) which are ground truth, best first."""
        return self.lists.relevant[self.order]

    @cached_property
    def ranks(self) -> Ints:
        """(candidates,) from 1 in each list, best first."""
        count = len(self.order)
        return np.arange(1, count + 1) - np.repeat(self.lists.starts, self.lists.lengths)

    @cached_property
    def first_ranks(self) -> Floats:
        """(examples,) rank of the first relevant candidate; infinite where there is none."""
        reached = np.where(self.relevant, self.ranks, np.inf)
        return np.minimum.reduceat(reached, self.lists.starts) if len(self.lists) else reached

    def added(self, values: Floats) -> Floats:
        """Add values of candidates, best first, up over each list."""
        found = np.add.reduceat(values, self.lists.starts) if len(self.lists) else values
        return np.asarray(found, np.float64)


def ordered(lists: CandidateLists, scores: Floats) -> Ordered:
    """Order the candidates of every list by score.

    Args:
        lists: of a split.
        scores: (candidates,) higher is better; no NaN.

    Returns:
        The order of all lists.

    Choice: equal scores are ordered by the seeded shuffle of `to_ranking`, never by position nor by
        id, so a run of ours gets the ranks that it was written with, and a run of another program
        is treated alike.
    """
    rows = lists.rows
    order = np.lexsort((-scores, rows))
    tied = np.zeros(len(order), np.bool_)
    tied[1:] = (scores[order][1:] == scores[order][:-1]) & (rows[1:] == rows[:-1])
    ends = lists.starts + lists.lengths
    for row in np.unique(rows[tied]).tolist():
        own = slice(lists.starts[row], ends[row])
        count = int(ends[row] - lists.starts[row])
        shuffle = np.random.default_rng(int(lists.seeds[row])).permutation(count)
        order[own] = lists.starts[row] + np.lexsort((shuffle, -scores[own]))
    return Ordered(lists, scores, order)


def hit(answers: Ordered, k: int | None = None) -> Floats:
    """Tell whether a relevant candidate is among the first k.

    Args:
        answers: of a run.
        k: how deep one looks; needed.

    Returns:
        (examples,) 0 or 1.

    Raises:
        EvaluationError: k is missing.

    Source: §6.2, Hit@k.
    """
    if k is None:
        raise EvaluationError("The metric 'hit' needs a depth", "Write hit@3, for instance.")
    return (answers.first_ranks <= k).astype(np.float64)


def reciprocal_rank(answers: Ordered, k: int | None = None) -> Floats:
    """Divide 1 by the rank of the first relevant candidate.

    Args:
        answers: of a run.
        k: what comes later counts 0; None: nothing does.

    Returns:
        (examples,) between 0 and 1.

    Source: §6.2, MRR.
    """
    found = 1 / answers.first_ranks
    return found if k is None else np.where(answers.first_ranks <= k, found, 0.0)


def ndcg(answers: Ordered, k: int | None = None) -> Floats:
    """Compare the discounted gain with that of the best order.

    Args:
        answers: of a run.
        k: how deep one looks; None: to the end.

    Returns:
        (examples,) between 0 and 1; 0 without a relevant candidate.

    Source: Järvelin and Kekäläinen 2002, with the discount 1 / log2(rank + 1).
    """
    seen = np.ones(len(answers.ranks), np.bool_) if k is None else answers.ranks <= k
    discounts = 1 / np.log2(answers.ranks + 1.0)
    gained = answers.added(np.where(answers.relevant & seen, discounts, 0.0))
    total = answers.added(answers.relevant.astype(np.float64))
    most = np.repeat(total, answers.lists.lengths)
    best = answers.added(np.where((answers.ranks <= most) & seen, discounts, 0.0))
    return np.divide(gained, best, out=np.zeros(len(best)), where=best > 0)


def average_precision(answers: Ordered, k: int | None = None) -> Floats:
    """Average the precision at the rank of each relevant candidate.

    Args:
        answers: of a run.
        k: relevant candidates that come later count 0; None: nothing does.

    Returns:
        (examples,) between 0 and 1; 0 without a relevant candidate.
    """
    hits = np.cumsum(answers.relevant)
    before: Ints = (hits - answers.relevant)[answers.lists.starts]
    precision = (hits - np.repeat(before, answers.lists.lengths)) / answers.ranks
    seen = answers.relevant if k is None else answers.relevant & (answers.ranks <= k)
    total = answers.added(answers.relevant.astype(np.float64))
    summed = answers.added(np.where(seen, precision, 0.0))
    return np.divide(summed, total, out=np.zeros(len(total)), where=total > 0)
