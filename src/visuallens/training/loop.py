"""The one loop of all stages: steps, evaluation, checkpoints, several processes.

What happens in a step depends on the seed and its number alone: which examples, in which order,
every draw, every dropout. So a run that was killed goes on as if it had not been, and two processes
with the same global batch give the losses of one.

Source: §5; Tables 5 and 6 for the defaults.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError

from visuallens.config import LoopSettings
from visuallens.errors import CheckpointError, TrainingError
from visuallens.training.base import TrainingTask
from visuallens.training.checkpoint import (
    Progress,
    load_checkpoint,
    save_checkpoint,
    trained_weights,
)
from visuallens.training.hardware import (
    accelerator,
    compile_layers,
    forward_of,
    recompute_activations,
    train_mode,
)
from visuallens.training.log import RunLog
from visuallens.training.schedule import Order, draw_seed, learning_rate, pieces, share

if TYPE_CHECKING:
    from torch import Tensor

LAST, BEST, MODEL = "last", "best", "model"
"""Folders of a run: the last and the best checkpoint, and what readers of the model need."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """What a run came to.

    Attributes:
        steps: done.
        best: best score on dev.
        best_step: when it was reached; its weights are in the model afterwards.
        stopped_early: for want of a better score.
    """

    steps: int
    best: float
    best_step: int
    stopped_early: bool


def fit(task: TrainingTask, settings: LoopSettings, folder: Path, *, seed: int = 0) -> Fitted:
    """Train a task, or go on with its training.

    Args:
        task: what is trained; afterwards its model has the best weights, and dropout is off.
        settings: of the loop.
        folder: of the run, which all processes share; a run that is there is continued.
        seed: decides the order of examples and every draw.

    Returns:
        What the run came to.

    Raises:
        TrainingError: there are no examples, nothing to train, a loss is not a number, or the run
            was begun with another global batch.
        CheckpointError: a checkpoint or the log cannot be written or read.
        MissingPackageError: Accelerate is not installed.

    Choice: the best checkpoint by the score on dev is what is kept, and the first of equals.
    """
    if task.size == 0:
        problem = f"{task.name}: there are no training examples"
        raise TrainingError(problem, "Check the train split.")
    if not trained_weights(task.model):
        raise TrainingError(f"{task.name}: nothing of the model is trained", "Add an adapter.")
    return _Run(task, settings, folder, seed).run()


class _Run:
    """One run while it is going on."""

    def __init__(self, task: TrainingTask, settings: LoopSettings, folder: Path, seed: int) -> None:
        import torch

        self._task, self._settings, self._folder, self._seed = task, settings, folder, seed
        self._accelerator = accelerator(settings)
        if settings.gradient_checkpointing:
            recompute_activations(task.model)
        if settings.compile:
            compile_layers(task.model)
        self._weights = [*trained_weights(task.model).values()]
        self._optimiser = torch.optim.AdamW(
            self._weights, lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        self._forward = self._accelerator.prepare(forward_of(task))
        self._prepared = self._accelerator.prepare(self._optimiser)
        self._order = Order(task.size, seed)
        self._processes: int = self._accelerator.num_processes
        self._is_main: bool = self._accelerator.is_main_process
        self._global_batch = settings.batch_size * settings.accumulation * self._processes

    def run(self) -> Fitted:
        found = self._found()
        progress = found or Progress(global_batch=self._global_batch)
        done = None if found is None else found.step
        with RunLog(self._folder, done, self._settings, writes=self._is_main) as log:
            if found is None:
                progress = self._evaluated(progress, log)
            while progress.step < self._settings.steps and not self._has_stopped(progress):
                values = self._step(progress.step)
                progress = replace(progress, step=progress.step + 1)
                log.step(progress.step, values)
                if self._is_time_to_evaluate(progress.step):
                    progress = self._evaluated(progress, log)
        best = load_checkpoint(self._folder / BEST, self._task.model)
        if best is None or best.best is None:
            raise CheckpointError(self._folder / BEST, "the best checkpoint is missing")
        self._task.model.eval()
        self._save_model()
        return Fitted(progress.step, best.best, best.best_step, self._has_stopped(progress))

    def _found(self) -> Progress | None:
        """Load the last checkpoint, where there is one."""
        found = load_checkpoint(self._folder / LAST, self._task.model, self._optimiser)
        self._accelerator.wait_for_everyone()  # the main process may soon write another
        if found is not None and found.global_batch != self._global_batch:
            raise TrainingError(
                f"{self._folder}: this run was begun with {found.global_batch} examples a step, "
                f"and would go on with {self._global_batch}",
                "Start as many processes as before, or choose another folder.",
            )
        if found is not None and found.scaler and self._accelerator.scaler is not None:
            self._accelerator.scaler.load_state_dict(dict(found.scaler))
        return found

    def _has_stopped(self, progress: Progress) -> bool:
        patience = self._settings.patience
        return patience is not None and progress.evaluations_without_gain >= patience

    def _is_time_to_evaluate(self, step: int) -> bool:
        return step % self._settings.evaluate_every == 0 or step == self._settings.steps

    def _step(self, step: int) -> dict[str, float]:
        """Do one step of the optimiser; return the mean losses over its global batch."""
        rate = learning_rate(step, self._settings)
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        train_mode(self._task.model)
        batch = self._order.batch(step, self._global_batch)
        means = self._gradients(step, batch)
        norm = float(self._accelerator.clip_grad_norm_(self._weights, self._settings.max_grad_norm))
        # Loss scaling meets infinite gradients now and then, and leaves out the step by itself.
        if self._accelerator.scaler is None and not math.isfinite(norm):
            raise self._not_a_number("the gradient", step, batch)
        self._prepared.step()
        self._prepared.zero_grad()
        return {**means, "learning_rate": rate, "gradient_norm": norm}

    def _gradients(self, step: int, batch: Sequence[int]) -> dict[str, float]:
        """Add up the gradients of this process's share of a batch; return the batch's losses."""
        import torch

        mine = share(batch, self._accelerator.process_index, self._processes)
        parts = [*pieces(mine, self._settings.batch_size)]
        draws = draw_seed(self._seed, step)
        sums: dict[str, Tensor] = {}
        for number, examples in enumerate(parts):
            # Processes exchange gradients once a step, after the last piece.
            alone = self._accelerator.no_sync(self._forward)
            with nullcontext() if number == len(parts) - 1 else alone:
                torch.manual_seed(draw_seed(self._seed, step, *examples))
                losses: dict[str, Tensor] = self._forward(examples, draws)
                self._refuse_nan(losses["loss"], step, examples)
                # They average their gradients; each brings its share of the mean.
                whole = losses["loss"].sum() * self._processes / len(batch)
                self._accelerator.backward(whole)
            for name, each in losses.items():
                sums[name] = sums.get(name, 0) + each.detach().float().sum()
        totals = self._accelerator.reduce(torch.stack([*sums.values()]), "sum")
        return dict(zip(sums, (totals / len(batch)).tolist(), strict=True))

    def _refuse_nan(self, losses: Tensor, step: int, examples: Sequence[int]) -> None:
        values = zip(examples, losses.detach().tolist(), strict=True)
        if wrong := [example for example, loss in values if not math.isfinite(loss)]:
            raise self._not_a_number("the loss", step, wrong)

    def _not_a_number(self, what: str, step: int, examples: Sequence[int]) -> TrainingError:
        return TrainingError(
            f"{self._task.name}: {what} is not a number at step {step + 1}, with the examples "
            f"{list(examples)}",
            "Lower training.loop.learning_rate, or choose float32 as the precision. The last good "
            f"checkpoint is in {self._folder / LAST}.",
        )

    def _evaluated(self, progress: Progress, log: RunLog) -> Progress:
        """Measure on dev, and write the checkpoints."""
        metrics = self._measured(progress.step)
        log.evaluation(progress.step, metrics)
        score = metrics["score"]
        is_better = progress.best is None or score > progress.best
        scaler = self._accelerator.scaler
        progress = replace(
            progress,
            best=score if is_better else progress.best,
            best_step=progress.step if is_better else progress.best_step,
            evaluations_without_gain=0 if is_better else progress.evaluations_without_gain + 1,
            scaler=None if scaler is None else scaler.state_dict(),
        )
        if self._is_main:
            if is_better:
                save_checkpoint(self._folder / BEST, self._task.model, None, progress)
            save_checkpoint(self._folder / LAST, self._task.model, self._optimiser, progress)
        self._accelerator.wait_for_everyone()
        return progress

    def _measured(self, step: int) -> Mapping[str, float]:
        """Measure on dev, in every process, and let all go by what the main one found."""
        import torch
        from accelerate.utils import broadcast_object_list

        self._task.model.eval()
        torch.manual_seed(draw_seed(self._seed, step))
        with torch.no_grad(), torch.compiler.set_stance("force_eager"):
            found = [dict(self._task.evaluate())]
        metrics: dict[str, float] = broadcast_object_list(found)[0]
        if not math.isfinite(metrics["score"]):
            raise TrainingError(
                f"{self._task.name}: the score on dev is not a number after step {step}",
                f"Check the dev split. The last good checkpoint is in {self._folder / LAST}.",
            )
        return metrics

    def _save_model(self) -> None:
        if self._is_main:
            try:
                self._task.save(self._folder / MODEL)
            except (OSError, SafetensorError) as error:
                problem = f"the trained model cannot be written ({error})"
                raise CheckpointError(self._folder / MODEL, problem) from error
        self._accelerator.wait_for_everyone()
