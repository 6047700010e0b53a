from __future__ import annotations

import pytest

from visuallens.errors import RequestError
from visuallens.rankers.baselines import NearestRanker, RandomRanker, RatingRanker
from visuallens.types import (
    Candidate,
    GeoPoint,
    Question,
    Ranking,
    RankingRequest,
    VisualHistory,
)


def request(*candidates: Candidate, seed: int = 0, near: GeoPoint | None = None) -> RankingRequest:
    return RankingRequest(
        id="r",
        question=Question("a museum", "museum"),
        history=VisualHistory("me", ()),
        candidates=candidates,
        near=near,
        seed=seed,
    )


def order(ranking: Ranking) -> list[str]:
    return [ranked.candidate.id for ranked in ranking.candidates]


def test_rating_orders_by_rating_then_count_and_unrated_last() -> None:
    ranking = RatingRanker().rank(
        request(
            Candidate("none", "n"),
            Candidate("few", "n", rating=4.5, rating_count=3),
            Candidate("many", "n", rating=4.5, rating_count=900),
            Candidate("low", "n", rating=2.0, rating_count=9000),
        )
    )
    assert order(ranking) == ["many", "few", "low", "none"]
    assert [ranked.rank for ranked in ranking.candidates] == [1, 2, 3, 4]


def test_nearest_orders_by_distance_and_unplaced_last() -> None:
    ranking = NearestRanker().rank(
        request(
            Candidate("nowhere", "n"),
            Candidate("far", "n", location=GeoPoint(48.85, 2.35)),
            Candidate("close", "n", location=GeoPoint(51.51, -0.12)),
            near=GeoPoint(51.5, -0.12),
        )
    )
    assert order(ranking) == ["close", "far", "nowhere"]


def test_nearest_without_a_position_takes_the_centre() -> None:
    ranking = NearestRanker().rank(
        request(
            Candidate("edge", "n", location=GeoPoint(10.0, 0.0)),
            Candidate("middle", "n", location=GeoPoint(1.0, 0.0)),
            Candidate("other edge", "n", location=GeoPoint(-10.0, 0.0)),
        )
    )
    assert order(ranking)[0] == "middle"


def test_nearest_without_any_position_says_what_to_do() -> None:
    with pytest.raises(RequestError, match="latitude and longitude"):
        NearestRanker().rank(request(Candidate("a", "n")))


def test_random_is_decided_by_the_seed() -> None:
    candidates = [Candidate(str(number), "n") for number in range(20)]
    first = order(RandomRanker().rank(request(*candidates, seed=1)))
    assert first == order(RandomRanker().rank(request(*candidates, seed=1)))
    assert first != order(RandomRanker().rank(request(*candidates, seed=2)))


def test_ties_are_never_broken_by_position() -> None:
    candidates = [Candidate(str(number), "n", rating=4.0) for number in range(10)]
    firsts = {order(RatingRanker().rank(request(*candidates, seed=seed)))[0] for seed in range(200)}
    assert len(firsts) == 10  # a given candidate stays unseen with probability 0.9^200 = 7e-10


@pytest.mark.parametrize("ranker", [RandomRanker, RatingRanker, NearestRanker])
def test_no_candidates_are_refused(
    ranker: type[RandomRanker | RatingRanker | NearestRanker],
) -> None:
    with pytest.raises(RequestError, match="no candidates"):
        ranker().rank(request())
