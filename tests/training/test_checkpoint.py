from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.training.toy_task import QUICK, ToyTask, weights_of
from torch import nn

from visuallens.errors import CheckpointError
from visuallens.training.checkpoint import Progress, load_checkpoint, save_checkpoint
from visuallens.training.loop import LAST, fit

PROGRESS = Progress(step=7, best=0.1 + 0.2, best_step=3, evaluations_without_gain=2, global_batch=4)


def trained(hidden: int = 16) -> tuple[ToyTask, torch.optim.Optimizer]:
    """Return a task and its optimiser after three steps."""
    task = ToyTask(hidden=hidden, dropout=0.0)
    optimiser = torch.optim.AdamW([w for w in task.model.parameters() if w.requires_grad])
    for step in range(3):
        task.losses([step], step).each.sum().backward()
        optimiser.step()
        optimiser.zero_grad()
    return task, optimiser


def fresh() -> tuple[ToyTask, torch.optim.Optimizer]:
    task = ToyTask(dropout=0.0)
    return task, torch.optim.AdamW([w for w in task.model.parameters() if w.requires_grad])


def test_weights_optimiser_and_progress_come_back_exactly(tmp_path: Path) -> None:
    task, optimiser = trained()
    scaled = replace(PROGRESS, scaler={"scale": 65536.0, "_growth_tracker": 3})
    save_checkpoint(tmp_path / "last", task.model, optimiser, scaled)
    again, restored = fresh()
    assert load_checkpoint(tmp_path / "last", again.model, restored) == scaled
    for one, other in ((task, optimiser), (again, restored)):
        one.losses([5], 5).each.sum().backward()
        other.step()
    for name, weight in weights_of(task).items():
        assert torch.equal(weight, weights_of(again)[name])


def test_only_what_is_trained_is_written(tmp_path: Path) -> None:
    task, _ = trained()
    save_checkpoint(tmp_path / "best", task.model, None, PROGRESS)
    assert {path.name for path in (tmp_path / "best").iterdir()} == {
        "weights.safetensors",
        "progress.json",
    }
    again, _ = fresh()
    nn.init.constant_(again.model.frozen, 9.0)  # type: ignore[arg-type]
    load_checkpoint(tmp_path / "best", again.model)
    assert torch.equal(weights_of(again)["expand.weight"], weights_of(task)["expand.weight"])
    assert weights_of(again)["frozen"].tolist() == [9.0] * 3


def test_where_there_is_none_nothing_is_loaded(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path / "last", ToyTask().model) is None


def test_shared_and_transposed_weights_are_written(tmp_path: Path) -> None:
    first, second = nn.Linear(3, 3), nn.Linear(3, 3)
    second.weight = first.weight
    first.bias = nn.Parameter(torch.arange(12.0).reshape(3, 4).t())
    model = nn.ModuleList([first, second])
    save_checkpoint(tmp_path / "last", model, None, PROGRESS)
    expected = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    for weight in model.parameters():
        nn.init.zeros_(weight)
    load_checkpoint(tmp_path / "last", model)
    assert all(torch.equal(weight, expected[name]) for name, weight in model.named_parameters())
    assert first.bias[1, 0] == 1


@pytest.mark.parametrize("file", ["weights.safetensors", "optimiser.safetensors", "progress.json"])
@pytest.mark.parametrize("content", ["", "{", "[]", "half", None])
def test_a_damaged_checkpoint_is_refused(tmp_path: Path, file: str, content: str | None) -> None:
    task, optimiser = trained()
    save_checkpoint(tmp_path / "last", task.model, optimiser, PROGRESS)
    path = tmp_path / "last" / file
    if content is None:
        path.unlink()
    elif content == "half":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    else:
        path.write_text(content)
    again, empty = fresh()
    with pytest.raises(CheckpointError, match="last"):
        load_checkpoint(tmp_path / "last", again.model, empty)


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    task, optimiser = trained(hidden=8)
    save_checkpoint(tmp_path / "last", task.model, optimiser, PROGRESS)
    again, empty = fresh()
    with pytest.raises(CheckpointError, match="not those of this model"):
        load_checkpoint(tmp_path / "last", again.model, empty)
    with pytest.raises(CheckpointError, match="not those of this model"):
        load_checkpoint(tmp_path / "last", nn.Linear(2, 2))


def test_an_optimiser_of_another_model_is_refused(tmp_path: Path) -> None:
    for name, hidden in (("last", 16), ("other", 8)):
        save_checkpoint(tmp_path / name, *_model(trained(hidden)), PROGRESS)
    (tmp_path / "other" / "optimiser.safetensors").replace(
        tmp_path / "last" / "optimiser.safetensors"
    )
    again, empty = fresh()
    with pytest.raises(CheckpointError, match="shape of another weight"):
        load_checkpoint(tmp_path / "last", again.model, empty)


def test_progress_of_a_later_version_is_refused(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "last", *_model(trained()), PROGRESS)
    path = tmp_path / "last" / "progress.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "mood": 1}))
    with pytest.raises(CheckpointError, match="mood"):
        load_checkpoint(tmp_path / "last", ToyTask().model)


def test_what_is_no_checkpoint_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "last"
    folder.mkdir()
    (folder / "mine.txt").write_text("mine")
    with pytest.raises(CheckpointError, match="no checkpoint"):
        save_checkpoint(folder, *_model(trained()), PROGRESS)
    with pytest.raises(CheckpointError, match="no checkpoint"):
        load_checkpoint(folder, ToyTask().model)
    assert [path.name for path in folder.iterdir()] == ["mine.txt"]


def test_a_kill_between_setting_aside_and_replacing_loses_nothing(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "last", *_model(trained()), PROGRESS)
    (tmp_path / "last").rename(tmp_path / "last.before")
    (tmp_path / "last.part").mkdir()  # half of the next one
    assert load_checkpoint(tmp_path / "last", ToyTask().model) == PROGRESS
    later = Progress(step=9)
    save_checkpoint(tmp_path / "last", *_model(trained()), later)
    assert load_checkpoint(tmp_path / "last", ToyTask().model) == later
    assert [path.name for path in tmp_path.iterdir()] == ["last"]


def test_a_failed_write_leaves_the_one_that_was_set_aside(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "last", *_model(trained()), PROGRESS)
    (tmp_path / "last").rename(tmp_path / "last.before")
    (tmp_path / "last.part").write_text("in the way")
    with pytest.raises(CheckpointError, match="cannot be written"):
        save_checkpoint(tmp_path / "last", *_model(trained()), Progress(step=9))
    assert load_checkpoint(tmp_path / "last", ToyTask().model) == PROGRESS


def test_a_damaged_checkpoint_stops_the_run_with_advice(tmp_path: Path) -> None:
    fit(ToyTask(), QUICK, tmp_path)
    (tmp_path / LAST / "weights.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match="delete the run's folder to begin anew"):
        fit(ToyTask(), QUICK, tmp_path)


def _model(pair: tuple[ToyTask, torch.optim.Optimizer]) -> tuple[nn.Module, torch.optim.Optimizer]:
    return pair[0].model, pair[1]
