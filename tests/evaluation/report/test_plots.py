from __future__ import annotations

import re
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest
from tests.evaluation.report.made import ATTACK, BARS, LINE, MISSING

from visuallens.evaluation.report.plots import _numbers, draw_plot, is_drawn
from visuallens.evaluation.studies.results import Plot, Series, Value

SVG = "{http://www.w3.org/2000/svg}"


def texts(svg: str) -> list[str]:
    # Our own drawing, not somebody's file.
    root = ET.fromstring(svg)  # noqa: S314
    return ["".join(one.itertext()).strip() for one in root.iter(f"{SVG}text")]


@pytest.mark.parametrize("plot", [LINE, BARS], ids=lambda plot: plot.name)
def test_the_same_plot_gives_the_same_bytes(plot: Plot) -> None:
    svg = draw_plot(plot)
    assert svg == draw_plot(plot)
    assert svg != draw_plot(replace(plot, title="Another"))
    assert "dc:date" not in svg


def test_points_and_intervals_are_those_of_the_series() -> None:
    # In percent. 0.5 [0.4, 0.6] reaches 10 below and above; 0.3 lies below its interval
    # [0.31, 0.4], so nothing below and 10 above.
    values, bounds = _numbers(LINE.series[0])
    assert values.tolist() == pytest.approx([50, float("nan"), 30], nan_ok=True)
    assert bounds.tolist() == [pytest.approx([10, 0, 0]), pytest.approx([10, 0, 10])]


def test_counts_are_not_in_percent() -> None:
    values, bounds = _numbers(Series("s", (Value(12.5, (12.0, 14.0), percent=False),)))
    assert (values.tolist(), bounds.tolist()) == ([12.5], [[0.5], [1.5]])


def test_places_series_and_questions_are_told() -> None:
    told = texts(draw_plot(LINE))
    for text in ("MRR by candidates", "12-20", "n = 1,200", "MRR, %", "VisualLens", "popularity"):
        assert text in told
    assert "candidates; n: questions" in told


def test_series_have_colours_of_their_own_that_everybody_tells_apart() -> None:
    drawn = draw_plot(LINE).lower()
    assert "#0072b2" in drawn
    assert "#d55e00" in drawn


def test_bars_have_as_much_room_as_they_need() -> None:
    def height(plot: Plot) -> float:
        found = re.search(r'height="([\d.]+)pt"', draw_plot(plot))
        assert found is not None
        return float(found[1])

    many = tuple(f"category {number}" for number in range(66))
    values = tuple(Value(0.5) for _ in many)
    assert height(replace(BARS, x=many, series=(Series("one", values),))) > 3 * height(BARS)


def test_names_are_text_and_never_markup() -> None:
    svg = draw_plot(BARS)
    root = ET.fromstring(svg)  # noqa: S314 - as above
    assert not {"script", "img"} & {one.tag.removeprefix(SVG) for one in root.iter()}
    assert any("img onerror=go()" in text for text in texts(svg))
    assert ATTACK not in svg


def test_a_plot_has_no_background() -> None:
    svg = draw_plot(LINE)
    assert "#ffffff" not in svg
    assert "#767676" in svg


def test_letters_that_the_font_lacks_are_drawn_by_the_reader() -> None:
    assert "東京" in draw_plot(replace(LINE, title="東京"))


def test_what_has_no_values_is_not_drawn() -> None:
    assert is_drawn(LINE)
    assert not is_drawn(MISSING)
    assert not is_drawn(replace(LINE, missing="no run was made"))
    assert not is_drawn(replace(LINE, series=(Series("s", (None, None, None)),)))
