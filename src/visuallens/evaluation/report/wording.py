"""How numbers, names and times are written, on both pages alike.

Source: §7; Tables 2 and 3 print percent with one decimal.
"""

from __future__ import annotations

import math
import unicodedata
from dataclasses import dataclass

from visuallens.evaluation.studies.results import Interval, Value

METHOD = "method"
"""What `Row.about` says of the method."""

CONTROL = "control"
"""What `Row.about` says of a row that the method has to be compared with."""

PRINTED = "paper"
"""What `Row.about` says of a row of numbers that the paper prints, which no command makes."""

HOW_TO_READ = (
    "Metrics are in percent; [low, high] is the 95% interval, and a number without one is exact or "
    "a count. p is of a difference being none, corrected over the table (Holm)."
)

_NONE = "unknown"
_LEAST_P = 0.001


@dataclass(frozen=True, slots=True)
class Written:
    """A number in the parts in which a page shows it.

    Attributes:
        number: such as "54.1", or "+1.2" for a difference.
        interval: such as "[50.2, 57.7]"; empty where there is none.
        p_value: such as "p = 0.012"; empty where there is none.
    """

    number: str
    interval: str = ""
    p_value: str = ""

    def __str__(self) -> str:
        whole = f"{self.number} {self.interval}".rstrip()
        return f"{whole}, {self.p_value}" if self.p_value else whole


def write_value(value: Value) -> Written:
    """Write a number of ours.

    Args:
        value: with or without interval and p-value.

    Returns:
        Its parts; what has a p-value is a difference and always has its sign.
    """
    signed = value.p_value is not None
    interval = "" if value.interval is None else _interval(value.interval, value.percent, signed)
    p_value = "" if value.p_value is None else _p_value(value.p_value)
    return Written(_number(value.value, value.percent, signed), interval, p_value)


def write_paper(value: float) -> str:
    """Write a number of the paper.

    Args:
        value: a fraction, or a count.

    Returns:
        In percent, or as it is.

    Choice: what is above 1 is a count, for no metric of the paper reaches more.
    """
    return _number(value, percent=value <= 1)


def write_seconds(seconds: float) -> str:
    """Write how long something took: "42 s", "3 min 5 s" or "2 h 13 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,} h {minutes} min"


def one_line(text: str) -> str:
    """Put text on one line, without signs that cannot be written or that steer a terminal."""
    spaced = " ".join(text.split())
    return "".join(sign for sign in spaced if unicodedata.category(sign) not in {"Cc", "Cs"})


def paragraphs(text: str) -> list[str]:
    """Take text apart at its empty lines; empty text has no paragraph."""
    return [line for part in text.split("\n\n") if (line := one_line(part))]


def _number(value: float, percent: bool, signed: bool = False) -> str:
    if not math.isfinite(value):
        return _NONE
    sign = "+" if signed else ""
    if percent:
        return format(100 * value, f"{sign}z.1f")
    return format(value, f"{sign}z,.2f").rstrip("0").rstrip(".")


def _interval(interval: Interval, percent: bool, signed: bool) -> str:
    low, high = (_number(bound, percent, signed) for bound in interval)
    return "[unknown]" if _NONE in {low, high} else f"[{low}, {high}]"


def _p_value(p_value: float) -> str:
    if not math.isfinite(p_value):
        return "p unknown"
    return f"p < {_LEAST_P}" if p_value < _LEAST_P else f"p = {p_value:.3f}"
