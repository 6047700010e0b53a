"""Adapters on the command line: listed, shown, merged for servers, exported for PEFT."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from tests.models.backbones import tiny_causal, tiny_nano

from visuallens import registry
from visuallens.cli.adapters import command
from visuallens.config import BackboneSettings
from visuallens.errors import AdapterError
from visuallens.models.backbones.adapters import Lora, add_adapter, save_adapter
from visuallens.models.backbones.local import LocalBackbone
from visuallens.models.label_space import LabelKind
from visuallens.types import FloatArray

PROMPTS = ["Aspect words: iron\nCandidates: A: Furnace\nAnswer:", "Short.\nAnswer:"]


def opened(family: str, folder: Path, **settings: object) -> LocalBackbone:
    chosen = {"name": family, "model": str(folder), **settings}
    backbone: LocalBackbone = registry.load("backbones", family)(
        BackboneSettings.model_validate(chosen)
    )
    return backbone


def train(family: str, base: Path, run: Path, labels: LabelKind) -> Path:
    """Write a run folder with an adapter that changes every layer, and its log."""
    backbone = opened(family, base)
    add_adapter(backbone, Lora(rank=2, alpha=4), labels)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in backbone.parts.model.parameters():
            if weight.requires_grad:
                weight.add_(0.1 * torch.randn(weight.shape, generator=generator))
    save_adapter(backbone, run / "model", {"seed": 7})
    (run / "run.json").write_text('{"stage": "joint", "version": "0", "seed": 7}')
    lines: list[dict[str, object]] = [
        {"kind": "dev", "step": 0, "score": 0.1, "seconds": 1},
        {"kind": "step", "step": 1, "loss": 3.0},
        {"kind": "dev", "step": 20, "score": 0.31, "seconds": 9},
        {"kind": "dev", "step": 40, "score": 0.31, "seconds": 18},
    ]
    (run / "metrics.jsonl").write_text("".join(f"{json.dumps(one)}\n" for one in lines) + '{"ki')
    return run / "model"


@pytest.fixture(scope="module")
def nano(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights") / "tiny-nano"
    tiny_nano.write(folder)
    return folder


@pytest.fixture(scope="module")
def causal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights") / "tiny-causal"
    tiny_causal.write(folder)
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, nano: Path, causal: Path) -> Path:
    """Runs of a `nano` with new labels and of a text model with letters."""
    folder = tmp_path_factory.mktemp("runs")
    train("nano", nano, folder / "nano", "new")
    train("causal", causal, folder / "causal", "letters")
    return folder


def call(*arguments: object) -> str:
    result = CliRunner().invoke(command, [str(one) for one in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def scores(backbone: LocalBackbone) -> FloatArray:
    return backbone.score_labels([None, None], PROMPTS, backbone.label_space())


# Any: JSON.
def record_of(*arguments: object) -> Any:  # noqa: ANN401
    return json.loads(call(*arguments, "--json"))


def test_adapters_are_listed_with_their_run(runs: Path) -> None:
    text, model = record_of("list", runs)["adapters"]
    assert text["folder"] == str(runs / "causal" / "model")
    assert (text["family"], text["labels"], text["rank"]) == ("causal", "letters", 2)
    assert model["base"].startswith("tiny-nano@local-")
    assert (model["family"], model["labels"], model["stage"]) == ("nano", "new", "joint")
    assert model["metrics"] == {"step": 20, "score": 0.31}  # the first of equals
    printed = call("list", runs)
    assert "tiny-nano@local-" in printed
    assert "0.3100 at step 20" in printed


def test_folders_without_adapters_and_damaged_records_are_said(runs: Path, tmp_path: Path) -> None:
    assert record_of("list", tmp_path) == {"adapters": []}
    assert "no adapters below" in call("list", tmp_path)
    shutil.copytree(runs / "nano" / "model", tmp_path / "broken")
    (tmp_path / "broken" / "visuallens.json").write_text('{"vers')
    (found,) = record_of("list", tmp_path)["adapters"]
    assert found["problem"] == "visuallens.json is missing or unreadable"
    assert found["metrics"] == {}
    assert "missing or unreadable" in call("list", tmp_path)
    with pytest.raises(AdapterError, match="own folder"):
        call("show", tmp_path)


def test_an_adapter_is_shown_with_its_record(runs: Path) -> None:
    found = record_of("show", runs / "nano" / "model")
    assert found["record"]["config"] == {"seed": 7}
    assert found["stage"] == "joint"
    text = call("show", runs / "nano" / "model")
    assert "dev score    0.31" in text
    assert '"seed": 7' in text


def test_a_merged_model_scores_labels_as_the_adapter_does(
    runs: Path, nano: Path, tmp_path: Path
) -> None:
    adapter, out = runs / "nano" / "model", tmp_path / "merged"
    found = record_of("merge", adapter, "--model", nano, "--out", out)
    assert found["folder"] == str(out)
    assert "serve" not in found  # no server knows the architecture
    assert f"--backbone nano --set backbone.model={out}" in found["ask"]
    adapted, merged = opened("nano", nano, adapter=adapter), opened("nano", out)
    assert merged.label_space() == adapted.label_space()
    np.testing.assert_allclose(scores(merged), scores(adapted), atol=1e-5)
    plain = opened("nano", nano).score_labels([None, None], PROMPTS, adapted.label_space())
    assert np.abs(scores(merged) - plain).max() > 0.01
    assert record_of("list", tmp_path) == {"adapters": []}  # it is a model now
    assert [one.name for one in tmp_path.iterdir()] == ["merged"]


def test_merging_says_how_to_serve(runs: Path, causal: Path, tmp_path: Path) -> None:
    out = tmp_path / "merged"
    text = call("merge", runs / "causal" / "model", "--model", causal, "--out", out)
    assert f"Serve it with: vllm serve {out}" in text
    assert f"--backbone server --set backbone.model={out}\n" in text
    again = CliRunner().invoke(
        command,
        ["merge", str(runs / "causal" / "model"), "--model", str(causal), "--out", str(out)],
    )
    assert again.exit_code == 2
    assert "there already" in again.stderr


def test_an_adapter_is_not_merged_into_another_base(runs: Path, tmp_path: Path) -> None:
    other, out = tmp_path / "other", tmp_path / "merged"
    tiny_causal.write(other)
    weights = next(other.glob("*.safetensors"))
    changed = bytearray(weights.read_bytes())
    changed[-1] ^= 1
    weights.write_bytes(bytes(changed))
    with pytest.raises(AdapterError, match="base model"):
        call("merge", runs / "causal" / "model", "--model", other, "--out", out)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["other"]


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # PEFT's own
def test_an_exported_adapter_is_plain_peft(runs: Path, causal: Path, tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import AutoTokenizer

    adapter, out = runs / "causal" / "model", tmp_path / "exported"
    found = record_of("export", adapter, "--model", causal, "--out", out)
    assert found["vllm"] is True
    assert found["beside_lora"] == []
    assert not (out / "visuallens.json").exists()
    config = json.loads((out / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "tiny-causal"
    AutoTokenizer.from_pretrained(out)
    adapted = opened("causal", causal, adapter=adapter)
    plain = opened("causal", causal)
    labels = adapted.label_space()
    plain.parts.model = PeftModel.from_pretrained(plain.parts.model, out).eval()
    again = plain.score_labels([None, None], PROMPTS, labels)
    np.testing.assert_allclose(again, scores(adapted), atol=1e-5)


def test_new_labels_are_not_exported_but_pointed_to_merge(runs: Path, tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match="adapters merge") as refused:
        call("export", runs / "nano" / "model", "--out", tmp_path / "exported")
    assert "added to the vocabulary" in str(refused.value)
    assert list(tmp_path.iterdir()) == []


def test_modules_trained_whole_are_said(nano: Path, tmp_path: Path) -> None:
    adapter, out = train("nano", nano, tmp_path / "run", "letters"), tmp_path / "exported"
    text = call("export", adapter, "--model", nano, "--out", out)
    assert "projector" in text
    assert "visuallens adapters merge" in text


def test_an_adapter_without_weights_is_named(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "causal" / "model", tmp_path / "model")
    (tmp_path / "model" / "adapter_model.safetensors").unlink()
    with pytest.raises(AdapterError, match=r"adapter_model\.safetensors is missing"):
        call("merge", tmp_path / "model", "--out", tmp_path / "out")
