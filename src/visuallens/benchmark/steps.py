"""The unfinished benchmark: a folder of steps, which a killed build finds again and continues."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from filelock import FileLock, Timeout

from visuallens.benchmark.engine import run
from visuallens.benchmark.writing import discard
from visuallens.errors import BenchmarkFolderError
from visuallens.workers import Engine

Task = TypeVar("Task")
Report = TypeVar("Report")

Progress = Callable[[str, int, int], None]
"""Is told the name of a step, how many of its tasks are done, and how many there are."""

_PLAN = "plan.json"
_REPORTS = "reports"


def quiet(step: str, done: int, total: int) -> None:
    """Report nothing."""
    del step, done, total


@dataclass(frozen=True, slots=True)
class Crew:
    """Who does the work; it makes no difference to the result.

    Attributes:
        engine: where tasks run.
        workers: how many run at a time.
        progress: is told of every task that ends.
    """

    engine: Engine = "local"
    workers: int = 1
    progress: Progress = quiet


class Workshop:
    """Runs the tasks of steps, and keeps the report of each one that is done.

    Args:
        folder: where steps put what they make.
        crew: who does the work.
    """

    def __init__(self, folder: Path, crew: Crew) -> None:
        self.folder = folder
        self._crew = crew

    @property
    def progress(self) -> Progress:
        """Is told of every task that ends."""
        return self._crew.progress

    def step(self, name: str) -> Path:
        """Return the folder of a step; it exists."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        return folder

    def run(
        self,
        step: str,
        function: Callable[[Task], Report],
        tasks: Sequence[Task],
        report: type[Report],
    ) -> list[Report]:
        """Run those tasks of a step that are not done yet.

        Args:
            step: its name.
            function: does one task and returns its report.
            tasks: in the same order every time.
            report: the class of the reports.

        Returns:
            The reports of all tasks, in their order.
        """
        notes = [self.step(_REPORTS) / f"{step}-{number}.json" for number in range(len(tasks))]
        waiting = [number for number, note in enumerate(notes) if not note.exists()]
        self._crew.progress(step, len(tasks) - len(waiting), len(tasks))
        results = run(
            function,
            [tasks[number] for number in waiting],
            engine=self._crew.engine,
            workers=self._crew.workers,
        )
        for done, (place, result) in enumerate(results, start=len(tasks) - len(waiting) + 1):
            note = notes[waiting[place]]
            part = note.with_suffix(".part")
            part.write_bytes(msgspec.json.encode(result))
            part.replace(note)
            self._crew.progress(step, done, len(tasks))
        return [msgspec.json.decode(note.read_bytes(), type=report) for note in notes]


# Any: JSON; whatever decides what a build makes.
@contextmanager
def opened(folder: Path, plan: Mapping[str, Any]) -> Iterator[Path]:
    """Open the unfinished benchmark at a folder, or begin it anew where the plan is another one.

    Args:
        folder: of the unfinished benchmark.
        plan: everything that decides what is built; as JSON.

    Yields:
        The folder. It stays when the build fails, and is deleted when it succeeds.

    Raises:
        BenchmarkFolderError: another build is at work there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise BenchmarkFolderError(
            folder, "another build is writing here", "Wait for it, or choose another --out."
        ) from error
    try:
        _keep_if_planned(folder, msgspec.json.encode(plan, order="sorted"))
        yield folder
        discard(folder)
    finally:
        lock.release()


def _keep_if_planned(folder: Path, plan: bytes) -> None:
    known = folder / _PLAN
    if known.exists() and known.read_bytes() == plan:
        return
    # The plan first, which vouches for the reports, and the reports before what they vouch for.
    known.unlink(missing_ok=True)
    discard(folder / _REPORTS)
    for entry in folder.iterdir():
        if entry.is_dir():
            discard(entry)
    known.write_bytes(plan)
