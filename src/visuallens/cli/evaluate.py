"""`visuallens evaluate BENCHMARK RUN...`: score run files and compare them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from visuallens.cli.benchmark.stats import aligned
from visuallens.cli.options import print_json

if TYPE_CHECKING:
    from visuallens.evaluation.evaluate import Difference, Evaluation, Score


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
    type=click.Choice(["seen", "category"]),
    help="Also by whether training has shown the ground truth, or by category.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    benchmark: Path,
    runs: tuple[Path, ...],
    baseline: Path | None,
    metrics: tuple[str, ...],
    resamples: int,
    seed: int,
    by: Literal["seen", "category"] | None,
    as_json: bool,
) -> None:
    """Score the run files RUN..., and test how they differ from a baseline.

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
    if as_json:
        print_json(as_record(found))
    else:
        click.echo(as_text(found))


# Any, here and below: JSON.
def as_record(found: Evaluation) -> dict[str, Any]:
    """Turn an evaluation into the JSON of `evaluate`; what is not known is null."""
    return {
        "benchmark": found.benchmark,
        "split": found.split,
        "asked": found.asked,
        "random": _score(found.random),
        "runs": [_score(one) for one in found.runs],
        "differences": [_difference(one) for one in found.differences],
        "groups": [{"group": one.group, **_score(one)} for one in found.groups],
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


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def as_text(found: Evaluation) -> str:
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
        lines += ["", f"{group}: {own[0].examples:,} questions of {own[0].users:,} users"]
        there = [metric for metric in metrics if any(metric in one.metrics for one in own)]
        lines += aligned([("", *there), *_rows(own, there)])
    if found.differences:
        lines += ["", f"Against {found.differences[0].baseline}"]
        lines += aligned(list(_difference_rows(found.differences)), left=2)
    return "\n".join(lines)


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


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def _range(pair: tuple[float, float]) -> str:
    low, high = pair
    return f"{100 * low:.1f} to {100 * high:.1f}" if math.isfinite(low) else "unknown"
