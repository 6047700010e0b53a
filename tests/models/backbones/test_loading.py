from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.models.backbones import tiny_causal

from visuallens import registry
from visuallens.config import BackboneSettings
from visuallens.errors import (
    BackboneError,
    RemoteCodeError,
    ThinkingModelError,
    WeightsMissingError,
)
from visuallens.models.backbones.causal import Causal
from visuallens.models.backbones.family import Checkpoint, refuse_thinking
from visuallens.models.backbones.loading import find_source, is_here, pick_device, pick_dtype, pull


@pytest.fixture(autouse=True)
def nothing_cached(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


class Remote(Causal):
    checkpoints: tuple[Checkpoint, ...] = (
        Checkpoint("owner/brings-code", 1e9, "MIT", 0, 100, remote_code=True),
    )


def test_missing_weights_say_how_to_get_them() -> None:
    with pytest.raises(WeightsMissingError, match="visuallens models pull causal"):
        find_source(Causal(), BackboneSettings())
    settings = BackboneSettings(model="owner/another")
    with pytest.raises(WeightsMissingError, match="--model owner/another"):
        find_source(Causal(), settings)
    assert not is_here(Causal(), "owner/another")


def test_a_wrong_name_is_no_folder_and_no_model() -> None:
    with pytest.raises(WeightsMissingError, match="OWNER/NAME"):
        find_source(Causal(), BackboneSettings(model="no/such/folder anywhere"))


def test_weights_that_are_no_safetensors_are_not_taken_for_fetched(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(tmp_path))
    with pytest.raises(WeightsMissingError, match="--revision refs/pr/NUMBER"):
        pull(Causal(), BackboneSettings())
    (tmp_path / "model.safetensors").touch()
    assert pull(Causal(), BackboneSettings()) == tmp_path


def test_the_hub_switched_off_is_said() -> None:
    with pytest.raises(WeightsMissingError, match="HF_HUB_OFFLINE"):
        pull(Causal(), BackboneSettings())


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (BackboneSettings(), "not allowed"),
        (BackboneSettings(allow_remote_code=True), "not a pinned commit"),
        (BackboneSettings(allow_remote_code=True, revision="main"), "not a pinned commit"),
    ],
)
def test_remote_code_needs_consent_and_a_commit(settings: BackboneSettings, words: str) -> None:
    with pytest.raises(RemoteCodeError, match=words):
        find_source(Remote(), settings)


def test_remote_code_that_is_allowed_and_pinned_goes_on_to_the_weights() -> None:
    settings = BackboneSettings(allow_remote_code=True, revision="a" * 40)
    with pytest.raises(WeightsMissingError):
        find_source(Remote(), settings)


def test_a_folder_is_known_by_its_weights_not_its_place(tmp_path: Path) -> None:
    tiny_causal.write(tmp_path / "here" / "model")
    tiny_causal.write(tmp_path / "there" / "model")
    first, second = (
        find_source(Causal(), BackboneSettings(model=str(tmp_path / place / "model")))
        for place in ("here", "there")
    )
    assert first.id == second.id
    assert first.id.startswith("model@local-")
    file = tmp_path / "there" / "model" / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1000] ^= 1
    file.write_bytes(bytes(content))
    changed = find_source(Causal(), BackboneSettings(model=str(tmp_path / "there" / "model")))
    assert changed.id != first.id


def test_an_incomplete_folder_is_named(tmp_path: Path) -> None:
    tiny_causal.write(tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").unlink()
    settings = BackboneSettings(name="causal", model=str(tmp_path / "model"))
    with pytest.raises(WeightsMissingError, match="incomplete"):
        registry.load("backbones", "causal")(settings)


def test_a_pickle_is_not_read(tmp_path: Path) -> None:
    tiny_causal.write(tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").unlink()
    torch.save({}, tmp_path / "model" / "pytorch_model.bin")
    settings = BackboneSettings(name="causal", model=str(tmp_path / "model"))
    with pytest.raises(WeightsMissingError):
        registry.load("backbones", "causal")(settings)


def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(BackboneError, match="no device 'cuda:7'"):
        pick_device("toy", "cuda:7")
    assert pick_device("toy", "cpu").type == "cpu"


def test_a_cpu_reads_float32() -> None:
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert pick_dtype("auto", cpu) is torch.float32
    assert pick_dtype("auto", gpu) is torch.bfloat16
    assert pick_dtype("float16", cpu) is torch.float16


def test_thinking_is_refused_by_name_and_by_template() -> None:
    with pytest.raises(ThinkingModelError, match="its name says so"):
        refuse_thinking("Qwen/Qwen3-VL-4B-Thinking", "user: hello\nassistant:")
    with pytest.raises(ThinkingModelError, match="opens a thought"):
        refuse_thinking("some/model", "user: hello\nassistant: <think>\n")
    refuse_thinking("some/model", "assistant: <think>\n\n</think>\n\n")
