"""Controls: rankers that know nothing of taste. One that beats chance has found a leak.

Each control scores the candidates of every example looked at; what it reaches above chance is
judged over all of them and over each split.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visuallens.benchmark.audit.ranks import (
    Counts,
    Flags,
    Floats,
    chance_variances,
    first_shares,
    reciprocal_ranks,
)
from visuallens.benchmark.audit.verdict import Check, Verdict, not_checked

TOLERANCE = 0.01
"""A control may beat chance by one point of MRR.

Choice: what is smaller is no help to a ranker, and large benchmarks would find it significant.
"""

CONFIDENCE = 0.999
"""Of the intervals, shared by all the controls of one check (Bonferroni)."""

MIN_USERS = 5
"""Fewer users say too little about how much users differ."""

_REPLICATES = 1000
_DRAWS_AT_ONCE = 2_000_000
_EVERYTHING = "all"


@dataclass(frozen=True, slots=True)
class Choices:
    """Candidate lists of some examples, one after another.

    Attributes:
        splits: (examples,) the split of each example.
        users: (examples,) a number for each user.
        starts: (examples,) where each list begins.
        relevant: (candidates,) which are ground truth.
        anchors: (candidates,) the business whose review asks.
        values: name → (candidates,) what controls score by; NaN where there is nothing.
    """

    splits: NDArray[np.str_]
    users: Counts
    starts: Counts
    relevant: Flags
    anchors: Flags
    values: Mapping[str, Floats]


@dataclass(frozen=True, slots=True)
class Score:
    """What one control reaches in one group of examples; fractions between 0 and 1.

    Attributes:
        above: MRR above chance.
        above_low: lower bound of `above`.
        anchor_first: how often the anchor is the first of all.
        anchor_chance: how often it would be by chance.
        stands_out: how much more often than by chance the anchor is the first of the ground truth;
            NaN where no example has two.
        stands_out_low: lower bound of it.
    """

    control: str
    group: str
    examples: int
    mrr: float
    above: float
    above_low: float
    anchor_first: float
    anchor_chance: float
    stands_out: float
    stands_out_low: float

    @property
    def beats_chance(self) -> bool:
        """Whether the control beats chance beyond the tolerance, and beyond doubt."""
        return self.above > TOLERANCE and self.above_low > 0


class Tally:
    """Collects what controls score, example by example.

    Args:
        seed: of the bootstrap.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._groups: list[tuple[NDArray[np.str_], Counts]] = []
        self._columns: dict[str, list[Floats]] = defaultdict(list)
        self.controls: list[str] = []

    def add(self, choices: Choices, controls: Mapping[str, Floats]) -> None:
        """Score the lists of a batch.

        Args:
            choices: the batch; each comes once.
            controls: name → (candidates,) scores, higher is better; the same names every time.
        """
        starts, relevant, anchors = choices.starts, choices.relevant, choices.anchors
        nothing = np.zeros(len(relevant))
        everyone = np.ones(len(relevant), dtype=np.bool_)
        expected = reciprocal_ranks(nothing, starts, relevant)
        alone = np.add.reduceat(relevant.astype(np.int64), starts) < 2
        by_chance = first_shares(nothing, starts, anchors, relevant)
        self.controls = list(controls)
        self._groups.append((choices.splits, choices.users))
        self._columns["chance"].append(first_shares(nothing, starts, anchors, everyone))
        self._columns["variance above"].append(chance_variances(starts, relevant))
        of_first = np.where(alone, np.nan, by_chance * (1 - by_chance))
        self._columns["variance among"].append(of_first)
        for name, scores in controls.items():
            ranks = reciprocal_ranks(scores, starts, relevant)
            among = first_shares(scores, starts, anchors, relevant) - by_chance
            self._columns[f"mrr {name}"].append(ranks)
            self._columns[f"above {name}"].append(ranks - expected)
            self._columns[f"first {name}"].append(first_shares(scores, starts, anchors, everyone))
            self._columns[f"among {name}"].append(np.where(alone, np.nan, among))

    def scores(self) -> list[Score]:
        """Judge every control over all examples and over each split with enough users."""
        groups = list(self._rows_by_group())
        columns = {name: np.concatenate(parts) for name, parts in self._columns.items()}
        tests = len(groups) * len(self.controls)
        found: list[Score] = []
        for group, users, rows in groups:
            of_group = {name: column[rows] for name, column in columns.items()}
            found += self._judge(group, users, of_group, tests)
        return found

    def _rows_by_group(self) -> Iterator[tuple[str, Counts, NDArray[np.intp]]]:
        if not self._groups:
            return
        splits = np.concatenate([one for one, _ in self._groups])
        users = np.concatenate([one for _, one in self._groups])
        names = list(dict.fromkeys(splits.tolist()))
        for name in [_EVERYTHING, *(names if len(names) > 1 else ())]:
            rows = np.flatnonzero((splits == name) | (name == _EVERYTHING))
            if len(np.unique(users[rows])) >= MIN_USERS:
                yield name, users[rows], rows

    def _judge(
        self, group: str, users: Counts, columns: Mapping[str, Floats], tests: int
    ) -> Iterator[Score]:
        kinds = ("above", "among")
        names = [f"{kind} {one}" for kind in kinds for one in self.controls]
        matrix = np.stack([columns[name] for name in names], axis=1)
        count = len(self.controls)
        least = np.repeat([_error_by_chance(columns[f"variance {kind}"]) for kind in kinds], count)
        means, lows = lower_bounds(matrix, users, least, tests=tests, seed=self._seed)
        for at, control in enumerate(self.controls):
            yield Score(
                control,
                group,
                len(users),
                mrr=float(columns[f"mrr {control}"].mean()),
                above=float(means[at]),
                above_low=float(lows[at]),
                anchor_first=float(columns[f"first {control}"].mean()),
                anchor_chance=float(columns["chance"].mean()),
                stands_out=float(means[count + at]),
                stands_out_low=float(lows[count + at]),
            )


def lower_bounds(
    values: Floats,
    users: Counts,
    least_errors: Floats | float = 0.0,
    *,
    tests: int = 1,
    seed: int = 0,
) -> tuple[Floats, Floats]:
    """Compute means and the lower bounds of their intervals, by a bootstrap of users.

    Args:
        values: (examples, controls) NaN is left out.
        users: (examples,) a number for each user; at least two users.
        least_errors: (controls,) the standard errors that chance alone gives.
        tests: how many intervals share the confidence.
        seed: of the draws.

    Returns:
        (controls,) means and (controls,) lower bounds; NaN for a column of NaN.

    Choice: users are drawn, not examples, because the examples of a user are alike. The bootstrap
        gives the standard error, and Student's t its factor: percentiles of so few users as small
        benchmarks have are too narrow, and cry leak where there is none.
    Choice: the error is never taken for smaller than that of chance, which is known exactly. Where
        almost every candidate is ground truth, chance may put one first in every example of a small
        benchmark; those examples agree, and the bootstrap would see no error at all.
    """
    from scipy.stats import t as student

    people, codes = np.unique(users, return_inverse=True)
    there = ~np.isnan(values)
    sums = _per_user(np.where(there, values, 0.0), codes, len(people))
    counts = _per_user(there.astype(np.float64), codes, len(people))
    totals = counts.sum(axis=0)
    means = np.divide(sums.sum(axis=0), totals, out=np.full(len(totals), np.nan), where=totals > 0)
    drawn = np.concatenate(
        [
            np.divide(
                weights @ sums,
                weights @ counts,
                out=np.tile(means, (len(weights), 1)),
                where=weights @ counts > 0,
            )
            for weights in _draw_users(len(people), np.random.default_rng((seed, 7)))
        ]
    )
    spread = drawn.std(axis=0) * np.sqrt(len(people) / (len(people) - 1))
    errors = np.maximum(spread, least_errors)
    factor = float(student.ppf(1 - (1 - CONFIDENCE) / 2 / max(tests, 1), len(people) - 1))
    return means, means - factor * errors


def _error_by_chance(variances: Floats) -> float:
    """Compute the standard error of a mean of independent examples; NaN is left out."""
    known = variances[~np.isnan(variances)]
    return float(np.sqrt(known.sum()) / max(len(known), 1))


def _draw_users(users: int, generator: np.random.Generator) -> Iterator[Floats]:
    """Yield how often each user is drawn, (replicates, users), some replicates at a time."""
    at_once = max(1, min(_REPLICATES, _DRAWS_AT_ONCE // users))
    for start in range(0, _REPLICATES, at_once):
        rows = min(at_once, _REPLICATES - start)
        drawn = generator.integers(users, size=(rows, users)) + np.arange(rows)[:, None] * users
        weights = np.bincount(drawn.reshape(-1), minlength=rows * users)
        yield weights.reshape(rows, users).astype(np.float64)


def _per_user(values: Floats, codes: NDArray[np.intp], users: int) -> Floats:
    summed = np.zeros((users, values.shape[1]))
    np.add.at(summed, codes, values)
    return summed


def judge(name: str, scores: list[Score], leaks: list[Score], note: str = "") -> Check:
    """Make the check of some controls: a leak if one of them is, with the strongest as evidence.

    Args:
        name: of the check.
        scores: of every control and group.
        leaks: those of them that are a leak.
        note: what else to say in the evidence.

    Returns:
        The check; not checked where no group has enough users.
    """
    if not scores:
        return not_checked(name, f"fewer than {MIN_USERS} users: too few to tell")
    figures: dict[str, float] = {"examples": float(max(one.examples for one in scores))}
    for one in scores:
        at = f"{one.control}, {one.group}"
        figures |= {f"{at}: mrr": one.mrr, f"{at}: above": one.above}
        figures |= {f"{at}: above, low": one.above_low, f"{at}: anchor first": one.anchor_first}
    worst = max(leaks or scores, key=lambda one: one.above)
    evidence = describe(worst)
    verdict = Verdict.LEAK if leaks else Verdict.OK
    return Check(name, verdict, f"{evidence}{'; ' if note else ''}{note}", figures)


def describe(score: Score) -> str:
    """Write a score as one line."""
    where = "" if score.group == _EVERYTHING else f" in {score.group}"
    return (
        f"{score.control!r}{where}: MRR {100 * score.mrr:.1f}, {100 * score.above:+.1f} above "
        f"chance (at least {100 * score.above_low:+.1f}) over {score.examples:,} examples"
    )
