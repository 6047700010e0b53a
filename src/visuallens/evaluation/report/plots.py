"""A plot as SVG: lines or bars with their intervals, and how many questions are behind them.

Source: Figures 3 and 4, which print neither intervals nor counts.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visuallens.benchmark.base import needs
from visuallens.benchmark.figures import NO_METADATA, SVG_STYLE
from visuallens.evaluation.studies.results import Plot, Series, Value
from visuallens.prompts import as_data

_INK = "#767676"
"""Of text and axes. Choice: a grey with a contrast of 4 or more on white and on black, for nobody
knows on which of them a forge shows the file."""

# Okabe and Ito 2008, which people tell apart who see red and green alike; the darker ones first.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
_MARKERS = ("o", "s", "^", "D", "v", "P")
_LINES = ("-", "--", "-.", ":")

# Any: what Matplotlib's own type for its hundreds of settings asks for.
_STYLE: Any = {
    **SVG_STYLE,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _INK,
    "axes.titlecolor": _INK,
    "axes.titlesize": 10.0,
    "xtick.color": _INK,
    "ytick.color": _INK,
}
_WIDTH_INCHES = 7.0
_SHARE = 0.8
"""Of the room of a category that its bars fill."""

_ASIDE = 0.06
"""How far the points of a line stand beside those of the next, in places of the x axis."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Points:
    """A series as Matplotlib takes it.

    Attributes:
        at: (places,) from 0, moved aside so that intervals of several series do not cover another.
        values: (places,) NaN where there is none.
        bounds: (2, places) below and above the value, 0 where there is no interval.
    """

    label: str
    at: Floats
    values: Floats
    bounds: Floats


def is_drawn(plot: Plot) -> bool:
    """Tell whether a plot has anything to draw."""
    known = (value for one in plot.series for value in one.values)
    return plot.missing is None and any(value is not None for value in known)


def draw_plot(plot: Plot) -> str:
    """Draw a plot as SVG.

    Args:
        plot: with at least one value.

    Returns:
        A whole SVG document without background; the same plot gives the same text.

    Raises:
        MissingPackageError: Matplotlib is not installed.

    Choice: bars lie sideways, so that the names of many categories can be read.
    """
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError as error:
        raise needs("matplotlib") from error
    sideways = plot.kind == "bar"
    rows = len(plot.x) * max(1, len(plot.series)) if sideways else 0
    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        # The reader's browser has glyphs that the font used for measuring lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        high = 1.5 + 0.1 * rows + 0.1 * len(plot.x) if sideways else 3.6
        figure = Figure(figsize=(_WIDTH_INCHES, high), layout="constrained")
        axes = figure.add_subplot(title=as_data(plot.title))
        (_draw_bars if sideways else _draw_lines)(axes, plot)
        axes.spines[["top", "right"]].set_visible(False)
        if len(plot.series) > 1:
            columns = min(3, len(plot.series))
            figure.legend(loc="outside lower center", ncols=columns, frameon=False)
        svg = io.StringIO()
        figure.savefig(svg, format="svg", metadata=NO_METADATA, transparent=True)
    return svg.getvalue()


# Any, here and below: Matplotlib's Axes.
def _draw_lines(axes: Any, plot: Plot) -> None:  # noqa: ANN401
    for number, one in enumerate(_points(plot, _ASIDE)):
        axes.errorbar(
            one.at,
            one.values,
            yerr=one.bounds,
            label=one.label,
            color=_of(_COLOURS, number),
            marker=_of(_MARKERS, number),
            linestyle=_of(_LINES, number),
            markersize=4,
            capsize=2,
            linewidth=1.4,
            elinewidth=0.9,
        )
    axes.set_xticks(range(len(plot.x)), _places(plot, "\n"))
    axes.set_xlabel(_place_label(plot))
    axes.set_ylabel(_value_label(plot))
    axes.set_ylim(bottom=0 if _is_positive(plot) else None)
    axes.grid(axis="y", color=_INK, alpha=0.25, linewidth=0.5)


def _draw_bars(axes: Any, plot: Plot) -> None:  # noqa: ANN401
    width = _SHARE / max(1, len(plot.series))
    for number, one in enumerate(_points(plot, width)):
        colour = _of(_COLOURS, number)
        axes.barh(
            one.at,
            one.values,
            width,
            xerr=one.bounds,
            label=one.label,
            color=colour,
            alpha=0.5,
            error_kw={"ecolor": colour, "elinewidth": 1.2, "capsize": 2, "alpha": 1},
        )
    axes.set_yticks(range(len(plot.x)), _places(plot, ", "))
    axes.set_ylim(len(plot.x) - 0.5, -0.5)
    axes.set_xlabel(_value_label(plot))
    axes.set_ylabel(_place_label(plot))
    axes.grid(axis="x", color=_INK, alpha=0.25, linewidth=0.5)


def _points(plot: Plot, step: float) -> Iterator[_Points]:
    """Lay the series beside each other, `step` apart, around their places."""
    middle = (len(plot.series) - 1) / 2
    for number, series in enumerate(plot.series):
        at = np.arange(len(plot.x), dtype=np.float64) + (number - middle) * step
        yield _Points(as_data(series.label), at, *_numbers(series))


def _numbers(series: Series) -> tuple[Floats, Floats]:
    """Turn the values of a series into heights, and how far its intervals reach."""
    values = np.array([_height(one) for one in series.values], np.float64)
    bounds = np.array([_reach(one) for one in series.values], np.float64).reshape(-1, 2)
    return values, bounds.T


def _height(value: Value | None) -> float:
    return math.nan if value is None else _scale(value) * value.value


def _reach(value: Value | None) -> tuple[float, float]:
    """Say how far an interval goes below and above its value.

    Choice: never less than nothing, for the percentile interval of a bootstrap may leave its value
        out, and Matplotlib refuses that.
    """
    if value is None or value.interval is None or not all(map(math.isfinite, value.interval)):
        return 0.0, 0.0
    low, high = value.interval
    scale = _scale(value)
    return max(0.0, scale * (value.value - low)), max(0.0, scale * (high - value.value))


def _scale(value: Value) -> float:
    return 100.0 if value.percent else 1.0


def _values(plot: Plot) -> Iterator[Value]:
    return (value for one in plot.series for value in one.values if value is not None)


def _is_positive(plot: Plot) -> bool:
    reached = (one.value if one.interval is None else one.interval[0] for one in _values(plot))
    return all(low >= 0 for low in reached)


def _places(plot: Plot, between: str) -> list[str]:
    """Write what stands at the ticks: the name of the place and how many questions it has."""
    names = [as_data(name) for name in plot.x]
    if plot.counts is None:
        return names
    counted = zip(names, plot.counts, strict=True)
    return [f"{name}{between}n = {count:,}" for name, count in counted]


def _place_label(plot: Plot) -> str:
    label = as_data(plot.x_label)
    return label if plot.counts is None else f"{label}; n: questions"


def _value_label(plot: Plot) -> str:
    label = as_data(plot.y_label)
    percent = any(value.percent for value in _values(plot))
    return f"{label}, %" if percent and "%" not in label else label


def _of(choices: Sequence[str], number: int) -> str:
    return choices[number % len(choices)]
