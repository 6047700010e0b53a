from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from visuallens.models.embedded import EmbeddedModel
from visuallens.models.labels import imagenet_labels
from visuallens.models.spaces import (
    Anchors,
    AnchorSpace,
    ConcatenatedSpace,
    ConseSpace,
    JoinedSpace,
    ProjectionSpace,
    Space,
    fit_projection,
    softmax,
    unit_length,
)
from visuallens.types import FloatArray


@pytest.fixture
def anchors() -> Anchors:
    generator = np.random.default_rng(0)
    return Anchors(
        texts=unit_length(generator.normal(size=(1000, 384)).astype(np.float32)),
        images=unit_length(generator.normal(size=(1000, 1280)).astype(np.float32)),
    )


def spaces(anchors: Anchors, model: EmbeddedModel) -> list[Space]:
    projection = ProjectionSpace(
        np.ones((1280, 384), np.float32), np.zeros(1280, np.float32), np.zeros(384, np.float32)
    )
    return [
        AnchorSpace(anchors),
        ConseSpace(anchors),
        JoinedSpace(imagenet_labels(), model.sentences),
        projection,
        ConcatenatedSpace(AnchorSpace(anchors), ConseSpace(anchors)),
    ]


def test_every_space_gives_unit_rows_that_can_be_compared(
    anchors: Anchors, model: EmbeddedModel
) -> None:
    generator = np.random.default_rng(1)
    features = generator.random((3, 1280)).astype(np.float32)
    logits = generator.normal(size=(3, 1000)).astype(np.float32)
    for space in spaces(anchors, model):
        images, texts = space.images(features, logits), space.texts(anchors.texts[:2])
        assert images.dtype == texts.dtype == np.float32
        assert images.shape[1] == texts.shape[1], space.name
        np.testing.assert_allclose(np.linalg.norm(images, axis=1), 1, atol=1e-5)
        np.testing.assert_allclose(np.linalg.norm(texts, axis=1), 1, atol=1e-5)


def test_a_text_that_is_a_class_lands_on_its_class_vector(anchors: Anchors) -> None:
    # cosine 1 to its own class and about 0 to the others: exp(1/0.05) = 4.9e8 against 999 others.
    landed = AnchorSpace(anchors).texts(anchors.texts[7:8])[0]
    assert landed @ anchors.images[7] > 0.999


def test_conse_of_a_certain_image_is_its_class_text(anchors: Anchors) -> None:
    logits = np.zeros((1, 1000), np.float32)
    logits[0, 42] = 100.0
    image = ConseSpace(anchors).images(np.zeros((1, 1280), np.float32), logits)[0]
    np.testing.assert_allclose(image, anchors.texts[42], atol=1e-5)


def test_projection_learns_a_linear_map_and_survives_saving(tmp_path: Path) -> None:
    generator = np.random.default_rng(2)
    features = generator.normal(size=(4000, 1280)).astype(np.float32)
    truth = generator.normal(size=(1280, 384)).astype(np.float32)
    fitted = fit_projection(features[:3500], unit_length(features[:3500] @ truth), ridge=1.0)
    wanted: FloatArray = unit_length(features[3500:] @ truth)
    cosines = (fitted.images(features[3500:], np.zeros((500, 1), np.float32)) * wanted).sum(axis=1)
    assert cosines.mean() > 0.9
    fitted.save(tmp_path / "projection.safetensors")
    again = ProjectionSpace.load(tmp_path / "projection.safetensors")
    np.testing.assert_array_equal(
        again.images(features[:2], features[:2]), fitted.images(features[:2], features[:2])
    )


def test_softmax_by_hand() -> None:
    # e^0 = 1, e^ln3 = 3: shares 1/4 and 3/4.
    np.testing.assert_allclose(softmax(np.array([[0, np.log(3)]], np.float32)), [[0.25, 0.75]])


def test_a_zero_row_stays_zero() -> None:
    assert not unit_length(np.zeros((1, 4), np.float32)).any()
