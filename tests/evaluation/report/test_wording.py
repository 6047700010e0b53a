from __future__ import annotations

import math

import pytest

from visuallens.evaluation.report.wording import (
    one_line,
    paragraphs,
    write_paper,
    write_seconds,
    write_value,
)
from visuallens.evaluation.studies.results import Value


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (Value(0.541, (0.502, 0.577)), "54.1 [50.2, 57.7]"),
        (Value(0.21234), "21.2"),
        (Value(1.0), "100.0"),
        (Value(0.012, (-0.0004, 0.02), p_value=0.0124), "+1.2 [+0.0, +2.0], p = 0.012"),
        (Value(-0.012, p_value=0.0005), "-1.2, p < 0.001"),
        (Value(1234, percent=False), "1,234"),
        (Value(43.1, percent=False), "43.1"),
        (Value(-0.314, (-0.5, 0.1), percent=False), "-0.31 [-0.5, 0.1]"),
        (Value(100, percent=False), "100"),
        (Value(0.5, (math.nan, math.nan)), "50.0 [unknown]"),
        (Value(math.nan), "unknown"),
        (Value(0.1, p_value=math.nan), "+10.0, p unknown"),
    ],
)
def test_numbers_are_written(value: Value, written: str) -> None:
    assert str(write_value(value)) == written


def test_numbers_of_the_paper_are_fractions_or_counts() -> None:
    assert [write_paper(one) for one in (0.443, 1.0, 15.5, 200_000)] == [
        "44.3",
        "100.0",
        "15.5",
        "200,000",
    ]


def test_times_are_written() -> None:
    assert [write_seconds(one) for one in (0, 59.4, 59.6, 185, 7985)] == [
        "0 s",
        "59 s",
        "1 min 0 s",
        "3 min 5 s",
        "2 h 13 min",
    ]


def test_text_is_put_on_one_line_that_can_be_written() -> None:
    assert one_line(" a\n b\t\x1b[2J\x00\ud800c ") == "a b [2Jc"
    assert paragraphs("one\ntwo\n\n \n\nthree") == ["one two", "three"]
    assert paragraphs("") == []
