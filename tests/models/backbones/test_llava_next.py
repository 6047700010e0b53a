"""LLaVA-NeXT's tiles and template. The contract tests run too."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.models.backbones import test_contracts as contracts
from tests.models.backbones import tiny_llava_next
from transformers import LlavaNextImageProcessorPil, LlavaNextProcessor

from visuallens.errors import BackboneError
from visuallens.models.backbones.adapters import Lora, add_adapter, merge_adapter
from visuallens.models.backbones.local import LocalBackbone
from visuallens.models.base import PromptImage

PROMPT = "Aspect words: metal\nA: Zoo\nB: Park\nAnswer:"
SHAPES = ((64, 64), (120, 40), (30, 90), (50, 20), (61, 47))
USER = "<|start_header_id|>user<|end_header_id|>\n\n"
ASSISTANT = "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"


def picture(width: int, height: int) -> PromptImage:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return PromptImage(Image.fromarray(pixels))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "llava-next"
    tiny_llava_next.write(path)
    return path


@pytest.fixture(scope="module")
def backbone(folder: Path) -> LocalBackbone:
    return contracts.opened(folder)


def test_the_layout_is_the_official_processors(backbone: LocalBackbone, folder: Path) -> None:
    judge = LlavaNextProcessor(
        LlavaNextImageProcessorPil.from_pretrained(folder),
        contracts.opened(folder).parts.tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        chat_template=tiny_llava_next.TEMPLATE,
        num_additional_image_tokens=1,
    )
    for shape in SHAPES:
        image = picture(*shape)
        content: Any = [{"type": "image", "image": image.image}, {"type": "text", "text": PROMPT}]
        theirs: Any = judge.apply_chat_template(
            [{"role": "user", "content": content}],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
        )
        ours = backbone.family.encode(backbone.parts, [image], [PROMPT])
        assert ours["input_ids"].tolist() == theirs["input_ids"]
        assert np.array_equal(ours["pixel_values"], np.stack(theirs["pixel_values"]))
        assert ours["image_sizes"].tolist() == [list(size) for size in theirs["image_sizes"]]


def test_start_then_image_then_text(backbone: LocalBackbone) -> None:
    read = backbone.parts.tokenizer.decode
    inputs = backbone.family.encode(backbone.parts, [picture(64, 64)], [PROMPT])
    pieces = "<image>" * (4 + 4 * 4 + 4)  # as a whole, in tiles, and a newline after each row
    expected = f"<|begin_of_text|>{USER}{pieces}\n{PROMPT}{ASSISTANT}"
    assert read(inputs["input_ids"][0]) == expected
    alone = backbone.family.encode(backbone.parts, [None], [PROMPT])
    assert read(alone["input_ids"][0]) == f"<|begin_of_text|>{USER}\n{PROMPT}{ASSISTANT}"
    assert alone.keys() == {"input_ids", "attention_mask"}


@pytest.mark.parametrize(
    ("shape", "tokens"),
    # 576 as a whole; a grid is 48 x 48 patches and 48 newlines; 2:1 is 24 x 48 and 24.
    [((896, 896), 576 + 48 * 48 + 48), ((1000, 500), 576 + 24 * 48 + 24), ((640, 480), None)],
)
def test_tokens_of_an_image_are_those_the_model_makes(
    tmp_path: Path, shape: tuple[int, int], tokens: int | None
) -> None:
    folder = tmp_path / "llava-next"
    tiny_llava_next.write_with(folder, 336)
    backbone = contracts.opened(folder)
    inputs = backbone.family.encode(backbone.parts, [picture(*shape)], [PROMPT])
    counted = inputs["input_ids"][0].tolist().count(backbone.parts.image_token_id)
    with torch.no_grad():
        made = backbone.parts.model.get_image_features(
            inputs["pixel_values"], inputs["image_sizes"]
        )
    assert counted == made.pooler_output[0].shape[0]
    assert tokens in (None, counted)


def test_pictures_of_different_shapes_share_a_batch(backbone: LocalBackbone) -> None:
    labels = backbone.label_space()
    images = [picture(*shape) for shape in SHAPES[:3]]
    prompts = [PROMPT, "Answer:", PROMPT + " B"]
    together = backbone.score_labels(images, prompts, labels)
    for image, prompt, row in zip(images, prompts, together, strict=True):
        expected = contracts.reference(backbone, image, prompt, labels)
        np.testing.assert_allclose(row, expected, atol=1e-4)


def test_a_template_that_writes_the_start_gets_no_second(folder: Path, tmp_path: Path) -> None:
    changed = tmp_path / "llava-next"
    shutil.copytree(folder, changed)
    template = "{{ bos_token }}" + tiny_llava_next.TEMPLATE
    (changed / "chat_template.json").write_text(json.dumps({"chat_template": template}))
    backbone = contracts.opened(changed)
    for image in (None, picture(64, 64)):
        ids = backbone.family.encode(backbone.parts, [image], [PROMPT])["input_ids"][0].tolist()
        assert ids.count(backbone.parts.tokenizer.bos_token_id) == 1


def test_lora_adapts_the_language_model_only(backbone: LocalBackbone) -> None:
    modules = backbone.parts.model.named_modules()
    linear = {name for name, module in modules if isinstance(module, torch.nn.Linear)}
    adapted = {name for name in linear if re.fullmatch(backbone.family.lora_targets, name)}
    assert adapted == {name for name in linear if "language_model.layers" in name}
    assert len(adapted) == 2 * 7
    assert any("vision_tower" in name for name in linear - adapted)
    assert any("projector" in name for name in linear - adapted)


def test_a_prompt_makes_no_place_for_images(backbone: LocalBackbone) -> None:
    for image in (None, picture(64, 64)):
        with pytest.raises(BackboneError, match="must not contain <image>"):
            backbone.family.encode(backbone.parts, [image], ["a park <image>"])


def test_a_merged_folder_is_complete_for_others(folder: Path, tmp_path: Path) -> None:
    backbone = contracts.opened(folder)
    add_adapter(backbone, Lora(rank=2, alpha=2), "new")
    merge_adapter(backbone, tmp_path)
    saved = json.loads((tmp_path / "processor_config.json").read_text())
    assert saved["processor_class"] == "LlavaNextProcessor"
    assert saved["patch_size"] == 14
    assert saved["vision_feature_select_strategy"] == "default"
    assert (tmp_path / "chat_template.jinja").read_text() == tiny_llava_next.TEMPLATE
