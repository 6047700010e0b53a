"""The search for the businesses nearest to one of them (Algorithm 1, `nearest`)."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

import numpy as np
from numpy.typing import NDArray

from visuallens.benchmark.base import Distance, needs

IntArray = NDArray[np.int64]
Points = NDArray[np.float64]

_SAME = 1e-9
"""Differences that are none: 6 mm on the unit sphere, nothing of a logarithm."""


def search_points(positions: Points, distance: Distance) -> Points:
    """Place businesses so that Euclidean distance orders them as the distance that is meant does.

    Args:
        positions: (n, 2) latitude and longitude in degrees, or (n, 1) log popularity.
        distance: which of the two.

    Returns:
        (n, 3) points on the unit sphere, whose chords grow with the great-circle distance; or the
        positions as they are.
    """
    if distance == "log_popularity":
        return positions
    latitude, longitude = np.radians(positions).T
    away = np.cos(latitude)
    return np.column_stack((away * np.cos(longitude), away * np.sin(longitude), np.sin(latitude)))


class Neighbours:
    """The businesses of one category, searched by distance.

    Args:
        members: (n,) numbers of businesses, n >= 1.
        points: (n, d) float64, see `search_points`.
    """

    def __init__(self, members: IntArray, points: Points) -> None:
        try:
            from scipy.spatial import KDTree
        except ImportError as error:
            raise needs("scipy") from error
        self._members = members
        self._points = points
        self._rows = {member: row for row, member in enumerate(members.tolist())}
        self._tree = KDTree(points)

    def __contains__(self, business: int) -> bool:
        return business in self._rows

    def nearest(
        self,
        business: int,
        count: int,
        generator: np.random.Generator,
        left_out: AbstractSet[int] = frozenset(),
    ) -> list[int]:
        """Find the businesses nearest to one of them.

        Args:
            business: where to search from, one of the members; it comes first.
            count: how many at most, itself among them, at least 1.
            generator: decides between businesses that are equally far.
            left_out: members that are passed over; never the one searched from.

        Returns:
            Up to `count` numbers of businesses, nearest first.

        Source: Algorithm 1, nearest(G, loc, m).
        Choice: of businesses equally far, in one building or of one popularity, chance decides: any
            fixed order would prefer the same ones every time.
        """
        point = self._points[self._rows[business]]
        wanted = min(count + len(left_out) + 1, len(self._members))
        distances, rows = self._tree.query(point, k=[*range(1, wanted + 1)])
        if wanted < len(self._members) and distances[-1] - distances[-2] <= _SAME:
            # Those beyond the search may be just as far as the last one in it.
            rows = np.array(self._tree.query_ball_point(point, distances[-1] + _SAME), np.int64)
            distances = np.linalg.norm(self._points[rows] - point, axis=1)
        found = self._members[rows]
        chance = generator.permutation(len(found))
        order = np.lexsort((chance, np.round(distances / _SAME), found != business))
        return [one for one in found[order].tolist() if one not in left_out][:count]
