from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from tests.models.toy_backbone import ToyBackbone

from visuallens.errors import BackboneError
from visuallens.models.backbone_reader import BackboneReader
from visuallens.prompts import PROMPT_VERSION, aspect_prompt, caption_prompt
from visuallens.types import PhotoMetadata


def talking(prompt: str) -> str:
    if prompt == caption_prompt():
        return "Caption: A red square. <|im_end|>"
    return "1. red\n2. Square\n3. red"


def test_a_photo_is_described_by_two_questions() -> None:
    reader = BackboneReader(ToyBackbone(in_words=talking))
    inputs = [reader.prepare(Image.new("RGB", (1600, 800), "red"))] * 2
    readings = reader.read(inputs, [PhotoMetadata()] * 2)
    assert readings.embeddings is None
    assert readings.descriptions is not None
    first, second = readings.descriptions
    assert first == second
    assert first.caption.startswith("A red square")
    assert first.aspect_words == ("red", "square")
    assert (reader.id, reader.prompt_version) == ("toy@1", PROMPT_VERSION)


def test_captions_come_from_the_captioner_and_words_from_the_backbone() -> None:
    captioner = ToyBackbone(in_words=lambda _: "A red square.")
    captioner.id = "captioner@2"
    backbone = ToyBackbone(in_words=lambda _: "red, square")
    reader = BackboneReader(backbone, captioner=captioner)
    readings = reader.read([reader.prepare(Image.new("RGB", (9, 9)))] * 2, [PhotoMetadata()] * 2)
    assert readings.descriptions is not None
    assert readings.descriptions[0].caption == "A red square."
    assert readings.descriptions[0].aspect_words == ("red", "square")
    assert captioner.prompts == [caption_prompt()] * 2
    assert backbone.prompts == [aspect_prompt()] * 2
    assert reader.id == "captioner@2+toy@1"


def test_what_both_have_cost_is_added() -> None:
    captioner, backbone = ToyBackbone(), ToyBackbone()
    # A toy has no account; the reader takes one from whatever backbone has it.
    captioner.usage = SimpleNamespace(cost=0.5)  # type: ignore[attr-defined]
    backbone.usage = SimpleNamespace(cost=0.25)  # type: ignore[attr-defined]
    assert BackboneReader(backbone, captioner=captioner).cost == 0.75
    assert BackboneReader(backbone).cost == 0.25


def test_photos_are_shown_small_and_whole() -> None:
    reader = BackboneReader(ToyBackbone(in_words=talking), side_px=400)
    pixels = reader.prepare(Image.new("RGB", (1600, 800)))
    assert pixels.shape == (200, 400, 3)
    assert pixels.dtype == np.uint8
    assert reader.prepare(Image.new("RGB", (30, 20))).shape == (20, 30, 3)


def test_an_answer_that_cannot_be_understood_leaves_nothing() -> None:
    reader = BackboneReader(ToyBackbone(in_words=lambda _: "<think>what is this?"))
    readings = reader.read([reader.prepare(Image.new("RGB", (9, 9)))], [PhotoMetadata()])
    assert readings.descriptions is not None
    assert (readings.descriptions[0].caption, readings.descriptions[0].aspect_words) == ("", ())


def test_a_backbone_that_does_not_see_is_refused() -> None:
    blind = ToyBackbone()
    blind.sees = False
    with pytest.raises(BackboneError, match="text only"):
        BackboneReader(blind)
    with pytest.raises(BackboneError, match="text only"):
        BackboneReader(ToyBackbone(), captioner=blind)
