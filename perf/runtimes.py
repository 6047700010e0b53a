"""Which runtime reads photos fastest, and does it keep the accuracy?"""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import openvino
import torch
from numpy.typing import NDArray

from visuallens.images import open_photo
from visuallens.models.efficientnet import EfficientNetLite2, load_efficientnet
from visuallens.models.embedded import EmbeddedModel
from visuallens.models.weights import efficientnet_file
from visuallens.types import FloatArray

_PHOTOS = 96
_BATCH = 16
_ROUNDS = 5

Runner = Callable[[FloatArray], NDArray[np.float32]]


def section(data: Path) -> Iterator[str]:
    """Write the table; all runtimes take turns, so that the machine's mood is shared."""
    model = EmbeddedModel()
    files = sorted((data / "flickr8k/images").glob("*.jpg"))[:_PHOTOS]
    inputs = np.stack(
        [model.prepare(open_photo(f, min_side_px=260, max_pixels=10**8).image) for f in files]
    )
    network = load_efficientnet(efficientnet_file())
    runners = dict(_runners(network))
    outputs = {name: _all(run, inputs) for name, run in runners.items()}
    rates: dict[str, list[float]] = {name: [] for name in runners}
    for _ in range(_ROUNDS):
        for name, run in runners.items():
            start = time.perf_counter()
            _all(run, inputs)
            rates[name].append(len(inputs) / (time.perf_counter() - start))
    slowest = statistics.median(rates["torch, float32"])
    yield "| runtime | photos/s (median) | against torch | cosine to float32: mean | worst |"
    yield "|---|---|---|---|---|"
    for name, features in outputs.items():
        cosines = _cosines(features, outputs["torch, float32"])
        rate = statistics.median(rates[name])
        yield (
            f"| {name} | {rate:.0f} | {rate / slowest:.1f} x | {cosines.mean():.4f} | "
            f"{cosines.min():.4f} |"
        )


def _runners(network: EfficientNetLite2) -> Iterator[tuple[str, Runner]]:
    def run_torch(batch: FloatArray) -> NDArray[np.float32]:
        with torch.inference_mode():
            return np.asarray(network(torch.from_numpy(batch))[0].numpy())

    yield "torch, float32", run_torch
    example = torch.zeros(2, 3, 260, 260)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # The older exporter (dynamo=False) gets this network wrong: mean cosine 0.94 to float32.
        exported = torch.onnx.export(
            network,
            (example,),
            input_names=["images"],
            output_names=["features", "logits"],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            dynamo=True,
            verbose=False,
        )
        converted = openvino.convert_model(
            torch.jit.trace(network, example),
            example_input=example,
            input=[[-1, 3, 260, 260]],
        )
    if exported is None:
        raise RuntimeError("the ONNX exporter returned nothing")
    session = onnxruntime.InferenceSession(
        exported.model_proto.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    yield "ONNX Runtime, float32", lambda batch: session.run(["features"], {"images": batch})[0]
    for name, hint in (("float32", "f32"), ("as the processor likes (bfloat16)", "bf16")):
        compiled = openvino.Core().compile_model(
            converted, "CPU", {"INFERENCE_PRECISION_HINT": hint}
        )
        yield f"OpenVINO, {name}", _openvino_runner(compiled)


def _openvino_runner(compiled: openvino.CompiledModel) -> Runner:
    return lambda batch: np.array(compiled(batch)[0])


def _all(run: Runner, inputs: FloatArray) -> NDArray[np.float32]:
    return np.concatenate([run(inputs[i : i + _BATCH]) for i in range(0, len(inputs), _BATCH)])


def _cosines(some: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float32]:
    norms = np.linalg.norm(some, axis=1) * np.linalg.norm(others, axis=1)
    return np.asarray((some * others).sum(axis=1) / norms)


if __name__ == "__main__":
    import sys

    for line in section(Path(sys.argv[1])):
        print(line)
