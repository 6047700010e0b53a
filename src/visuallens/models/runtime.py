"""Running a PyTorch network fast on a CPU: converted once to OpenVINO, then read from the cache.

Choice: OpenVINO runs the classifier four times as fast as PyTorch, and ten times where bfloat16 is
    allowed (docs/measurements.md); it reads PyTorch networks without an exporter in between, starts
    in a fraction of a second and needs neither torch nor transformers once a network is converted.
    ONNX Runtime is a quarter faster still in float32, but needs an exporter (of which one was
    wrong) and two more packages, and has no bfloat16 here.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from platformdirs import user_cache_path

from visuallens import __version__

if TYPE_CHECKING:
    from torch import nn

logger = logging.getLogger(__name__)

Array = NDArray[Any]  # Any: networks take integers and floats
Runtime = Literal["openvino", "torch"]
Precision = Literal["float32", "auto"]


class Network(Protocol):
    """A network ready to run."""

    def __call__(self, *inputs: Array) -> tuple[Array, ...]:
        """Run one batch; inputs and outputs are positional, batch first."""
        ...


def cache_folder() -> Path:
    """Return the folder of converted networks, made when missing; safe to delete at any time."""
    folder = user_cache_path("visuallens") / f"models-{__version__}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def load_network(
    name: str,
    build: Callable[[], nn.Module],
    example: Sequence[Array],
    *,
    runtime: Runtime,
    precision: Precision = "float32",
) -> Network:
    """Load a network, converting it first where the runtime needs that.

    Args:
        name: name and revision of the network; the key of its cached conversion.
        build: makes the PyTorch network with its weights; called only when needed.
        example: one small batch for each input; sizes after the first dimension are kept unless
            they are integers' (texts may have any length).
        runtime: "openvino", or "torch" where OpenVINO does not run.
        precision: "float32" gives the same embeddings on every machine; "auto" lets OpenVINO use
            bfloat16 where the processor is faster with it.

    Returns:
        The network, ready to be called.
    """
    if runtime == "torch":
        return _torch_network(build())
    return _openvino_network(_converted(name, build, example), precision)


def _converted(name: str, build: Callable[[], nn.Module], example: Sequence[Array]) -> Path:
    folder = cache_folder()
    target = folder / name / "network.xml"
    with FileLock(folder / f"{name}.lock"):
        if not target.exists():
            logger.info("Preparing %s for this machine; only the first run does this.", name)
            with warnings.catch_warnings():
                # Tracing warns of every shape taken as constant (here they are), and libraries
                # warn of their own internals; a test compares the result with PyTorch's.
                warnings.simplefilter("ignore")
                _convert(build(), example, target.parent)
    return target


def _convert(network: nn.Module, example: Sequence[Array], folder: Path) -> None:
    import openvino  # heavy, and only needed by those who run a network
    import torch

    shapes = [
        [-1, -1] if np.issubdtype(array.dtype, np.integer) else [-1, *array.shape[1:]]
        for array in example
    ]
    tensors = tuple(torch.from_numpy(array) for array in example)
    with torch.inference_mode(), tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        model = openvino.convert_model(
            torch.jit.trace(network, tensors, check_trace=False),
            example_input=tensors,
            input=shapes,
        )
        openvino.save_model(model, Path(scratch) / "network.xml", compress_to_fp16=False)
        shutil.copytree(scratch, folder)


def _openvino_network(path: Path, precision: Precision) -> Network:
    import openvino

    hints = {"INFERENCE_PRECISION_HINT": "f32"} if precision == "float32" else {}
    compiled = openvino.Core().compile_model(path, "CPU", hints)
    outputs = range(len(compiled.outputs))

    def run(*inputs: Array) -> tuple[Array, ...]:
        results = compiled(inputs)
        return tuple(np.array(results[index]) for index in outputs)

    return run


def _torch_network(network: nn.Module) -> Network:
    import torch

    network.eval()

    def run(*inputs: Array) -> tuple[Array, ...]:
        with torch.inference_mode():
            results = network(*(torch.from_numpy(array) for array in inputs))
        results = results if isinstance(results, tuple) else (results,)
        return tuple(result.numpy() for result in results)

    return run
