"""MiniCPM-Llama3-V 2.5: code of its own refused and allowed, slices, the protocol of that code."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from tests.models.backbones import test_contracts as contracts
from tests.models.backbones import tiny_minicpm_v_2_5
from torch import nn
from transformers import MiniCPMV4_6ImageProcessorPil, dynamic_module_utils

from visuallens.config import BackboneSettings
from visuallens.errors import (
    BackboneError,
    MissingPackageError,
    RemoteCodeError,
    WeightsMissingError,
)
from visuallens.models.backbones.local import LocalBackbone
from visuallens.models.backbones.minicpm_v import minicpm_v_2_5
from visuallens.models.backbones.minicpm_v_slices import Slicer
from visuallens.models.base import PromptImage

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def picture(width: int, height: int, seed: int = 0) -> PromptImage:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return PromptImage(Image.fromarray(pixels))


def opened(folder: Path, **settings: object) -> LocalBackbone:
    chosen = {"model": str(folder), "device": "cpu", "allow_remote_code": True, **settings}
    return minicpm_v_2_5(BackboneSettings.model_validate({"name": "minicpm-v-2.5", **chosen}))


@pytest.fixture(scope="module", autouse=True)
def copies(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Code from model folders is copied before it runs; here into a folder of the test."""
    with pytest.MonkeyPatch.context() as patch:
        modules = str(tmp_path_factory.mktemp("modules"))
        patch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", modules)
        patch.syspath_prepend(modules)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, copies: None) -> Path:
    path = tmp_path_factory.mktemp("weights") / "minicpm-v-2.5"
    tiny_minicpm_v_2_5.write(path)
    return path


@pytest.fixture
def backbone(folder: Path) -> LocalBackbone:
    return opened(folder)


def test_its_code_runs_only_when_allowed(folder: Path) -> None:
    with pytest.raises(RemoteCodeError, match="not allowed"):
        opened(folder, allow_remote_code=False)
    with pytest.raises(RemoteCodeError, match="not allowed"):
        minicpm_v_2_5(BackboneSettings(name="minicpm-v-2.5", revision=COMMIT))


@pytest.mark.parametrize("revision", [None, "main", COMMIT[:12], COMMIT.upper()])
def test_its_code_runs_only_at_a_pinned_revision(revision: str | None) -> None:
    with pytest.raises(RemoteCodeError, match="not a pinned commit"):
        opened(Path("openbmb/MiniCPM-Llama3-V-2_5"), revision=revision)
    with pytest.raises(WeightsMissingError):
        opened(Path("openbmb/MiniCPM-Llama3-V-2_5"), revision=COMMIT)


def test_code_from_the_folder_is_what_runs(backbone: LocalBackbone) -> None:
    remote = backbone.parts.model.remote
    assert type(remote).__module__.startswith("transformers_modules.")
    assert type(backbone.parts.tokenizer).__name__ == "MiniCPMVTokenizerFast"
    assert not remote.training


def test_overview_and_slices_come_before_the_text(backbone: LocalBackbone) -> None:
    inputs = backbone.family.encode(backbone.parts, [picture(64, 64)], ["Hi"])
    one = "<image>" + "<unk>" * tiny_minicpm_v_2_5.QUERIES + "</image>"
    assert backbone.parts.tokenizer.decode(inputs["input_ids"][0]) == (
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n"
        f"{one}<slice>{one}{one}\n{one}{one}</slice>\nHi<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
    )
    assert inputs["tgt_sizes"].tolist() == [[4, 4]] * 5


def test_bounds_are_those_of_the_image_tokens(backbone: LocalBackbone) -> None:
    images = [picture(64, 64, 1), picture(20, 20, 2)]  # the second is padded on the left
    inputs = backbone.family.encode(backbone.parts, images, ["Hi", "Ho"])
    assert inputs["image_bound"][:, 0].tolist() == [0, 0, 0, 0, 0, 1]
    for prompt, first, end in inputs["image_bound"].tolist():
        inside = inputs["input_ids"][prompt, first:end].tolist()
        assert inside == [backbone.parts.image_token_id] * tiny_minicpm_v_2_5.QUERIES


def test_it_keeps_the_contract(backbone: LocalBackbone) -> None:
    contracts.test_scores_equal_a_reference_forward(backbone)
    contracts.test_one_equals_many_and_padding_does_no_harm(backbone)
    contracts.test_a_kept_prefix_changes_nothing(backbone)
    contracts.test_the_image_is_read(backbone)
    contracts.test_it_generates_the_same_alone_and_together(backbone)
    contracts.test_tokens_are_counted(backbone)
    contracts.test_letters_are_what_the_model_would_write(backbone)


def test_its_adapters_keep_the_contract(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contracts, "opened", opened)
    contracts.test_an_adapter_is_trained_saved_loaded_and_merged(folder, tmp_path)


def test_lora_adapts_the_language_model_alone(backbone: LocalBackbone) -> None:
    linear = {n for n, m in backbone.parts.model.named_modules() if isinstance(m, nn.Linear)}
    chosen = {name for name in linear if re.fullmatch(backbone.family.lora_targets, name)}
    assert chosen == {name for name in linear if ".llm.model." in name}
    assert len(chosen) == 2 * 7
    assert any(".vpm." in name for name in linear - chosen)
    assert any(".resampler." in name for name in linear - chosen)


@pytest.mark.parametrize("marker", ["<unk>", "<image>", "</image>", "<slice>"])
@pytest.mark.parametrize("seen", [True, False])
def test_text_that_poses_as_an_image_is_refused(
    backbone: LocalBackbone, marker: str, *, seen: bool
) -> None:
    image = picture(64, 64) if seen else None
    with pytest.raises(BackboneError, match="must not contain"):
        backbone.generate([image], [f"{marker} there"])


def test_missing_weights_are_named(tmp_path: Path) -> None:
    tiny_minicpm_v_2_5.write(tmp_path / "hollow")
    (tmp_path / "hollow" / "model.safetensors").unlink()
    with pytest.raises(BackboneError, match=r"weights are missing, first llm\."):
        opened(tmp_path / "hollow")


def test_weights_of_another_shape_are_named(tmp_path: Path) -> None:
    tiny_minicpm_v_2_5.write(tmp_path / "other")
    file = tmp_path / "other" / "model.safetensors"
    tensors = load_file(file)
    tensors["llm.model.norm.weight"] = torch.ones(7)
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(WeightsMissingError, match=r"1 weights are missing, first llm\.model\.norm"):
        opened(tmp_path / "other")


@pytest.mark.parametrize("part", ["config.json", "tokenizer_config.json"])
def test_code_of_another_repository_is_refused(tmp_path: Path, part: str) -> None:
    tiny_minicpm_v_2_5.write(tmp_path / "borrows")
    file = tmp_path / "borrows" / part
    settings = json.loads(file.read_text(encoding="utf-8"))
    name = "AutoModel" if part == "config.json" else "AutoTokenizer"
    settings["auto_map"][name] = ["owner/another--code.Class", None]
    file.write_text(json.dumps(settings), encoding="utf-8")
    with pytest.raises(RemoteCodeError, match=f"{part} takes code from .* owner/another, unpinned"):
        opened(tmp_path / "borrows")


def test_a_package_that_its_code_needs_is_named(tmp_path: Path) -> None:
    tiny_minicpm_v_2_5.write(tmp_path / "needy")
    code = tmp_path / "needy" / "configuration_minicpm.py"
    before = code.read_text(encoding="utf-8")
    code.write_text(f"{before}\nimport a_package_of_long_ago\n", encoding="utf-8")
    with pytest.raises(MissingPackageError, match=r"pip install a_package_of_long_ago$") as caught:
        opened(tmp_path / "needy")
    assert caught.value.package == "a_package_of_long_ago"


def test_slices_are_chosen_as_in_its_successors() -> None:
    successor, slicer = MiniCPMV4_6ImageProcessorPil(), Slicer()
    rng = np.random.default_rng(0)
    for width, height in rng.integers(50, 3000, (300, 2)).tolist():
        theirs = successor.get_sliced_grid((height, width), 9, 448)
        assert slicer.grid(width, height) == (None if theirs is None else tuple(theirs))


def test_a_grid_takes_480_tokens() -> None:
    cut = Slicer().cut(Image.new("RGB", (896, 896)))
    assert cut.grid == (2, 2)
    assert cut.sizes == ((32, 32),) * 5  # times 96 queries
    assert Slicer().cut(Image.new("RGB", (100, 60))).grid is None


def test_patches_stand_side_by_side() -> None:
    image = picture(24, 16).image
    slices = Slicer(most_slices=1, side_px=20, patch_px=8).cut(image)
    assert slices.sizes == ((2, 3),)
    expected = MiniCPMV4_6ImageProcessorPil().reshape_by_patch(
        np.asarray(image, np.float32).transpose(2, 0, 1) / 127.5 - 1, 8
    )
    np.testing.assert_allclose(slices.patches[0], expected, atol=1e-6)
    assert slices.patches[0].dtype == np.float32
    assert torch.from_numpy(slices.patches[0]).shape == (3, 8, 6 * 8)
