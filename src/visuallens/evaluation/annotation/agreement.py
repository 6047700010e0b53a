"""How far two people agree who ranked the same questions: how much of Table 2's last row is taste.

Source: Table 2, human annotations. The paper does not say how many people annotated a question, nor
how far they agreed.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from visuallens.benchmark.lists import CandidateLists
from visuallens.evaluation.statistics import RESAMPLES, intervals, user_sums, wilson

logger = logging.getLogger(__name__)

Floats = NDArray[np.float64]

DEPTH = 3
"""How many of the first are compared; Hit@3 looks as deep."""


@dataclass(frozen=True, slots=True, eq=False)
class Annotation:
    """What one person ranked.

    Attributes:
        annotator: their name.
        scores: (candidates,) as `align` gives them: above 0 where ranked, 0 where not, NaN in all
            lists that they did not answer.
    """

    annotator: str
    scores: Floats


@dataclass(frozen=True, slots=True)
class Figure:
    """A mean over questions.

    Attributes:
        value: the mean.
        interval: low and high of it, 95%.
        by_chance: what two people who rank as many at random are expected to reach, exact.
    """

    value: float
    interval: tuple[float, float]
    by_chance: float


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far two people agree, over the questions that both answered.

    Attributes:
        annotators: their names.
        first_choice: share of questions with the same first choice.
        first_three: share of the first choices that are among those of both.
        tau_b: Kendall's, between -1 and 1, over all candidates.
    """

    annotators: tuple[str, str]
    examples: int
    users: int
    first_choice: Figure
    first_three: Figure
    tau_b: Figure


def agreements(
    lists: CandidateLists,
    annotations: Sequence[Annotation],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[Agreement, ...]:
    """Compare every two annotators.

    Args:
        lists: of the split that they answered.
        annotations: of any number of people.
        resamples: of the intervals.
        seed: of their draws.

    Returns:
        One for each pair, in the order given; none for two annotations of one person, which is
        logged, or without a question that both answered.

    Choice: names are compared without letter case, for one person may export twice.
    Choice: the intervals draw users; where every user asks one question, the share of the same
        first choice has Wilson's interval, as hits have.
    """
    found: list[Agreement] = []
    for one, other in combinations(annotations, 2):
        if one.annotator.casefold() == other.annotator.casefold():
            logger.warning(
                "Two exports are of the annotator %r and are not compared; if they are two people, "
                "let each type a name of their own.",
                one.annotator,
            )
        else:
            found += _compared(lists, one, other, resamples, seed)
    return tuple(found)


def kendall_tau_b(first: Floats, second: Floats) -> float:
    """Compute the rank correlation of two scorings that may tie.

    Args:
        first: (candidates,) finite.
        second: (candidates,) of the same ones.

    Returns:
        Between -1 and 1; NaN where one of them ties everything.

    Source: Kendall 1945.
    Choice: tau-b, for what a person leaves unranked is tied. A random ranking of any length is
        expected to reach 0.
    """
    one, other = (np.sign(scores[:, None] - scores) for scores in (first, second))
    most = np.sqrt((one * one).sum() * (other * other).sum())
    return float((one * other).sum() / most) if most > 0 else float("nan")


def first_overlap(first: Floats, second: Floats, depth: int = DEPTH) -> tuple[float, float]:
    """Compute which share of the first choices two people have in common.

    Args:
        first: (candidates,) above 0 where ranked.
        second: (candidates,) of the same ones.
        depth: how many choices are compared.

    Returns:
        The share, and the one expected of random choices: with d of n chosen by both, d / n.

    Choice: where somebody ranked fewer, the first of both are compared that deep, for nothing is
        known of what they left out.
    """
    ranked = int(min((first > 0).sum(), (second > 0).sum()))
    deep = min(depth, ranked)
    chosen = [set(np.argsort(-scores, kind="stable")[:deep].tolist()) for scores in (first, second)]
    return len(chosen[0] & chosen[1]) / deep, deep / len(first)


def _compared(
    lists: CandidateLists, one: Annotation, other: Annotation, resamples: int, seed: int
) -> Iterator[Agreement]:
    """Compare two people; nothing where they answered no question in common.

    Choice: a question with a single candidate is left out, for there is nothing to agree on.
    """
    unknown = np.isnan(one.scores + other.scores)[lists.starts]
    common = np.flatnonzero(~unknown & (lists.lengths > 1))
    if not len(common):
        return
    rows = []
    for at in common.tolist():
        own = slice(lists.starts[at], lists.starts[at] + lists.lengths[at])
        first, second = one.scores[own], other.scores[own]
        same = float(np.argmax(first) == np.argmax(second))
        share, expected = first_overlap(first, second)
        rows.append((same, share, kendall_tau_b(first, second), 1 / len(first), expected))
    values = np.array(rows)
    sums = user_sums(values, lists.users[common])
    bounds = intervals(sums, resamples=resamples, seed=seed)
    if len(sums.counts) == len(values):
        bounds[0] = wilson(int(values[:, 0].sum()), len(values))
    means = sums.means.tolist()
    pairs = [(low, high) for low, high in bounds.tolist()]
    yield Agreement(
        annotators=(one.annotator, other.annotator),
        examples=len(values),
        users=len(sums.counts),
        first_choice=Figure(means[0], pairs[0], means[3]),
        first_three=Figure(means[1], pairs[1], means[4]),
        tau_b=Figure(means[2], pairs[2], 0.0),
    )
