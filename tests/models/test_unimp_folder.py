"""Folders of trained UniMPs: saved, loaded, refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.models.tiny_unimp import (
    DIM,
    SHAPE,
    built,
    open_gates,
    opened,
    photos,
    scored,
    write_languages,
)

from visuallens.config import BackboneSettings
from visuallens.errors import AdapterError
from visuallens.models.backbones.adapters import Lora, add_adapter
from visuallens.models.unimp import build_unimp
from visuallens.models.unimp_folder import (
    RECORD_FILE,
    WEIGHTS_FILE,
    load_unimp,
    save_unimp,
    unimp,
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_languages(tmp_path_factory.mktemp("weights"))


@pytest.fixture
def folder(folders: dict[str, Path]) -> Path:
    return folders["causal"]


@pytest.mark.parametrize("name", ["causal", "nano"])
@pytest.mark.parametrize("lora", [None, Lora(rank=2, alpha=2, dropout=0)])
def test_what_was_saved_answers_the_same(
    folders: dict[str, Path], tmp_path: Path, name: str, lora: Lora | None
) -> None:
    model = open_gates(built(folders[name], replace(SHAPE, lora=lora)))
    with torch.no_grad():
        generator = torch.Generator().manual_seed(1)
        for weight in model.network.parameters():
            if weight.requires_grad:
                weight.add_(0.05 * torch.randn(weight.shape, generator=generator))
    save_unimp(model, tmp_path, {"why": "a test"})
    record = json.loads((tmp_path / RECORD_FILE).read_text())
    assert (record["encoder"], record["config"]) == ("eyes@1", {"why": "a test"})
    # The record knows the language model.
    again = unimp(BackboneSettings(name="unimp", adapter=tmp_path, device="cpu"))
    assert again.shape == model.shape
    assert again.is_matcher
    assert not model.is_matcher
    assert again.id.startswith(f"{model.language.parts.source.id}+unimp-")
    np.testing.assert_allclose(scored(again, photos(3)), scored(model, photos(3)), atol=1e-5)


@pytest.fixture
def saved(folder: Path, tmp_path: Path) -> Path:
    save_unimp(built(folder), tmp_path / "saved", {})
    return tmp_path / "saved"


def test_another_base_or_encoder_is_refused(
    folder: Path, saved: Path, folders: dict[str, Path]
) -> None:
    with pytest.raises(AdapterError, match="base model 'local-"):
        load_unimp(opened(folders["nano"]), saved)
    with pytest.raises(AdapterError, match="encoder 'eyes@1', here it is 'eyes@2'"):
        load_unimp(opened(folder), saved, encoder="eyes@2")
    load_unimp(opened(folder), saved, encoder="eyes@1")


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("prompts", "prompts-0", "prompt version 'prompts-0'"),
        ("style", "shouting", "style 'shouting' is unknown"),
        ("version", 99, "Upgrade VisualLens"),
        ("shape", {"photo_dim": DIM, "lora": None}, "its tensors are not those of this model"),
        ("labels", {}, "missing or unreadable"),
        ("shape", [], "missing or unreadable"),
    ],
)
def test_a_record_that_does_not_fit_is_refused(
    folder: Path, saved: Path, key: str, value: object, problem: str
) -> None:
    record = json.loads((saved / RECORD_FILE).read_text())
    (saved / RECORD_FILE).write_text(json.dumps({**record, key: value}))
    with pytest.raises(AdapterError, match=problem):
        load_unimp(opened(folder), saved)


def test_other_label_tokens_are_refused(folder: Path, saved: Path) -> None:
    record = json.loads((saved / RECORD_FILE).read_text())
    record["labels"]["tokenizer"] = "0" * 64
    (saved / RECORD_FILE).write_text(json.dumps(record))
    with pytest.raises(AdapterError, match="labels '000000000000'"):
        load_unimp(opened(folder), saved)


def test_a_damaged_folder_is_refused(folder: Path, saved: Path, tmp_path: Path) -> None:
    whole = load_file(saved / WEIGHTS_FILE)
    less = dict(list(whole.items())[1:])
    save_file(less, saved / WEIGHTS_FILE)
    with pytest.raises(AdapterError, match="its tensors are not those of this model"):
        load_unimp(opened(folder), saved)
    (saved / WEIGHTS_FILE).write_bytes(b"cut")
    with pytest.raises(AdapterError, match="missing or damaged"):
        load_unimp(opened(folder), saved)
    (saved / WEIGHTS_FILE).unlink()
    with pytest.raises(AdapterError, match="missing or damaged"):
        load_unimp(opened(folder), saved)
    shutil.rmtree(saved)
    with pytest.raises(AdapterError, match="Name the folder 'model' of a run"):
        load_unimp(opened(folder), tmp_path)


def test_a_second_adapter_is_refused(folder: Path, saved: Path) -> None:
    model = built(folder)
    with pytest.raises(AdapterError, match="has an adapter already"):
        load_unimp(model.language, saved)
    adapted = opened(folder)
    add_adapter(adapted, Lora(rank=2, alpha=2, dropout=0), "letters")
    with pytest.raises(AdapterError, match="has an adapter already"):
        build_unimp(adapted, SHAPE, "letters", "fenced", encoder="eyes@1")
