"""Choosing among candidates by where they are and by category.

Source: §6.1: candidates are nearby places of the category that the question asks for.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Literal

import numpy as np

from visuallens.categories import category_key
from visuallens.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from visuallens.types import Candidate, GeoPoint

EARTH_RADIUS_KM = 6371.0088
"""Mean radius R1 of the WGS 84 ellipsoid (IUGG)."""


def distance_km(a: GeoPoint, b: GeoPoint) -> float:
    """Measure the great-circle distance between two points.

    Args:
        a: one point.
        b: the other.

    Returns:
        Kilometres, 0 or more; at most 0.6 % off the true distance, as the earth is not a sphere.
    """
    return float(distances_km(a, [b.latitude], [b.longitude])[0])


def distances_km(
    near: GeoPoint, latitudes: ArrayLike, longitudes: ArrayLike
) -> NDArray[np.float64]:
    """Measure the great-circle distances from one point to many.

    Args:
        near: the one point.
        latitudes: (points,) degrees, -90 to 90.
        longitudes: (points,) degrees, -180 to 180.

    Returns:
        (points,) float64 kilometres, 0 or more; empty for no points.

    Source: the haversine formula, which keeps its precision for short distances.
    """
    latitude, longitude = math.radians(near.latitude), math.radians(near.longitude)
    others = np.radians(np.asarray(latitudes, dtype=np.float64))
    turned = np.radians(np.asarray(longitudes, dtype=np.float64)) - longitude
    haversine = (
        np.sin((others - latitude) / 2) ** 2
        + math.cos(latitude) * np.cos(others) * np.sin(turned / 2) ** 2
    )
    # Rounding can lift opposite points just over 1, where the arcsine ends.
    angles: NDArray[np.float64] = 2 * np.arcsin(np.sqrt(np.clip(haversine, 0, 1)))
    return EARTH_RADIUS_KM * angles


def within(candidates: Sequence[Candidate], near: GeoPoint, km: float) -> tuple[Candidate, ...]:
    """Keep the candidates within a distance, in their order.

    Args:
        candidates: any; those without a location are left out.
        near: the centre.
        km: radius in kilometres, the edge included.

    Returns:
        The candidates kept; may be empty.

    Raises:
        RequestError: the radius is negative or not a number.
    """
    if not km >= 0:
        raise RequestError(f"The radius must be 0 km or more, not {km}. Give a larger one.")
    located, distances = _located(candidates, near)
    return tuple(candidate for candidate, far in zip(located, distances, strict=True) if far <= km)


def nearest(candidates: Sequence[Candidate], near: GeoPoint, count: int) -> tuple[Candidate, ...]:
    """Return the closest candidates, closest first.

    Args:
        candidates: any; those without a location are left out.
        near: the centre.
        count: how many at most.

    Returns:
        Up to `count` candidates; equal distances keep the order of the input.

    Raises:
        RequestError: the count is negative.
    """
    if count < 0:
        raise RequestError(f"The number of candidates must be 0 or more, not {count}.")
    located, distances = _located(candidates, near)
    order = np.argsort(distances, kind="stable")[:count]
    return tuple(located[position] for position in order)


def _located(
    candidates: Sequence[Candidate], near: GeoPoint
) -> tuple[list[Candidate], NDArray[np.float64]]:
    points = [(one, one.location) for one in candidates if one.location is not None]
    latitudes = [location.latitude for _, location in points]
    longitudes = [location.longitude for _, location in points]
    return [candidate for candidate, _ in points], distances_km(near, latitudes, longitudes)


def in_category(candidates: Sequence[Candidate], category: str) -> tuple[Candidate, ...]:
    """Keep the candidates that have a category, in their order.

    Args:
        candidates: any.
        category: compared with each of a candidate's categories as a whole, see `category_key`.

    Returns:
        The candidates kept; may be empty.
    """
    wanted = category_key(category)
    return tuple(
        candidate for candidate in candidates if wanted in map(category_key, candidate.categories)
    )


def in_categories(
    candidates: Sequence[Candidate], categories: Sequence[str], match: Literal["any", "all"]
) -> tuple[Candidate, ...]:
    """Keep the candidates that have any, or all, of some categories, in their order.

    Args:
        candidates: any.
        categories: none of them keeps every candidate.
        match: "any", or "all" if some candidate has all ("a museum or a garden" means any).

    Returns:
        The candidates kept; may be empty.
    """
    wanted = {category_key(category) for category in categories}
    if not wanted:
        return tuple(candidates)
    shared = [len(wanted.intersection(map(category_key, c.categories))) for c in candidates]
    needed = len(wanted) if match == "all" and len(wanted) in shared else 1
    return tuple(c for c, count in zip(candidates, shared, strict=True) if count >= needed)


def around(
    candidates: Sequence[Candidate], near: GeoPoint | None, within_km: float | None, count: int
) -> tuple[Candidate, ...]:
    """Keep the candidates near a point, if there is one.

    Args:
        candidates: any.
        near: where the user is; None keeps every candidate.
        within_km: radius around `near`, or None.
        count: how many at most, closest first; with `near` only.

    Returns:
        The candidates kept, at least one.

    Raises:
        RequestError: a radius without a point, or nothing is left.
    """
    if within_km is not None and near is None:
        raise RequestError("A distance needs a position: add --near LATITUDE,LONGITUDE.")
    kept = tuple(candidates)
    if near is not None:
        kept = kept if within_km is None else within(kept, near, within_km)
        kept = nearest(kept, near, count)
    if not kept:
        raise RequestError(
            "No place is left to rank. Widen --within, or check --category against the "
            "categories of the places file."
        )
    return kept


def category_counts(candidates: Sequence[Candidate]) -> dict[str, int]:
    """Count the candidates of each category.

    Args:
        candidates: any.

    Returns:
        Category → number of candidates, most frequent first, then by name. Spellings that
        `category_key` holds equal are counted together under the first one met.
    """
    spelling: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for candidate in candidates:
        keys = {category_key(category): category for category in reversed(candidate.categories)}
        counts.update(keys.keys())
        for key, category in keys.items():
            spelling.setdefault(key, category)
    ordered = sorted(counts.items(), key=lambda item: (-item[1], spelling[item[0]].casefold()))
    return {spelling[key]: count for key, count in ordered}
