"""A report as one page of HTML that needs no other file, no script and no network.

Source: §7. Names of places, questions and captions are data: all of it is escaped, and the policy
of the page lets nothing run or load, even if markup slipped in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from itertools import chain
from string import Template

from visuallens.evaluation.report.anchors import (
    commands_of,
    made_by,
    plot_anchor,
    row_anchor,
    row_numbers,
    slug,
)
from visuallens.evaluation.report.cases import case_sections
from visuallens.evaluation.report.embedding import embedded_svg, escaped
from visuallens.evaluation.report.wording import (
    HOW_TO_READ,
    paragraphs,
    write_paper,
    write_seconds,
    write_value,
)
from visuallens.evaluation.studies.results import Plot, Report, Row, Table, Value

_POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; "
    "form-action 'none'"
)
_COMMANDS = "commands"
_WHOLE = "how-report"


def report_html(report: Report, drawn: Mapping[str, str]) -> str:
    """Write a report as a page of HTML.

    Args:
        report: whose text is data: it is escaped and never markup.
        drawn: name of a plot → its SVG; a plot that is not there is missing.

    Returns:
        A whole document. Every number leads to the commands that make it, at its end; grids of
        photos are inside, so the page is as private as the photos are.

    Choice: the policy allows inline styles, for Matplotlib writes them, and images inside the page;
        nothing else.
    """
    body = chain(
        _head(report),
        *(_table_section(table, report) for table in report.tables),
        *(_plot_section(plot, report, drawn) for plot in report.plots),
        case_sections(report.examples),
        _commands_section(report),
    )
    return Template(_template("page.html")).substitute(
        policy=_POLICY,
        title=_title(report),
        style=_template("page.css"),
        body="\n".join(body),
    )


def _template(name: str) -> str:
    return (files("visuallens.evaluation.report") / name).read_text(encoding="utf-8")


def _title(report: Report) -> str:
    return f"Results on {escaped(report.benchmark)}, beside those of the paper"


def _head(report: Report) -> Iterator[str]:
    yield f"<header>\n<h1>{_title(report)}</h1>"
    noted = paragraphs(report.note)
    if noted:
        said = "".join(f"<p>{escaped(line)}</p>" for line in noted)
        yield f'<div class="note" role="note">{said}</div>'
    facts = [*report.facts.items(), ("machine", report.machine)]
    facts.append(("the runs took", write_seconds(report.seconds)))
    told = "".join(
        f"<dt>{escaped(name)}</dt><dd>{escaped(fact)}</dd>" for name, fact in facts if fact
    )
    yield f"<dl>{told}</dl>"
    how = "Every number leads to the commands that make it."
    yield f'<p class="quiet">{escaped(HOW_TO_READ)} {how}</p>\n</header>'
    yield from _contents(report)
    yield "<main>"


def _contents(report: Report) -> Iterator[str]:
    parts = [(slug(one.name), one.title) for one in report.tables]
    parts += [(slug(one.name), one.title) for one in report.plots]
    cases = dict.fromkeys(one.case for one in report.examples)
    parts += [(case, f"The {case} answered questions") for case in cases]
    parts.append((_COMMANDS, "Commands"))
    links = "".join(f'<li><a href="#{at}">{escaped(title)}</a></li>' for at, title in parts)
    yield f'<nav aria-label="Contents"><ul>{links}</ul></nav>'


def _table_section(table: Table, report: Report) -> Iterator[str]:
    yield f'<section id="{slug(table.name)}">\n<h2>{escaped(table.title)}</h2>'
    yield from _said(table)
    yield '<div class="wide">\n<table>'
    yield from _columns(table)
    yield "<tbody>"
    for number, row in enumerate(table.rows, start=1):
        has_commands = bool(commands_of(row, report))
        yield _row(table, row, row_anchor(table, number) if has_commands else None)
    yield "</tbody>\n</table>\n</div>\n</section>"


def _said(about: Table | Plot) -> Iterator[str]:
    yield from (f"<p>{escaped(line)}</p>" for line in paragraphs(about.text))
    if about.source:
        yield f'<p class="quiet">Source: {escaped(about.source)}.</p>'


def _columns(table: Table) -> Iterator[str]:
    """Write the names of the columns, below who reached what is in them."""
    yield "<thead>"
    if table.paper:
        before, ours, theirs = 1 + len(table.marks), len(table.columns), len(table.paper)
        yield (
            f'<tr><td colspan="{before}"></td>'
            f'<th class="group" scope="colgroup" colspan="{ours}">ours</th>'
            f'<th class="group paper" scope="colgroup" colspan="{theirs}">the paper</th></tr>'
        )
    heads = [f'<th scope="col">{escaped(name)}</th>' for name in (*table.marks, *table.columns)]
    heads += [f'<th scope="col" class="paper">{escaped(name)}</th>' for name in table.paper]
    yield f"<tr><td></td>{''.join(heads)}</tr>\n</thead>"


def _row(table: Table, row: Row, anchor: str | None) -> str:
    label = f'<span class="data">{escaped(row.label)}</span>'
    note = f"<small>{escaped(row.note)}</small>" if row.note else ""
    cells = [f'<th scope="row">{label}{note}</th>']
    cells += [f'<td class="mark">{escaped(row.marks.get(name, ""))}</td>' for name in table.marks]
    if row.missing is None:
        cells += [_value(row.values.get(name), anchor) for name in table.columns]
    else:
        reason = _linked(f"missing: {escaped(row.missing)}", anchor)
        cells.append(f'<td class="missing" colspan="{max(1, len(table.columns))}">{reason}</td>')
    for name in table.paper:
        printed = write_paper(row.paper[name]) if name in row.paper else ""
        cells.append(f'<td class="paper">{printed}</td>')
    return f'<tr class="{escaped(row.about)}">{"".join(cells)}</tr>'


def _value(value: Value | None, anchor: str | None) -> str:
    if value is None:
        return "<td></td>"
    written = write_value(value)
    beside = (written.interval, written.p_value)
    small = "".join(f"<small>{escaped(part)}</small>" for part in beside if part)
    return f"<td>{_linked(escaped(written.number), anchor)}{small}</td>"


def _linked(markup: str, anchor: str | None) -> str:
    return markup if anchor is None else f'<a href="#{anchor}">{markup}</a>'


def _plot_section(plot: Plot, report: Report, drawn: Mapping[str, str]) -> Iterator[str]:
    yield f'<section id="{slug(plot.name)}">\n<h2>{escaped(plot.title)}</h2>'
    yield from _said(plot)
    anchor = plot_anchor(plot) if commands_of(plot, report) else None
    if plot.name in drawn:
        image = embedded_svg(drawn[plot.name], f"svg-{slug(plot.name)}", plot.title)
        how = _linked("How it is made", anchor)
        yield f'<figure>\n{image}\n<figcaption class="quiet">{how}</figcaption>\n</figure>'
    else:
        reason = escaped(plot.missing or "there are no values")
        yield f"<p>{_linked(f'Missing: {reason}', anchor)}</p>"
    yield "</section>"


def _commands_section(report: Report) -> Iterator[str]:
    yield f'<section id="{_COMMANDS}">\n<h2>Commands</h2>'
    yield f'<div id="{_WHOLE}"><p>All of it:</p>{_code((report.command,))}</div>'
    for table in report.tables:
        parts = made_by(table, report)
        if parts:
            yield _back(table)
        for made in parts:
            places = "".join(f'<span id="{row_anchor(table, one)}"></span>' for one in made.rows)
            named = ", ".join(table.rows[number - 1].label for number in made.rows)
            yield f"<div>{places}<p>{row_numbers(made)}: {escaped(named)}</p>"
            yield f"{_code(made.commands)}</div>"
    for plot in report.plots:
        commands = commands_of(plot, report)
        if commands:
            yield f'{_back(plot)}\n<div id="{plot_anchor(plot)}">{_code(commands)}</div>'
    yield "</section>\n</main>"


def _back(about: Table | Plot) -> str:
    return f'<h3><a href="#{slug(about.name)}">{escaped(about.title)}</a></h3>'


def _code(commands: Sequence[str]) -> str:
    return f"<pre>{escaped(chr(10).join(commands), lines=True)}</pre>"
