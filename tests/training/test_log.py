from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from tests.training.toy_task import QUICK

from visuallens.errors import CheckpointError
from visuallens.training.log import METRICS, RunLog, read_log


def written(folder: Path, done: int | None, steps: range) -> list[int]:
    with RunLog(folder, done, QUICK, writes=True) as log:
        for step in steps:
            log.step(step, {"loss": step / 10})
    return [record["step"] for record in read_log(folder)]


def test_steps_and_measurements_are_lines_of_json(tmp_path: Path) -> None:
    with RunLog(tmp_path / "run", None, QUICK, writes=True) as log:
        log.evaluation(0, {"score": 0.5})
        log.step(1, {"loss": 0.25})
    dev, step = read_log(tmp_path / "run")
    assert dev == {"kind": "dev", "step": 0, "score": 0.5, "seconds": dev["seconds"]}
    assert step == {"kind": "step", "step": 1, "loss": 0.25, "seconds": step["seconds"]}


def test_a_log_goes_on_after_the_checkpoint(tmp_path: Path) -> None:
    written(tmp_path, None, range(6))
    assert written(tmp_path, 2, range(3, 5)) == [0, 1, 2, 3, 4]
    assert written(tmp_path, 0, range(1, 2)) == [0, 1]
    assert written(tmp_path, None, range(1)) == [0]


def test_a_line_that_a_kill_cut_is_dropped(tmp_path: Path) -> None:
    written(tmp_path, None, range(3))
    path = tmp_path / METRICS
    path.write_text(path.read_text()[:-9])
    assert [record["step"] for record in read_log(tmp_path)] == [0, 1]
    assert written(tmp_path, 1, range(2, 4)) == [0, 1, 2, 3]


def test_the_clock_goes_on(tmp_path: Path) -> None:
    record = {"kind": "step", "step": 1, "loss": 1.0, "seconds": 1000.0}
    (tmp_path / METRICS).write_text(json.dumps(record) + "\n")
    written(tmp_path, 1, range(2, 3))
    assert read_log(tmp_path)[-1]["seconds"] >= 1000


def test_only_one_process_writes(tmp_path: Path) -> None:
    with RunLog(tmp_path / "run", None, QUICK, writes=False) as log:
        log.step(1, {"loss": 1.0})
        log.evaluation(1, {"score": 1.0})
    assert not (tmp_path / "run").exists()
    assert read_log(tmp_path / "run") == []


def test_a_bar_is_shown_on_a_terminal_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written(tmp_path / "file", None, range(1, 4))
    assert capsys.readouterr() == ("", "")

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    written(tmp_path / "terminal", None, range(1, 4))
    assert "3/12" in terminal.getvalue()
    assert capsys.readouterr().out == ""


def test_tensorboard_gets_the_same_numbers(tmp_path: Path) -> None:
    # It has no types.
    from tensorboard.backend.event_processing.event_accumulator import (  # type: ignore[import-untyped]
        EventAccumulator,
    )

    settings = QUICK.model_copy(update={"tensorboard": True})
    for done, steps in ((None, range(1, 4)), (1, range(2, 3))):
        with RunLog(tmp_path, done, settings, writes=True) as log:
            for step in steps:
                log.step(step, {"loss": step / 4 + (done or 0)})
            log.evaluation(2, {"score": 0.5})
    found = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    losses = [(event.step, event.value) for event in found.Scalars("step/loss")]
    assert losses == [(1, 0.25), (2, 1.5)]  # what was done again replaces what was
    assert found.Scalars("dev/score")[-1].value == 0.5


def test_a_log_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="cannot be written"):
        RunLog(tmp_path / "file", None, QUICK, writes=True)
    with RunLog(tmp_path / "run", None, QUICK, writes=True) as log:
        (tmp_path / "run" / METRICS).unlink()
        (tmp_path / "run" / METRICS).mkdir()
        with pytest.raises(CheckpointError, match="cannot be written"):
            log.step(1, {"loss": 1.0})
