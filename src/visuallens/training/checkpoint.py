"""Checkpoints that survive a kill and a full disk: whatever happens, the last good one is there.

A checkpoint is a folder of safetensors and JSON: trained weights, the state of the optimiser, the
step. It is written beside its place and renamed; the one before stays until the new one is whole.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError

from visuallens.errors import CheckpointError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

_WEIGHTS = "weights.safetensors"
_OPTIMISER = "optimiser.safetensors"
_PROGRESS = "progress.json"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run has come.

    Attributes:
        step: steps done.
        best: best score so far; None before the first evaluation.
        best_step: when it was reached.
        evaluations_without_gain: since then.
        global_batch: examples of one step, of all processes together.
        scaler: state of the loss scaling of float16; None in other precisions.
    """

    step: int = 0
    best: float | None = None
    best_step: int = 0
    evaluations_without_gain: int = 0
    global_batch: int = 0
    scaler: Mapping[str, float] | None = None


def save_checkpoint(
    folder: Path, model: nn.Module, optimiser: torch.optim.Optimizer | None, progress: Progress
) -> None:
    """Write a checkpoint, whole or not at all.

    Args:
        folder: of the checkpoint; the one that is there is replaced once the new one is whole.
        model: its trained weights are written.
        optimiser: of these weights; None: leave it out.
        progress: of the run.

    Raises:
        CheckpointError: the disk is full or cannot be written, or the folder is something else;
            what is there stays.
    """
    from safetensors.torch import save_file

    _refuse_foreign(folder)
    part = folder.with_name(folder.name + ".part")
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        save_file(_copied(_state(model)), part / _WEIGHTS)
        if optimiser is not None:
            tensors = _optimiser_tensors(trained_weights(model), optimiser)
            save_file(_copied(tensors), part / _OPTIMISER)
        (part / _PROGRESS).write_text(json.dumps(asdict(progress)), encoding="utf-8")
        _replace(part, folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(part, ignore_errors=True)
        raise CheckpointError(folder, f"it cannot be written ({error})") from error


def load_checkpoint(
    folder: Path, model: nn.Module, optimiser: torch.optim.Optimizer | None = None
) -> Progress | None:
    """Load a checkpoint into a model and its optimiser.

    Args:
        folder: of the checkpoint.
        model: with the same trained weights.
        optimiser: of these weights; None: leave it.

    Returns:
        How far the run had come; None where there is no checkpoint.

    Raises:
        CheckpointError: it is damaged, of another model, or no checkpoint at all.
    """
    from safetensors.torch import load_file

    _refuse_foreign(folder)
    place = _found(folder)
    if place is None:
        return None
    try:
        progress = Progress(**json.loads((place / _PROGRESS).read_text("utf-8")))
        loaded = load_file(place / _WEIGHTS)
        tensors = {} if optimiser is None else load_file(place / _OPTIMISER)
        state = _state(model)
        if _shapes(loaded) != _shapes(state):
            raise CheckpointError(folder, "its weights are not those of this model")
        _copy(loaded, state)
        if optimiser is not None:
            _restore(optimiser, trained_weights(model), tensors)
    except (OSError, ValueError, TypeError, KeyError, SafetensorError) as error:
        raise CheckpointError(folder, f"it cannot be read ({error})") from error
    return progress


def trained_weights(model: nn.Module) -> dict[str, Tensor]:
    """Name the weights of a model that are trained, each once."""
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}


def _state(model: nn.Module) -> dict[str, Tensor]:
    """Name what training changes: weights, and the running statistics beside them."""
    state = trained_weights(model)
    for name, module in model.named_modules():
        if any(weight.requires_grad for weight in module.parameters(recurse=False)):
            for key, buffer in module.named_buffers(prefix=name, recurse=False):
                state[key] = buffer
    return state


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in tensors.items()}


def _copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Bring tensors into the form that safetensors writes."""
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def _copy(loaded: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
    import torch

    with torch.no_grad():
        for name, tensor in loaded.items():
            state[name].copy_(tensor)


def _optimiser_tensors(
    weights: Mapping[str, Tensor], optimiser: torch.optim.Optimizer
) -> dict[str, Tensor]:
    import torch

    return {
        f"{key}/{name}": torch.as_tensor(value)
        for name, weight in weights.items()
        for key, value in optimiser.state.get(weight, {}).items()
    }


def _restore(
    optimiser: torch.optim.Optimizer, weights: Mapping[str, Tensor], tensors: Mapping[str, Tensor]
) -> None:
    for whole, tensor in tensors.items():
        key, _, name = whole.partition("/")
        weight = weights[name]
        if tensor.dim() and tensor.shape != weight.shape:
            raise ValueError(f"the optimiser's {whole} has the shape of another weight")
        # Counts stay on the CPU, where PyTorch keeps them.
        optimiser.state[weight][key] = tensor.to(weight.device) if tensor.dim() else tensor


def _replace(part: Path, folder: Path) -> None:
    """Put a whole checkpoint in the place of the one before, which goes only when it is safe."""
    before = _before(folder)
    if folder.exists():
        shutil.rmtree(before, ignore_errors=True)
        folder.rename(before)
    part.rename(folder)
    shutil.rmtree(before, ignore_errors=True)


def _found(folder: Path) -> Path | None:
    """Find a checkpoint, also one that was set aside when the run was killed."""
    places = (folder, _before(folder))
    return next((place for place in places if (place / _PROGRESS).is_file()), None)


def _before(folder: Path) -> Path:
    return folder.with_name(folder.name + ".before")


def _refuse_foreign(folder: Path) -> None:
    """Leave alone what is no checkpoint, such as a folder of the user's own."""
    try:
        is_foreign = folder.exists() and not (folder / _PROGRESS).is_file()
    except OSError as error:
        raise CheckpointError(folder, f"it cannot be read ({error})") from error
    if is_foreign:
        raise CheckpointError(folder, f"it is no checkpoint, for it has no {_PROGRESS}")
