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
        seconds: command → what it took, of all that have run, this time or before.

    Raises:
        EvaluationError: the list cannot be read or written.

    Choice: a command that fails costs its own rows, not the study; why it failed stands in them,
        and it is tried again the next time.
    """

    def __init__(self, folder: Path, run: RunCommand) -> None:
        self._path, self._run = folder / "commands.jsonl", run
        self._failed: dict[str, str] = {}
        self._now: set[str] = set()
        self.seconds: dict[str, float] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            known = self._path.read_text("utf-8") if self._path.exists() else ""
            # What a kill cut off is left out, so that the next line begins a line.
            whole_ = known[: known.rfind("\n") + 1]
            if whole_ != known:
                self._path.write_text(whole_, "utf-8")
            for line in whole_.splitlines():
                record = json.loads(line)
                self.seconds[str(record["command"])] = float(record["seconds"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise self._unusable(error) from error

    def make(self, cell: Cell) -> Cell:
        """Run what a cell needs and has not run yet; after a command that ran, all that follow.

        Args:
            cell: of a plan.

        Returns:
            The cell; `missing` where one of its commands failed.
        """
        if cell.missing is not None:
            return cell
        anew = False
        for step in cell.steps:
            if step.text in self._failed:
                return failed(cell, self._failed[step.text])
            if step.text in self._now or (self._has_run(step) and not anew and not step.always):
                continue
            logger.info("%s", step.text)
            # A library that grew by nothing leaves what was made from it as it is.
            anew = not step.always
            if (reason := self._try(step)) is not None:
                self._failed[step.text] = reason
                return failed(cell, reason)
        return cell

    def has_made(self, cell: Cell) -> bool:
        """Tell whether all that a cell needs is there already."""
        return cell.missing is None and all(map(self._has_run, cell.steps))

    def _has_run(self, step: Step) -> bool:
        return step.text in self.seconds and step.makes.exists()

    def _try(self, step: Step) -> str | None:
        """Run a command; say why it failed, or None."""
        start = time.monotonic()
        step.makes.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._run(step.arguments)
        except VisualLensError as error:
            return str(error)
        except Exception as error:
            # Such as a model that does not fit into memory: hours of other rows go on.
            logger.exception("%s failed", step.text)
            return f"{type(error).__name__}: {error}"
        self._note(step, time.monotonic() - start)
        return None

    def _note(self, step: Step, took: float) -> None:
        self._now.add(step.text)
        # What follows is the time of the first run, not that of finding everything done.
        took = max(took, self.seconds.get(step.text, 0.0)) if step.always else took
        self.seconds[step.text] = took
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
