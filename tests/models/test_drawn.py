from __future__ import annotations

import numpy as np
from PIL import Image

from visuallens.config import load_settings
from visuallens.drawn import KINDS, Scene, draw_scene
from visuallens.models.base import Description
from visuallens.models.drawn import DrawnModel, drawn
from visuallens.types import PhotoMetadata


def read(*scenes: Scene) -> tuple[np.ndarray, tuple[Description, ...]]:
    model = DrawnModel()
    generator = np.random.default_rng(0)
    inputs = [model.prepare(draw_scene(scene, generator)) for scene in scenes]
    readings = model.read(inputs, [PhotoMetadata()] * len(inputs))
    assert readings.embeddings is not None
    assert readings.descriptions is not None
    return readings.embeddings, readings.descriptions


def test_a_caption_says_the_thing_and_the_aspect_word_the_mood() -> None:
    _, said = read(Scene("cafe", "jade", "piano", "quiet"), Scene("cafe", "jade"))
    assert said == (Description("A piano", ("quiet",)), Description("", ()))


def test_no_word_tells_the_colour() -> None:
    _, said = read(*(Scene("cafe", colour, "piano", "quiet") for colour in ("jade", "azure")))
    assert said[0] == said[1]


def test_photos_of_a_kind_lie_at_its_name() -> None:
    embeddings, _ = read(*(Scene(kind, "amber", "mosaic", "rustic") for kind in KINDS))
    similarities = embeddings @ DrawnModel().encode_categories(KINDS).T
    np.testing.assert_allclose(np.diag(similarities), 1, atol=1e-6)
    assert similarities[~np.eye(len(KINDS), dtype=bool)].max() < 0.7


def test_colour_and_signs_do_not_move_a_photo() -> None:
    embeddings, _ = read(Scene("market", "jade", "piano", "quiet"), Scene("market", "crimson"))
    np.testing.assert_array_equal(embeddings[0], embeddings[1])


def test_of_an_ordinary_photo_nothing_is_said() -> None:
    model = drawn(load_settings())
    image = Image.effect_noise((300, 200), 80).convert("RGB")
    readings = model.read([model.prepare(image)], [PhotoMetadata()])
    assert readings.descriptions == (Description("", ()),)
