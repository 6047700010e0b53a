"""What several processes do, and what a killed one leaves: all in processes of their own."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from multiprocessing import get_context
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.training.toy_task import QUICK, ToyTask, losses_of, train, train_until_full, weights_of

from visuallens.errors import TrainingError
from visuallens.training.checkpoint import load_checkpoint
from visuallens.training.log import read_log
from visuallens.training.loop import LAST, MODEL, fit

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Compute in one thread, as the other processes do."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def context(monkeypatch: pytest.MonkeyPatch) -> ForkServerContext:
    """Start processes from one that has imported everything and computed nothing."""
    monkeypatch.syspath_prepend(str(ROOT))
    chosen = get_context("forkserver")
    chosen.set_forkserver_preload(["tests.training.toy_task", "accelerate"])
    return chosen


def test_two_processes_give_the_losses_of_one_and_only_one_writes(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    # In some steps a process sees only even examples, and has no gradient for the other head.
    share = json.dumps({"batch_size": 1, "accumulation": 2})
    launch = ["torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    module = ["-m", "tests.training.toy_task", str(two), share]
    done = subprocess.run(
        [sys.executable, "-m", *launch, *module],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    alone = ToyTask(dropout=0.0)
    fit(alone, QUICK, one, seed=3)
    expected, found = losses_of(one), losses_of(two)
    assert [(record["kind"], record["step"]) for record in found] == [
        (record["kind"], record["step"]) for record in expected
    ]
    for record, other in zip(expected, found, strict=True):
        assert other == pytest.approx(record, abs=1e-5)
    assert (two / MODEL / "saves.txt").read_text() == "saved\n"
    together = ToyTask(dropout=0.0)
    load_checkpoint(two / LAST, together.model)
    for name, weight in weights_of(together).items():
        torch.testing.assert_close(weight, weights_of(alone)[name], atol=1e-5, rtol=0)
    with pytest.raises(TrainingError, match="begun with 4 examples a step, and would go on with 2"):
        fit(ToyTask(), QUICK.model_copy(update={"batch_size": 2}), two)


def test_processes_that_do_not_know_of_each_other_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit(ToyTask(), QUICK, tmp_path / "alone")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(TrainingError, match="2 processes were started, and Accelerate knows of 1"):
        fit(ToyTask(), QUICK, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_that_is_killed_again_and_again_ends_as_an_unbroken_one(
    tmp_path: Path, context: ForkServerContext
) -> None:
    settings = QUICK.model_copy(update={"steps": 20, "evaluate_every": 2})
    unbroken, killed = tmp_path / "unbroken", tmp_path / "killed"

    def started(folder: Path) -> BaseProcess:
        size = {"dropout": 0.3, "hidden": 8_000}
        process = context.Process(target=train, args=(folder, settings), kwargs=size)
        process.start()
        return process

    started(unbroken).join()
    chance = np.random.default_rng(11)
    kills = kills_while_writing = 0
    for number in range(8):
        process = started(killed)
        until = time.monotonic() + chance.uniform(0.0, 0.25)
        # Every other time the moment is when a checkpoint is being written or put in its place.
        while process.is_alive() and time.monotonic() < until:
            time.sleep(0.002)
        while process.is_alive() and number % 2 and not _is_writing(killed):
            pass
        kills_while_writing += process.is_alive() and _is_writing(killed)
        kills += process.is_alive()
        process.kill()
        process.join()
    last = started(killed)
    last.join()
    assert last.exitcode == 0
    assert kills >= 3
    assert kills_while_writing >= 1
    assert losses_of(killed) == losses_of(unbroken)
    for file in ("last/weights", "last/optimiser", "best/weights", "model/model"):
        name = f"{file}.safetensors"
        assert (killed / name).read_bytes() == (unbroken / name).read_bytes()
    steps = [record["step"] for record in read_log(killed) if record["kind"] == "step"]
    assert steps == list(range(1, 21))


def test_a_full_disk_leaves_the_last_good_checkpoint(
    tmp_path: Path, context: ForkServerContext
) -> None:
    run, answer = tmp_path / "run", tmp_path / "answer.txt"
    process = context.Process(target=train_until_full, args=(run, QUICK, answer))
    process.start()
    process.join()
    assert process.exitcode == 0
    path, message = answer.read_text().splitlines()
    assert Path(path).parent == run
    assert "cannot be written" in message
    assert "Free space" in message
    assert not list(run.glob("*.part"))
    task = ToyTask(hidden=4_000)
    progress = load_checkpoint(run / LAST, task.model, torch.optim.AdamW(task.model.parameters()))
    assert progress is not None
    assert progress.step == 4  # evaluations after steps 0 and 4 were written, the third was not
    assert fit(ToyTask(hidden=4_000), QUICK, run).steps == 12  # and with space it goes on


def _is_writing(run: Path) -> bool:
    return any((run / name).exists() for name in ("last.part", "best.part", "last.before"))
