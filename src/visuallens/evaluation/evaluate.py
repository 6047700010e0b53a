"""Scoring runs over the same questions, and comparing them.

Source: §6.2; §7.1 and Table 2; Table 3 for differences. By groups of questions: Figures 3 and 4.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from visuallens.benchmark.folder import Benchmark
from visuallens.benchmark.lists import CandidateLists, Flags, read_lists
from visuallens.benchmark.run_file import align, split_of
from visuallens.errors import EvaluationError
from visuallens.evaluation.annotation.agreement import Agreement, Annotation, agreements
from visuallens.evaluation.annotation.export import annotator_of, read_answers
from visuallens.evaluation.groups import By, groups_of
from visuallens.evaluation.measures import DEFAULT, Measure, measure
from visuallens.evaluation.metrics import Floats, ordered
from visuallens.evaluation.statistics import (
    RESAMPLES,
    UserSums,
    effect_sizes,
    holm,
    intervals,
    p_values,
    user_sums,
    wilson,
)
from visuallens.evaluation.train_data import Correlation, correlate, train_examples

RANDOM = "random, exact"
ALL = "all"


@dataclass(frozen=True, slots=True)
class Score:
    """What one run reaches in one group of questions; fractions between 0 and 1.

    Attributes:
        run: name of the run.
        group: of the questions; "all" for all of them.
        metrics: name → value; what has no value is left out.
        intervals: name → low and high, for metrics that have a value for each question.
    """

    run: str
    group: str
    examples: int
    users: int
    metrics: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Difference:
    """How much better a run is than the baseline, in one metric.

    Attributes:
        difference: run minus baseline.
        interval: low and high of it.
        p_value: of the two being the same.
        p_holm: corrected for all differences of the evaluation.
        effect_size: the difference beside how much users differ.
    """

    run: str
    baseline: str
    metric: str
    difference: float
    interval: tuple[float, float]
    p_value: float
    p_holm: float
    effect_size: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Runs, scored over the questions that all of them answer.

    Attributes:
        asked: questions of the split.
        examples: questions that all runs answer.
        random: what a random order is expected to reach, exact.
        groups: the same for groups of questions, `random` first in each; empty unless asked for.
        by: what the groups are by, or None.
        train_examples: of each category, where the groups are categories.
        correlations: of the MRR of each run with these, `random` first; empty where there are few
            categories, or MRR is not among the metrics.
        agreement: of every two people, where runs are their annotations.
    """

    benchmark: str
    split: str
    asked: int
    examples: int
    users: int
    random: Score
    runs: tuple[Score, ...]
    differences: tuple[Difference, ...]
    groups: tuple[Score, ...]
    by: By | None = None
    train_examples: Mapping[str, int] = field(default_factory=dict)
    correlations: tuple[Correlation, ...] = ()
    agreement: tuple[Agreement, ...] = ()


@dataclass(frozen=True, slots=True)
class Drawing:
    """How intervals and tests are drawn.

    Attributes:
        resamples: how often.
        seed: of the draws.
    """

    resamples: int = RESAMPLES
    seed: int = 0


def evaluate(
    benchmark: Benchmark,
    paths: Sequence[Path],
    *,
    baseline: Path | None = None,
    metrics: Sequence[str] = DEFAULT,
    by: By | None = None,
    drawing: Drawing | None = None,
) -> Evaluation:
    """Score runs, and compare them with a baseline.

    Args:
        benchmark: that they answer.
        paths: of the runs, or of what people exported from an annotation page; at least one.
        baseline: another of them, or one more; None: nothing is compared.
        metrics: names, see `measure`.
        by: also by groups of questions, see `groups_of`.
        drawing: of intervals and tests.

    Returns:
        The scores.

    Raises:
        RunFileError: a run is broken, or of another benchmark or split.
        EvaluationError: no question is answered by all runs.
        UnknownNameError: there is no such metric.

    Choice: where runs answer different samples, all are scored over the questions that all of them
        answer, so that their figures can be compared.
    """
    measures = [measure(name) for name in dict.fromkeys(metrics)]
    drawing = drawing or Drawing()
    whole = list(dict.fromkeys([*paths, *([] if baseline is None else [baseline])]))
    lists, scores, people = _read(benchmark, whole)
    agreement = agreements(lists, people, resamples=drawing.resamples, seed=drawing.seed)
    asked = len(lists)
    lists, scores = _answered(lists, scores)
    values = [_by_chance(lists, measures)]
    named = zip(run_names(whole), scores, strict=True)
    values += [_of_run(name, lists, one, measures) for name, one in named]
    everything = np.ones(len(lists), np.bool_)
    random, *runs = _scores(ALL, everything, lists, values, drawing)
    groups = [
        score
        for group, chosen in ([] if by is None else groups_of(benchmark, lists, by))
        for score in _scores(group, chosen, lists, values, drawing)
    ]
    known = train_examples(benchmark) if by == "category" else {}
    return Evaluation(
        benchmark=benchmark.name,
        split=lists.split,
        asked=asked,
        examples=len(lists),
        users=len(np.unique(lists.users)),
        random=random,
        runs=tuple(runs),
        differences=()
        if baseline is None
        else tuple(_differences(whole.index(baseline), lists, values[1:], drawing)),
        groups=tuple(groups),
        by=by,
        train_examples={one.group: known[one.group] for one in groups if by == "category"},
        correlations=tuple(_correlations(groups, known, drawing)) if by == "category" else (),
        agreement=agreement,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Values:
    """The metrics of one run.

    Attributes:
        each: metric → (examples,) values.
        whole: metric → value of the run as a whole.
    """

    run: str
    each: Mapping[str, Floats]
    whole: Mapping[str, float]


def run_names(paths: Sequence[Path]) -> list[str]:
    """Name runs by their files, and by whole paths where two would have one name."""
    short = [path.name.removesuffix(".run") for path in paths]
    return [
        name if short.count(name) == 1 else str(path)
        for name, path in zip(short, paths, strict=True)
    ]


def _read(
    benchmark: Benchmark, paths: Sequence[Path]
) -> tuple[CandidateLists, list[Floats], list[Annotation]]:
    """Read the lists of the split that the first run answers, and the scores of every run.

    What people annotated is among the runs, and once more with their names.
    """
    lists: CandidateLists | None = None
    scores, people = [], []
    for path in paths:
        run = read_answers(path)
        lists = lists or read_lists(benchmark, split_of(run))
        scores.append(align(run, lists, benchmark))
        annotator = annotator_of(run)
        if annotator is not None:
            people.append(Annotation(annotator, scores[-1]))
    if lists is None:
        raise EvaluationError("There is no run to evaluate", "Name at least one run file.")
    return lists, scores, people


def _answered(
    lists: CandidateLists, scores: Sequence[Floats]
) -> tuple[CandidateLists, list[Floats]]:
    """Keep the questions that every run answers."""
    unanswered = np.isnan(np.stack([one[lists.starts] for one in scores])).any(axis=0)
    answered: Flags = np.logical_not(unanswered)
    if not answered.any():
        raise EvaluationError(
            "No question is answered by all of these runs", "Evaluate them one by one."
        )
    inside = np.repeat(answered, lists.lengths)
    return lists.taken(answered), [one[inside] for one in scores]


def _by_chance(lists: CandidateLists, measures: Sequence[Measure]) -> _Values:
    expected = {one.name: one.by_chance(lists) for one in measures}
    return _Values(RANDOM, {k: v for k, v in expected.items() if v is not None}, {})


def _of_run(
    name: str, lists: CandidateLists, scores: Floats, measures: Sequence[Measure]
) -> _Values:
    answers = ordered(lists, scores)
    each: dict[str, Floats] = {}
    whole: dict[str, float] = {}
    for one in measures:
        value = one.compute(answers)
        if isinstance(value, float):
            whole[one.name] = value
        else:
            each[one.name] = value
    return _Values(name, each, whole)


def _scores(
    group: str,
    chosen: Flags,
    lists: CandidateLists,
    values: Sequence[_Values],
    drawing: Drawing,
) -> Iterator[Score]:
    """Score every run over some questions; all of them see the same draws of users.

    Choice: metrics of a run as a whole are given for all questions only.
    """
    columns = [column[chosen] for one in values for column in one.each.values()]
    users = lists.users[chosen]
    stacked = np.stack(columns, axis=1) if columns else np.zeros((len(users), 0))
    sums = user_sums(stacked, users)
    bounds = _bounds(stacked, sums, drawing)
    figures = iter(zip(sums.means.tolist(), bounds.tolist(), strict=True))
    for one in values:
        own = {metric: next(figures) for metric in one.each}
        yield Score(
            run=one.run,
            group=group,
            examples=len(users),
            users=len(sums.counts),
            metrics={metric: mean for metric, (mean, _) in own.items()}
            | dict(one.whole if group == ALL else {}),
            intervals={metric: (low, high) for metric, (_, (low, high)) in own.items()},
        )


def _correlations(
    groups: Sequence[Score], known: Mapping[str, int], drawing: Drawing
) -> Iterator[Correlation]:
    """Correlate the MRR of each run with the train examples of categories."""
    for run in dict.fromkeys(one.run for one in groups):
        own = (one for one in groups if one.run == run)
        reached = {one.group: one.metrics["mrr"] for one in own if "mrr" in one.metrics}
        found = correlate(run, reached, known, resamples=drawing.resamples, seed=drawing.seed)
        if found is not None:
            yield found


def _bounds(values: Floats, sums: UserSums, drawing: Drawing) -> Floats:
    """Compute intervals of means, (columns, 2).

    Choice: where every user asks one question, hits are independent trials, and Wilson's interval
        is exact enough for few of them, as in human annotation; else users are drawn.
    """
    bounds = intervals(sums, resamples=drawing.resamples, seed=drawing.seed)
    if len(values) and len(sums.counts) == len(values):
        for at in np.flatnonzero(((values == 0) | (values == 1)).all(axis=0)).tolist():
            bounds[at] = wilson(int(values[:, at].sum()), len(values))
    return bounds


def _differences(
    baseline: int, lists: CandidateLists, values: Sequence[_Values], drawing: Drawing
) -> Iterator[Difference]:
    """Compare every run with one of them, in every metric that has a value for each question."""
    base = values[baseline]
    pairs = [(one, metric) for one in values if one is not base for metric in one.each]
    if not pairs:
        return
    columns = [one.each[metric] - base.each[metric] for one, metric in pairs]
    sums = user_sums(np.stack(columns, axis=1), lists.users)
    bounds = intervals(sums, resamples=drawing.resamples, seed=drawing.seed)
    raw = p_values(sums, resamples=drawing.resamples, seed=drawing.seed)
    figures = (sums.means, bounds[:, 0], bounds[:, 1], raw, holm(raw), effect_sizes(sums))
    for (one, metric), row in zip(pairs, np.stack(figures, axis=1).tolist(), strict=True):
        mean, low, high, p, corrected, effect = row
        yield Difference(one.run, base.run, metric, mean, (low, high), p, corrected, effect)
