from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visuallens import registry
from visuallens.benchmark.base import Rules
from visuallens.benchmark.candidates import (
    DAY_MS,
    Found,
    Timeline,
    find_examples,
    history_end,
    unique_names,
)
from visuallens.benchmark.neighbours import Neighbours, search_points
from visuallens.benchmark.splits import Part
from visuallens.benchmark.world import World
from visuallens.config import BenchmarkSettings

A, B, C, D, E, CAFE = range(6)


class Place(NamedTuple):
    name: str
    longitude: float
    categories: tuple[str, ...] = ("museum",)
    can_be_recommended: bool = True


class Visit(NamedTuple):
    at_ms: int
    business: int
    photos: int = 0


def world_of(places: Sequence[Place], half: Sequence[int] | None = None) -> World:
    """Put places on the equator, where one degree is 111.2 km."""
    positions = np.array([(0.0, place.longitude) for place in places])
    halves = np.array(half or [0] * len(places), np.int8)
    members: dict[tuple[int | None, str], list[int]] = {}
    for number, place in enumerate(places):
        for category in place.categories if place.can_be_recommended else ():
            key = (None if half is None else int(halves[number]), category)
            members.setdefault(key, []).append(number)
    known = sorted({place.name for place in places})
    return World(
        np.array([known.index(place.name) for place in places]),
        [place.categories for place in places],
        halves,
        positions,
        {
            key: Neighbours(np.array(rows), search_points(positions[rows], "great_circle"))
            for key, rows in members.items()
        },
    )


def timeline_of(visits: Sequence[Visit]) -> Timeline:
    ordered = sorted(visits)
    shown = [visit for visit in ordered for _ in range(visit.photos)]
    return Timeline(
        [visit.business for visit in ordered],
        [visit.at_ms for visit in ordered],
        [visit.business for visit in shown],
        np.array([visit.at_ms for visit in shown], np.int64),
    )


# Any: settings of many types.
def rules_of(drawn: int, **given_: Any) -> Rules:  # noqa: ANN401
    base = {"min_drawn": drawn, "max_drawn": drawn, "min_candidates": 3, "min_history": 2}
    chosen = base | given_
    chosen["min_candidates"] = min(chosen["min_candidates"], chosen["max_drawn"])
    settings_ = BenchmarkSettings.model_validate(chosen)
    return Rules.resolve(settings_, registry.load("datasets", "google-review-v").defaults)


def found_in(
    world: World,
    visits: Sequence[Visit],
    rules: Rules,
    *,
    part: Part | None = None,
    seed: int = 0,
    dropped: Counter[str] | None = None,
) -> list[Found]:
    counted = Counter[str]() if dropped is None else dropped
    generator = np.random.default_rng(seed)
    return list(
        find_examples(timeline_of(visits), part or Part(), world, rules, generator, counted)
    )


# Longitudes of the museums in degrees. D carries B's name.
EQUATOR = [
    Place("A", 0),
    Place("B", 1),
    Place("C", 2),
    Place("B", 3.2),
    Place("E", -1.5),
    Place("cafe", 0.5, ("cafe",)),
]
VISITS = [Visit(1, A, 2), Visit(2, C, 1), Visit(3, B, 1), Visit(3, E)]


@pytest.fixture(scope="module")
def equator() -> World:
    return world_of(EQUATOR)


def test_a_case_worked_by_hand(equator: World) -> None:
    # t=1, A: no photo before it, so no question.
    # t=2, C at 2 degrees: two photos before it, of A. Degrees from C: C 0, B 1, D 1.2, A 2, E 3.5.
    #   The nearest four are C B D A; D has B's name, so C B A. Reviewed at 2 or later: C B E,
    #   so the ground truth is C B, and both are claimed.
    # t=3, B: claimed, no question.
    # t=3, E at -1.5: three photos before it; B's is from the same moment. From E: E 0, A 1.5,
    #   B 2.5, C 3.5. Reviewed at 3 or later: B E. B counts although it is claimed, since only the
    #   business that asks must be free.
    dropped: Counter[str] = Counter()
    assert found_in(equator, VISITS, rules_of(4), dropped=dropped) == [
        Found("museum", 2, 2, C, (C, B, A), (C, B)),
        Found("museum", 3, 3, E, (E, A, B, C), (E, B)),
    ]
    assert dropped == {"history_too_short": 1, "claimed": 1}


def test_an_example_that_fails_claims_nothing(equator: World) -> None:
    # Four candidates are needed. C keeps three of its four after D goes, so B stays free and asks
    # at t=3: B 0, A 1, C 1, D 2.2 (B's name): three again. Only E has four.
    dropped: Counter[str] = Counter()
    (example,) = found_in(equator, VISITS, rules_of(4, min_candidates=4), dropped=dropped)
    assert example == Found("museum", 3, 3, E, (E, A, B, C), (E, B))
    assert dropped == {"history_too_short": 1, "too_few_candidates": 2}


def test_what_one_example_claims_another_cannot_ask_for(equator: World) -> None:
    # With five drawn, C has C B A E and the ground truth C B E: B and E cannot ask any more.
    dropped: Counter[str] = Counter()
    rules = rules_of(5, min_candidates=4)
    (example,) = found_in(equator, VISITS, rules, dropped=dropped)
    assert example == Found("museum", 2, 2, C, (C, B, A, E), (C, B, E))
    assert dropped == {"history_too_short": 1, "claimed": 2}


def test_of_one_name_only_the_nearest_can_be_ground_truth(equator: World) -> None:
    # t=2, C: the nearest four are C B D A. B hides D, which is the one reviewed later; so the
    # ground truth is C only, one too few.
    # t=3, D: nothing but D is reviewed at 3 or later, again one too few.
    visits = [Visit(1, A, 2), Visit(2, C), Visit(3, D)]
    dropped: Counter[str] = Counter()
    assert found_in(equator, visits, rules_of(4), dropped=dropped) == []
    assert dropped == {"history_too_short": 1, "too_few_ground_truth": 2}
    (example,) = found_in(equator, visits, rules_of(4, min_ground_truth=1))[:1]
    assert example == Found("museum", 2, 2, C, (C, B, A), (C,))


def test_names_are_kept_nearest_first() -> None:
    world = world_of(EQUATOR)
    assert unique_names([D, C, B, A], world) == (D, C, A)
    assert unique_names([C, B, D, A], world) == (C, B, A)
    assert unique_names([], world) == ()


def test_reviews_of_the_same_moment_are_no_history_but_ground_truth(equator: World) -> None:
    # All at t=5: none of the five photos is before any of the questions.
    at_once = [Visit(5, business, 1) for business in (A, B, C, D, E)]
    dropped: Counter[str] = Counter()
    assert found_in(equator, at_once, rules_of(5), dropped=dropped) == []
    assert dropped == {"history_too_short": 5}
    # With older photos of E, A asks first; reviews of one moment go by number. From A: A 0, B 1,
    # E 1.5, C 2, D 3.2 (B's name). E's only review is older, so the ground truth is A B C, and B
    # and C cannot ask. D can: D 0, C 1.2, B 2.2 (D's name), A 3.2, E 4.7.
    later = [Visit(4, E, 2), *at_once[:4]]
    assert found_in(equator, later, rules_of(5)) == [
        Found("museum", 5, 2, A, (A, B, E, C), (A, B, C)),
        Found("museum", 5, 2, D, (D, C, A, E), (D, C, A)),
    ]


@pytest.mark.parametrize(
    ("gap_days", "at_ms", "history"),
    [
        (0, 1000, 0),  # equal timestamps are not before
        (0, 1001, 2),
        (1, 1000 + DAY_MS, 2),  # exactly a day older still belongs to it
        (1, 999 + DAY_MS, 0),
        (0.5, 1000 + DAY_MS // 2, 2),
        (0.5, 999 + DAY_MS // 2, 0),
    ],
)
def test_a_history_ends_the_gap_before_the_question(
    equator: World, gap_days: float, at_ms: int, history: int
) -> None:
    rules = rules_of(4, history_gap_days=gap_days)
    assert sum(at < history_end(at_ms, rules) for at in (1000, 1000)) == history
    visits = [Visit(1000, A, 2), Visit(at_ms, C), Visit(at_ms, B)]
    found = [one for one in found_in(equator, visits, rules) if one.asked_at_ms == at_ms]
    assert [one.history for one in found] == ([history] if history else [])


def test_the_history_must_show_the_category_before_the_gap_too(equator: World) -> None:
    # Two photos of a cafe are old enough, the only one of a museum is younger than the gap. So
    # none of the three museums that are reviewed asks.
    old, now = 1000, 1000 + 2 * DAY_MS
    visits = [Visit(old, CAFE, 2), Visit(now - 1000, A, 1), Visit(now, C), Visit(now, B)]
    dropped: Counter[str] = Counter()
    rules = rules_of(4, history_gap_days=1)
    assert found_in(equator, visits, rules, dropped=dropped) == []
    assert dropped["category_not_in_history"] == 3
    (example,) = found_in(equator, visits, rules_of(4))
    assert (example.anchor, example.history) == (B, 3)


def test_a_place_reviewed_before_is_kept_or_dropped(equator: World) -> None:
    # C asks at t=2, A was reviewed at t=1 and is reviewed again at t=3.
    visits = [Visit(1, A, 2), Visit(2, C), Visit(3, A), Visit(3, B)]
    # Kept: C B D A without D; all of them are reviewed at 2 or later.
    (kept,) = found_in(equator, visits, rules_of(4))
    assert kept == Found("museum", 2, 2, C, (C, B, A), (C, B, A))
    # Dropped: A is passed over and the next one comes in its place: C B D E without D.
    dropped: Counter[str] = Counter()
    (without,) = found_in(equator, visits, rules_of(4, visited="drop"), dropped=dropped)
    assert without == Found("museum", 2, 2, C, (C, B, E), (C, B))
    # t=1: too short a history. t=3: A was visited before, B is claimed.
    assert dropped == {"history_too_short": 1, "visited_before": 1, "claimed": 1}


def test_a_place_reviewed_again_can_ask_again_until_it_is_claimed(equator: World) -> None:
    visits = [Visit(1, A, 2), Visit(2, A), Visit(3, B), Visit(4, A)]
    dropped: Counter[str] = Counter()
    # t=2, A: A 0, B 1, E 1.5, C 2: the ground truth is A B; both are claimed for t=3 and t=4.
    (example,) = found_in(equator, visits, rules_of(4), dropped=dropped)
    assert example == Found("museum", 2, 2, A, (A, B, E, C), (A, B))
    assert dropped == {"history_too_short": 1, "claimed": 2}


def test_what_cannot_be_recommended_does_not_ask_but_is_remembered() -> None:
    places = [*EQUATOR[:5], Place("nowhere", 0, ("museum",), can_be_recommended=False)]
    visits = [Visit(1, 5, 2), Visit(2, 5), Visit(3, C), Visit(4, B)]
    dropped: Counter[str] = Counter()
    (example,) = found_in(world_of(places), visits, rules_of(4), dropped=dropped)
    assert example == Found("museum", 3, 2, C, (C, B, A), (C, B))
    assert dropped == {"cannot_be_recommended": 2, "claimed": 1}


def test_a_category_that_is_not_kept_is_not_asked_for(equator: World) -> None:
    visits = [Visit(1, CAFE, 3), *[Visit(at, CAFE) for at in (2, 3, 4)]]
    assert found_in(world_of([*EQUATOR[:5], Place("cafe", 0.5, ())]), visits, rules_of(4)) == []
    # One cafe in all: one candidate.
    dropped: Counter[str] = Counter()
    assert found_in(equator, visits, rules_of(4, min_ground_truth=1), dropped=dropped) == []
    assert dropped == {"history_too_short": 1, "too_few_candidates": 3}


def test_categories_are_asked_for_apart() -> None:
    both = [Place(name, at, ("park", "museum")) for name, at in (("A", 0), ("B", 1), ("C", 2.5))]
    visits = [Visit(1, A, 2), Visit(2, B), Visit(3, C)]
    # B claims C as a museum and, on its own, as a park.
    assert found_in(world_of(both), visits, rules_of(3)) == [
        Found(category, 2, 2, B, (B, A, C), (B, C)) for category in ("museum", "park")
    ]


def test_a_part_ends_questions_and_answers_but_histories_reach_back(equator: World) -> None:
    visits = [*VISITS, Visit(10, A), Visit(10, B), Visit(20, C)]
    # From 3 to 10, without 10 itself: B and E ask. B: B 0, A 1, C 1, D (B's name); reviewed in the
    # part: B. So one too few. E: E A B C, of which B and E.
    part = Part("dev", 3, 10)
    (example,) = found_in(equator, visits, rules_of(4), part=part)
    assert example == Found("museum", 3, 3, E, (E, A, B, C), (E, B))
    # Without an end A at 10 answers B's question too, and C at 20.
    first = found_in(equator, visits, rules_of(4), part=Part("test", 3))[0]
    assert (first.anchor, set(first.ground_truth)) == (B, {B, A, C})
    assert found_in(equator, visits, rules_of(4), part=Part("train", end_ms=2)) == []


def test_a_half_offers_its_own_businesses_only() -> None:
    halves = [0, 1, 0, 1, 0, 0]
    visits = [Visit(1, A, 2), Visit(2, C), Visit(3, E)]
    world = world_of(EQUATOR, halves)
    (example,) = found_in(world, visits, rules_of(5), part=Part("train", half=0))
    assert example == Found("museum", 2, 2, C, (C, A, E), (C, E))
    assert found_in(world, visits, rules_of(5, min_candidates=1), part=Part(half=1)) == []


def test_the_number_drawn_lies_between_both_ends_and_reaches_them() -> None:
    wide = world_of([Place(str(one), one) for one in range(60)])
    visits = [Visit(1, 30, 2), Visit(2, 31), Visit(3, 32)]
    rules = rules_of(3, max_drawn=9, min_candidates=1)
    sizes = Counter(
        len(found_in(wide, visits, rules, seed=seed)[0].candidates) for seed in range(200)
    )
    assert set(sizes) == set(range(3, 10))
    # 200 / 7 = 28.6 each; 8 and 55 are four deviations away.
    assert 8 <= min(sizes.values()) <= max(sizes.values()) <= 55


def test_nothing_gives_nothing(equator: World) -> None:
    assert found_in(equator, [], rules_of(4)) == []
    assert found_in(equator, [Visit(1, A, 20)], rules_of(4)) == []


# --- properties -------------------------------------------------------------------------------

PLACES = st.lists(
    st.builds(
        Place,
        st.sampled_from(["a", "b", "c", "d", "e", "f"]),
        st.integers(-5, 5).map(float),
        st.sampled_from([("museum",), ("park",), ("museum", "park"), ()]),
        st.sampled_from([True, True, True, False]),
    ),
    min_size=1,
    max_size=20,
)


@settings(max_examples=300, deadline=None)
@given(
    places=PLACES,
    data=st.data(),
    drawn=st.tuples(st.integers(1, 4), st.integers(0, 5)),
    visited=st.sampled_from(["keep", "drop"]),
    floors=st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(0, 4)),
    seed=st.integers(0, 999),
)
def test_examples_keep_every_rule(
    places: list[Place],
    data: st.DataObject,
    drawn: tuple[int, int],
    visited: str,
    floors: tuple[int, int, int],
    seed: int,
) -> None:
    visit = st.builds(Visit, st.integers(0, 9), st.integers(0, len(places) - 1), st.integers(0, 2))
    visits = data.draw(
        st.lists(visit, max_size=25, unique_by=lambda one: (one.at_ms, one.business))
    )
    part = Part(start_ms=data.draw(st.integers(0, 5)), end_ms=data.draw(st.integers(5, 12)))
    rules = rules_of(
        drawn[0], max_drawn=sum(drawn), visited=visited, min_candidates=floors[0],
        min_ground_truth=floors[1], min_history=floors[2],
    )  # fmt: skip
    found = found_in(world_of(places), visits, rules, part=part, seed=seed)
    claimed: set[tuple[str, int]] = set()
    for one in found:
        keeps_the_rules(one, places, visits, part, rules)
        assert (one.category, one.anchor) not in claimed
        claimed |= {(one.category, business) for business in one.ground_truth}
    asked = [(one.category, one.asked_at_ms, one.anchor) for one in found]
    assert asked == sorted(set(asked))
    again = found_in(world_of(places), visits, rules, part=part, seed=seed)
    assert again == found


def keeps_the_rules(
    one: Found, places: list[Place], visits: list[Visit], part: Part, rules: Rules
) -> None:
    at_ms, candidates = one.asked_at_ms, one.candidates
    assert part.start_ms <= at_ms < part.end_ms
    assert any(visit[:2] == (at_ms, one.anchor) for visit in visits)
    assert candidates[0] == one.anchor
    assert rules.min_candidates <= len(candidates) <= rules.max_drawn
    names = [places[business].name for business in candidates]
    assert len(set(names)) == len(names)
    for business in candidates:
        assert one.category in places[business].categories
        assert places[business].can_be_recommended
    far = [
        abs(places[business].longitude - places[one.anchor].longitude) for business in candidates
    ]
    assert far == sorted(far)
    before = {visit.business for visit in visits if visit.at_ms < at_ms}
    later = {visit.business for visit in visits if at_ms <= visit.at_ms < part.end_ms}
    assert set(one.ground_truth) == set(candidates) & later
    assert one.anchor in one.ground_truth
    assert len(one.ground_truth) >= rules.min_ground_truth
    if rules.visited == "drop":
        assert not before & set(candidates)
    history = [visit for visit in visits if visit.at_ms < at_ms for _ in range(visit.photos)]
    assert one.history == len(history) >= rules.min_history
    assert any(one.category in places[visit.business].categories for visit in history)
