"""From cells to the rows of a table: metrics, intervals, and differences from the method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from visuallens.benchmark.folder import Benchmark
from visuallens.evaluation.evaluate import Drawing, Evaluation, Score, evaluate
from visuallens.evaluation.statistics import holm
from visuallens.evaluation.studies.paper import METRICS
from visuallens.evaluation.studies.plan import Cell
from visuallens.evaluation.studies.results import Row, Value

QUESTIONS = "questions"
AGAINST = "mrr against it"


@dataclass(frozen=True, slots=True)
class Line:
    """A row that is to be filled with numbers, and the cell that they come from."""

    row: Row
    cell: Cell


def fill(
    lines: Sequence[Line],
    method: Cell | None,
    drawing: Drawing,
    metrics: Sequence[str] = METRICS,
) -> list[Row]:
    """Score every line, and compare each with the method.

    Args:
        lines: in the order of the table; each may answer another benchmark or sample.
        method: that the others are compared with, or None; only those that answer the same
            benchmark are.
        drawing: of intervals and tests.
        metrics: columns.

    Returns:
        One row each. Where a line answers a sample, its own numbers are of that sample, and the
        difference is over the questions that both answer.

    Choice: a difference is ours minus theirs, the method's minus the row's: above 0 where the
        method is better. Its p-value is corrected for all differences of the table (Holm).
    """
    rows = [_scored(line, method, drawing, metrics) for line in lines]
    at = [number for number, row in enumerate(rows) if AGAINST in row.values]
    raw = [rows[number].values[AGAINST].p_value or 0.0 for number in at]
    for number, corrected in zip(at, holm(raw), strict=True):
        row = rows[number]
        values = dict(row.values)
        values[AGAINST] = replace(values[AGAINST], p_value=float(corrected))
        rows[number] = replace(row, values=values)
    return rows


def by_chance(found: Evaluation, metrics: Sequence[str], row: Row) -> Row:
    """Fill a row with what a random order is expected to reach, exact."""
    return replace(row, values=_values(found.random, metrics))


def _scored(line: Line, method: Cell | None, drawing: Drawing, metrics: Sequence[str]) -> Row:
    cell = line.cell
    commands = tuple(step.text for step in cell.steps)
    row = replace(line.row, commands=commands, missing=cell.missing)
    if cell.missing is not None:
        return row
    benchmark = Benchmark(cell.benchmark)
    alone = evaluate(benchmark, [cell.run], metrics=metrics, drawing=drawing)
    values = _values(alone.runs[0], metrics)
    if method is not None and method.missing is None and method.benchmark == cell.benchmark:
        values |= _against(benchmark, cell, method, drawing)
    return replace(row, values=values)


def _values(score: Score, metrics: Sequence[str]) -> dict[str, Value]:
    values = {
        metric: Value(score.metrics[metric], score.intervals.get(metric))
        for metric in metrics
        if metric in score.metrics
    }
    return values | {QUESTIONS: Value(score.examples, percent=False)}


def _against(
    benchmark: Benchmark, cell: Cell, method: Cell, drawing: Drawing
) -> Mapping[str, Value]:
    if cell.run == method.run:
        return {}
    paths = [cell.run, method.run]
    found = evaluate(benchmark, paths, baseline=cell.run, metrics=["mrr"], drawing=drawing)
    (one,) = found.differences
    return {AGAINST: Value(one.difference, one.interval, p_value=one.p_value)}
