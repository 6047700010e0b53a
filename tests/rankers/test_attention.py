"""The ranker `attention` on small random weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.models.matcher import draw_matcher
from tests.test_contracts import LengthEncoder, profile, request

from visuallens.errors import RequestError
from visuallens.models.attention import AttentionMatcher
from visuallens.rankers.attention import AttentionRanker, candidate_texts, taste
from visuallens.rankers.base import RankerResources
from visuallens.types import Candidate, FloatArray


class Counted(LengthEncoder):
    """Counts the texts that it embeds."""

    def __init__(self) -> None:
        self.texts = 0

    def encode_texts(self, texts: Sequence[str]) -> FloatArray:
        self.texts += len(texts)
        return super().encode_texts(texts)


def resources(matcher: AttentionMatcher | None, encoder: LengthEncoder) -> RankerResources:
    images = {"a.jpg": np.eye(4, dtype=np.float32)[0], "b.jpg": np.eye(4, dtype=np.float32)[1]}
    return RankerResources(
        profile,
        encoder,
        encoder,
        lambda paths: {path: images[path] for path in paths if path in images},
        matcher=None if matcher is None else lambda: matcher,
    )


def ranker(matcher: AttentionMatcher | None = None) -> AttentionRanker:
    return AttentionRanker(resources(matcher or draw_matcher(4, 4), LengthEncoder()))


def scores(made: AttentionRanker, candidates: tuple[Candidate, ...]) -> dict[str, float]:
    ranking = made.rank(replace(request(), candidates=candidates))
    return {one.candidate.id: one.score for one in ranking.candidates}


def test_it_has_to_be_trained_first() -> None:
    with pytest.raises(RequestError, match="visuallens train attention"):
        AttentionRanker(resources(None, LengthEncoder())).rank(request())


def test_without_candidates_it_says_so() -> None:
    with pytest.raises(RequestError, match="no candidates to rank"):
        ranker().rank(replace(request(), candidates=()))


def test_images_of_candidates_count_and_missing_ones_do_not() -> None:
    plain = (Candidate("x", "Place"), Candidate("y", "Place"))
    shown = (replace(plain[0], photos=("a.jpg",)), plain[1])
    vanished = (replace(plain[0], photos=("gone.jpg",)), plain[1])
    made = ranker()
    assert scores(made, vanished) == pytest.approx(scores(made, plain), abs=1e-6)
    assert scores(made, shown)["x"] != pytest.approx(scores(made, plain)["x"], abs=1e-4)


def test_photos_that_speak_for_a_candidate_are_named() -> None:
    ranking = ranker().rank(request())
    evidence = [one for ranked in ranking.candidates for one in ranked.evidence]
    assert evidence
    assert all(0 < one.similarity <= 1 for one in evidence)
    assert {one.cell for one in evidence} <= {1, 2, 3}


def test_a_matcher_without_history_sees_no_photo() -> None:
    blind = ranker(draw_matcher(4, 4, history=False))
    ranking = blind.rank(request())
    assert all(not ranked.evidence for ranked in ranking.candidates)

    def nobody(asked: object) -> object:
        found = profile(request())
        return replace(found, cells=(), aspect_words=(), embeddings=found.embeddings[:0])

    other = AttentionRanker(
        replace(resources(draw_matcher(4, 4), LengthEncoder()), profile=nobody)  # type: ignore[arg-type]
    )
    assert [one.score for one in other.rank(request()).candidates] == pytest.approx(
        [one.score for one in ranking.candidates]
    )


def test_the_same_candidates_are_read_once() -> None:
    encoder, matcher = Counted(), draw_matcher(4, 4)
    made = AttentionRanker(resources(matcher, encoder))
    first = made.rank(request())
    read = encoder.texts
    assert made.rank(request()) == first
    assert encoder.texts == read


def test_genres_are_part_of_what_is_said_of_a_candidate() -> None:
    assert candidate_texts(Candidate("1", "Heat", "A heist.", ("crime", "drama"))) == (
        "Heat",
        "A heist.. crime, drama",
    )
    assert candidate_texts(Candidate("1", "Heat")) == ("Heat", "")


def test_a_taste_is_a_sum_over_the_root_of_its_photos() -> None:
    assert taste(torch.tensor([[1.0, 3.0], [2.0, 3.0], [3, 0], [2, 2]])).tolist() == [4.0, 4.0]
    assert taste(torch.zeros(0, 2)).tolist() == [0.0, 0.0]
