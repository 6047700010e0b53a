"""Figures 3 to 5: MRR over candidates, photos and categories, and the training data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from visuallens.benchmark.statistics import statistics
from visuallens.evaluation.evaluate import Evaluation, Score, evaluate
from visuallens.evaluation.groups import By
from visuallens.evaluation.studies.desk import Desk, texts, typed
from visuallens.evaluation.studies.plan import Cell, whole
from visuallens.evaluation.studies.results import Plot, Series, Value
from visuallens.evaluation.systems import system

_MOST_CATEGORIES = 40


def figure3(desk: Desk) -> tuple[Plot, ...]:
    """Make Figure 3, and the sweep over truncated histories."""
    return (
        _grouped(
            desk,
            "candidates",
            Plot(
                name="figure3a",
                title="MRR over the number of candidates",
                kind="line",
                x_label="candidates",
                y_label="MRR",
                x=(),
                series=(),
                source="Figure 3a",
                text="In the paper MRR falls as candidates grow, and settles from 50 on.",
            ),
        ),
        _grouped(
            desk,
            "photos",
            Plot(
                name="figure3b",
                title="MRR over the number of photos in the history",
                kind="line",
                x_label="photos in the history",
                y_label="MRR",
                x=(),
                series=(),
                source="Figure 3b",
                text="Users with many photos are other users, so this says less about histories "
                "than the sweep below, where each user's own is cut. In the paper MRR rises and "
                "flattens after about 100.",
            ),
        ),
        _sweep(desk),
    )


def figure4(desk: Desk) -> tuple[Plot, ...]:
    """Make Figure 4: MRR of each category, most training examples first."""
    plot = Plot(
        name="figure4",
        title="MRR of each category, by its training examples",
        kind="bar",
        x_label="category (training examples)",
        y_label="MRR",
        x=(),
        series=(),
        source="Figure 4",
    )
    return (_grouped(desk, "category", plot),)


def figure5(desk: Desk) -> tuple[Plot, ...]:
    """Make Figure 5: the training examples of each category."""
    counts = list(statistics(desk.benchmark).categories.items())
    rest = sum(count for _, count in counts[_MOST_CATEGORIES:])
    shown = [*counts[:_MOST_CATEGORIES], *([("all others", rest)] if rest else [])]
    bars = tuple(Value(count, percent=False) for _, count in shown)
    return (
        Plot(
            name="figure5",
            title="Training examples of each category",
            kind="bar",
            x_label="category",
            y_label="training examples",
            x=tuple(category for category, _ in shown),
            series=(Series("training examples", bars),),
            source="Figure 5",
            commands=(typed("benchmark", "stats", str(desk.workshop.benchmark)),),
        ),
    )


def _grouped(desk: Desk, by: By, plot: Plot) -> Plot:
    """Draw the method, train popularity and chance over groups of questions."""
    cells = [desk.cell(desk.method), desk.cell("popularity")]
    commands = tuple(text for cell in cells for text in texts(cell))
    made = whole(cells)
    if cells[0].missing is not None:
        return replace(plot, commands=commands, missing=cells[0].missing)
    found = evaluate(
        desk.benchmark,
        [cell.run for cell in made],
        metrics=["mrr"],
        by=by,
        drawing=desk.drawing,
    )
    groups = _ordered(found, by)
    named = {desk.method: cells[0], "popularity": cells[1]}
    runs = iter(found.runs)
    labels = {next(runs).run: system(name).label for name, cell in named.items() if cell in made}
    labels[found.random.run] = found.random.run
    return replace(
        plot,
        x=tuple(_named(found, group, by) for group in groups[:_MOST_CATEGORIES]),
        series=tuple(_line(found, groups, run, label) for run, label in labels.items()),
        counts=tuple(_first(found, group).examples for group in groups[:_MOST_CATEGORIES]),
        text=" ".join(filter(None, (plot.text, _correlated(found, labels), _rest(groups)))),
        commands=commands,
    )


def _rest(groups: Sequence[str]) -> str:
    hidden = len(groups) - _MOST_CATEGORIES
    return f"{hidden} smaller categories are not drawn." if hidden > 0 else ""


def _ordered(found: Evaluation, by: By) -> list[str]:
    """List the groups, those of categories by their training examples."""
    groups = list(dict.fromkeys(one.group for one in found.groups))
    known = found.train_examples
    if by == "category" and known:
        groups.sort(key=lambda group: (-known.get(group, 0), group))
    return groups


def _named(found: Evaluation, group: str, by: By) -> str:
    known = found.train_examples
    return f"{group} ({known.get(group, 0):,})" if by == "category" and known else group


def _first(found: Evaluation, group: str) -> Score:
    return next(one for one in found.groups if one.group == group)


def _line(found: Evaluation, groups: Sequence[str], run: str, label: str) -> Series:
    of_run = {one.group: one for one in found.groups if one.run == run}
    values = []
    for group in groups[:_MOST_CATEGORIES]:
        one = of_run.get(group)
        value = None if one is None else one.metrics.get("mrr")
        interval = None if one is None else one.intervals.get("mrr")
        values.append(None if value is None else Value(value, interval))
    return Series(label, tuple(values))


def _correlated(found: Evaluation, labels: Mapping[str, str]) -> str:
    """Say how the MRR of categories goes with their training examples."""
    if not found.correlations:
        return ""
    told = "; ".join(
        f"{labels.get(one.run, one.run)} {one.spearman:+.2f} (p {one.p_value:.3f})"
        for one in found.correlations
    )
    return f"Spearman's correlation of MRR and training examples over categories: {told}."


def _sweep(desk: Desk) -> Plot:
    """Draw the method over histories of which only the newest photos are known."""
    sizes = desk.workshop.study.history_sizes
    named: list[tuple[str, Cell]] = [
        (str(size), desk.cell(desk.method, options=("--history", str(size)))) for size in sizes
    ]
    named.append(("all", desk.cell(desk.method)))
    commands = tuple(dict.fromkeys(text for _, cell in named for text in texts(cell)))
    made = [(name, cell) for name, cell in named if cell.missing is None]
    lost = [f"{name}: {cell.missing}" for name, cell in named if cell.missing is not None]
    values: list[Value | None] = []
    if made:
        paths = [cell.run for _, cell in made]
        found = evaluate(desk.benchmark, paths, metrics=["mrr"], drawing=desk.drawing)
        values = [Value(one.metrics["mrr"], one.intervals["mrr"]) for one in found.runs]
    label = system(desk.method).label
    return Plot(
        name="figure3b-sweep",
        title="MRR with only the newest photos of each history",
        kind="line",
        x_label="newest photos that are known",
        y_label="MRR",
        x=tuple(name for name, _ in made),
        series=(Series(label, tuple(values)),) if made else (),
        source="ours, beside Figure 3b",
        text=" ".join(
            ("The same questions at every point; 0 photos is the method without any.", *lost)
        ),
        commands=commands,
        missing=None if made else lost[0],
    )
