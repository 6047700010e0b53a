from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visuallens.benchmark.base import Distance
from visuallens.benchmark.neighbours import Neighbours, search_points

Place = tuple[float, float]


def neighbours_of(
    places: list[Place] | list[float], distance: Distance = "great_circle", first: int = 100
) -> Neighbours:
    """Number the places from `first`, so that a number is never mistaken for a row."""
    positions = np.array(places, np.float64).reshape(len(places), -1)
    numbers = np.arange(first, first + len(places))
    return Neighbours(numbers, search_points(positions, distance))


def chord(one: Place, other: Place) -> float:
    """Compute the straight line through a globe of radius 1 by the haversine formula."""
    (lat_1, lon_1), (lat_2, lon_2) = one, other
    half_lat = math.sin(math.radians(lat_2 - lat_1) / 2)
    half_lon = math.sin(math.radians(lon_2 - lon_1) / 2)
    across = math.cos(math.radians(lat_1)) * math.cos(math.radians(lat_2)) * half_lon**2
    return 2 * math.sqrt(half_lat**2 + across)


LATITUDES = st.sampled_from([-90.0, -89.9, 0.0, 45.0, 89.9, 90.0]) | st.floats(-90, 90)
LONGITUDES = st.sampled_from([-180.0, -179.9, 0.0, 90.0, 179.9, 180.0]) | st.floats(-180, 180)
TOWN = st.tuples(st.floats(47.60, 47.61), st.floats(-122.34, -122.33))
PLACES = st.lists(st.tuples(LATITUDES, LONGITUDES) | TOWN, min_size=1, max_size=40)

# Two distances that the search may take for one; it rounds to 1e-9.
SLACK = 3e-9


@settings(max_examples=300, deadline=None)
@given(places=PLACES, data=st.data(), seed=st.integers(0, 2**32))
def test_the_nearest_are_those_that_brute_force_finds(
    places: list[Place], data: st.DataObject, seed: int
) -> None:
    searched = neighbours_of(places)
    numbers = range(100, 100 + len(places))
    anchor = data.draw(st.sampled_from(numbers))
    count = data.draw(st.integers(1, len(places) + 2))
    left_out = data.draw(st.frozensets(st.sampled_from(numbers))) - {anchor}
    found = searched.nearest(anchor, count, np.random.default_rng(seed), left_out)
    far = {one: chord(places[anchor - 100], places[one - 100]) for one in numbers}
    expected = sorted(distance for one, distance in far.items() if one not in left_out)[:count]
    assert found[0] == anchor
    assert len(set(found)) == len(found) == len(expected)
    assert not left_out & set(found)
    assert [far[one] for one in found] == pytest.approx(expected, rel=0, abs=SLACK)


@settings(max_examples=100, deadline=None)
@given(
    counts=st.lists(st.integers(1, 30), min_size=1, max_size=40),
    data=st.data(),
    seed=st.integers(0, 99),
)
def test_the_nearest_in_popularity_are_those_that_brute_force_finds(
    counts: list[int], data: st.DataObject, seed: int
) -> None:
    popularity = [math.log(count) for count in counts]
    anchor = data.draw(st.integers(0, len(counts) - 1))
    count = data.draw(st.integers(1, len(counts)))
    searched = neighbours_of(popularity, "log_popularity", first=0)
    found = searched.nearest(anchor, count, np.random.default_rng(seed))
    far = [abs(one - popularity[anchor]) for one in popularity]
    assert found[0] == anchor
    assert [far[one] for one in found] == pytest.approx(sorted(far)[:count], abs=SLACK)


def test_a_case_worked_by_hand() -> None:
    # On the equator one degree is 111.2 km wherever it lies. From 179.5 degrees east:
    #   100 at 179.5: 0; 101 at -179.5: 1 degree, across the date line; 102 at 178: 1.5;
    #   103 at 175: 4.5; 104 at the pole: 90; 105 at -0.5, the other side of the globe: 180.
    places = [(0.0, 179.5), (0.0, -179.5), (0.0, 178.0), (0.0, 175.0), (90.0, 12.0), (0.0, -0.5)]
    searched, chance = neighbours_of(places), np.random.default_rng(0)
    assert searched.nearest(100, 6, chance) == [100, 101, 102, 103, 104, 105]
    assert searched.nearest(100, 2, chance) == [100, 101]
    assert searched.nearest(100, 3, chance, {101, 103}) == [100, 102, 104]
    # From 178: 0; then 179.5 at 1.5; -179.5 at 2.5; 175 at 3. The last two are apart.
    assert searched.nearest(102, 4, chance) == [102, 100, 101, 103]


def test_degrees_of_longitude_shrink_towards_the_poles() -> None:
    # At 60 degrees north one degree of longitude is cos 60 = half as long as one of latitude.
    searched = neighbours_of([(60.0, 10.0), (60.0, 11.0), (60.9, 10.0)])
    assert searched.nearest(100, 2, np.random.default_rng(0)) == [100, 101]


def test_all_longitudes_of_a_pole_are_one_place() -> None:
    searched = neighbours_of([(90.0, 0.0), (90.0, 170.0), (90.0, -90.0), (89.99, 0.0)])
    seconds = {searched.nearest(100, 2, np.random.default_rng(seed))[1] for seed in range(40)}
    assert seconds == {101, 102}


def test_popularity_is_compared_by_its_logarithm() -> None:
    # From 100 ratings: 60 is log(100/60) = 0.51 away, 150 is log(1.5) = 0.41.
    ratings = [math.log(one) for one in (100, 60, 150)]
    searched = neighbours_of(ratings, "log_popularity")
    assert searched.nearest(100, 3, np.random.default_rng(0)) == [100, 102, 101]


def test_chance_decides_between_equally_far_places_and_only_between_them() -> None:
    # 101 is near; 102 to 105 are one degree away in four directions; 106 is two degrees away.
    places = [(0.0, 0.0), (0.0, 0.1), (0.0, 1.0), (0.0, -1.0), (1.0, 0.0), (-1.0, 0.0), (0.0, 2.0)]
    searched = neighbours_of(places)
    drawn: Counter[frozenset[int]] = Counter()
    for seed in range(300):
        found = searched.nearest(100, 4, np.random.default_rng(seed))
        assert found[:2] == [100, 101]
        drawn[frozenset(found[2:])] += 1
    # Six pairs of four places, each 50 times on average; 25 and 80 are four deviations away.
    assert len(drawn) == 6
    assert all(pair <= {102, 103, 104, 105} for pair in drawn)
    assert 25 <= min(drawn.values()) <= max(drawn.values()) <= 80


def test_the_anchor_comes_first_in_a_building_full_of_places() -> None:
    searched = neighbours_of([(47.6, -122.3)] * 50)
    seen: set[int] = set()
    for seed in range(100):
        found = searched.nearest(130, 5, np.random.default_rng(seed), {101, 102})
        assert found[0] == 130
        assert len(set(found)) == 5
        seen |= set(found)
    assert seen == set(range(100, 150)) - {101, 102}


def test_a_tie_with_places_left_out_is_still_drawn_by_chance() -> None:
    # Nine at one spot one degree away; three of those are left out.
    searched = neighbours_of([(0.0, 0.0)] + [(0.0, 1.0)] * 9)
    left_out = frozenset({101, 102, 103})
    seconds = {
        searched.nearest(100, 2, np.random.default_rng(seed), left_out)[1] for seed in range(200)
    }
    assert seconds == {104, 105, 106, 107, 108, 109}


def test_the_same_generator_gives_the_same_neighbours() -> None:
    searched = neighbours_of([(0.0, 0.0)] * 30)
    one, other = (searched.nearest(100, 10, np.random.default_rng(7)) for _ in range(2))
    assert one == other


def test_a_place_alone_is_its_own_neighbour() -> None:
    searched = neighbours_of([(1.0, 2.0)])
    assert searched.nearest(100, 30, np.random.default_rng(0)) == [100]
    assert 100 in searched
    assert 99 not in searched
    assert 0 not in searched


def test_fewer_places_than_wanted_are_all_given() -> None:
    searched = neighbours_of([(0.0, float(one)) for one in range(5)])
    assert searched.nearest(102, 100, np.random.default_rng(0), {104})[0] == 102
    assert sorted(searched.nearest(102, 100, np.random.default_rng(0), {104})) == [
        100, 101, 102, 103,
    ]  # fmt: skip
