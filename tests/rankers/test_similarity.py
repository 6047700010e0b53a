from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from visuallens.rankers.base import RankerResources
from visuallens.rankers.similarity import SimilarityRanker, candidate_text
from visuallens.types import (
    Candidate,
    FloatArray,
    Photo,
    Profile,
    ProfileCell,
    Question,
    RankingRequest,
    VisualHistory,
)

WORDS = ("coffee", "train", "flower")


class WordVectors:
    """Embeds a text as the unit vector of the words it holds."""

    def encode_texts(self, texts: Sequence[str]) -> FloatArray:
        rows = np.array(
            [[float(word in text.lower()) for word in WORDS] for text in texts], np.float32
        ).reshape(len(texts), len(WORDS))
        return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1))


def profile(*words: str) -> Profile:
    cells = tuple(
        ProfileCell(number, Photo(f"id{number}", f"{word}.jpg"), 0.5, word, (word,))
        for number, word in enumerate(words, start=1)
    )
    return Profile(
        user_id="me",
        question=Question("q", "c"),
        cells=cells,
        aspect_words=words,
        text="",
        grid_side=2,
        image_side_px=64,
        embeddings=WordVectors().encode_texts(words),
    )


def resources(built: Profile, images: dict[str, FloatArray] | None = None) -> RankerResources:
    def embedded(paths: Sequence[str]) -> dict[str, FloatArray]:
        return {path: images[path] for path in paths if images and path in images}

    return RankerResources(
        profile=lambda _request: built,
        texts=WordVectors(),
        sentences=WordVectors(),
        images=embedded,
    )


def request(*candidates: Candidate) -> RankingRequest:
    return RankingRequest("r", Question("q", "c"), VisualHistory("me", ()), candidates)


CAFE = Candidate("cafe", "A coffee bar")
STATION = Candidate("station", "A train shed")


def test_photos_decide_and_are_named_as_evidence() -> None:
    ranking = SimilarityRanker(resources(profile("coffee", "coffee"))).rank(request(STATION, CAFE))
    best, worst = ranking.candidates
    assert best.candidate is CAFE
    assert best.score > worst.score
    assert [evidence.cell for evidence in best.evidence] == [1, 2]
    assert best.evidence[0].photo == "coffee.jpg"
    assert best.evidence[0].similarity == 1.0
    assert best.aspect_words == ("coffee",)
    assert worst.evidence == ()


def test_score_by_hand() -> None:
    # One photo, cosines (0, 1) to station and cafe: standardised (-1, 1), weight exp(0)/exp(0) = 1.
    ranking = SimilarityRanker(resources(profile("coffee"))).rank(request(STATION, CAFE))
    assert [ranked.score for ranked in ranking.candidates] == [1.0, -1.0]


def test_images_of_a_candidate_count_as_much_as_its_text() -> None:
    station = Candidate("station", "A train shed", photos=("station.jpg",))
    kiosk = Candidate("kiosk", "A kiosk", photos=("kiosk.jpg",))
    coffee, train = WordVectors().encode_texts(["coffee", "train"])
    images = {"station.jpg": train, "kiosk.jpg": coffee}
    ranking = SimilarityRanker(resources(profile("coffee"), images)).rank(request(station, kiosk))
    assert ranking.candidates[0].candidate is kiosk


def test_a_broken_candidate_image_leaves_its_text() -> None:
    cafe = Candidate("cafe", "A coffee bar", photos=("broken.jpg",))
    ranking = SimilarityRanker(resources(profile("coffee"))).rank(request(STATION, cafe))
    assert ranking.candidates[0].candidate is cafe


def test_an_empty_history_ranks_all_without_reasons() -> None:
    ranking = SimilarityRanker(resources(profile())).rank(request(STATION, CAFE))
    assert len(ranking.candidates) == 2
    assert all(ranked.evidence == () for ranked in ranking.candidates)


def test_one_candidate_is_ranked() -> None:
    ranking = SimilarityRanker(resources(profile("coffee"))).rank(request(CAFE))
    assert [ranked.rank for ranked in ranking.candidates] == [1]


def test_candidate_text_leaves_out_what_is_missing() -> None:
    assert candidate_text(Candidate("1", "Tate", "Art", ("museum", "gallery"))) == (
        "Tate. Art. museum, gallery"
    )
    assert candidate_text(Candidate("1", "Tate")) == "Tate"
