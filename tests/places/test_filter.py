"""Distances worked by hand, and candidates chosen by place and category."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visuallens.categories import category_key
from visuallens.errors import RequestError
from visuallens.places.filter import (
    category_counts,
    distance_km,
    distances_km,
    in_category,
    nearest,
    within,
)
from visuallens.types import Candidate, GeoPoint

LONDON = GeoPoint(51.5074, -0.1278)
PARIS = GeoPoint(48.8566, 2.3522)

points = st.builds(GeoPoint, st.floats(-90, 90), st.floats(-180, 180))


def _candidate(candidate_id: str, longitude: float | None, *categories: str) -> Candidate:
    location = None if longitude is None else GeoPoint(0.0, longitude)
    return Candidate(id=candidate_id, name=candidate_id, categories=categories, location=location)


def _ids(candidates: tuple[Candidate, ...]) -> list[str]:
    return [candidate.id for candidate in candidates]


def test_one_degree_on_the_equator() -> None:
    # 6371.0088 km * π / 180 = 6371.0088 * 0.01745329 = 111.1951 km
    assert distance_km(GeoPoint(0, 0), GeoPoint(0, 1)) == pytest.approx(111.1951, abs=1e-4)


def test_one_degree_of_longitude_at_sixty_north_is_about_half() -> None:
    # hav = cos²60° * sin²0.5° = 0.25 * 0.0087265² = 1.90381e-5; 2 * asin(√hav) = 0.00872657;
    # times 6371.0088 km = 55.5971 km
    assert distance_km(GeoPoint(60, 0), GeoPoint(60, 1)) == pytest.approx(55.597, abs=1e-3)


def test_london_to_paris() -> None:
    # Δφ/2 = -1.32540°, Δλ/2 = 1.24000°; hav = sin²1.3254° + cos 51.5074° cos 48.8566° sin²1.24°
    #      = 5.3501e-4 + 0.62241 * 0.65794 * 4.6828e-4 = 7.2678e-4
    # 2 * asin(√7.2678e-4) = 0.053924 rad; times 6371.0088 km = 343.55 km
    assert distance_km(LONDON, PARIS) == pytest.approx(343.55, abs=0.1)


def test_opposite_points_and_poles_are_half_a_turn_apart() -> None:
    half = math.pi * 6371.0088
    assert distance_km(GeoPoint(90, 12), GeoPoint(-90, -70)) == pytest.approx(half)
    assert distance_km(GeoPoint(33.3, 10), GeoPoint(-33.3, -170)) == pytest.approx(half)


def test_date_line_is_no_obstacle() -> None:
    # 179.5° E to 179.5° W is one degree
    assert distance_km(GeoPoint(0, 179.5), GeoPoint(0, -179.5)) == pytest.approx(111.1951, abs=1e-4)


def test_many_distances_agree_with_single_ones() -> None:
    many = distances_km(LONDON, [PARIS.latitude, 0.0], [PARIS.longitude, 0.0])
    assert many.dtype == np.float64
    assert many.tolist() == [distance_km(LONDON, PARIS), distance_km(LONDON, GeoPoint(0, 0))]
    assert distances_km(LONDON, [], []).shape == (0,)


@settings(max_examples=60, deadline=None)
@given(points, points, points)
def test_distance_is_a_metric(a: GeoPoint, b: GeoPoint, c: GeoPoint) -> None:
    # The arcsine loses about half of the digits near opposite points, hence a metre's tolerance.
    assert distance_km(a, a) == 0
    assert distance_km(a, b) == pytest.approx(distance_km(b, a), abs=1e-3)
    assert distance_km(a, c) <= distance_km(a, b) + distance_km(b, c) + 1e-3


def test_within_keeps_order_and_the_edge_and_leaves_out_unlocated() -> None:
    origin = GeoPoint(0, 0)
    candidates = [_candidate("far", 2), _candidate("b", 1), _candidate("?", None)]
    candidates.append(_candidate("a", 0))
    edge = distance_km(origin, GeoPoint(0, 1))
    assert _ids(within(candidates, origin, edge)) == ["b", "a"]
    assert _ids(within(candidates, origin, 0)) == ["a"]
    assert within([], origin, 5) == ()


@pytest.mark.parametrize("km", [-1.0, math.nan])
def test_impossible_radius_is_refused(km: float) -> None:
    with pytest.raises(RequestError, match="radius"):
        within([], LONDON, km)


def test_nearest_is_sorted_and_stable() -> None:
    candidates = [_candidate("c", 3), _candidate("a", 1), _candidate("?", None)]
    candidates += [_candidate("b", -1), _candidate("d", 4)]
    origin = GeoPoint(0, 0)
    assert _ids(nearest(candidates, origin, 3)) == ["a", "b", "c"]
    assert _ids(nearest(candidates, origin, 99)) == ["a", "b", "c", "d"]
    assert nearest(candidates, origin, 0) == ()
    assert nearest([], origin, 3) == ()
    with pytest.raises(RequestError, match="0 or more"):
        nearest(candidates, origin, -1)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("museum", "Museums"),
        ("Café", " cafes "),
        ("library", "Libraries"),
        ("church", "churches"),
        ("movie", "movies"),
        ("house", "houses"),
        ("Sports bar", "sport  bars"),
        ("glass", "glasses"),
        ("bus", "buses"),
        ("zoo", "ZOOS"),
    ],
)
def test_spellings_of_one_category_have_one_key(one: str, other: str) -> None:
    assert category_key(one) == category_key(other)


@pytest.mark.parametrize(
    ("one", "other"), [("bar", "bark"), ("art museum", "museum"), ("car", "care"), ("", "s")]
)
def test_different_categories_have_different_keys(one: str, other: str) -> None:
    assert category_key(one) != category_key(other)


def test_in_category_compares_whole_categories() -> None:
    candidates = [
        _candidate("a", None, "Museums", "Shop"),
        _candidate("b", None, "Art museum"),
        _candidate("c", None, "shop", "museum"),
        _candidate("d", None),
    ]
    assert _ids(in_category(candidates, "museum")) == ["a", "c"]
    assert in_category(candidates, "zoo") == ()
    assert in_category([], "zoo") == ()


def test_category_counts_merge_spellings_and_sort() -> None:
    candidates = [
        _candidate("a", None, "Museums", "museum", "Zoo"),
        _candidate("b", None, "museum", "Bar"),
        _candidate("c", None),
    ]
    # museum: a (once, though written twice) and b = 2; Bar and Zoo 1 each, by name
    assert list(category_counts(candidates).items()) == [("Museums", 2), ("Bar", 1), ("Zoo", 1)]
    assert category_counts([]) == {}
