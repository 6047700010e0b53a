"""Figure 5 and the distributions of a benchmark, as text and as SVG."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from visuallens.benchmark.base import needs
from visuallens.benchmark.statistics import ALL, Distribution, Statistics
from visuallens.prompts import as_data

Bars = Sequence[tuple[str, int]]
"""Label and height, in the order in which they are drawn."""

DISTRIBUTIONS = {
    "history": "photos in the history",
    "candidates": "candidates",
    "ground_truth": "ground truths",
}
"""Attribute of `SplitStatistics` → what it counts."""

_FULL_BAR = "█"
_PARTS = ("", "▏", "▎", "▍", "▌", "▋", "▊", "▉")
_COLOUR = "#3b6ea5"
# Any: what Matplotlib's own type for its hundreds of settings asks for.
SVG_STYLE: Any = {
    "svg.hashsalt": "visuallens",
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.0,
}
"""Reproducible bytes, text that stays text, and no formulas in the names of categories."""

NO_METADATA = {"Date": None, "Creator": None}


def text_bars(bars: Bars, width: int = 40) -> list[str]:
    """Write a bar chart as lines of text.

    Args:
        bars: labels and heights, at least 0.
        width: of the longest bar, in characters.

    Returns:
        One line a bar: label, bar, number. No bars: no lines.
    """
    label_width = max((len(label) for label, _ in bars), default=0)
    most = max((height for _, height in bars), default=0) or 1
    number_width = len(f"{most:,}")
    return [
        f"{label:{label_width}}  {height:>{number_width},}  {_bar(height / most * width)}".rstrip()
        for label, height in bars
    ]


def category_bars(statistics: Statistics) -> Bars:
    """Label the bars of Figure 5, most examples first; names are made harmless to show."""
    return [(as_data(category), count) for category, count in statistics.categories.items()]


def bars_of(distribution: Distribution) -> Bars:
    """Label the bars of a histogram: "30-39", or "3" where a bar is one number wide."""
    return [
        (str(low) if low == high else f"{low:,}-{high:,}", count)
        for low, high, count in distribution.histogram
    ]


def draw(statistics: Statistics, folder: Path) -> list[Path]:
    """Draw Figure 5 and the distributions as SVG files.

    Args:
        statistics: of a benchmark.
        folder: is made if it is not there; files of the same names are replaced.

    Returns:
        The files; the same statistics give the same bytes.

    Raises:
        MissingPackageError: Matplotlib is not installed.

    Source: Figure 5; the paper draws no distribution of sizes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    name = statistics.name
    drawn = {
        "categories.svg": _chart(
            category_bars(statistics), f"{name}: categories", "training examples", sideways=True
        )
    }
    for attribute, counted in DISTRIBUTIONS.items():
        bars = bars_of(getattr(statistics.splits[ALL], attribute))
        drawn[f"{attribute}.svg"] = _chart(bars, f"{name}: {counted}", "examples", sideways=False)
    for file, svg in drawn.items():
        (folder / file).write_bytes(svg)
    return [folder / file for file in drawn]


def _bar(length: float) -> str:
    whole, part = divmod(round(length * 8), 8)
    return _FULL_BAR * whole + _PARTS[part]


def _chart(bars: Bars, title: str, counted: str, *, sideways: bool) -> bytes:
    """Draw bars from left to right, or sideways with the first on top."""
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError as error:
        raise needs("matplotlib") from error
    names, heights = [name for name, _ in bars], [height for _, height in bars]
    with mpl.rc_context(SVG_STYLE):
        high = 1.2 + 0.18 * len(bars) if sideways else 3.2
        figure = Figure(figsize=(7.0, high), layout="constrained")
        axes = figure.add_subplot(title=title)
        if sideways:
            axes.barh(range(len(bars)), heights, color=_COLOUR)
            axes.set_yticks(range(len(bars)), names)
            axes.set_ylim(max(len(bars), 1) - 0.5, -0.5)
            axes.set_xlabel(counted)
        else:
            axes.bar(range(len(bars)), heights, color=_COLOUR)
            axes.set_xticks(range(len(bars)), names, rotation=30)
            axes.set_ylabel(counted)
        svg = io.BytesIO()
        figure.savefig(svg, format="svg", metadata=NO_METADATA)
    return svg.getvalue()
