"""PaliGemma's layout and attention; PaliGemma 2 beside it. The contract tests run too."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.models.backbones import test_contracts as contracts
from tests.models.backbones import tiny_paligemma
from torch.nn.functional import pad
from transformers import GemmaConfig, PaliGemmaProcessor, SiglipImageProcessorPil

from visuallens.errors import BackboneError
from visuallens.models.backbones.local import LocalBackbone
from visuallens.models.base import PromptImage

PROMPT = "What is the museum the user most likely to go to next?\nA: Zoo\nB: Park\nAnswer:"
EDITIONS = {"1": tiny_paligemma.write, "2": tiny_paligemma.write_2}


def saved(write: Callable[[Path], None], path: Path) -> Path:
    folder = path / "paligemma"
    write(folder)
    return folder


@pytest.fixture(scope="module", params=EDITIONS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(EDITIONS[request.param], tmp_path_factory.mktemp(f"edition-{request.param}"))


@pytest.fixture(scope="module")
def backbone(folder: Path) -> LocalBackbone:
    return contracts.opened(folder)


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tiny_paligemma.write_2, tmp_path_factory.mktemp("second"))


def states(backbone: LocalBackbone, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """Hidden states after the last layer, (prompts, tokens, width)."""
    with torch.no_grad():
        output = backbone.parts.model(**inputs, output_hidden_states=True)
    states: torch.Tensor = output.hidden_states[-1]
    return states


def test_the_layout_is_the_official_processors(backbone: LocalBackbone, folder: Path) -> None:
    image = contracts.grid(1, side_px=90)
    ours = backbone.family.encode(backbone.parts, [image], [PROMPT])
    judge = PaliGemmaProcessor(
        SiglipImageProcessorPil.from_pretrained(folder), contracts.opened(folder).parts.tokenizer
    )
    theirs = judge(images=[image.image], text=["<image>" + PROMPT])
    for name in ("input_ids", "attention_mask", "token_type_ids"):
        assert ours[name].tolist() == theirs[name]
    assert np.array_equal(ours["pixel_values"], theirs["pixel_values"])


def test_image_then_start_then_prompt_then_newline(backbone: LocalBackbone) -> None:
    tokenizer = backbone.parts.tokenizer
    inputs = backbone.family.encode(backbone.parts, [contracts.grid(1)], ["a park\n"])
    text = tokenizer.decode(inputs["input_ids"][0])
    assert text == "<image>" * tiny_paligemma.IMAGE_TOKENS + "<bos>a park\n\n"
    newline = tokenizer.encode("\n", add_special_tokens=False)
    assert inputs["input_ids"][0, -1:].tolist() == newline  # by itself, never merged
    alone = backbone.family.encode(backbone.parts, [None], ["a park\n"])
    assert tokenizer.decode(alone["input_ids"][0]) == "<bos>a park\n\n"
    assert "pixel_values" not in alone


def test_an_image_of_896_px_takes_4096_tokens(tmp_path: Path) -> None:
    folder = saved(
        lambda path: tiny_paligemma.write_with(path, GemmaConfig, 896, num_key_value_heads=1),
        tmp_path,
    )
    backbone = contracts.opened(folder)
    inputs = backbone.family.encode(backbone.parts, [contracts.grid(1, 640)], ["a park"])
    assert inputs["input_ids"][0].tolist().count(backbone.parts.image_token_id) == 4096
    assert inputs["pixel_values"].shape == (1, 3, 896, 896)
    with torch.no_grad():
        read = backbone.parts.model.get_image_features(inputs["pixel_values"])
    assert read.pooler_output.shape[:2] == (1, 4096)


@pytest.mark.parametrize("padded", [False, True])
def test_attention_over_image_and_prompt_is_full(backbone: LocalBackbone, padded: bool) -> None:
    encode = backbone.family.encode
    images = [contracts.grid(1), contracts.grid(2)] if padded else [contracts.grid(1)]
    prompts = ["A: Zoo\nB: Park", PROMPT] if padded else ["A: Zoo\nB: Park"]
    inputs = encode(backbone.parts, images, prompts)
    assert (inputs["attention_mask"][0] == 0).any() == padded
    other = dict(inputs, input_ids=inputs["input_ids"].clone())
    other["input_ids"][0, -2] += 1  # a later token of the prompt ...
    moved = (states(backbone, inputs) - states(backbone, other))[0].abs().amax(-1)
    assert (moved[inputs["attention_mask"][0] == 1] > 1e-6).all()  # ... is seen from every place


def test_an_answer_is_read_causally_in_training(backbone: LocalBackbone) -> None:
    inputs = backbone.family.encode(backbone.parts, [contracts.grid(1)], [PROMPT])
    length = inputs["input_ids"].shape[1]
    answer = backbone.parts.tokenizer("Vulcan Park", return_tensors="pt")["input_ids"]
    whole = inputs | {
        "input_ids": torch.cat([inputs["input_ids"], answer], dim=1),
        "attention_mask": pad(inputs["attention_mask"], (0, answer.shape[1]), value=1),
    }
    whole = backbone.training_inputs(whole)
    assert whole["token_type_ids"].tolist() == [[0] * length + [1] * answer.shape[1]]
    other = dict(whole, input_ids=whole["input_ids"].clone())
    other["input_ids"][0, -1] += 1
    moved = (states(backbone, whole) - states(backbone, other))[0].abs().amax(-1)
    assert (moved[:-1] == 0).all()
    assert moved[-1] > 1e-6
    # The prompt does not see the answer: the first output token is scored as without one.
    prompt = states(backbone, inputs)
    torch.testing.assert_close(states(backbone, whole)[:, :length], prompt, atol=1e-5, rtol=0)


def test_training_inputs_without_an_answer_change_nothing(backbone: LocalBackbone) -> None:
    inputs = backbone.family.encode(backbone.parts, [contracts.grid(1)], [PROMPT])
    again = backbone.training_inputs(inputs)
    assert again.keys() == inputs.keys()
    assert all(torch.equal(again[name], inputs[name]) for name in inputs)


def test_generation_equals_a_loop_over_whole_prompts(backbone: LocalBackbone) -> None:
    """Each token from a fresh pass over all before it, the written ones as causal answer."""
    prompts = [PROMPT, "A: Zoo\nB: Park"]
    images = [contracts.grid(1), contracts.grid(2)]
    inputs = backbone.family.encode(backbone.parts, images, prompts)
    length = inputs["input_ids"].shape[1]
    with torch.no_grad():
        written = backbone.parts.model.generate(
            **inputs, do_sample=False, min_new_tokens=8, max_new_tokens=8
        )
    for _ in range(8):
        with torch.no_grad():
            logits = backbone.parts.model(**backbone.training_inputs(inputs)).logits[:, -1:]
        logits[..., backbone.parts.tokenizer.eos_token_id] = -torch.inf
        inputs["input_ids"] = torch.cat([inputs["input_ids"], logits.argmax(-1)], dim=1)
        inputs["attention_mask"] = pad(inputs["attention_mask"], (0, 1), value=1)
    assert len(set(written[:, length:].flatten().tolist())) > 2  # it does not just repeat itself
    assert written[:, length:].tolist() == inputs["input_ids"][:, length:].tolist()


def test_lora_adapts_the_language_model_only(backbone: LocalBackbone) -> None:
    modules = backbone.parts.model.named_modules()
    linear = {name for name, module in modules if isinstance(module, torch.nn.Linear)}
    adapted = {name for name in linear if re.fullmatch(backbone.family.lora_targets, name)}
    assert adapted == {name for name in linear if "language_model.layers" in name}
    assert len(adapted) == 2 * 7
    assert any("vision_tower" in name for name in linear - adapted)
    assert any("projector" in name for name in linear - adapted)


def test_places_are_the_reserved_labels(backbone: LocalBackbone) -> None:
    labels = backbone.label_space("reserved")
    assert labels.labels[:2] == ("<loc0000>", "<loc0001>")
    assert labels.labels[-1] == "<loc0099>"
    prompt = "<loc0000>: Zoo\n<loc0001>: Park"
    inputs = backbone.family.encode(backbone.parts, [None], [prompt])
    assert set(labels.token_ids[:2]) <= set(inputs["input_ids"][0].tolist())


def test_a_prompt_makes_no_place_for_images(backbone: LocalBackbone) -> None:
    for image in (None, contracts.grid(1)):
        with pytest.raises(BackboneError, match="must not contain"):
            backbone.family.encode(backbone.parts, [image], ["a park <image>"])


def test_the_second_edition_scores_as_a_reference(second: Path) -> None:
    backbone = contracts.opened(second)
    assert backbone.parts.model.config.text_config.sliding_window < 20  # shorter than the prompts
    contracts.test_scores_equal_a_reference_forward(backbone)
    contracts.test_one_equals_many_and_padding_does_no_harm(backbone)
    contracts.test_it_generates_the_same_alone_and_together(backbone)
    contracts.test_the_image_is_read(backbone)


def test_the_second_edition_is_trained_saved_loaded_and_merged(
    second: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contracts, "kinds", lambda _: ("new",))
    contracts.test_an_adapter_is_trained_saved_loaded_and_merged(second, tmp_path)


def test_an_image_of_any_shape_becomes_a_square(backbone: LocalBackbone) -> None:
    wide = PromptImage(Image.new("RGB", (120, 40)))
    inputs = backbone.family.encode(backbone.parts, [wide, contracts.grid(1)], ["a", "b"])
    assert inputs["pixel_values"].shape == (2, 3, tiny_paligemma.SIDE_PX, tiny_paligemma.SIDE_PX)
