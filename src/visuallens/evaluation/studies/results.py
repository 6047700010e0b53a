"""What a study comes to: tables and plots, before they are written as a page.

Values are fractions between 0 and 1 where a metric is one; pages write them in percent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Value:
    """One number of a table.

    Attributes:
        value: the number.
        interval: its 95% interval, or None where it has none (an exact figure, a count).
        percent: whether it is written in percent; counts are not.
        p_value: of a difference: of the two being the same; corrected over the table (Holm).
    """

    value: float
    interval: Interval | None = None
    percent: bool = True
    p_value: float | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table.

    Attributes:
        label: what it is about, such as the name of a system.
        marks: column → short text beside the numbers, such as "T + I" or a tick.
        values: column → ours.
        paper: column → the paper's, a fraction (or a count); of the benchmark that it stands for.
        commands: that make the row, in the order in which they run.
        missing: why there are no values, or None.
        note: what a reader has to know about this row.
        about: "method" for the method, "control" for what it has to be compared with, "paper" for
            numbers that the paper prints, "baseline".
    """

    label: str
    marks: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, Value] = field(default_factory=dict)
    paper: Mapping[str, float] = field(default_factory=dict)
    commands: tuple[str, ...] = ()
    missing: str | None = None
    note: str = ""
    about: str = "baseline"


@dataclass(frozen=True, slots=True)
class Table:
    """One table.

    Attributes:
        name: such as "table2".
        title: as the paper's caption begins.
        marks: columns of text, left of the numbers.
        columns: columns of numbers; those of `paper` are named "google-review-v mrr" and so on.
        paper: columns of the paper's numbers, right of ours.
        text: what the table shows and what it does not, in sentences.
        source: in the paper.
    """

    name: str
    title: str
    rows: tuple[Row, ...]
    columns: tuple[str, ...]
    marks: tuple[str, ...] = ()
    paper: tuple[str, ...] = ()
    text: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class Series:
    """One line or set of bars.

    Attributes:
        label: for the legend.
        values: one for each place on the x axis; None where there is none.
    """

    label: str
    values: tuple[Value | None, ...]


@dataclass(frozen=True, slots=True)
class Plot:
    """One figure.

    Attributes:
        name: such as "figure3a".
        kind: "line" for places that are in an order, "bar" for categories.
        x: names of the places on the x axis.
        counts: questions behind each place, or None.
        commands: that make it.
        missing: why it is empty, or None.
    """

    name: str
    title: str
    kind: str
    x_label: str
    y_label: str
    x: tuple[str, ...]
    series: tuple[Series, ...]
    counts: tuple[int, ...] | None = None
    text: str = ""
    source: str = ""
    commands: tuple[str, ...] = ()
    missing: str | None = None


@dataclass(frozen=True, slots=True)
class Shown:
    """One candidate of an example page."""

    rank: int
    name: str
    score: float
    relevant: bool


@dataclass(frozen=True, slots=True)
class ExamplePage:
    """One question that a reader can look at.

    Attributes:
        reciprocal_rank: of the first ground truth.
        grid: the grid image as JPEG bytes, or None where no photo is shown.
        ranking: all candidates, best first.
        case: whether it is one of the best or of the worst answered.
    """

    example_id: str
    question: str
    category: str
    reciprocal_rank: float
    grid: bytes | None
    aspect_words: tuple[str, ...]
    captions: tuple[str, ...]
    ranking: tuple[Shown, ...]
    case: Literal["best", "worst"] = "best"


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that a page shows.

    Attributes:
        benchmark: its name and note: what stands in for what, and whether it is synthetic.
        machine: on what the runs were made.
        command: that makes the report.
        seconds: that the runs took, of those that were not cached.
        examples: the best cases, then the worst.
    """

    benchmark: str
    note: str
    facts: Mapping[str, str]
    command: str
    machine: str
    seconds: float
    tables: tuple[Table, ...]
    plots: tuple[Plot, ...]
    examples: tuple[ExamplePage, ...] = ()
