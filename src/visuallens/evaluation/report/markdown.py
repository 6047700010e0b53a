"""A report as Markdown, which reads as plain text and on a code forge.

Source: §7. It holds no photo and nothing of a single question, so it may go where the code goes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from visuallens.evaluation.report.anchors import (
    commands_of,
    made_by,
    plot_anchor,
    row_anchor,
    row_numbers,
    slug,
)
from visuallens.evaluation.report.plots import is_drawn
from visuallens.evaluation.report.wording import (
    HOW_TO_READ,
    METHOD,
    one_line,
    paragraphs,
    write_paper,
    write_seconds,
    write_value,
)
from visuallens.evaluation.studies.results import Plot, Report, Row, Table

# Underscores inside words are none; the last two would become links without being asked for.
_MARKS = re.compile(r"([\\`*\[\]<>|~$]|(?<!\w)_|_(?!\w)|&(?=#?\w+;)|:(?=//)|(?<=www)\.)")
_AT_THE_START = re.compile(r"^(?=[#+=-])|^(\d+)(?=[.)])")
_NOTHING = "-"


def report_markdown(report: Report, images: str = "images") -> str:
    """Write a report as Markdown.

    Args:
        report: whose text is data: it is escaped and never markup.
        images: folder of the plots, as a link from where the text will lie; "images/results" for
            `docs/results.md`.

    Returns:
        The text: tables, plots as links to `IMAGES/NAME.svg`, and below each the commands that make
        it. The number of a row leads to its commands.

    Choice: examples are left out, for the questions and photos of a benchmark are those of people,
        and the text may be put under version control.
    """
    blocks = list(_head(report))
    for table in report.tables:
        blocks += _table_section(table, report)
    for plot in report.plots:
        blocks += _plot_section(plot, report, images)
    if report.examples:
        blocks.append(
            f"{len(report.examples)} questions with their photos are on the HTML page beside this "
            "text; they are left out here, for they are those of people."
        )
    return "\n\n".join(blocks) + "\n"


def _head(report: Report) -> Iterator[str]:
    yield f"# Results on {_text(report.benchmark)}, beside those of the paper"
    noted = paragraphs(report.note)
    if noted:
        yield "\n>\n".join(f"> {_text(line)}" for line in noted)
    yield HOW_TO_READ
    facts = [*report.facts.items(), ("machine", report.machine)]
    facts.append(("the runs took", write_seconds(report.seconds)))
    yield "\n".join(f"- {_text(name)}: {_text(fact)}" for name, fact in facts if fact)
    yield "The command that makes all of it:"
    yield _code((report.command,))


def _table_section(table: Table, report: Report) -> Iterator[str]:
    yield f"## {_text(table.title)}"
    yield from _said(table)
    yield _table(table, report)
    if notes := list(_notes(table)):
        yield "\n".join(notes)
    for made in made_by(table, report):
        places = "".join(f'<a id="{row_anchor(table, number)}"></a>' for number in made.rows)
        yield f"{places}{row_numbers(made)}:"
        yield _code(made.commands)


def _said(about: Table | Plot) -> Iterator[str]:
    yield from (_text(line) for line in paragraphs(about.text))
    if about.source:
        yield f"Source: {_text(about.source)}."


def _table(table: Table, report: Report) -> str:
    """Write the table itself, its columns as wide as what is in them."""
    papers = [f"paper: {name}" for name in table.paper]
    head = ["row", "", *map(_text, (*table.marks, *table.columns, *papers))]
    cells = [
        [_number(table, number, row, report), *_cells(row, table)]
        for number, row in enumerate(table.rows, start=1)
    ]
    widths = [max(3, *map(len, column)) for column in zip(head, *cells, strict=True)]
    # Text stands to the left, numbers to the right.
    left = range(1, 2 + len(table.marks))
    rule = [
        "-" * width if at in left else "-" * (width - 1) + ":" for at, width in enumerate(widths)
    ]
    return "\n".join(_line(line, widths, left) for line in (head, rule, *cells))


def _line(cells: Sequence[str], widths: Sequence[int], left: range) -> str:
    padded = (
        cell.ljust(width) if at in left else cell.rjust(width)
        for at, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return f"| {' | '.join(padded)} |"


def _number(table: Table, number: int, row: Row, report: Report) -> str:
    has_commands = bool(commands_of(row, report))
    return f"[{number}](#{row_anchor(table, number)})" if has_commands else str(number)


def _cells(row: Row, table: Table) -> Iterator[str]:
    label = _text(row.label)
    yield f"**{label}**" if row.about == METHOD else label
    yield from (_text(row.marks.get(name, "")) for name in table.marks)
    for name in table.columns:
        nothing = "" if row.missing is None else _NOTHING
        yield str(write_value(row.values[name])) if name in row.values else nothing
    for name in table.paper:
        yield write_paper(row.paper[name]) if name in row.paper else ""


def _notes(table: Table) -> Iterator[str]:
    """Say below a table why rows are empty, and what has to be known of others."""
    for number, row in enumerate(table.rows, start=1):
        name = f"{number}, {_text(row.label)}"
        if row.missing is not None:
            yield f"- {name}, missing: {_text(row.missing)}"
        if row.note:
            yield f"- {name}: {_text(row.note)}"


def _plot_section(plot: Plot, report: Report, images: str) -> Iterator[str]:
    yield f"## {_text(plot.title)}"
    yield from _said(plot)
    if is_drawn(plot):
        yield f"![{_text(plot.title)}]({images}/{slug(plot.name)}.svg)"
    else:
        yield f"Missing: {_text(plot.missing or 'there are no values')}"
    if commands := commands_of(plot, report):
        yield f'<a id="{plot_anchor(plot)}"></a>Made by:'
        yield _code(commands)


def _code(commands: Sequence[str]) -> str:
    """Fence commands, with a fence that none of them can end."""
    lines = [one_line(command) for command in commands]
    ticks = (len(run) for line in lines for run in re.findall("`+", line))
    fence = "`" * max(3, 1 + max(ticks, default=0))
    return "\n".join([fence, *lines, fence])


def _text(text: str) -> str:
    """Write text so that nothing in it is markup."""
    escaped = _MARKS.sub(r"\\\1", one_line(text))
    return _AT_THE_START.sub(lambda found: f"{found[1] or ''}\\", escaped)
