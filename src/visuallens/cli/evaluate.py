"""`visuallens evaluate BENCHMARK RUN...`: score run files and compare them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from visuallens.cli import positions
from visuallens.cli.benchmark.stats import aligned
from visuallens.cli.options import print_json

if TYPE_CHECKING:
    from visuallens.evaluation.annotation.agreement import Agreement, Figure
    from visuallens.evaluation.evaluate import Difference, Evaluation, Score
    from visuallens.evaluation.groups import By
    from visuallens.evaluation.positions import Positions
    from visuallens.evaluation.train_data import Correlation


@click.command()
@click.argument("benchmark", type=click.Path(path_type=Path))
@click.argument("runs", type=click.Path(path_type=Path), nargs=-1, required=True, metavar="RUN...")
@click.option(
    "--baseline", type=click.Path(path_type=Path), help="Run that the others are compared with."
)
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    metavar="NAME",
    help="Such as hit@3, mrr, ndcg@10, map, coverage@10, gini@10, ece, or one of ir-measures. "
    "Repeatable.",
)
@click.option(
    "--resamples",
    type=click.IntRange(100),
    default=2000,
    show_default=True,
    help="Of the intervals and tests.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the draws.")
@click.option(
    "--by",
    type=click.Choice(["seen", "category", "candidates", "photos", "train-examples"]),
    help="Also by whether training has shown the ground truth, by category, or by how many "
    "candidates, photos of the history, or train examples of the category there are.",
)
@click.option(
    "--positions",
    "with_positions",
    is_flag=True,
    help="Also whether the place at which a candidate is shown decides how it is ranked.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    benchmark: Path,
    runs: tuple[Path, ...],
    baseline: Path | None,
    metrics: tuple[str, ...],
    resamples: int,
    seed: int,
    by: By | None,
    with_positions: bool,
    as_json: bool,
) -> None:
    """Score the run files RUN..., and test how they differ from a baseline.

    A RUN may also be what a person exported from a page of: visuallens annotate
    Of two people or more, it says how far they agree.

    Intervals and tests draw users, not questions, and are paired between runs.
    """
    from visuallens.benchmark.folder import Benchmark
    from visuallens.evaluation.evaluate import Drawing, evaluate
    from visuallens.evaluation.measures import DEFAULT

    found = evaluate(
        Benchmark(benchmark),
        runs,
        baseline=baseline,
        metrics=metrics or DEFAULT,
        by=by,
        drawing=Drawing(resamples, seed),
    )
    places = None
    if with_positions:
        from visuallens.evaluation.positions import examine_positions

        asked = runs if baseline is None else (*runs, baseline)
        places = examine_positions(Benchmark(benchmark), asked, Drawing(resamples, seed))
    if as_json:
        print_json(as_record(found, places))
    else:
        click.echo(as_text(found, places))


# Any, here and below: JSON.
def as_record(found: Evaluation, places: Positions | None = None) -> dict[str, Any]:
    """Turn an evaluation into the JSON of `evaluate`; what is not known is null."""
    return {
        "benchmark": found.benchmark,
        "split": found.split,
        "asked": found.asked,
        "random": _score(found.random),
        "runs": [_score(one) for one in found.runs],
        "differences": [_difference(one) for one in found.differences],
        "by": found.by,
        "groups": [
            {"group": one.group, **_score(one), **_trained(one.group, found)}
            for one in found.groups
        ],
        "correlations": [_correlation(one) for one in found.correlations],
        "positions": None if places is None else positions.as_record(places),
        "agreement": [_agreement(one) for one in found.agreement],
    }


def _score(score: Score) -> dict[str, Any]:
    return {
        "run": score.run,
        "examples": score.examples,
        "users": score.users,
        "metrics": dict(score.metrics),
        "intervals": {
            metric: [_known(low), _known(high)] for metric, (low, high) in score.intervals.items()
        },
    }


def _trained(group: str, found: Evaluation) -> dict[str, int]:
    known = found.train_examples
    return {"training_examples": known[group]} if group in known else {}


def _correlation(one: Correlation) -> dict[str, Any]:
    return {
        "run": one.run,
        "metric": "mrr",
        "with": "training_examples",
        "categories": one.categories,
        "spearman": _known(one.spearman),
        "p_value": _known(one.p_value),
    }


def _difference(one: Difference) -> dict[str, Any]:
    return {
        "run": one.run,
        "baseline": one.baseline,
        "metric": one.metric,
        "difference": one.difference,
        "interval": [_known(bound) for bound in one.interval],
        "p_value": one.p_value,
        "p_holm": one.p_holm,
        "effect_size": _known(one.effect_size),
    }


def _agreement(one: Agreement) -> dict[str, Any]:
    return {
        "annotators": list(one.annotators),
        "examples": one.examples,
        "users": one.users,
        "first_choice": _figure(one.first_choice),
        "first_three": _figure(one.first_three),
        "tau_b": _figure(one.tau_b),
    }


def _figure(one: Figure) -> dict[str, Any]:
    interval = [_known(bound) for bound in one.interval]
    return {"value": one.value, "interval": interval, "by_chance": one.by_chance}


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def as_text(found: Evaluation, places: Positions | None = None) -> str:
    """Write an evaluation for reading, in percent."""
    head = (
        f"{found.benchmark}, {found.split} split: {found.examples:,} questions of "
        f"{found.users:,} users. In percent; below each figure, its 95% interval over users."
    )
    lines = [head]
    if found.examples < found.asked:
        lines.append(f"Of {found.asked:,} questions, these are the ones that every run answers.")
    scores = (found.random, *found.runs)
    metrics = list(dict.fromkeys(metric for one in scores for metric in one.metrics))
    order = list(found.runs[0].metrics)
    metrics.sort(key=order.index)
    lines += ["", *aligned([("", *metrics), *_rows(scores, metrics)])]
    for group in dict.fromkeys(one.group for one in found.groups):
        own = [one for one in found.groups if one.group == group]
        lines += ["", _heading(own[0], found)]
        there = [metric for metric in metrics if any(metric in one.metrics for one in own)]
        lines += aligned([("", *there), *_rows(own, there)])
    if found.correlations:
        lines += ["", "MRR and train examples of a category, Spearman over categories"]
        lines += aligned(list(_correlation_rows(found.correlations)))
    if found.differences:
        lines += ["", f"Against {found.differences[0].baseline}"]
        lines += aligned(list(_difference_rows(found.differences)), left=2)
    if found.agreement:
        lines += ["", "Agreement of annotators"]
        lines += aligned(list(_agreement_rows(found.agreement)))
    if places is not None:
        lines += ["", positions.as_text(places)]
    return "\n".join(lines)


def _heading(one: Score, found: Evaluation) -> str:
    counted = {
        "candidates": " candidates",
        "photos": " photos in the history",
        "train-examples": " train examples of the category",
    }
    said = f"{one.group}{counted.get(found.by or '', '')}"
    trained = found.train_examples.get(one.group)
    more = "" if trained is None else f"; {trained:,} train examples"
    return f"{said}: {one.examples:,} questions of {one.users:,} users{more}"


def _correlation_rows(found: Sequence[Correlation]) -> Iterator[tuple[str, ...]]:
    yield "", "categories", "correlation", "p"
    for one in found:
        figures = (f"{one.spearman:+.2f}", f"{one.p_value:.4f}")
        known = figures if math.isfinite(one.spearman) else ("unknown", "")
        yield one.run, f"{one.categories:,}", *known


def _rows(scores: Sequence[Score], metrics: Sequence[str]) -> Iterator[tuple[str, ...]]:
    for one in scores:
        known = one.metrics
        yield (one.run, *(_percent(known[m]) if m in known else "" for m in metrics))
        bounds = (one.intervals.get(metric) for metric in metrics)
        yield ("", *("" if pair is None else _range(pair) for pair in bounds))


def _difference_rows(differences: Sequence[Difference]) -> Iterator[tuple[str, ...]]:
    yield "", "", "difference", "interval", "p", "p, Holm", "effect"
    for one in differences:
        yield (
            one.run,
            one.metric,
            f"{100 * one.difference:+.1f}",
            _range(one.interval),
            f"{one.p_value:.4f}",
            f"{one.p_holm:.4f}",
            f"{one.effect_size:+.2f}",
        )


def _agreement_rows(pairs: Sequence[Agreement]) -> Iterator[tuple[str, ...]]:
    from visuallens.prompts import as_data

    yield "", "questions", "same first", "first three", "tau-b"
    for one in pairs:
        figures = (one.first_choice, one.first_three)
        both = (one.tau_b.value, *one.tau_b.interval)
        tau, low, high = (f"{value:+.2f}" for value in both)
        bounds = f"{low} to {high}" if math.isfinite(both[1]) else "unknown"
        name = " and ".join(as_data(annotator, 40) for annotator in one.annotators)
        yield name, f"{one.examples:,}", *(_percent(figure.value) for figure in figures), tau
        yield "", "", *(_range(figure.interval) for figure in figures), bounds
        yield "  by chance", "", *(_percent(figure.by_chance) for figure in figures), "0"


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def _range(pair: tuple[float, float]) -> str:
    low, high = pair
    return f"{100 * low:.1f} to {100 * high:.1f}" if math.isfinite(low) else "unknown"
