from __future__ import annotations

import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import peft
import pytest
import torch
from safetensors.torch import load_file
from tests.training.toy_task import QUICK, ToyTask, losses_of, weights_of
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

from visuallens.errors import CheckpointError, TrainingError
from visuallens.training.base import Losses
from visuallens.training.checkpoint import load_checkpoint
from visuallens.training.log import read_log
from visuallens.training.loop import BEST, LAST, MODEL, Fitted, fit


class Scripted(ToyTask):
    """Its scores are given; it remembers the weights that it was measured with."""

    def __init__(self, scores: Sequence[float]) -> None:
        super().__init__()
        self.scores = list(scores)
        self.measured: list[dict[str, Tensor]] = []

    def evaluate(self) -> Mapping[str, float]:
        self.measured.append(weights_of(self))
        return {"score": self.scores[len(self.measured) - 1]}


class Spoilt(ToyTask):
    """The loss of example 5, or its gradient, is not a number once the model was measured twice."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self.what, self.evaluations = what, 0

    def evaluate(self) -> Mapping[str, float]:
        self.evaluations += 1
        return {**super().evaluate(), **({"score": math.nan} if self.what == "score" else {})}

    def losses(self, examples: Sequence[int], seed: int) -> Losses:
        found = super().losses(examples, seed)
        if 5 not in examples or self.evaluations < 2:
            return found
        place = torch.tensor([example == 5 for example in examples])
        if self.what == "loss":
            return replace(found, each=found.each.masked_fill(place, math.nan))
        # The root of nothing has an infinite slope, and infinity times nothing is not a number.
        return replace(found, each=found.each + torch.sqrt(found.each * 0))


class Words(nn.Module):
    """A tiny language model with LoRA, as the stages train it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=20,
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=2,
        )
        lora = peft.LoraConfig(r=2, lora_dropout=0.2, target_modules=["q_proj", "up_proj"])
        self.language = peft.get_peft_model(LlamaForCausalLM(config), lora)


class WordsTask:
    """See `TrainingTask`: it learns to continue rows of random tokens."""

    name, size = "words", 8

    def __init__(self) -> None:
        self.model: nn.Module = Words()
        generator = torch.Generator().manual_seed(1)
        self.rows = torch.randint(0, 20, (8, 6), generator=generator)

    def losses(self, examples: Sequence[int], seed: int) -> Losses:
        del seed
        rows = self.rows[list(examples)]
        logits = self.model.language(input_ids=rows).logits  # type: ignore[operator]
        each = nn.functional.cross_entropy(
            logits[:, :-1].transpose(1, 2), rows[:, 1:], reduction="none"
        )
        return Losses(each.mean(dim=-1))

    def evaluate(self) -> Mapping[str, float]:
        return {"score": -float(self.losses(range(8), 0).each.mean())}

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Compute in one thread: small matrices gain nothing from more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def losses(folder: Path) -> list[float]:
    return [record["loss"] for record in read_log(folder) if record["kind"] == "step"]


def test_losses_go_down_and_the_model_is_saved(tmp_path: Path) -> None:
    task = ToyTask()
    fitted = fit(task, QUICK.model_copy(update={"steps": 40}), tmp_path)
    found = losses(tmp_path)
    assert sum(found[-5:]) < 0.8 * sum(found[:5])
    first = next(record for record in read_log(tmp_path) if record["kind"] == "dev")
    assert fitted.best > first["score"]
    saved = load_file(tmp_path / MODEL / "model.safetensors")
    assert all(torch.equal(weight, saved[name]) for name, weight in weights_of(task).items())
    assert not task.model.training


def test_every_step_is_noted_once_and_dev_after_the_last_step_too(tmp_path: Path) -> None:
    settings = QUICK.model_copy(update={"steps": 10})
    first = fit(ToyTask(), settings, tmp_path)
    lines = read_log(tmp_path)
    assert [line["step"] for line in lines if line["kind"] == "step"] == list(range(1, 11))
    assert [line["step"] for line in lines if line["kind"] == "dev"] == [0, 4, 8, 10]
    step = next(line for line in lines if line["kind"] == "step")
    assert {"loss", "match", "double", "learning_rate", "gradient_norm", "seconds"} <= step.keys()
    assert step["double"] == pytest.approx(2 * step["match"])
    # A run that has ended has nothing left to do.
    assert fit(ToyTask(), settings, tmp_path) == first
    assert read_log(tmp_path) == lines


def test_the_same_seed_gives_the_same_run_and_another_one_another(tmp_path: Path) -> None:
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        torch.manual_seed(seed * 100 + ord(name))  # what came before does not matter
        fit(ToyTask(), QUICK, tmp_path / name, seed=seed)
    assert losses_of(tmp_path / "a") == losses_of(tmp_path / "b")
    assert losses(tmp_path / "a") != losses(tmp_path / "c")


def test_all_pieces_of_a_step_get_its_seed(tmp_path: Path) -> None:
    task = ToyTask()
    fit(task, QUICK.model_copy(update={"accumulation": 3, "steps": 4}), tmp_path)
    steps = [task.asked[start : start + 3] for start in range(0, 12, 3)]
    assert all(len({seed for _, seed in step}) == 1 for step in steps)
    assert len({step[0][1] for step in steps}) == 4
    shown = [example for piece, _ in task.asked for example in piece]
    assert sorted(shown) == sorted([*range(24), *range(24)])  # 4 steps of 12 are two rounds


def test_accumulation_gives_the_losses_of_one_large_batch(tmp_path: Path) -> None:
    whole, parts = ToyTask(dropout=0.0), ToyTask(dropout=0.0)
    fit(whole, QUICK.model_copy(update={"batch_size": 8}), tmp_path / "whole")
    fit(parts, QUICK.model_copy(update={"accumulation": 2}), tmp_path / "parts")
    for one, other in zip(
        losses_of(tmp_path / "whole"), losses_of(tmp_path / "parts"), strict=True
    ):
        assert other == pytest.approx(one, abs=1e-6)


def test_gradients_are_clipped_and_their_norm_is_noted_before(tmp_path: Path) -> None:
    settings = QUICK.model_copy(update={"steps": 1, "max_grad_norm": 0.01})
    fit(ToyTask(), settings, tmp_path)
    assert read_log(tmp_path)[1]["gradient_norm"] > 0.05
    # After one step AdamW's first moment is a tenth of the gradient that it was given.
    state = load_file(tmp_path / LAST / "optimiser.safetensors")
    moments = [tensor.flatten() for name, tensor in state.items() if name.startswith("exp_avg/")]
    assert 10 * torch.cat(moments).norm().item() == pytest.approx(0.01, rel=1e-3)


def test_the_best_weights_are_in_the_model_at_the_end(tmp_path: Path) -> None:
    task = Scripted([0.1, 0.3, 0.3, 0.2])
    assert fit(task, QUICK, tmp_path) == Fitted(12, 0.3, 4, stopped_early=False)
    for name, weight in weights_of(task).items():  # the first of equals
        assert torch.equal(weight, task.measured[1][name])
    assert not torch.equal(task.measured[1]["expand.weight"], task.measured[3]["expand.weight"])


def test_training_stops_early_for_want_of_a_better_score(tmp_path: Path) -> None:
    settings = QUICK.model_copy(update={"steps": 40, "patience": 2})
    task = Scripted([0.1, 0.5, 0.4, 0.6, 0.6, 0.2])
    expected = Fitted(20, 0.6, 12, stopped_early=True)
    assert fit(task, settings, tmp_path) == expected
    again = Scripted([])  # it stays stopped
    assert fit(again, settings, tmp_path) == expected
    assert torch.equal(weights_of(again)["expand.weight"], task.measured[3]["expand.weight"])


def test_a_loss_that_is_not_a_number_names_step_and_example(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"the loss is not a number at step \d+") as caught:
        fit(Spoilt("loss"), QUICK, tmp_path)
    assert "examples [5]" in str(caught.value)
    assert str(tmp_path / LAST) in str(caught.value)
    assert fit(ToyTask(), QUICK, tmp_path).steps == 12  # from the last good checkpoint
    fit(ToyTask(), QUICK, tmp_path / "unbroken")
    assert losses_of(tmp_path) == losses_of(tmp_path / "unbroken")


def test_a_gradient_that_is_not_a_number_spoils_no_weights(tmp_path: Path) -> None:
    task = Spoilt("gradient")
    with pytest.raises(TrainingError, match="the gradient is not a number"):
        fit(task, QUICK, tmp_path)
    assert all(bool(weight.isfinite().all()) for weight in weights_of(task).values())


def test_a_score_that_is_not_a_number_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="score on dev is not a number after step 0"):
        fit(Spoilt("score"), QUICK, tmp_path)


def test_nothing_to_learn_from_and_nothing_to_train_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no training examples"):
        fit(ToyTask(size=0), QUICK, tmp_path)
    frozen = ToyTask()
    frozen.model.requires_grad_(False)
    with pytest.raises(TrainingError, match="nothing of the model is trained"):
        fit(frozen, QUICK, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_folder_of_the_users_own_is_left_alone(tmp_path: Path) -> None:
    for name in (BEST, LAST):
        run = tmp_path / name
        (run / name).mkdir(parents=True)
        (run / name / "thesis.txt").write_text("mine")
        with pytest.raises(CheckpointError, match="no checkpoint"):
            fit(ToyTask(), QUICK, run)
        assert (run / name / "thesis.txt").read_text() == "mine"


def test_a_missing_best_checkpoint_is_named(tmp_path: Path) -> None:
    fit(ToyTask(), QUICK, tmp_path)
    (tmp_path / BEST).rename(tmp_path / "elsewhere")
    with pytest.raises(CheckpointError, match="the best checkpoint is missing"):
        fit(ToyTask(), QUICK, tmp_path)


def test_a_model_that_cannot_be_written_is_named_and_nothing_is_lost(tmp_path: Path) -> None:
    tmp_path.joinpath(MODEL).write_text("in the way")
    with pytest.raises(CheckpointError, match="the trained model cannot be written"):
        fit(ToyTask(), QUICK, tmp_path)
    progress = load_checkpoint(tmp_path / LAST, ToyTask().model)
    assert progress is not None
    assert progress.step == 12


def test_runs_of_one_process_can_have_different_precisions(tmp_path: Path) -> None:
    for precision in ("float32", "bfloat16", "auto"):
        settings = QUICK.model_copy(update={"precision": precision})
        fit(ToyTask(), settings, tmp_path / precision)
    assert losses(tmp_path / "auto") == losses(tmp_path / "float32")
    found = losses(tmp_path / "bfloat16")
    assert found != losses(tmp_path / "float32")
    assert found == pytest.approx(losses(tmp_path / "float32"), abs=0.02)


@pytest.mark.skipif(torch.accelerator.is_available(), reason="this machine may compute in float16")
def test_float16_without_a_gpu_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="float16 needs a GPU"):
        fit(ToyTask(), QUICK.model_copy(update={"precision": "float16"}), tmp_path)


# PEFT still asks under the old name.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
def test_activations_computed_twice_change_nothing(tmp_path: Path) -> None:
    for twice in (False, True):
        settings = QUICK.model_copy(update={"steps": 3, "gradient_checkpointing": twice})
        task = WordsTask()
        fit(task, settings, tmp_path / str(twice))
        checkpointing = [getattr(m, "gradient_checkpointing", False) for m in task.model.modules()]
        assert any(checkpointing) == twice
    assert losses(tmp_path / "True") == pytest.approx(losses(tmp_path / "False"), rel=1e-5)


def test_a_model_that_cannot_compute_activations_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"Leave training\.loop\.gradient_checkpointing off"):
        fit(ToyTask(), QUICK.model_copy(update={"gradient_checkpointing": True}), tmp_path)


@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="no compiler")
@pytest.mark.filterwarnings("ignore")  # the compiler's own
def test_compiled_layers_learn_the_same(tmp_path: Path) -> None:
    for compiled in (False, True):
        settings = QUICK.model_copy(update={"steps": 2, "compile": compiled})
        fit(WordsTask(), settings, tmp_path / str(compiled))
    assert losses(tmp_path / "True") == pytest.approx(losses(tmp_path / "False"), rel=1e-5)


def test_a_model_without_layers_to_compile_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"Leave training\.loop\.compile off"):
        fit(ToyTask(), QUICK.model_copy(update={"compile": True}), tmp_path)


def test_frozen_normalisation_keeps_its_statistics(tmp_path: Path) -> None:
    task = ToyTask()
    seen, learnt = nn.BatchNorm1d(6), nn.BatchNorm1d(6)
    seen.requires_grad_(False)
    task.model = nn.ModuleList([seen, learnt, task.model])
    layers = nn.Sequential(*task.model)
    scorer = task.model[2]

    def losses_with_norm(examples: Sequence[int], seed: int) -> Losses:
        each = torch.stack(
            [scorer(learnt(seen(task.features[at])), at % 2).square().mean() for at in examples]
        )
        return Losses(each)

    task.losses = losses_with_norm  # type: ignore[method-assign]
    task.evaluate = lambda: {"score": 0.0}  # type: ignore[method-assign]
    fit(task, QUICK.model_copy(update={"steps": 3, "evaluate_every": 3}), tmp_path)
    assert len(layers) == 3
    written = load_file(tmp_path / LAST / "weights.safetensors")
    assert torch.equal(seen.running_mean, torch.zeros(6))  # type: ignore[arg-type]
    assert bool(written["1.running_mean"].any())
