"""Where a number leads: to the commands that make it, at a place that both pages name alike."""

from __future__ import annotations

import re
from dataclasses import dataclass

from visuallens.evaluation.report.wording import PRINTED
from visuallens.evaluation.studies.results import Plot, Report, Row, Table

_NOT_A_NAME = re.compile(r"[^A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Made:
    """Commands, and the rows that they make.

    Attributes:
        rows: their numbers in the table, from 1.
    """

    rows: tuple[int, ...]
    commands: tuple[str, ...]


def slug(name: str) -> str:
    """Write a name as a file name or an anchor needs it."""
    return _NOT_A_NAME.sub("-", name)


def row_anchor(table: Table, number: int) -> str:
    """Name the place of the commands of a row, by its number from 1."""
    return f"how-{slug(table.name)}-{number}"


def plot_anchor(plot: Plot) -> str:
    """Name the place of the commands of a plot."""
    return f"how-{slug(plot.name)}"


def commands_of(made: Row | Plot, report: Report) -> tuple[str, ...]:
    """List the commands that make a row or a plot.

    Args:
        made: a row or a plot.
        report: that shows it.

    Returns:
        Its own; the command of the report where it names none; nothing where it has no values and
        nobody knows how to make them, and where they are printed in the paper.
    """
    if made.commands:
        return made.commands
    printed = isinstance(made, Row) and made.about == PRINTED
    return () if printed or made.missing is not None else (report.command,)


def made_by(table: Table, report: Report) -> tuple[Made, ...]:
    """Bring the rows of a table together that the same commands make.

    Args:
        table: of the report.
        report: that shows it.

    Returns:
        Commands with the numbers of their rows, in the order of the rows.
    """
    found: dict[tuple[str, ...], list[int]] = {}
    for number, row in enumerate(table.rows, start=1):
        commands = commands_of(row, report)
        if commands:
            found.setdefault(commands, []).append(number)
    return tuple(Made(tuple(rows), commands) for commands, rows in found.items())


def row_numbers(made: Made) -> str:
    """Name rows: "Row 3", or "Rows 1, 2 and 5"."""
    if len(made.rows) == 1:
        return f"Row {made.rows[0]}"
    *others, last = map(str, made.rows)
    return f"Rows {', '.join(others)} and {last}"
