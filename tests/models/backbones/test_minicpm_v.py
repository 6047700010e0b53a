"""MiniCPM-V 4.6 and 4.7: layout of prompts, slices, positions, logits."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.models.backbones import test_contracts as contracts
from tests.models.backbones import tiny_causal, tiny_minicpm_v
from torch import nn
from transformers import MiniCPMV4_6ForConditionalGeneration, MiniCPMV4_6ImageProcessorPil
from transformers.models.minicpmv4_6.processing_minicpmv4_6 import MiniCPMV4_6Processor

from visuallens.config import BackboneSettings
from visuallens.errors import BackboneError, ThinkingModelError
from visuallens.models.backbones.local import LocalBackbone
from visuallens.models.backbones.minicpm_v import _image_texts, minicpm_v
from visuallens.models.base import PromptImage


def picture(width: int, height: int, seed: int = 0) -> PromptImage:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return PromptImage(Image.fromarray(pixels))


def opened(folder: Path) -> LocalBackbone:
    return minicpm_v(BackboneSettings(name="minicpm-v", model=str(folder), device="cpu"))


@pytest.fixture(scope="module", params=["4.6", "4.7"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp(str(request.param)) / "minicpm-v"
    tiny_minicpm_v.write(path, str(request.param))
    return path


@pytest.fixture
def backbone(folder: Path) -> LocalBackbone:
    return opened(folder)


def is_4_7(backbone: LocalBackbone) -> bool:
    return bool(backbone.parts.model.config.model_type == "minicpmv4_7")


def test_overview_and_slices_come_before_the_text(backbone: LocalBackbone) -> None:
    inputs = backbone.family.encode(backbone.parts, [picture(64, 64)], ["Hi"])
    one = "<slice><|image_pad|></slice>"  # 4 x 4 patches, merged to one token
    assert backbone.parts.tokenizer.decode(inputs["input_ids"][0]) == (
        "<|im_start|>user\n<image_id>0</image_id><image><|image_pad|></image>"
        f"{one}{one}\n{one}{one}\n"
        "Hi<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
    )
    assert inputs["target_sizes"].tolist() == [[4, 4]] * 5


@pytest.mark.parametrize(
    ("width", "height", "slices", "tokens"),
    [
        (896, 896, 1 + 2 * 2, 5 * 64),  # 32 x 32 patches each, sixteen to a token
        (448, 448, 1, 64),
        (100, 60, 1, 60),  # small images grow: 560 x 336 px, 40 x 24 patches
        (4000, 3000, 1 + 3 * 3, 10 * 63),  # 36 x 28 patches each
    ],
)
def test_images_take_as_many_tokens_as_documented(
    width: int, height: int, slices: int, tokens: int
) -> None:
    processor = MiniCPMV4_6ImageProcessorPil(max_slice_nums=9, scale_resolution=448, patch_size=14)
    seen = processor([Image.new("RGB", (width, height))], return_tensors="pt")
    assert len(seen["target_sizes"]) == slices
    assert int(seen["target_sizes"].prod(-1).sum()) // 16 == tokens


def test_placeholders_equal_those_of_the_official_processor(backbone: LocalBackbone) -> None:
    parts = backbone.parts
    sizes = [(64, 64), (30, 20), (100, 40), (40, 130), (64, 31)]
    seen = parts.image_processor([picture(*size).image for size in sizes], return_tensors="pt")
    # Any: the class itself needs a video processor
    stand_in: Any = SimpleNamespace(**tiny_minicpm_v.TOKENS, slice_mode=True)
    for at, ours in enumerate(_image_texts(parts, seen)):
        theirs = MiniCPMV4_6Processor.replace_image_token(
            stand_in, seen, at, image_token_divisor=16
        )
        assert ours == f"<image_id>0</image_id>{theirs}"


def test_4_7_keeps_the_contract(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> None:
    folder = tmp_path_factory.mktemp("other") / "minicpm-v"
    tiny_minicpm_v.write(folder, "4.7")
    contracts.test_scores_equal_a_reference_forward(opened(folder))
    contracts.test_one_equals_many_and_padding_does_no_harm(opened(folder))
    contracts.test_a_kept_prefix_changes_nothing(opened(folder))
    contracts.test_the_image_is_read(opened(folder))
    contracts.test_it_generates_the_same_alone_and_together(opened(folder))
    contracts.test_tokens_are_counted(opened(folder))
    contracts.test_an_adapter_is_trained_saved_loaded_and_merged(folder, tmp_path)


def test_positions_of_4_7_are_what_the_model_would_compute(backbone: LocalBackbone) -> None:
    images = [picture(64, 64, 1), picture(30, 60, 2)]
    inputs = backbone.family.encode(backbone.parts, images, ["Hi", "A longer one"])
    assert ("position_ids" in inputs) == is_4_7(backbone)
    if not is_4_7(backbone):
        return
    kinds = inputs["input_ids"].eq(backbone.parts.image_token_id or 0).int()
    own = {name: value for name, value in inputs.items() if name != "position_ids"}
    with torch.inference_mode():
        ours = backbone.parts.model(**inputs).logits[:, -1]
        theirs = backbone.parts.model(**own, mm_token_type_ids=kinds).logits[:, -1]
    torch.testing.assert_close(ours, theirs)
    assert int(inputs["position_ids"].max()) < inputs["input_ids"].shape[1] - 1


def test_text_after_an_image_is_read_as_text(backbone: LocalBackbone, folder: Path) -> None:
    fresh = opened(folder).generate([None], ["Hello there"], max_new_tokens=6)
    backbone.generate([picture(64, 64)], ["Hi"], max_new_tokens=2)
    assert backbone.generate([None], ["Hello there"], max_new_tokens=6) == fresh


def test_only_the_logits_that_are_asked_for_are_computed(
    backbone: LocalBackbone, folder: Path
) -> None:
    inputs = backbone.family.encode(backbone.parts, [picture(64, 64)], ["Hi"])
    with torch.inference_mode():
        last = backbone.parts.model(**inputs, logits_to_keep=1).logits
        whole = backbone.parts.model(**inputs).logits
    assert last.shape[1] == 1
    torch.testing.assert_close(last, whole[:, -1:])
    if not is_4_7(backbone):
        published = MiniCPMV4_6ForConditionalGeneration.from_pretrained(folder).eval()
        with torch.inference_mode():
            torch.testing.assert_close(whole, published(**inputs).logits)


def test_lora_adapts_the_language_model_alone(backbone: LocalBackbone) -> None:
    linear = {n for n, m in backbone.parts.model.named_modules() if isinstance(m, nn.Linear)}
    chosen = {name for name in linear if re.fullmatch(backbone.family.lora_targets, name)}
    assert chosen == {name for name in linear if ".language_model." in name}
    assert len(chosen) == 2 * 3 + 4 + 5  # two MLPs, one attention, one linear attention
    assert any("vision_tower" in name for name in linear - chosen)
    assert any("merger" in name for name in linear - chosen)


@pytest.mark.parametrize("marker", ["<|image_pad|>", "<image>", "<slice>", "<|video_pad|>"])
@pytest.mark.parametrize("seen", [True, False])
def test_text_that_poses_as_an_image_is_refused(
    backbone: LocalBackbone, marker: str, *, seen: bool
) -> None:
    image = picture(64, 64) if seen else None
    with pytest.raises(BackboneError, match="must not contain"):
        backbone.generate([image], [f"{marker} there"])


def test_editions_that_think_are_refused(tmp_path: Path) -> None:
    tiny_minicpm_v.write(tmp_path / "MiniCPM-V-4.6-Thinking")
    with pytest.raises(ThinkingModelError, match="name says so"):
        opened(tmp_path / "MiniCPM-V-4.6-Thinking")
    always = tiny_minicpm_v.TEMPLATE.replace("enable_thinking is false", "false")
    tiny_minicpm_v.write(tmp_path / "plain", template=always)
    with pytest.raises(ThinkingModelError, match="opens a thought"):
        opened(tmp_path / "plain")


def test_other_folders_are_refused(tmp_path: Path) -> None:
    tiny_causal.write(tmp_path / "llama")
    with pytest.raises(BackboneError, match="'llama', none of minicpmv4_6, minicpmv4_7"):
        opened(tmp_path / "llama")
    tiny_minicpm_v.write(tmp_path / "blind", template="{{ messages[0]['role'] }}")
    with pytest.raises(BackboneError, match="no place for an image"):
        opened(tmp_path / "blind")
