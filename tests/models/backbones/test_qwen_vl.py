"""Qwen's vision-language models: layout of prompts, number of image tokens, positions."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any  # a class of transformers, called on a stand-in

import numpy as np
import pytest
import torch
from PIL import Image
from tests.models.backbones import tiny_qwen2_5_vl, tiny_qwen3_vl
from torch import nn
from transformers import Qwen2VLImageProcessorPil
from transformers.models.qwen2_5_vl.processing_qwen2_5_vl import Qwen2_5_VLProcessor
from transformers.models.qwen3_vl.processing_qwen3_vl import Qwen3VLProcessor

from visuallens.config import BackboneSettings
from visuallens.errors import BackboneError, ThinkingModelError
from visuallens.models.backbones.local import LocalBackbone
from visuallens.models.backbones.qwen_vl import IMAGE_TOKEN, QwenVL, _look, qwen2_5_vl, qwen3_vl
from visuallens.models.base import PromptImage

WRITERS = {"qwen3-vl": tiny_qwen3_vl.write, "qwen2.5-vl": tiny_qwen2_5_vl.write}
LOADERS = {"qwen3-vl": qwen3_vl, "qwen2.5-vl": qwen2_5_vl}
TRUE_SETTINGS: dict[str, dict[str, Any]] = {
    "qwen3-vl": {
        "size": {"shortest_edge": 65_536, "longest_edge": 16_777_216},
        "patch_size": 16,
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
    },
    "qwen2.5-vl": {"min_pixels": 3136, "max_pixels": 12_845_056, "patch_size": 14},
}


def picture(width: int, height: int, seed: int = 0) -> PromptImage:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return PromptImage(Image.fromarray(pixels))


@pytest.fixture(scope="module", params=sorted(WRITERS))
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / str(request.param)
    WRITERS[str(request.param)](path)
    return path


@pytest.fixture
def backbone(folder: Path) -> LocalBackbone:
    settings = BackboneSettings(name=folder.name, model=str(folder), device="cpu")
    return LOADERS[folder.name](settings)


def test_the_image_comes_before_the_text(backbone: LocalBackbone) -> None:
    inputs = backbone.family.encode(backbone.parts, [picture(64, 64)], ["Hi"])
    system = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    assert backbone.parts.tokenizer.decode(inputs["input_ids"][0]) == (
        (system if backbone.name == "qwen2.5-vl" else "")
        + "<|im_start|>user\n<|vision_start|>"
        + "<|image_pad|>" * 4  # 4 x 4 patches, merged two by two
        + "<|vision_end|>Hi<|im_end|>\n<|im_start|>assistant\n"
    )
    text = backbone.family.encode(backbone.parts, [None], ["Hi"])
    assert set(text) == {"input_ids", "attention_mask", "position_ids"}


@pytest.mark.parametrize(
    ("family", "width", "height", "tokens"),
    [
        ("qwen3-vl", 896, 896, 28 * 28),  # pieces of 32 px
        ("qwen2.5-vl", 896, 896, 32 * 32),  # pieces of 28 px
        ("qwen3-vl", 448, 448, 14 * 14),  # smaller images stay as they are
        ("qwen3-vl", 4000, 3000, 32 * 24),  # larger ones cost no more than a grid
        ("qwen2.5-vl", 4000, 3000, 36 * 27),
    ],
)
def test_images_take_as_many_tokens_as_documented(
    family: str, width: int, height: int, tokens: int
) -> None:
    processor = Qwen2VLImageProcessorPil(**TRUE_SETTINGS[family])
    grid = _look(processor, [Image.new("RGB", (width, height))])["image_grid_thw"][0]
    assert int(grid.prod()) // processor.merge_size**2 == tokens


@pytest.mark.parametrize("official", [Qwen3VLProcessor, Qwen2_5_VLProcessor])
@pytest.mark.parametrize("size", [(64, 64), (32, 64), (61, 47)])
def test_placeholders_equal_those_of_the_official_processor(
    backbone: LocalBackbone,
    official: Any,  # noqa: ANN401
    size: tuple[int, int],
) -> None:
    inputs = backbone.family.encode(backbone.parts, [picture(*size)], ["Hi"])
    stand_in = SimpleNamespace(
        image_processor=backbone.parts.image_processor, image_token=IMAGE_TOKEN
    )
    expected = official.replace_image_token(stand_in, inputs, 0)
    rendered = backbone.parts.tokenizer.decode(inputs["input_ids"][0])
    assert f"<|vision_start|>{expected}<|vision_end|>" in rendered


def test_positions_are_those_of_a_picture(backbone: LocalBackbone) -> None:
    inputs = backbone.family.encode(backbone.parts, [picture(64, 64)], ["Hi"])
    ids = inputs["input_ids"][0].tolist()
    first = ids.index(backbone.parts.image_token_id)
    time, row, column = inputs["position_ids"][:, 0].tolist()
    # 2 x 2 tokens after `first` tokens of text: one moment, two rows, two columns
    assert time[first : first + 4] == [first] * 4
    assert row[first : first + 4] == [first, first, first + 1, first + 1]
    assert column[first : first + 4] == [first, first + 1, first, first + 1]
    # text goes on after the longer side, two positions instead of four
    rest = list(range(first + 2, first + 2 + len(ids) - first - 4))
    assert time[first + 4 :] == row[first + 4 :] == column[first + 4 :] == rest


def test_positions_are_what_the_model_would_compute(backbone: LocalBackbone) -> None:
    images = [picture(64, 64, 1), picture(64, 32, 2)]
    inputs = backbone.family.encode(backbone.parts, images, ["Hi", "A longer one"])
    kinds = inputs["input_ids"].eq(backbone.parts.image_token_id or 0).int()
    own = {name: value for name, value in inputs.items() if name != "position_ids"}
    with torch.inference_mode():
        ours = backbone.parts.model(**inputs).logits[:, -1]
        theirs = backbone.parts.model(**own, mm_token_type_ids=kinds).logits[:, -1]
    torch.testing.assert_close(ours, theirs)


def test_positions_follow_an_answer_that_was_appended(backbone: LocalBackbone) -> None:
    inputs = backbone.family.encode(backbone.parts, [picture(64, 64)], ["Hi"])
    longer = {
        **inputs,
        "input_ids": torch.cat([inputs["input_ids"], torch.tensor([[65, 66]])], dim=1),
        "attention_mask": torch.cat([inputs["attention_mask"], torch.ones(1, 2).long()], dim=1),
    }
    positions = backbone.training_inputs(longer)["position_ids"]
    last = int(inputs["position_ids"][0, 0, -1])
    assert positions[:, 0, -2:].tolist() == [[last + 1, last + 2]] * 3


def test_text_after_an_image_is_read_as_text(backbone: LocalBackbone, folder: Path) -> None:
    settings = BackboneSettings(name=folder.name, model=str(folder), device="cpu")
    fresh = LOADERS[folder.name](settings).generate([None], ["Hello there"], max_new_tokens=6)
    backbone.generate([picture(64, 64)], ["Hi"], max_new_tokens=2)
    assert backbone.generate([None], ["Hello there"], max_new_tokens=6) == fresh
    labels = backbone.label_space()
    scores = backbone.score_labels([None, None], ["A: x\nAnswer:", "B\nAnswer:"], labels)
    alone = backbone.score_labels([None], ["B\nAnswer:"], labels)
    np.testing.assert_allclose(scores[1], alone[0], atol=1e-4)


def test_lora_adapts_the_language_model_alone(backbone: LocalBackbone) -> None:
    linear = {n for n, m in backbone.parts.model.named_modules() if isinstance(m, nn.Linear)}
    chosen = {name for name in linear if re.fullmatch(backbone.family.lora_targets, name)}
    assert chosen == {name for name in linear if ".language_model." in name}
    assert len(chosen) == 2 * 7
    assert any("visual" in name for name in linear - chosen)


@pytest.mark.parametrize("marker", [IMAGE_TOKEN, "<|vision_start|>", "<|video_pad|>"])
@pytest.mark.parametrize("seen", [True, False])
def test_text_that_poses_as_an_image_is_refused(
    backbone: LocalBackbone, marker: str, *, seen: bool
) -> None:
    image = picture(64, 64) if seen else None
    with pytest.raises(BackboneError, match="must not contain"):
        backbone.generate([image], [f"Look: {marker} there"])


def test_editions_that_think_are_refused(tmp_path: Path) -> None:
    named = tmp_path / "Qwen3-VL-4B-Thinking"
    tiny_qwen3_vl.write(named)
    with pytest.raises(ThinkingModelError, match="name says so"):
        qwen3_vl(BackboneSettings(name="qwen3-vl", model=str(named)))
    template = named / "chat_template.jinja"
    opens = template.read_text(encoding="utf-8").replace(
        "<|im_start|>assistant\n", "<|im_start|>assistant\n<think>\n"
    )
    template.write_text(opens, encoding="utf-8")
    unnamed = named.rename(tmp_path / "plain")
    with pytest.raises(ThinkingModelError, match="opens a thought"):
        qwen3_vl(BackboneSettings(name="qwen3-vl", model=str(unnamed)))


def test_a_template_without_images_is_refused(tmp_path: Path) -> None:
    tiny_qwen3_vl.write(tmp_path / "plain")
    template = tmp_path / "plain" / "chat_template.jinja"
    template.write_text("{{ messages[0]['role'] }}", encoding="utf-8")
    with pytest.raises(BackboneError, match="no place for an image"):
        qwen3_vl(BackboneSettings(name="qwen3-vl", model=str(tmp_path / "plain")))


def test_the_first_checkpoints_are_the_documented_ones() -> None:
    assert isinstance(qwen3_vl.family, QwenVL)
    assert qwen3_vl.family.checkpoints[0].model == "Qwen/Qwen3-VL-4B-Instruct"
    assert qwen2_5_vl.family.checkpoints[0].model == "Qwen/Qwen2.5-VL-7B-Instruct"
