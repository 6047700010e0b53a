"""Every study by name: which tables and plots it makes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from visuallens.evaluation.studies import figures, tables
from visuallens.evaluation.studies.desk import Desk
from visuallens.evaluation.studies.positions import positions
from visuallens.evaluation.studies.results import Plot, Table


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a study makes."""

    tables: tuple[Table, ...] = ()
    plots: tuple[Plot, ...] = ()


Study = Callable[[Desk], Outcome]


def _tables(*makers: Callable[[Desk], Table]) -> Study:
    return lambda desk: Outcome(tables=tuple(make(desk) for make in makers))


def _plots(make: Callable[[Desk], tuple[Plot, ...]]) -> Study:
    return lambda desk: Outcome(plots=make(desk))


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
