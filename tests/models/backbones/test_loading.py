from __future__ import annotations

import contextlib
import json
from importlib import import_module
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
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
from visuallens.models.backbones.local import LocalBackbone

FAMILIES = [
    name
    for name in registry.names("backbones")
    if name not in ("server", "minicpm-v-2.5", "unimp")  # unimp is trained on top of another
]


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


def written(folder: Path, family: str) -> Path:
    module = family.replace("-", "_").replace(".", "_")
    import_module(f"tests.models.backbones.tiny_{module}").write(folder)
    return folder


def open_here(family: str, folder: Path) -> LocalBackbone:
    settings = BackboneSettings(name=family, model=str(folder), device="cpu")
    backbone: LocalBackbone = registry.load("backbones", family)(settings)
    return backbone


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_without_one_layer_are_refused(family: str, tmp_path: Path) -> None:
    folder = written(tmp_path / "model", family)
    file = folder / "model.safetensors"
    tensors = load_file(file)
    kept = {name: value for name, value in tensors.items() if "layers.1.mlp" not in name}
    assert len(kept) < len(tensors)
    save_file(kept, file, metadata={"format": "pt"})
    with pytest.raises(WeightsMissingError, match=r"missing, first .*layers\.1\.mlp"):
        open_here(family, folder)


def test_a_weight_of_another_shape_is_refused(tmp_path: Path) -> None:
    folder = written(tmp_path / "model", "causal")
    tensors = load_file(folder / "model.safetensors")
    tensors["model.norm.weight"] = torch.ones(7)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WeightsMissingError, match=r"1 weights are missing, first model\.norm\."):
        open_here("causal", folder)


def test_weights_that_are_not_asked_for_do_no_harm(tmp_path: Path) -> None:
    folder = written(tmp_path / "model", "causal")
    tensors = load_file(folder / "model.safetensors")
    save_file(
        {**tensors, "another.weight": torch.ones(7)},
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )
    assert open_here("causal", folder).name == "causal"


@pytest.mark.parametrize(
    ("held", "asked"),
    [
        ("qwen2.5-vl", "qwen3-vl"),
        ("qwen3-vl", "qwen2.5-vl"),
        ("paligemma", "llava-next"),
        ("llava-next", "paligemma"),
        ("qwen3-vl", "idefics3"),
        ("smolvlm", "nano"),
        ("idefics3", "minicpm-v"),
    ],
)
def test_a_folder_of_another_family_says_whose_it_is(held: str, asked: str, tmp_path: Path) -> None:
    folder = written(tmp_path / "model", held)
    with pytest.raises(BackboneError, match=f"Choose the backbone '{held}'"):
        open_here(asked, folder)


def test_a_seeing_model_is_no_text_only_one(tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match="cannot be read by the backbone 'causal'"):
        open_here("causal", written(tmp_path / "model", "paligemma"))


def test_damaged_weights_are_named(tmp_path: Path) -> None:
    folder = written(tmp_path / "model", "causal")
    (folder / "model.safetensors").write_bytes(b"\x00" * 100)
    with pytest.raises(WeightsMissingError, match="is damaged"):
        open_here("causal", folder)


@pytest.mark.parametrize("settings", ["{", "[]"])
def test_damaged_settings_are_named(tmp_path: Path, settings: str) -> None:
    folder = written(tmp_path / "model", "qwen3-vl")
    (folder / "config.json").write_text(settings, encoding="utf-8")
    with pytest.raises(BackboneError, match="cannot be read by the backbone 'qwen3-vl'"):
        open_here("qwen3-vl", folder)


@pytest.mark.parametrize("family", ["causal", "idefics3", "minicpm-v"])
@pytest.mark.parametrize("part", ["config.json", "tokenizer_config.json"])
def test_code_in_a_folder_is_neither_run_nor_asked_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str, part: str
) -> None:
    folder = written(tmp_path / "model", family)
    settings = json.loads((folder / part).read_text(encoding="utf-8"))
    if part == "config.json":
        names = ("AutoConfig", "AutoModelForCausalLM", "AutoModelForImageTextToText")
        settings["auto_map"] = dict.fromkeys(names, "evil.Evil")
        settings["model_type"] = "made-up" if family == "causal" else settings["model_type"]
    else:
        settings["auto_map"] = {"AutoTokenizer": [None, "evil.Evil"]}
        settings["tokenizer_class"] = "Evil"
    (folder / part).write_text(json.dumps(settings), encoding="utf-8")
    ran = tmp_path / "ran"
    code = f"open({str(ran)!r}, 'w')\nclass Evil: pass\n"
    (folder / "evil.py").write_text(code, encoding="utf-8")
    asked: list[str] = []

    def consent(text: str = "") -> str:
        asked.append(text)
        return "y"

    monkeypatch.setattr("builtins.input", consent)
    with contextlib.suppress(RemoteCodeError):  # or it is loaded by what transformers itself has
        open_here(family, folder)
    assert not asked
    assert not ran.exists()


def test_a_model_that_is_nothing_without_its_code_is_refused(tmp_path: Path) -> None:
    folder = written(tmp_path / "model", "causal")
    settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    more = {"model_type": "made-up", "auto_map": {"AutoConfig": "evil.Evil"}}
    (folder / "config.json").write_text(json.dumps({**settings, **more}), encoding="utf-8")
    with pytest.raises(RemoteCodeError, match="'causal' runs no code"):
        open_here("causal", folder)


def test_a_folder_of_the_hubs_cache_has_the_hubs_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "models--owner--a-name" / "snapshots" / ("a" * 40)
    tiny_causal.write(folder)
    found = find_source(Causal(), BackboneSettings(model=str(folder)))
    assert found.id == f"owner/a-name@{'a' * 12}"
    monkeypatch.chdir(folder)
    assert find_source(Causal(), BackboneSettings(model=".")).id == found.id


def test_a_folder_keeps_its_name_when_one_stands_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_causal.write(tmp_path / "model")
    monkeypatch.chdir(tmp_path / "model")
    assert find_source(Causal(), BackboneSettings(model=".")).id.startswith("model@local-")
