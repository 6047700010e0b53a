"""The log of a run: JSON lines, TensorBoard and a progress bar."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tqdm import tqdm

from visuallens.config import LoopSettings
from visuallens.errors import CheckpointError

METRICS = "metrics.jsonl"
"""Of a run: a record of each step and of each measurement on dev."""


class RunLog:
    """Writes what happens in a run.

    Args:
        folder: of the run.
        done: steps of the checkpoint that it goes on from; lines after it are dropped, since these
            steps are done again. None: there is no checkpoint.
        settings: of the loop.
        writes: only one of several processes does.

    Raises:
        CheckpointError: the log cannot be written, here and in every other method.

    Choice: lines are written one by one, so that a kill costs no more than the last one.
    """

    def __init__(
        self, folder: Path, done: int | None, settings: LoopSettings, *, writes: bool
    ) -> None:
        self._path = folder / METRICS
        self._writes = writes
        self._began = time.perf_counter()
        self._board: Any = None  # Any: TensorBoard is optional
        if not writes:
            return
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._began -= _continue(self._path, done)
            if settings.tensorboard:
                self._board = _board(folder, done)
        except OSError as error:
            raise CheckpointError(self._path, f"it cannot be written ({error})") from error
        self._bar = tqdm(total=settings.steps, initial=done or 0, unit="step", disable=None)

    def step(self, step: int, values: Mapping[str, float]) -> None:
        """Note one step."""
        self._write("step", step, values)
        if self._writes:
            self._bar.update(1)
            self._bar.set_postfix(loss=f"{values['loss']:.3f}", refresh=False)

    def evaluation(self, step: int, metrics: Mapping[str, float]) -> None:
        """Note a measurement on dev."""
        self._write("dev", step, metrics)

    def _write(self, kind: str, step: int, values: Mapping[str, float]) -> None:
        if not self._writes:
            return
        seconds = round(time.perf_counter() - self._began, 2)
        record = {"kind": kind, "step": step, **values, "seconds": seconds}
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
            if self._board is not None:
                for name, value in values.items():
                    self._board.add_scalar(f"{kind}/{name}", value, step)
        except OSError as error:
            raise CheckpointError(self._path, f"it cannot be written ({error})") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._writes:
            return
        self._bar.close()
        try:
            if self._board is not None:
                self._board.close()
        except OSError as full:
            if error is None:
                raise CheckpointError(self._path, f"it cannot be written ({full})") from full


def read_log(folder: Path) -> list[dict[str, Any]]:
    """Read the lines of a run's log; none where there is no run. Any: JSON."""
    return [*_records(folder / METRICS)]


def _records(path: Path) -> Iterator[dict[str, Any]]:
    """Read records up to the first line that is not whole, as a kill leaves it."""
    if not path.exists():
        return
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            try:
                yield json.loads(line)
            except ValueError:
                return


def _continue(path: Path, done: int | None) -> float:
    """Keep the lines up to a step, and return the seconds that had passed by then."""
    part = path.with_name(path.name + ".part")
    seconds = 0.0
    with part.open("w", encoding="utf-8") as file:
        for record in _records(path) if done is not None else ():
            if record["step"] <= (done or 0):
                file.write(json.dumps(record) + "\n")
                seconds = record["seconds"]
    part.replace(path)
    return seconds


def _board(folder: Path, done: int | None) -> Any:  # noqa: ANN401 - TensorBoard is optional
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(folder / "tensorboard", purge_step=0 if done is None else done + 1)
