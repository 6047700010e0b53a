"""From cells to the rows of a table: metrics, intervals, and differences from the method."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from visuallens.benchmark.folder import Benchmark
from visuallens.benchmark.run_file import manifest_path
from visuallens.errors import EvaluationError
from visuallens.evaluation.evaluate import Drawing, Evaluation, Score, evaluate
from visuallens.evaluation.statistics import holm
from visuallens.evaluation.studies.paper import METRICS
from visuallens.evaluation.studies.plan import Cell, whole
from visuallens.evaluation.studies.results import Row, Value

QUESTIONS = "questions"
AGAINST = "mrr against it"

_NOTHING_LACKING = {"photos", "prompts"}
"""Counts of a manifest that say how much there was."""


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
        lines: in the order of the table.
        method: that the others are compared with, or None.
        drawing: of intervals and tests.
        metrics: columns, "mrr" among them.

    Returns:
        One row each.

    Choice: lines of one kind of questions, all or a sample, are scored over those that all of them
        and the method answer, so that their numbers can be compared; each table says how many.
    Choice: a difference is the method's minus the row's: above 0 where the method is better. Its
        p-value is corrected for all differences of the table (Holm).
    """
    base = None if method is None or method.missing is not None else method
    values: dict[Path, dict[str, Value]] = {}
    reasons: dict[Path, str] = {}
    for (folder, _), runs in _alike(lines).items():
        try:
            values |= _scored(Benchmark(folder), runs, base, drawing, metrics)
        except EvaluationError as error:
            # Such as people who were asked nothing that the method was asked.
            reasons |= dict.fromkeys(runs, str(error))
    rows = [_row(line, values, reasons) for line in lines]
    raw = [row.values[AGAINST].p_value or 0.0 for row in rows if AGAINST in row.values]
    corrected = iter(holm(raw).tolist())
    return [_corrected(row, corrected) if AGAINST in row.values else row for row in rows]


def by_chance(found: Evaluation, metrics: Sequence[str], row: Row) -> Row:
    """Fill a row with what a random order is expected to reach, exact."""
    return replace(row, values=_values(found.random, metrics))


def _alike(lines: Sequence[Line]) -> dict[tuple[Path, str], list[Path]]:
    """Group the runs that were made by what they answer; what people export stands alone."""
    groups: dict[tuple[Path, str], list[Path]] = {}
    for cell in whole([line.cell for line in lines]):
        kind = str(cell.run) if not cell.steps else cell.sample
        groups.setdefault((cell.benchmark, kind), []).append(cell.run)
    return groups


def _scored(
    benchmark: Benchmark,
    runs: Sequence[Path],
    method: Cell | None,
    drawing: Drawing,
    metrics: Sequence[str],
) -> dict[Path, dict[str, Value]]:
    """Score runs that answer the same questions, in one reading."""
    here = method is not None and method.benchmark == benchmark.folder
    base = method.run if method is not None and here else None
    found = evaluate(benchmark, runs, baseline=base, metrics=metrics, drawing=drawing)
    paths = dict.fromkeys([*runs, *([] if base is None else [base])])
    named = dict(zip((one.run for one in found.runs), paths, strict=True))
    values = {named[one.run]: _values(one, metrics) for one in found.runs}
    for one in found.differences:
        if one.metric == "mrr":
            low, high = one.interval
            against = Value(-one.difference, (-high, -low), p_value=one.p_value)
            values[named[one.run]][AGAINST] = against
    return {run: values[run] for run in runs}


def _row(
    line: Line, values: Mapping[Path, Mapping[str, Value]], reasons: Mapping[Path, str]
) -> Row:
    cell = line.cell
    commands = tuple(step.text for step in cell.steps)
    missing = cell.missing or reasons.get(cell.run)
    row = replace(line.row, commands=commands, missing=missing)
    if missing is not None:
        return row
    note = "; ".join(filter(None, (row.note, left_out(cell.run))))
    return replace(row, values=values[cell.run], note=note)


def left_out(run: Path) -> str:
    """Say what a run had to do without, as its manifest counts it; empty: nothing.

    Args:
        run: a run file.

    Returns:
        Such as "photos not indexed: 70".
    """
    path = manifest_path(run)
    if not path.exists():
        return ""
    counts = json.loads(path.read_text("utf-8")).get("counts") or {}
    lacking = {name: count for name, count in counts.items() if name not in _NOTHING_LACKING}
    told = (f"{name.replace('_', ' ')}: {count:,}" for name, count in lacking.items() if count)
    return "; ".join(told)


def _corrected(row: Row, corrected: Iterator[float]) -> Row:
    against = replace(row.values[AGAINST], p_value=next(corrected))
    return replace(row, values={**row.values, AGAINST: against})


def _values(score: Score, metrics: Sequence[str]) -> dict[str, Value]:
    values = {
        metric: Value(score.metrics[metric], score.intervals.get(metric))
        for metric in metrics
        if metric in score.metrics
    }
    return values | {QUESTIONS: Value(score.examples, percent=False)}
