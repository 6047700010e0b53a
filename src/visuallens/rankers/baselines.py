"""Baselines that look at no photo: random, rank by rating, nearest.

Source: §6.2 and Table 2, naive baselines. `nearest` is a control: the benchmarks draw candidates
around a ground-truth place, so a ranker that does well by distance alone shows a leak.
"""

from __future__ import annotations

import numpy as np

from visuallens.errors import RequestError
from visuallens.places.filter import distance_km
from visuallens.rankers.base import RankerResources, to_ranking
from visuallens.types import GeoPoint, Ranking, RankingRequest


class RandomRanker:
    """Orders the candidates by chance, decided by the request's seed."""

    name = "random"

    def __init__(self, resources: RankerResources | None = None) -> None:
        del resources

    def rank(self, request: RankingRequest) -> Ranking:
        """See `Ranker.rank`."""
        generator = np.random.default_rng((request.seed, 1))
        return to_ranking(request, self.name, generator.random(len(request.candidates)).tolist())


class RatingRanker:
    """Orders the candidates by rating, best first; unrated ones come last.

    Choice: equal ratings are ordered by the number of ratings, then by a seeded shuffle.
    """

    name = "rating"

    def __init__(self, resources: RankerResources | None = None) -> None:
        del resources

    def rank(self, request: RankingRequest) -> Ranking:
        """See `Ranker.rank`."""
        scores = [
            -1.0 if candidate.rating is None else candidate.rating
            for candidate in request.candidates
        ]
        counts = np.array([float(c.rating_count or 0) for c in request.candidates])
        # Less than any step between two ratings, so counts only decide between equal ratings.
        nudge = counts / (1.0 + counts.max(initial=0.0)) * 1e-6
        return to_ranking(request, self.name, (np.array(scores) + nudge).tolist())


class NearestRanker:
    """Orders the candidates by distance; those without a position come last.

    Choice: without a position of the user, distance is to the centre of the candidates, which is
        what a ranker that sees coordinates could exploit.
    """

    name = "nearest"

    def __init__(self, resources: RankerResources | None = None) -> None:
        del resources

    def rank(self, request: RankingRequest) -> Ranking:
        """See `Ranker.rank`; refuses candidates without any position."""
        located = [c.location for c in request.candidates if c.location is not None]
        if not located and request.candidates:
            raise RequestError(
                "The ranker 'nearest' needs places with latitude and longitude. Add these columns "
                "or choose another --ranker."
            )
        origin = request.near or _centre(located)
        scores = [
            -np.inf if c.location is None else -distance_km(origin, c.location)
            for c in request.candidates
        ]
        return to_ranking(request, self.name, scores)


def _centre(points: list[GeoPoint]) -> GeoPoint:
    latitude = float(np.median([point.latitude for point in points])) if points else 0.0
    longitude = float(np.median([point.longitude for point in points])) if points else 0.0
    return GeoPoint(latitude, longitude)
