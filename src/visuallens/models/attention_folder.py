"""The folder of a trained matcher: safetensors, and a record that refuses what does not fit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from visuallens import __version__
from visuallens.errors import AdapterError
from visuallens.models.attention import AttentionHead, AttentionMatcher, MatcherShape, Memory

RECORD_FILE, WEIGHTS_FILE = "attention.json", "attention.safetensors"

_NAME = "attention"
_VERSION = 1
_MOST_LANDMARKS = 1_000_000
_ADVICE = "Train it again: visuallens train attention"


def save_matcher(matcher: AttentionMatcher, folder: Path, config: Mapping[str, object]) -> None:
    """Write a trained matcher.

    Args:
        matcher: memory and head.
        folder: made when missing.
        config: resolved settings of the training, for the record.
    """
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        name: value.detach().cpu().contiguous() for name, value in matcher.state_dict().items()
    }
    save_file(tensors, folder / WEIGHTS_FILE)
    record = {
        "version": _VERSION,
        "visuallens": __version__,
        "encoder": matcher.encoder,
        "shape": asdict(matcher.shape),
        "landmarks": matcher.memory.landmarks,
        "described": matcher.memory.described,
        "config": dict(config),
    }
    text = json.dumps(record, indent=2, ensure_ascii=False, default=str)
    (folder / RECORD_FILE).write_text(text, encoding="utf-8")


def load_matcher(folder: Path, encoder: str | None = None) -> AttentionMatcher:
    """Load a trained matcher.

    Args:
        folder: that `save_matcher` wrote.
        encoder: id of what embeds the photos here; None: it is not checked.

    Returns:
        The matcher, in evaluation mode.

    Raises:
        AdapterError: it is none, or damaged, or was trained with another encoder.
    """
    from safetensors.torch import load_file

    record = _read_record(folder)
    trained_with = str(record["encoder"])
    if encoder is not None and encoder != trained_with:
        problem = f"it was trained with the encoder {trained_with}, not {encoder}"
        raise AdapterError(_NAME, folder, problem, "Choose its encoder, or train it again.")
    try:
        shape = MatcherShape(**record["shape"])
        memory = Memory(shape, *(_count(record[name]) for name in ("landmarks", "described")))
        matcher = AttentionMatcher(memory, AttentionHead(shape), trained_with)
        matcher.retrieval = dict(record.get("config", {}).get("retrieval", {}))
    except (TypeError, ValueError, ArithmeticError, RuntimeError, AssertionError) as error:
        problem = f"its sizes in {RECORD_FILE} cannot be used ({error})"
        raise AdapterError(_NAME, folder, problem, _ADVICE) from error
    try:
        matcher.load_state_dict(load_file(folder / WEIGHTS_FILE))
    # torch answers missing tensors and wrong shapes with a RuntimeError.
    except (OSError, SafetensorError, RuntimeError) as error:
        problem = f"{WEIGHTS_FILE} is missing, damaged or of other sizes ({error})"
        raise AdapterError(_NAME, folder, problem, "Copy it again.") from error
    return matcher.eval()


# Any: JSON.
def _count(value: Any) -> int:  # noqa: ANN401
    if not isinstance(value, int) or not 0 <= value <= _MOST_LANDMARKS:
        raise ValueError(f"{value!r} is no number of landmarks")
    return value


# Any: JSON.
def _read_record(folder: Path) -> dict[str, Any]:
    path = folder / RECORD_FILE
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        advice = "Name the folder 'model' of a run of `visuallens train attention`."
        problem = f"{RECORD_FILE} is missing or damaged ({error})"
        raise AdapterError(_NAME, folder, problem, advice) from error
    wanted = {"version", "encoder", "shape", "landmarks", "described"}
    if not isinstance(record, dict) or not wanted <= record.keys():
        raise AdapterError(_NAME, folder, f"{RECORD_FILE} is not complete", _ADVICE)
    if record["version"] != _VERSION:
        problem = f"its format is {record['version']!r}, and this version reads {_VERSION}"
        raise AdapterError(_NAME, folder, problem, _ADVICE)
    return record
