"""Every study by name: which tables and plots it makes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from visuallens.errors import VisualLensError
from visuallens.evaluation.studies import figures, tables
from visuallens.evaluation.studies.desk import Desk
from visuallens.evaluation.studies.positions import positions
from visuallens.evaluation.studies.results import Plot, Row, Table


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a study makes."""

    tables: tuple[Table, ...] = ()
    plots: tuple[Plot, ...] = ()


Study = Callable[[Desk], Outcome]


def _tables(*makers: Callable[[Desk], Table]) -> Study:
    return lambda desk: Outcome(tables=tuple(_table(make, desk) for make in makers))


def _table(make: Callable[[Desk], Table], desk: Desk) -> Table:
    """Make a table; one that fails with an error of ours is empty and says why."""
    try:
        return make(desk)
    except VisualLensError as error:
        name = make.__name__.replace("_", "-")
        row = Row("all of it", missing=str(error))
        return Table(name, "It could not be made", (row,), columns=())


def _plots(make: Callable[[Desk], tuple[Plot, ...]]) -> Study:
    def study(desk: Desk) -> Outcome:
        try:
            return Outcome(plots=make(desk))
        except VisualLensError as error:
            empty = Plot(make.__name__, "It could not be made", "bar", "", "", (), ())
            return Outcome(plots=(replace(empty, missing=str(error)),))

    return study


STUDIES: Mapping[str, Study] = MappingProxyType({
    "table1": _tables(tables.table1),
    "table2": _tables(tables.table2),
    "table3": _tables(tables.table3, tables.table3_attention),
    "table4": _tables(tables.table4),
    "figure3": _plots(figures.figure3),
    "figure4": _plots(figures.figure4),
    "figure5": _plots(figures.figure5),
    "positions": _tables(positions),
})  # fmt: skip

ALL = "all"


def run_studies(name: str, desk: Desk) -> Outcome:
    """Run one study, or all.

    Args:
        name: of `STUDIES`, or "all".
        desk: that they work with.

    Returns:
        Their tables and plots.
    """
    chosen = STUDIES.values() if name == ALL else [STUDIES[name]]
    made = [study(desk) for study in chosen]
    return Outcome(
        tuple(table for one in made for table in one.tables),
        tuple(plot for one in made for plot in one.plots),
    )
