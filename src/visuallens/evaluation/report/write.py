"""Writing a report: one page of HTML, the same as Markdown, and the plots.

FOLDER/report.html    everything, examples and photos included; needs no other file
FOLDER/report.md      the tables, and links to the plots
FOLDER/images/*.svg   the plots
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from visuallens.benchmark.page import write_page
from visuallens.errors import EvaluationError
from visuallens.evaluation.report.anchors import slug
from visuallens.evaluation.report.html import report_html
from visuallens.evaluation.report.markdown import report_markdown
from visuallens.evaluation.report.plots import draw_plot, is_drawn
from visuallens.evaluation.studies.results import Plot, Report

PAGE = "report.html"
TEXT = "report.md"
IMAGES = "images"


def draw_plots(plots: Sequence[Plot]) -> dict[str, str]:
    """Draw all plots that have values.

    Args:
        plots: of a report.

    Returns:
        Name → SVG.

    Raises:
        MissingPackageError: Matplotlib is not installed.
    """
    return {plot.name: draw_plot(plot) for plot in plots if is_drawn(plot)}


def write_report(report: Report, folder: Path) -> tuple[Path, ...]:
    """Write a report into a folder.

    Args:
        report: what is shown.
        folder: made if it is not there; files of the same names are replaced.

    Returns:
        The files, the page first. Each is written whole or not at all, the page after all others;
        nothing is written before everything is made.

    Raises:
        MissingPackageError: Matplotlib is not installed.
        EvaluationError: the folder cannot be written.
    """
    drawn = draw_plots(report.plots)
    texts = {f"{IMAGES}/{slug(name)}.svg": svg for name, svg in drawn.items()}
    texts |= {TEXT: report_markdown(report, IMAGES), PAGE: report_html(report, drawn)}
    try:
        for name, text in texts.items():
            write_page(text, folder / name)
    except OSError as error:
        raise EvaluationError(
            f"the report cannot be written to {folder} ({error})", "Choose another folder."
        ) from error
    return tuple(folder / name for name in reversed(texts))
