"""Every registered name keeps the contract of its kind."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.models import tiny_encoders
from tests.models.matcher import draw_matcher
from tests.models.toy_backbone import ToyBackbone
from visuallens import registry
from visuallens.config import load_settings
from visuallens.rankers.base import Ranker, RankerResources
from visuallens.sources.base import FoundFile, PhotoSource
from visuallens.types import (
    Candidate,
    FloatArray,
    GeoPoint,
    Photo,
    PhotoMetadata,
    Profile,
    ProfileCell,
    Question,
    RankingRequest,
    Refusal,
    VisualHistory,
)


class LengthEncoder:
    """Embeds a text by its length and vowels."""

    def encode_texts(self, texts: Sequence[str]) -> FloatArray:
        rows = np.array([[len(t), t.count("a"), t.count("e"), 1] for t in texts], np.float32)
        rows = rows.reshape(len(texts), 4)
        return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def request(seed: int = 0) -> RankingRequest:
    candidates = tuple(
        Candidate(f"id{n}", f"Place {'ae' * n}", location=GeoPoint(n, n), rating=float(n % 3))
        for n in range(12)
    )
    question = Question("a museum", "museum")
    return RankingRequest("r", question, VisualHistory("me", ()), candidates, seed=seed)


def profile(request: RankingRequest) -> Profile:
    words = ("aaa", "eee", "bcd")
    cells = tuple(ProfileCell(n, Photo(w, w), 0.1 * n, w, (w,)) for n, w in enumerate(words, 1))
    embeddings = LengthEncoder().encode_texts(words)
    return Profile("me", request.question, cells, words, "", 2, 64, embeddings)


@pytest.fixture(params=[one for one in registry.names("rankers") if one != "unimp"])
def ranker(request: pytest.FixtureRequest) -> Ranker:
    # `unimp` ranks with a trained UniMP only: tests/models/test_unimp.py.
    resources = RankerResources(
        profile,
        LengthEncoder(),
        LengthEncoder(),
        lambda _paths: {},
        backbone=ToyBackbone,
        matcher=lambda: draw_matcher(4, 4),
    )
    made: Ranker = registry.load("rankers", request.param)(resources)
    assert made.name == request.param
    return made


def test_a_ranker_ranks_every_candidate_once(ranker: Ranker) -> None:
    ranking = ranker.rank(request())
    assert [ranked.rank for ranked in ranking.candidates] == list(range(1, 13))
    assert {ranked.candidate.id for ranked in ranking.candidates} == {f"id{n}" for n in range(12)}
    scores = [ranked.score for ranked in ranking.candidates]
    assert scores == sorted(scores, reverse=True)
    assert (ranking.request_id, ranking.ranker) == ("r", ranker.name)


def test_a_ranker_is_decided_by_its_request(ranker: Ranker) -> None:
    assert ranker.rank(request(3)) == ranker.rank(request(3))


def test_a_ranker_does_not_care_for_the_order_of_candidates(ranker: Ranker) -> None:
    asked = request()
    turned = RankingRequest("r", asked.question, asked.history, asked.candidates[::-1])
    if ranker.name == "random":
        pytest.skip("its scores belong to places in the list, by definition")
    first = {ranked.candidate.id: ranked.score for ranked in ranker.rank(asked).candidates}
    second = {ranked.candidate.id: ranked.score for ranked in ranker.rank(turned).candidates}
    assert first == pytest.approx(second, abs=1e-5)


@pytest.mark.parametrize("name", registry.names("sources"))
def test_a_source_finds_photos_in_a_fixed_order(name: str, photo_folder: Path) -> None:
    path = photo_folder
    if name == "manifest":
        path = photo_folder / "photos.csv"
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([["path"], *([f"{n}.jpg"] for n in range(6))])
    source: PhotoSource = registry.load("sources", name)(path)
    first, second = list(source.find()), list(source.find())
    assert first == second
    assert sum(isinstance(found, FoundFile) for found in first) == 6
    assert all(isinstance(found, FoundFile | Refusal) for found in first)


@pytest.mark.parametrize("name", registry.names("models"))
def test_a_model_reads_and_embeds_in_one_space(name: str, tmp_path: Path) -> None:
    if name not in ("embedded", "drawn"):
        tiny_encoders.write(name, tmp_path)
    settings = load_settings(None, [f"index.model={name}", f"encoder.model={tmp_path}"])
    model = registry.load("models", name)(settings)
    model.load()
    assert "@" in model.id
    assert model.encodes
    images = [Image.new("RGB", (300, 280), colour) for colour in ("red", "blue")]
    readings = model.read([model.prepare(image) for image in images], [PhotoMetadata()] * 2)
    texts = model.encode_texts(["a museum", "a garden"])
    for rows in (
        readings.embeddings,
        model.encode_images(images),
        texts,
        model.unrelated,
        model.encode_categories(["zoo"]),
    ):
        assert rows.dtype == np.float32
        assert rows.shape[1] == texts.shape[1]
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-4)
    np.testing.assert_allclose(model.encode_images(images), readings.embeddings, atol=1e-5)
    for nothing in (model.encode_texts([]), model.encode_images([])):
        assert nothing.shape == (0, texts.shape[1])
    assert (readings.descriptions is not None) == model.describes
    if model.describes:
        assert len(readings.descriptions) == 2
        assert all(len(said.caption.split()) <= 30 for said in readings.descriptions)
