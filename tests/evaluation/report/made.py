"""A report made by hand, with rows and plots of every kind, and text that attacks."""

from __future__ import annotations

import io

from PIL import Image

from visuallens.evaluation.studies.results import (
    ExamplePage,
    Plot,
    Report,
    Row,
    Series,
    Shown,
    Table,
    Value,
)

ATTACK = "</script><img onerror=go() src=http://evil.example/x>\"'&amp;|`[x](http://evil.example)"
RANK = "visuallens rank toy --ranker visuallens --out runs/visuallens.run"
SCORE = "visuallens evaluate toy runs/visuallens.run"

SMALL = Table(
    name="table2",
    title="Hit rates and MRR of every system",
    source="Table 2",
    text="In MRR, VisualLens is above popularity.",
    marks=("modality",),
    columns=("mrr", "less mrr", "questions"),
    paper=("yelp-v mrr",),
    rows=(
        Row(
            "random, exact",
            marks={"modality": "none"},
            values={"mrr": Value(0.21234)},
            paper={"yelp-v mrr": 0.3},
            about="control",
        ),
        Row(
            "popularity",
            values={
                "mrr": Value(0.5, (0.482, 0.521)),
                "less mrr": Value(-0.041, (-0.06, -0.0221), p_value=0.0124),
                "questions": Value(1234, percent=False),
            },
            commands=(SCORE,),
            note="of the train split",
        ),
        Row(
            "VisualLens",
            marks={"modality": "T + I"},
            values={
                "mrr": Value(0.541, (0.502, 0.577)),
                "questions": Value(1234, percent=False),
            },
            paper={"yelp-v mrr": 0.443},
            commands=(RANK, SCORE),
            about="method",
        ),
        Row("people", paper={"yelp-v mrr": 0.66}, missing="nobody was asked"),
        Row("VisualLens, no photo", missing="it failed", commands=(RANK, SCORE), about="control"),
    ),
)
"""Rows: exact, a difference, with an interval, missing, missing with commands."""

LINE = Plot(
    name="figure3a",
    title="MRR by candidates",
    kind="line",
    x_label="candidates",
    y_label="MRR",
    x=("12-20", "21-30", "31-40"),
    counts=(10, 1200, 3),
    source="Figure 3a",
    series=(
        Series("VisualLens", (Value(0.5, (0.4, 0.6)), None, Value(0.3, (0.31, 0.4)))),
        Series("popularity", (Value(0.2), Value(0.25, (0.2, 0.3)), Value(0.1))),
    ),
    commands=(SCORE,),
)
"""One value is missing, and one lies below its interval."""

BARS = Plot(
    name="figure4",
    title="MRR by category",
    kind="bar",
    x_label="category",
    y_label="MRR",
    x=("museum", ATTACK),
    series=(Series(ATTACK, (Value(0.5, (0.4, 0.6)), Value(0.4))),),
)

MISSING = Plot("figure9", "Nothing", "line", "x", "y", (), (), missing="no run was made")


def jpeg(colour: str = "teal") -> bytes:
    """Draw a small image."""
    found = io.BytesIO()
    Image.new("RGB", (16, 16), colour).save(found, "JPEG")
    return found.getvalue()


def example(case: str = "best", grid: bytes | None = None, right: int = 1) -> ExamplePage:
    """Make an example with twelve candidates, of which one is right; the third attacks."""
    ranking = tuple(
        Shown(rank, ATTACK if rank == 3 else f"Place {rank}", 1 / rank, rank == right)
        for rank in range(1, 13)
    )
    return ExamplePage(
        example_id=f"{case}-{right}",
        question=f"Recommend a museum {ATTACK}.",
        category=ATTACK,
        reciprocal_rank=1 / right,
        grid=grid,
        aspect_words=("castle", ATTACK),
        captions=("A castle", "", ATTACK),
        ranking=ranking,
        case="best" if case == "best" else "worst",
    )


def report(*tables: Table, plots: tuple[Plot, ...] = (LINE, BARS, MISSING)) -> Report:
    """Put everything together."""
    attacked = Table(ATTACK, ATTACK, (Row(ATTACK, {ATTACK: ATTACK}, note=ATTACK),), (ATTACK,))
    return Report(
        benchmark="toy",
        note="Posters stand in for photos.\n\nNot Yelp-V.",
        facts={"questions": "1,234", ATTACK: ATTACK},
        command="visuallens reproduce toy --out report",
        machine="2 cores",
        seconds=7985,
        tables=tables or (SMALL, attacked),
        plots=plots,
        examples=(example("best", jpeg()), example("worst", right=12)),
    )
