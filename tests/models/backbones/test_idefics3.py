"""The tiles and templates of Idefics3 and SmolVLM. The contract tests run too."""

from __future__ import annotations

import json
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.models.backbones import test_contracts as contracts
from tests.models.backbones import tiny_idefics3
from transformers import Idefics3ImageProcessorPil, Idefics3Processor
from transformers.models.smolvlm.processing_smolvlm import get_image_prompt_string

from visuallens.errors import BackboneError
from visuallens.models.backbones.adapters import Lora, add_adapter, merge_adapter
from visuallens.models.backbones.local import LocalBackbone
from visuallens.models.base import PromptImage

PROMPT = "Aspect words: metal\nA: Zoo\nB: Park\nAnswer:"
# Width, height, and the rows and columns of tiles: the longer side is four tiles of 28 px.
SHAPES = ((64, 64, 4, 4), (120, 40, 2, 4), (30, 90, 4, 2), (896, 896, 4, 4))
STARTS = {"idefics3": "<|begin_of_text|>", "smolvlm": "<|im_start|>"}


def picture(width: int, height: int) -> PromptImage:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return PromptImage(Image.fromarray(pixels))


def written(backbone: LocalBackbone, rows: int, cols: int) -> str:
    """Write an image as the processor of SmolVLM would."""
    around, image, whole = "<fake_token_around_image>", "<image>", "<global-img>"
    each = backbone.parts.model.model.image_seq_len
    text: str = get_image_prompt_string(rows, cols, each, around, image, whole)
    return text


@pytest.fixture(scope="module", params=STARTS)
def backbone(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> LocalBackbone:
    folder = tmp_path_factory.mktemp("weights") / str(request.param)
    import_module(f"tests.models.backbones.tiny_{request.param}").write(folder)
    return contracts.opened(folder)


@pytest.mark.parametrize(("width", "height", "rows", "cols"), SHAPES)
def test_tiles_are_written_as_smolvlms_processor_does(
    backbone: LocalBackbone, width: int, height: int, rows: int, cols: int
) -> None:
    inputs = backbone.family.encode(backbone.parts, [picture(width, height)], [PROMPT])
    start = STARTS[backbone.name]
    text = f"{start}User:{written(backbone, rows, cols)}{PROMPT}<end_of_utterance>\nAssistant:"
    assert backbone.parts.tokenizer.decode(inputs["input_ids"][0]) == text
    tokens = backbone.parts.tokenizer.encode(text, add_special_tokens=False)
    assert inputs["input_ids"].tolist() == [tokens]
    assert inputs["pixel_values"].shape == (1, rows * cols + 1, 3, 28, 28)


def test_a_picture_that_is_not_split_is_written_once(backbone: LocalBackbone) -> None:
    images = backbone.parts.image_processor.image_processor
    images.do_image_splitting = False
    try:
        inputs = backbone.family.encode(backbone.parts, [picture(64, 64)], [PROMPT])
    finally:
        images.do_image_splitting = True
    assert written(backbone, 0, 0) in backbone.parts.tokenizer.decode(inputs["input_ids"][0])
    assert inputs["pixel_values"].shape == (1, 1, 3, 28, 28)


def test_text_alone_has_a_space_after_the_role(backbone: LocalBackbone) -> None:
    inputs = backbone.family.encode(backbone.parts, [None], [PROMPT])
    text = backbone.parts.tokenizer.decode(inputs["input_ids"][0])
    start = STARTS[backbone.name]
    assert text == f"{start}User: {PROMPT}<end_of_utterance>\nAssistant:"
    assert inputs.keys() == {"input_ids", "attention_mask"}


def test_the_layout_is_the_official_processors(tmp_path: Path) -> None:
    folder = tmp_path / "idefics3"
    tiny_idefics3.write(folder)
    backbone, image = contracts.opened(folder), picture(120, 40)
    judge = Idefics3Processor(
        Idefics3ImageProcessorPil.from_pretrained(folder),
        contracts.opened(folder).parts.tokenizer,
        image_seq_len=tiny_idefics3.IMAGE_TOKENS,
        chat_template=tiny_idefics3.template("<|begin_of_text|>"),
    )
    content: Any = [{"type": "image", "image": image.image}, {"type": "text", "text": PROMPT}]
    theirs: Any = judge.apply_chat_template(
        [{"role": "user", "content": content}],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
    )
    ours = backbone.family.encode(backbone.parts, [image], [PROMPT])
    assert ours["input_ids"].tolist() == theirs["input_ids"]
    for name in ("pixel_values", "pixel_attention_mask"):
        assert np.array_equal(ours[name], theirs[name])


@pytest.mark.parametrize(
    ("side_px", "patch_px", "scale", "each"),
    [(364, 14, 2, 169), (512, 16, 4, 64), (384, 14, 3, 81)],
    ids=["Idefics3-8B", "SmolVLM-256M", "SmolVLM2-2.2B"],
)
def test_tokens_of_a_grid_are_those_the_model_makes(
    tmp_path: Path, side_px: int, patch_px: int, scale: int, each: int
) -> None:
    folder = tmp_path / "idefics3"
    tiny_idefics3.write_with(folder, side_px, patch_px, scale)
    backbone = contracts.opened(folder)
    inputs = backbone.family.encode(backbone.parts, [picture(896, 896)], [PROMPT])
    counted = inputs["input_ids"][0].tolist().count(backbone.parts.image_token_id)
    assert counted == 17 * each
    with torch.no_grad():
        made = backbone.parts.model.get_image_features(
            inputs["pixel_values"][:, -1:], inputs["pixel_attention_mask"][:, -1:]
        )
    assert made.pooler_output[0].shape[0] == each
    assert inputs["input_ids"].shape[1] < backbone.parts.source.checkpoint.max_tokens / 3


def test_pictures_of_different_shapes_share_a_batch(backbone: LocalBackbone) -> None:
    labels = backbone.label_space()
    images = [picture(width, height) for width, height, *_ in SHAPES[:3]]
    prompts = [PROMPT, "Answer:", PROMPT + " B"]
    together = backbone.score_labels(images, prompts, labels)
    for image, prompt, row in zip(images, prompts, together, strict=True):
        expected = contracts.reference(backbone, image, prompt, labels)
        np.testing.assert_allclose(row, expected, atol=1e-4)


def test_lora_adapts_the_language_model_only(backbone: LocalBackbone) -> None:
    modules = backbone.parts.model.named_modules()
    linear = {name for name, module in modules if isinstance(module, torch.nn.Linear)}
    adapted = {name for name in linear if re.fullmatch(backbone.family.lora_targets, name)}
    assert adapted == {name for name in linear if "text_model.layers" in name}
    assert len(adapted) == 2 * 7
    assert any("vision_model" in name for name in linear - adapted)
    assert any("connector" in name for name in linear - adapted)


def test_a_prompt_makes_no_place_for_images(backbone: LocalBackbone) -> None:
    for image in (None, picture(64, 64)):
        with pytest.raises(BackboneError, match="must not contain <image>"):
            backbone.family.encode(backbone.parts, [image], ["a park <image>"])


def test_a_merged_folder_is_complete_for_others(tmp_path: Path) -> None:
    folder = tmp_path / "idefics3"
    tiny_idefics3.write(folder)
    backbone = contracts.opened(folder)
    add_adapter(backbone, Lora(rank=2, alpha=2), "new")
    merge_adapter(backbone, tmp_path / "merged")
    saved = json.loads((tmp_path / "merged" / "processor_config.json").read_text())
    assert saved["processor_class"] == "Idefics3Processor"
    assert saved["image_seq_len"] == tiny_idefics3.IMAGE_TOKENS
