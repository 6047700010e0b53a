"""Tables 1 to 4, and two of ours: the parts of `attention`, and the places of candidates."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from visuallens.benchmark.folder import Benchmark
from visuallens.benchmark.statistics import PAPER, PaperRow, SplitStatistics, statistics
from visuallens.evaluation.evaluate import evaluate
from visuallens.evaluation.studies import paper
from visuallens.evaluation.studies.desk import Desk, texts, typed
from visuallens.evaluation.studies.plan import Cell
from visuallens.evaluation.studies.results import Row, Table, Value
from visuallens.evaluation.studies.scoring import AGAINST, QUESTIONS, Line, by_chance, fill
from visuallens.evaluation.systems import SYSTEMS, system

SHUFFLED = ("--shuffled-history",)
NO_PHOTO = ("--history", "0")
_METRICS = (*paper.METRICS, QUESTIONS, AGAINST)


def table1(desk: Desk) -> Table:
    """Make Table 1: what the benchmark holds."""
    found = statistics(desk.benchmark)
    command = (typed("benchmark", "stats", str(desk.workshop.benchmark)),)
    rows = [
        Row(split, values=_counted(one), commands=command) for split, one in found.splits.items()
    ]
    rows += [
        Row(f"{one.title}, the paper", values=_printed(one), about="paper")
        for one in PAPER.values()
    ]
    columns = ("examples", "users", "categories", "images", "ground truths", "candidates")
    return Table(
        name="table1",
        title="What the benchmark holds",
        rows=tuple(rows),
        columns=(*columns, "random mrr"),
        text="Images, ground truths and candidates are means over questions. The paper gives the "
        "number of examples of its train split here.",
        source="Table 1",
    )


def _counted(one: SplitStatistics) -> dict[str, Value]:
    numbers = {
        "examples": one.examples,
        "users": one.users,
        "categories": one.categories,
        "images": one.history.mean,
        "ground truths": one.ground_truth.mean,
        "candidates": one.candidates.mean,
    }
    values = {name: Value(number, percent=False) for name, number in numbers.items()}
    return values | {"random mrr": Value(one.random["mrr"])} if one.examples else values


def _printed(one: PaperRow) -> dict[str, Value]:
    numbers = {
        "examples": one.examples["train"],
        "categories": one.categories,
        "images": one.images,
        "ground truths": one.ground_truth,
        "candidates": one.candidates,
    }
    values = {name: Value(number, percent=False) for name, number in numbers.items()}
    return values | {"random mrr": Value(one.random["mrr"])}


def table2(desk: Desk) -> Table:
    """Make Table 2: the method, baselines, and the controls that say what its gain is."""
    wanted = desk.workshop.study.systems or tuple(SYSTEMS)
    columns = paper.columns(desk.benchmark.name)
    method = desk.cell(desk.method)
    lines = [*_systems(desk, wanted, columns), *_people(desk, columns)]
    lines[len(_leading(wanted)) : 0] = controls(desk, desk.method)
    rows = fill(lines, method, desk.drawing)
    return Table(
        name="table2",
        title="Hit rates and MRR of every system",
        rows=(_random(desk, method, lines, columns), *rows),
        columns=_METRICS,
        marks=("modality",),
        paper=columns,
        text=verdict(rows, system(desk.method).label),
        source="Table 2",
    )


def _leading(wanted: Sequence[str]) -> list[str]:
    """List the systems that are controls by themselves; they come first."""
    return [name for name in wanted if system(name).control is not None]


def _systems(desk: Desk, wanted: Sequence[str], columns: tuple[str, ...]) -> Iterable[Line]:
    ordered = [*_leading(wanted), *(name for name in wanted if name not in _leading(wanted))]
    for name in ordered:
        chosen = system(name)
        about = "baseline" if chosen.about == "method" and name != desk.method else chosen.about
        row = Row(
            chosen.label,
            marks={"modality": chosen.modality},
            paper=paper.beside(paper.SYSTEMS.get(str(chosen.paper)), columns),
            about=about,
        )
        yield Line(row, desk.cell(name))


def _people(desk: Desk, columns: tuple[str, ...]) -> Iterable[Line]:
    """Make the rows of annotators, or say how they are asked."""
    beside = paper.beside(paper.SYSTEMS["human"], columns)
    folder = desk.workshop.benchmark
    exports = desk.workshop.study.annotations
    for number, export in enumerate(exports, 1):
        yield Line(Row(f"annotator {number}", paper=beside), Cell(folder, export, ()))
    if not exports:
        reason = (
            f"nobody was asked: {typed('annotate', str(folder), '--sample', '50')}, and name what "
            "people export in study.annotations"
        )
        yield Line(Row("human annotations", paper=beside), Cell(folder, folder, (), reason))


def controls(desk: Desk, name: str) -> list[Line]:
    """Ask the method with the photos of somebody else, and with none.

    Args:
        desk: of the study.
        name: of the method.

    Returns:
        Two lines; if either scores as well as the method, there is no personalisation.
    """
    label = system(name).label
    return [
        Line(
            Row(f"{label}, another user's history", about="control"),
            desk.cell(name, options=SHUFFLED),
        ),
        Line(Row(f"{label}, no photo", about="control"), desk.cell(name, options=NO_PHOTO)),
    ]


def _random(desk: Desk, method: Cell, lines: Sequence[Line], columns: tuple[str, ...]) -> Row:
    """Compute the exact row, over the questions of the method, or of any other that was made."""
    made = next((one for one in (method, *(line.cell for line in lines)) if not one.missing), None)
    beside = paper.beside(paper.SYSTEMS["random"], columns)
    row = Row("random, exact", marks={"modality": "-"}, paper=beside, about="control")
    if made is None:
        return replace(row, missing="no run was made")
    return by_chance(desk.random(made, paper.METRICS), paper.METRICS, row)


def verdict(rows: Sequence[Row], method: str) -> str:
    """Say in words what the method is above, and of what it is not known.

    Args:
        rows: with differences and their corrected p-values, which decide at 0.05.
        method: its label.

    Returns:
        Up to three sentences; none where nothing was compared.
    """
    above: list[str] = []
    below: list[str] = []
    alike: list[str] = []
    for row in rows:
        if (one := row.values.get(AGAINST)) is None:
            continue
        told = one.p_value is not None and one.p_value < _LEVEL
        (alike if not told else above if one.value > 0 else below).append(row.label)
    said = [(above, "is above"), (below, "is below"), (alike, "cannot be told from")]
    parts = [f"{method} {how} {_listed(labels)}." for labels, how in said if labels]
    return f"In MRR, at p < {_LEVEL} corrected: {' '.join(parts)}" if parts else ""


def _listed(labels: Sequence[str]) -> str:
    return "; ".join(labels)


_LEVEL = 0.05
_TICK = "x"
_PARTS = ("asp.", "cap.", "img.", "ret.", "iter.", "joint")
_ALL = (True,) * 6
_ROWS: tuple[tuple[int, tuple[bool, ...], tuple[str, ...]], ...] = (
    (4, (True, False, True, True, False, False), ("matching.captions=false",)),
    (5, (False, True, True, True, False, False), ("matching.aspects=false",)),
    (
        6,
        (False, False, True, True, False, False),
        ("matching.aspects=false", "matching.captions=false"),
    ),
    (7, (True, True, True, False, False, False), ("retrieval.by_category=false",)),
)
"""Rows that switch something off: number, parts, settings."""


def table3(desk: Desk) -> Table:
    """Make Table 3: what the parts of the method are worth.

    Choice: words of stage 2 are only taught, never shown in a matching prompt (they were chosen by
        somebody who knew the ground truth), so without joint training iteration changes nothing:
        rows 2 and 3 of the paper are one model here. Rows 4 to 7 switch parts of that model off;
        where it is not trained, parts of the one of row 1.
    """
    columns = paper.columns(desk.benchmark.name)
    method = desk.cell("visuallens")
    plain = desk.cell("visuallens-not-joint")
    base = "visuallens" if plain.missing else "visuallens-not-joint"
    shown = (
        (lambda parts: (parts[0], parts[1], parts[2], parts[3], True, True))
        if plain.missing
        else (lambda parts: parts)
    )
    lines = [
        Line(_part_row(1, "everything", _ALL, columns), method),
        Line(
            _part_row(None, "without iteration", (*(True,) * 4, False, True), columns),
            desk.cell("visuallens-unrefined"),
        ),
        Line(_part_row(2, "without joint training", (*(True,) * 5, False), columns), plain),
    ]
    for number, parts, settings in _ROWS:
        label = "switched off: " + ", ".join(settings)
        lines.append(
            Line(
                _part_row(number, label, shown(parts), columns), desk.cell(base, settings=settings)
            )
        )
    no_image = ("matching.image=false",)
    parts = shown((True, True, False, True, False, False))
    lines.append(
        Line(
            _part_row(None, "switched off: " + no_image[0], parts, columns),
            desk.cell(base, settings=no_image),
        )
    )
    lines += controls(desk, "visuallens")
    rows = fill(lines, method, desk.drawing)
    return Table(
        name="table3",
        title="What each part of VisualLens is worth",
        rows=(_random(desk, method, lines, columns), *rows),
        columns=_METRICS,
        marks=("#", *_PARTS),
        paper=columns,
        text=verdict(rows, "VisualLens with everything"),
        source="Table 3",
    )


def _part_row(
    number: int | None, label: str, parts: Sequence[bool], columns: tuple[str, ...]
) -> Row:
    marks = {"#": "" if number is None else str(number)}
    marks |= {name: _TICK if there else "" for name, there in zip(_PARTS, parts, strict=True)}
    printed = None if number is None else paper.ABLATIONS[number]
    return Row(label, marks=marks, paper=paper.beside(printed, columns), about="method")


def table3_attention(desk: Desk) -> Table:
    """Make ours beside Table 3: the parts of `attention`, which reads no captions.

    Choice: retrieval is compared at the paper's w = 64, for a ranker that is given every photo has
        nothing to retrieve.
    """
    method = desk.cell("attention")
    few = ("retrieval.max_photos=64", "profile.grid_side=8")
    by_chance_ = (*few, "retrieval.by_category=false")
    lines = [
        Line(Row("everything", about="method"), method),
        Line(Row("trained without aspect words"), desk.cell("attention-wordless")),
        Line(Row("the 64 photos nearest to the category"), desk.cell("attention", settings=few)),
        Line(Row("64 photos by chance"), desk.cell("attention", settings=by_chance_)),
        Line(Row("trained without history", about="control"), desk.cell("attention-blind")),
        *controls(desk, "attention"),
    ]
    rows = fill(lines, method, desk.drawing)
    return Table(
        name="table3-attention",
        title="What each part of the ranker attention is worth",
        rows=(_random(desk, method, lines, ()), *rows),
        columns=_METRICS,
        text=verdict(rows, "attention with everything"),
        source="ours, after Table 3",
    )


_SPLITS = {
    "by_time": "LongHis: trained until a moment, tested after it",
    "by_category": "Category: held-out categories of each user",
    "by_user": "User ID: no user in common",
}


def table4(desk: Desk) -> Table:
    """Make Table 4: the method on other splits, and what stands beside it there."""
    columns = paper.columns(desk.benchmark.name, ("mrr",))
    rows = []
    for split, label in _SPLITS.items():
        printed = {f"{name} mrr": value for name, value in paper.TRANSFER[split].items()}
        beside = {column: printed[column] for column in columns}
        rows.append(_transferred(desk, split, Row(label, paper=beside, about="method")))
    return Table(
        name="table4",
        title=f"MRR of {system(desk.method).label} on other splits",
        rows=tuple(rows),
        columns=("mrr", "another user's history", "train popularity", "random, exact", QUESTIONS),
        paper=columns,
        text="Each split has other test questions, so rows differ in how hard they are: compare "
        "the method with what stands beside it in the same row.",
        source="Table 4",
    )


def _transferred(desk: Desk, split: str, row: Row) -> Row:
    cells = {
        "mrr": desk.cell(desk.method, split=split),
        "another user's history": desk.cell(desk.method, options=SHUFFLED, split=split),
        "train popularity": desk.cell("popularity", split=split),
    }
    method = cells["mrr"]
    commands = tuple(dict.fromkeys(text for cell in cells.values() for text in texts(cell)))
    row = replace(row, commands=commands, missing=method.missing)
    if method.missing is not None:
        return row
    made = {cell.run: column for column, cell in cells.items() if cell.missing is None}
    found = evaluate(Benchmark(method.benchmark), list(made), metrics=["mrr"], drawing=desk.drawing)
    values = {
        column: Value(one.metrics["mrr"], one.intervals["mrr"])
        for column, one in zip(made.values(), found.runs, strict=True)
    }
    values["random, exact"] = Value(found.random.metrics["mrr"])
    values[QUESTIONS] = Value(found.examples, percent=False)
    reasons = (f"{column}: {cell.missing}" for column, cell in cells.items() if cell.missing)
    return replace(row, values=values, note="; ".join(reasons))
