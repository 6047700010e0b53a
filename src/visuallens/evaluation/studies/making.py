"""Running the commands behind cells, each once."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from visuallens import __version__
from visuallens.errors import EvaluationError, VisualLensError
from visuallens.evaluation.studies.plan import Cell, Step, failed

logger = logging.getLogger(__name__)

RunCommand = Callable[[Sequence[str]], None]
"""Runs `visuallens` with some arguments; errors are raised."""


class Maker:
    """Makes cells, and remembers which commands have run.

    Args:
        folder: for the list of commands that have run, `commands.jsonl`.
        run: runs one.

    Attributes:
        seconds: that commands took this time.

    Raises:
        EvaluationError: the list cannot be read or written.

    Choice: a command that fails with an error of ours costs its own rows, not the study; why it
        failed stands in them, and it is tried again the next time.
    """

    def __init__(self, folder: Path, run: RunCommand) -> None:
        self._path, self._run = folder / "commands.jsonl", run
        self._failed: dict[str, str] = {}
        self.seconds = 0.0
        try:
            folder.mkdir(parents=True, exist_ok=True)
            known = self._path.read_text("utf-8") if self._path.exists() else ""
            lines = [line for line in known.splitlines(keepends=True) if line.endswith("\n")]
            self._done = {str(json.loads(line)["command"]) for line in lines}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise self._unusable(error) from error

    def make(self, cell: Cell) -> Cell:
        """Run what a cell needs and has not run yet.

        Args:
            cell: of a plan.

        Returns:
            The cell; `missing` where one of its commands failed.
        """
        if cell.missing is not None:
            return cell
        for step in cell.steps:
            if step.text in self._failed:
                return failed(cell, self._failed[step.text])
            if step.text in self._done and step.makes.exists():
                continue
            logger.info("%s", step.text)
            try:
                self._do(step)
            except VisualLensError as error:
                self._failed[step.text] = str(error)
                return failed(cell, str(error))
        return cell

    def has_made(self, cell: Cell) -> bool:
        """Tell whether all that a cell needs is there already."""
        return cell.missing is None and all(
            step.text in self._done and step.makes.exists() for step in cell.steps
        )

    def _do(self, step: Step) -> None:
        start = time.monotonic()
        step.makes.parent.mkdir(parents=True, exist_ok=True)
        self._run(step.arguments)
        took = time.monotonic() - start
        self.seconds += took
        self._done.add(step.text)
        record = {"command": step.text, "seconds": round(took, 1), "version": __version__}
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record, ensure_ascii=False) + "\n")
        except OSError as error:
            raise self._unusable(error) from error

    def _unusable(self, error: Exception) -> EvaluationError:
        return EvaluationError(
            f"{self._path} cannot be used ({error})",
            "Free some space, or delete it: what was made is then checked by each command itself.",
        )
