"""What every study works with: plans, the maker of their cells, and how intervals are drawn."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from visuallens.benchmark.folder import Benchmark
from visuallens.evaluation.evaluate import Drawing, Evaluation, evaluate
from visuallens.evaluation.studies.making import Maker
from visuallens.evaluation.studies.plan import Cell, Workshop


@dataclass(frozen=True, slots=True)
class Desk:
    """See the module.

    Attributes:
        workshop: plans cells.
        maker: makes them.
        drawing: of intervals and tests.
    """

    workshop: Workshop
    maker: Maker
    drawing: Drawing

    @property
    def benchmark(self) -> Benchmark:
        """The benchmark that is studied."""
        return Benchmark(self.workshop.benchmark)

    @property
    def method(self) -> str:
        """The system that stands for VisualLens."""
        return self.workshop.study.method

    def cell(
        self,
        name: str,
        *,
        options: Sequence[str] = (),
        settings: Sequence[str] = (),
        split: str | None = None,
    ) -> Cell:
        """Plan and make the run of a system; see `Workshop.cell`.

        Choice: a benchmark is built before the run over it is planned, for how many questions it
            has decides whether a sample is asked.
        """
        if split is not None:
            folder, steps, missing = self.workshop.variant(split)
            self.maker.make(Cell(folder, folder, steps, missing))
        planned = self.workshop.cell(name, options=options, settings=settings, split=split)
        return self.maker.make(planned)

    def random(self, cell: Cell, metrics: Sequence[str]) -> Evaluation:
        """Score a cell together with what a random order is expected to reach."""
        return evaluate(
            Benchmark(cell.benchmark), [cell.run], metrics=metrics, drawing=self.drawing
        )


def typed(*arguments: str) -> str:
    """Write a command as it is typed."""
    return shlex.join(("visuallens", *arguments))


def texts(cell: Cell) -> tuple[str, ...]:
    """Give the commands of a cell as they are typed."""
    return tuple(step.text for step in cell.steps)
