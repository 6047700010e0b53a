"""How a model is trained on the machine at hand: precision, processes, memory."""

from __future__ import annotations

import atexit
import os
import shutil
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from visuallens.config import LoopSettings
from visuallens.errors import MissingPackageError, TrainingError
from visuallens.training.base import TrainingTask

if TYPE_CHECKING:
    from torch import Tensor, nn


def accelerator(settings: LoopSettings) -> Any:  # noqa: ANN401 - Accelerate is optional
    """Open Accelerate for one run.

    Args:
        settings: of the loop.

    Returns:
        An `accelerate.Accelerator`.

    Raises:
        MissingPackageError: Accelerate is not installed.
        TrainingError: the machine cannot compute in the chosen precision, or processes that were
            started together do not know of each other.

    Choice: weights without a gradient in a step are allowed, for a task may use some of them for
        some of its examples.
    """
    try:
        from accelerate import Accelerator, DistributedDataParallelKwargs
        from accelerate.state import AcceleratorState
    except ImportError as error:
        raise MissingPackageError(
            "accelerate", "Training", "pip install 'visuallens[train]'"
        ) from error
    # It keeps the precision of its first use for good, which may have been another run's.
    AcceleratorState._reset_state()  # noqa: SLF001 - there is no other way
    try:
        opened = Accelerator(
            cpu=_has_no_gpu(),
            mixed_precision=_precision(settings),
            kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
        )
    except ValueError as error:
        raise _wrong_precision(settings, str(error)) from error
    if opened.device.type == "cpu" and settings.precision == "float16":
        raise _wrong_precision(settings, "float16 needs a GPU")
    _refuse_strangers(opened.num_processes)
    atexit.unregister(_leave_processes)
    atexit.register(_leave_processes)
    return opened


def is_main_process() -> bool:
    """Tell whether this process is the one that writes; with one process it is."""
    from accelerate import PartialState

    return bool(PartialState(cpu=_has_no_gpu()).is_main_process)


def _has_no_gpu() -> bool:
    """Tell whether processes share CPUs: unless told, each would take itself for the only one."""
    import torch

    return not torch.accelerator.is_available()


def _refuse_strangers(known: int) -> None:
    """Refuse processes that were started together and do not know of each other."""
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if started != known:
        raise TrainingError(
            f"{started} processes were started, and Accelerate knows of {known}",
            "Start them with torchrun, or one alone; see docs/training.md.",
        )


def _leave_processes() -> None:
    """Take leave of the other processes; one that just goes may crash on its way out."""
    import torch

    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _wrong_precision(settings: LoopSettings, reason: str) -> TrainingError:
    return TrainingError(
        f"this machine cannot train in {settings.precision} ({reason})",
        "Choose --set training.loop.precision=float32, or bfloat16.",
    )


def _precision(settings: LoopSettings) -> str:
    import torch

    names = {"float32": "no", "bfloat16": "bf16", "float16": "fp16"}
    if settings.precision != "auto":
        return names[settings.precision]
    # Older GPUs only emulate it, which is slower than float32.
    has_bfloat16 = torch.cuda.is_available() and torch.cuda.is_bf16_supported(
        including_emulation=False
    )
    return "bf16" if has_bfloat16 else "no"


def forward_of(task: TrainingTask) -> nn.Module:
    """Make the losses of a task the forward pass of a module, as several processes need it.

    Args:
        task: whose model is trained.

    Returns:
        A module from (examples, seed) to losses by name, of which "loss" has a gradient.
    """
    from torch import nn

    class Forward(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = task.model

        def forward(self, examples: Sequence[int], seed: int) -> dict[str, Tensor]:
            losses = task.losses(examples, seed)
            # With a graph, several processes would wait for the gradients of the parts as well.
            parts = {name: part.detach() for name, part in losses.parts.items()}
            return {**parts, "loss": losses.each}

    return Forward()


def recompute_activations(model: nn.Module) -> None:
    """Let a model compute its activations twice, to hold fewer of them.

    Args:
        model: of transformers, with or without an adapter, or a module around one.

    Raises:
        TrainingError: it cannot.
    """
    able = (part for part in model.modules() if hasattr(part, "activation_checkpointing_enable"))
    found: Any = next(able, None)  # Any: Hugging Face's models
    if found is None:
        raise _cannot_recompute("no part of it comes from transformers")
    try:
        found.activation_checkpointing_enable({"use_reentrant": False})
    except ValueError as error:
        raise _cannot_recompute(str(error)) from error


def _cannot_recompute(reason: str) -> TrainingError:
    return TrainingError(
        f"this model cannot compute its activations twice ({reason})",
        "Leave training.loop.gradient_checkpointing off.",
    )


def compile_layers(model: nn.Module) -> None:
    """Compile the layers of a model, which are alike, so one of them compiles for all.

    Args:
        model: of transformers, with or without an adapter, or a module around one.

    Raises:
        TrainingError: it has no such layers, or this machine has no compiler.

    Choice: layers rather than the whole model: images, label tokens and adapters around them change
        with every family, and prompts of any length would compile all of it again and again.
    """
    named = {
        name for part in model.modules() for name in getattr(part, "_no_split_modules", ()) or ()
    }
    layers = [part for part in model.modules() if type(part).__name__ in named]
    if not layers:
        raise _cannot_compile("no part of it is a layer of transformers")
    compilers = (os.environ.get("CXX", "g++"), "clang++")
    if _has_no_gpu() and not any(map(shutil.which, compilers)):
        raise _cannot_compile("there is no C++ compiler on this machine")
    for layer in layers:
        layer.compile(dynamic=True)


def _cannot_compile(reason: str) -> TrainingError:
    return TrainingError(
        f"this model cannot be compiled ({reason})", "Leave training.loop.compile off."
    )


def train_mode(model: nn.Module) -> None:
    """Switch dropout on, and leave the statistics of frozen normalisation as they are."""
    from torch.nn.modules.batchnorm import _NormBase

    model.train()
    for part in model.modules():
        weights = [*part.parameters()] if isinstance(part, _NormBase) else []
        if weights and not any(weight.requires_grad for weight in weights):
            part.eval()
