from __future__ import annotations

import numpy as np
import pytest

from visuallens.profile.evidence import NullDistribution
from visuallens.types import FloatArray


def unit(vectors: FloatArray) -> FloatArray:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


@pytest.fixture
def unrelated() -> FloatArray:
    return unit(np.random.default_rng(1).normal(size=(400, 64)).astype(np.float32))


def photos(count: int, seed: int = 2) -> FloatArray:
    return unit(np.random.default_rng(seed).normal(size=(count, 64)).astype(np.float32))


def test_p_value_by_hand() -> None:
    # One photo along x. Unrelated things at cosine 1, 0, -1: mean 0, deviation sqrt(2/3).
    embeddings = np.array([[1.0, 0.0]], np.float32)
    unrelated = np.array([[1, 0], [0, 1], [-1, 0]], np.float32)
    nulls = NullDistribution.of(embeddings, unrelated, top_photos=5)
    standing = nulls.standing(np.array([0.5], np.float32), false_answer_rate=0.5)
    # strength = 0.5 / sqrt(2/3) = 0.612; only the first of three is as strong, so (1+1)/(1+3).
    assert standing.strength == pytest.approx(0.5 / np.sqrt(2 / 3), rel=1e-3)
    assert standing.p_value == 0.5
    assert not standing.abstains


def test_false_answers_stay_at_the_chosen_rate(unrelated: FloatArray) -> None:
    embeddings = photos(200)
    nulls = NullDistribution.of(embeddings, unrelated, top_photos=5)
    questions = unit(np.random.default_rng(3).normal(size=(1000, 64)).astype(np.float32))
    answered = sum(
        not nulls.standing(embeddings @ question, false_answer_rate=0.1).abstains
        for question in questions
    )
    assert 60 <= answered <= 140  # 10 % of 1,000, three standard errors are 28, plus the nulls' own


def test_photos_of_the_category_are_answered(unrelated: FloatArray) -> None:
    question = photos(1, seed=9)[0]
    of_category = unit(question + 0.08 * photos(8, seed=4) * np.sqrt(64) / 4)
    embeddings = np.concatenate([photos(300), of_category])
    nulls = NullDistribution.of(embeddings, unrelated, top_photos=5)
    assert not nulls.standing(embeddings @ question, false_answer_rate=0.05).abstains


def test_blocks_give_the_same_as_one_pass(
    unrelated: FloatArray, monkeypatch: pytest.MonkeyPatch
) -> None:
    embeddings = photos(100)
    whole = NullDistribution.of(embeddings, unrelated, top_photos=5)
    monkeypatch.setattr("visuallens.profile.evidence._BLOCK_ROWS", 7)
    blocks = NullDistribution.of(embeddings, unrelated, top_photos=5)
    np.testing.assert_allclose(blocks.strengths, whole.strengths, rtol=1e-4)
    np.testing.assert_allclose(blocks.means, whole.means, atol=1e-6)


def test_one_photo_is_enough_to_judge(unrelated: FloatArray) -> None:
    embeddings = photos(1)
    nulls = NullDistribution.of(embeddings, unrelated, top_photos=5)
    same = nulls.standing(embeddings @ embeddings[0], false_answer_rate=0.05)
    assert same.p_value == pytest.approx(1 / 401)
