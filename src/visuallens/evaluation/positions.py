"""Does the place at which a candidate is shown decide how it is ranked?

One run tells whether what stands first is preferred; runs of one ranker under several orders of the
same candidates (`visuallens rank --candidate-order`) tell how much of an answer the order decides.

Source: §7.4 (Q4), robustness; the paper does not try this. Zheng et al. 2024, "Large language
models are not robust multiple choice selectors".
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from visuallens.benchmark.folder import Benchmark
from visuallens.benchmark.lists import CandidateLists, Ints, read_lists
from visuallens.benchmark.run_file import RunFile, align, split_of
from visuallens.errors import EvaluationError, RunFileError
from visuallens.evaluation.annotation.export import read_answers
from visuallens.evaluation.correlations import kendall_of_lists, spearman_of_lists
from visuallens.evaluation.evaluate import Drawing, run_names
from visuallens.evaluation.metrics import Ordered, ordered, reciprocal_rank
from visuallens.evaluation.orders import shown_order
from visuallens.evaluation.statistics import Floats, intervals, p_values, user_sums

FIFTHS = 5

_SAME_RANKER = (
    "benchmark", "checksum", "split", "shuffled_history", "history_photos", "seed", "settings",
    "ranker", "with",
)  # fmt: skip
"""Keys of a manifest that two runs have in common which differ by the order of candidates alone."""


@dataclass(frozen=True, slots=True)
class Fifth:
    """How often what is shown in one fifth of the list is ranked first.

    Attributes:
        share: of the questions.
        expected: if places did not matter; exact.
        interval: low and high of the share, over users.
        p_value: of places not mattering.
    """

    share: float
    expected: float
    interval: tuple[float, float]
    p_value: float


@dataclass(frozen=True, slots=True)
class PositionBias:
    """How the ranks of one run go with the places at which candidates were shown.

    Attributes:
        order: in which they were shown, see `shown_order`.
        fifths: the first of the list to the last.
        p_value: of places not mattering, all fifths together.
        correlation: Spearman's, of place and rank, mean over questions; 0 without a bias, 1 where
            candidates are ranked as they are shown.
        interval: low and high of it, over users.
        correlation_p: of its being 0.
    """

    run: str
    order: int
    examples: int
    users: int
    fifths: tuple[Fifth, ...]
    p_value: float
    correlation: float
    interval: tuple[float, float]
    correlation_p: float


@dataclass(frozen=True, slots=True)
class OrderPair:
    """How far a ranker gives the same answers when candidates are shown in another order.

    Attributes:
        runs: the two.
        orders: of their candidates.
        same_best: share of questions with the same best candidate.
        same_best_interval: low and high of it, over users.
        same_best_by_chance: what two random orders are expected to reach, exact.
        tau: Kendall's, of the two rankings, mean over questions; 1 where they are the same.
        tau_interval: low and high of it, over users.
        mrr: of each, over these questions.
    """

    runs: tuple[str, str]
    orders: tuple[int, int]
    examples: int
    users: int
    same_best: float
    same_best_interval: tuple[float, float]
    same_best_by_chance: float
    tau: float
    tau_interval: tuple[float, float]
    mrr: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Positions:
    """What places decide.

    Attributes:
        runs: each over the questions that it answers.
        pairs: of runs of the same ranker under different orders, over what both answer.
    """

    runs: tuple[PositionBias, ...]
    pairs: tuple[OrderPair, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Run:
    """A run; `scores` as `align` gives them, `key` None where nobody says what made it."""

    name: str
    order: int
    key: str | None
    scores: Floats


def examine_positions(
    benchmark: Benchmark, paths: Sequence[Path], drawing: Drawing | None = None
) -> Positions:
    """Examine whether places decide, in each run and between runs of one ranker.

    Args:
        benchmark: that they answer.
        paths: of the runs, or of what people exported; at least one.
        drawing: of intervals and tests.

    Returns:
        What was found.

    Raises:
        RunFileError: a run is broken, or of another benchmark or split.
        EvaluationError: there is no run, or one without a question of several candidates.

    Choice: a run without a manifest, such as another program's, is taken to have been shown the
        order of the benchmark, as people are, and is not compared with others.
    Choice: a question with a single candidate is left out, for it has no order.
    """
    drawing = drawing or Drawing()
    whole = list(dict.fromkeys(paths))
    lists: CandidateLists | None = None
    runs = []
    for name, path in zip(run_names(whole), whole, strict=True):
        read = read_answers(path)
        lists = lists or read_lists(benchmark, split_of(read))
        runs.append(_Run(name, _order_of(read), _key_of(read), align(read, lists, benchmark)))
    if lists is None:
        raise EvaluationError("There is no run to examine", "Name at least one run file.")
    return Positions(
        tuple(_bias(one, lists, drawing) for one in runs),
        tuple(
            found
            for one, other in combinations(runs, 2)
            if one.key is not None and one.key == other.key and one.order != other.order
            for found in _compared(one, other, lists, drawing)
        ),
    )


def _order_of(run: RunFile) -> int:
    order = (run.manifest or {}).get("candidate_order", 0)
    if isinstance(order, int) and order >= 0:
        return order
    raise RunFileError(
        run.path, f"its manifest has the candidate order {order!r}", "Write it again."
    )


def _key_of(run: RunFile) -> str | None:
    """Name what made a run, the order of its candidates aside; a sample may be another one."""
    if run.manifest is None or "ranker" not in run.manifest:
        return None
    return json.dumps({key: run.manifest.get(key) for key in _SAME_RANKER}, sort_keys=True)


def _taken(
    lists: CandidateLists, runs: Sequence[_Run]
) -> tuple[CandidateLists, tuple[Ordered, ...]]:
    """Keep what all of some runs answer."""
    unknown = np.isnan(np.stack([one.scores[lists.starts] for one in runs])).any(axis=0)
    chosen = np.asarray(~unknown & (lists.lengths > 1), np.bool_)
    inside, kept = np.repeat(chosen, lists.lengths), lists.taken(chosen)
    return kept, tuple(ordered(kept, one.scores[inside]) for one in runs)


def _bias(run: _Run, lists: CandidateLists, drawing: Drawing) -> PositionBias:
    lists, (answers,) = _taken(lists, [run])
    if not len(lists):
        raise EvaluationError(
            f"{run.name} answers no question of several candidates",
            "Leave --positions out, or name another run.",
        )
    places = _places(lists, run.order)
    best = places[answers.order[lists.starts]]
    first = (_fifth(best, lists.lengths)[:, None] == np.arange(FIFTHS)).astype(np.float64)
    correlation = spearman_of_lists(lists, places[answers.order], answers.ranks - 1)
    sums = user_sums(np.column_stack((first, correlation)), lists.users)
    bounds = [
        (low, high)
        for low, high in intervals(sums, resamples=drawing.resamples, seed=drawing.seed).tolist()
    ]
    expected, each, together = _tested(lists.lengths, first.sum(axis=0), drawing)
    own = user_sums(correlation[:, None], lists.users)
    return PositionBias(
        run=run.name,
        order=run.order,
        examples=len(lists),
        users=len(sums.counts),
        fifths=tuple(
            Fifth(share, chance, bound, p)
            for share, chance, bound, p in zip(
                sums.means[:FIFTHS].tolist(), expected.tolist(), bounds, each.tolist(), strict=False
            )
        ),
        p_value=together,
        correlation=float(sums.means[FIFTHS]),
        interval=bounds[FIFTHS],
        correlation_p=float(p_values(own, resamples=drawing.resamples, seed=drawing.seed)[0]),
    )


def _places(lists: CandidateLists, order: int) -> Ints:
    """Find where each candidate was shown, (candidates,) from 0 in each list."""
    places = np.arange(len(lists.candidates)) - np.repeat(lists.starts, lists.lengths)
    if order == 0:
        return places
    each = zip(lists.starts.tolist(), lists.lengths.tolist(), lists.seeds.tolist(), strict=True)
    for start, count, seed in each:
        places[start + shown_order(seed, count, order)] = np.arange(count)
    return places


def _fifth(places: Ints, lengths: Ints) -> Ints:
    """Tell in which fifth of its list a place is, from 0; short lists leave some fifths empty."""
    return np.asarray(FIFTHS * places // lengths, np.int64)


def _tested(lengths: Ints, found: Floats, drawing: Drawing) -> tuple[Floats, Floats, float]:
    """Compare how often each fifth holds the best candidate with what is expected by chance.

    Args:
        lengths: (examples,) candidates of each question.
        found: (fifths,) questions whose best candidate was shown there.
        drawing: of the tests.

    Returns:
        (fifths,) expected shares, (fifths,) p-values of each, and that of all together, by the sum
        of (found - expected)² / expected.

    Choice: chance is drawn as it is, a place for each question, rather than by flipping users: the
        order of every question is a draw of its own, so where places do not matter, the places of
        the best candidates are independent, whoever asks.
    """
    generator = np.random.default_rng((drawing.seed, 12))
    drawn = np.zeros((drawing.resamples, FIFTHS))
    expected = np.zeros(FIFTHS)
    for length, count in zip(*np.unique(lengths, return_counts=True), strict=True):
        fifths = _fifth(np.arange(length), np.full(length, length))
        chances = np.bincount(fifths, minlength=FIFTHS) / length
        expected += count * chances
        drawn += generator.multinomial(count, chances, size=drawing.resamples)
    away, distances = np.abs(found - expected), np.abs(drawn - expected)
    weights = np.divide(1, expected, out=np.zeros(FIFTHS), where=expected > 0)
    reached = (distances >= away - 1e-9).sum(axis=0)
    together = (distances**2 @ weights >= away**2 @ weights - 1e-9).sum()
    most = drawing.resamples + 1
    return expected / len(lengths), (1 + reached) / most, float((1 + together) / most)


def _compared(
    one: _Run, other: _Run, lists: CandidateLists, drawing: Drawing
) -> Iterator[OrderPair]:
    """Compare two orders; nothing where the runs have no question in common."""
    lists, answers = _taken(lists, [one, other])
    if not len(lists):
        return
    ranks = []
    for answer in answers:
        own = np.empty(len(lists.candidates), np.int64)
        own[answer.order] = answer.ranks
        ranks.append(own)
    first, second = (answer.order[lists.starts] for answer in answers)
    columns = (
        (first == second).astype(np.float64),
        kendall_of_lists(lists, *ranks),
        *(reciprocal_rank(answer) for answer in answers),
    )
    sums = user_sums(np.column_stack(columns), lists.users)
    bounds = intervals(sums, resamples=drawing.resamples, seed=drawing.seed).tolist()
    same, tau, *mrr = sums.means.tolist()
    yield OrderPair(
        runs=(one.name, other.name),
        orders=(one.order, other.order),
        examples=len(lists),
        users=len(sums.counts),
        same_best=same,
        same_best_interval=(bounds[0][0], bounds[0][1]),
        same_best_by_chance=float((1 / lists.lengths).mean()),
        tau=tau,
        tau_interval=(bounds[1][0], bounds[1][1]),
        mrr=(mrr[0], mrr[1]),
    )
