from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visuallens.errors import RequestError
from visuallens.profile.category import category_embedding, sample_images
from visuallens.profile.retriever import retrieve
from visuallens.types import Candidate


def test_most_similar_first_by_hand() -> None:
    embeddings = np.array([[1, 0], [0.6, 0.8], [0, 1], [0.8, 0.6]], np.float32)
    found = retrieve(embeddings, np.array([1, 0], np.float32), max_photos=3)
    assert found.indices.tolist() == [0, 3, 1]
    np.testing.assert_allclose(found.similarities, [1.0, 0.8, 0.6])


def test_ties_keep_the_order_of_the_history() -> None:
    embeddings = np.ones((50, 1), np.float32)
    found = retrieve(embeddings, np.ones(1, np.float32), max_photos=7)
    assert found.indices.tolist() == list(range(7))


def test_one_moment_fills_one_place_with_its_best_photo() -> None:
    embeddings = np.array([[0.5], [0.9], [0.8], [0.1]], np.float32)
    moments = np.array([1, 2, 2, 3])
    found = retrieve(embeddings, np.ones(1, np.float32), max_photos=3, moments=moments)
    assert found.indices.tolist() == [1, 0, 3]


def test_a_long_burst_does_not_hide_what_comes_after() -> None:
    embeddings = np.concatenate([np.full(1000, 0.9), np.linspace(0.5, 0.1, 20)])[:, None]
    moments = np.concatenate([np.zeros(1000), np.arange(1, 21)]).astype(np.int64)
    found = retrieve(
        embeddings.astype(np.float32), np.ones(1, np.float32), max_photos=5, moments=moments
    )
    assert found.indices.tolist() == [0, 1000, 1001, 1002, 1003]


def test_it_agrees_with_sorting_everything() -> None:
    generator = np.random.default_rng(0)
    embeddings = generator.normal(size=(3000, 8)).astype(np.float32)
    query, moments = embeddings[0], generator.integers(0, 400, 3000)
    found = retrieve(embeddings, query, max_photos=64, moments=moments)
    expected: list[int] = []
    for index in np.argsort(-(embeddings @ query), kind="stable"):
        if moments[index] not in moments[expected]:
            expected.append(int(index))
    assert found.indices.tolist() == expected[:64]


@given(
    photos=st.lists(st.tuples(st.integers(-4, 4), st.integers(0, 9)), max_size=80),
    max_photos=st.integers(1, 12),
)
def test_ties_and_moments_agree_with_sorting(
    photos: list[tuple[int, int]], max_photos: int
) -> None:
    cosines = np.array([cosine / 4 for cosine, _ in photos], np.float32)
    moments = np.array([moment for _, moment in photos], np.int64)
    found = retrieve(
        cosines[:, None], np.ones(1, np.float32), max_photos=max_photos, moments=moments
    )
    expected: list[int] = []
    for index in np.argsort(-cosines, kind="stable"):
        if moments[index] not in moments[expected]:
            expected.append(int(index))
    assert found.indices.tolist() == expected[:max_photos]
    assert found.indices.dtype == np.int64
    assert found.similarities.dtype == np.float32


def test_recency_prefers_newer_of_equals_and_keeps_the_cosine() -> None:
    embeddings = np.array([[0.9], [0.9]], np.float32)
    found = retrieve(
        embeddings,
        np.ones(1, np.float32),
        max_photos=2,
        age_days=np.array([30, 0], np.float32),
        half_life_days=30,
    )
    assert found.indices.tolist() == [1, 0]
    np.testing.assert_allclose(found.similarities, [0.9, 0.9])


def test_an_empty_history_gives_nothing() -> None:
    found = retrieve(np.zeros((0, 4), np.float32), np.zeros(4, np.float32), max_photos=3)
    assert len(found.indices) == len(found.similarities) == 0


def test_category_embedding_by_hand() -> None:
    # (3, 0) and (0, 1) weigh the same once normalised: mean (0.5, 0.5), length one (0.707, 0.707).
    mean = category_embedding(np.array([[3, 0], [0, 1]], np.float32))
    np.testing.assert_allclose(mean, [np.sqrt(0.5), np.sqrt(0.5)], rtol=1e-6)


def test_no_images_make_no_category() -> None:
    with pytest.raises(RequestError, match="at least one image"):
        category_embedding(np.zeros((0, 3), np.float32))


def test_sampled_images_come_from_different_candidates_and_obey_the_seed() -> None:
    candidates = [
        Candidate(str(n), "n", photos=tuple(f"{n}-{m}.jpg" for m in range(n))) for n in range(6)
    ]
    drawn = sample_images(candidates, 4, np.random.default_rng(1))
    assert drawn == sample_images(candidates, 4, np.random.default_rng(1))
    assert len({path.split("-")[0] for path in drawn}) == 4
    assert sample_images(candidates[:1], 4, np.random.default_rng(1)) == ()
