from __future__ import annotations

import gzip
import json
import math
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from tests.benchmark.reference import (
    Business,
    PlainExample,
    Review,
    Rules,
    World,
    categories_of,
    disagreements,
    distance_km,
    fixed_examples,
    in_order,
    nearest_orders,
    photo_identity,
    read_built,
    read_google,
    unique_names,
)
from tests.benchmark.synthetic import write_google

from visuallens.benchmark.datasets.google import opaque
from visuallens.cli.main import visuallens

Row = dict[str, object]

WORLDS = 200
FIXED = Rules(
    min_category_reviews=1,
    min_history=3,
    min_drawn=7,
    max_drawn=7,
    min_candidates=4,
    min_ground_truth=2,
)
DRAWN = replace(FIXED, min_category_reviews=20, min_drawn=4, max_drawn=11)


def museum(name: str, longitude: float) -> Business:
    return Business(name[0], name, (0.0, longitude), frozenset({"museum"}))


def visit(business_id: str, time_ms: int, *photos: str, user_id: str = "u") -> Review:
    return Review(user_id, business_id, time_ms, photos)


def world_of(businesses: list[Business], reviews: list[Review]) -> World:
    return World({one.id: one for one in businesses}, in_order(reviews), Counter())


@pytest.fixture
def equator() -> World:
    """Museums on the equator, where one degree is 111.2 km; D is named like B."""
    places = [museum("A", 0), museum("B hall", 1), museum("C", 2), museum("D", 3.2)]
    places[3] = replace(places[3], name="b HALL")
    reviews = [
        visit("A", 1, "p1", "p2"),
        visit("C", 2, "p3"),
        visit("B", 3, "p4"),
        visit("E", 3),
    ]
    return world_of([*places, museum("E", -1.5)], reviews)


HAND = Rules(
    min_category_reviews=1,
    min_history=2,
    min_drawn=4,
    max_drawn=4,
    min_candidates=3,
    min_ground_truth=2,
)


def test_a_case_worked_by_hand(equator: World) -> None:
    # t=1, A: no photo before it, so no question.
    # t=2, C at 2 degrees: history p1 p2. Distances in degrees: C 0, B 1, D 1.2, A 2, E 3.5.
    #   The nearest four are C B D A; D has B's name, so C B A. Reviewed at 2 or later: C B E,
    #   so the ground truth is B C, and both are claimed.
    # t=3, B: claimed, no question.
    # t=3, E at -1.5: history p1 p2 p3, without p4, which is from the same moment.
    #   E 0, A 1.5, B 2.5, C 3.5: four names. Reviewed at 3 or later: B E. B counts although it is
    #   claimed: only the place that asks must be free.
    assert fixed_examples(equator, HAND) == [
        PlainExample("u", "museum", 2, "C", frozenset("ABC"), frozenset("BC"), ("p1", "p2")),
        PlainExample("u", "museum", 3, "E", frozenset("ABCE"), frozenset("BE"), ("p1", "p2", "p3")),
    ]


def test_an_example_that_fails_claims_nothing(equator: World) -> None:
    # Four candidates needed: C has three after D goes, so B is free and asks at t=3:
    #   B 0, A 1, C 1, D 2.2 (B's name); E 2.5 is the fifth. Three again, so no example.
    #   With m = 5: C has C B A E, ground truth B C E, and all of them are claimed.
    four = replace(HAND, min_candidates=4)
    assert [one.anchor for one in fixed_examples(equator, four)] == ["E"]
    five = replace(four, min_drawn=5, max_drawn=5)
    (example,) = fixed_examples(equator, five)
    assert (example.anchor, example.ground_truth) == ("C", frozenset("BCE"))


def test_a_history_without_the_category_asks_nothing(equator: World) -> None:
    cafe = Business("Z", "Z", None, frozenset({"cafe"}))
    reviews = [visit("Z", 1, "p1", "p2"), visit("C", 2), visit("B", 3)]
    places = [*equator.businesses.values(), cafe]
    assert fixed_examples(world_of(places, reviews), HAND) == []
    with_a_museum = world_of(places, [*reviews, visit("A", 0, "p0")])
    (example,) = fixed_examples(with_a_museum, HAND)
    assert example.history == ("p0", "p1", "p2")


def test_a_category_below_the_floor_asks_nothing(equator: World) -> None:
    assert fixed_examples(equator, replace(HAND, min_category_reviews=5)) == []
    assert len(fixed_examples(equator, replace(HAND, min_category_reviews=4))) == 2


@pytest.mark.parametrize("lost", ["coordinates", "name"])
def test_a_place_without_coordinates_or_name_is_no_candidate_and_asks_nothing(
    equator: World, lost: str
) -> None:
    place = equator.businesses["C"]
    place = replace(place, name=None) if lost == "name" else replace(place, place=None)
    without = {**equator.businesses, "C": place}
    anchors = {
        one.anchor: one for one in fixed_examples(replace(equator, businesses=without), HAND)
    }
    assert "C" not in anchors
    assert all("C" not in one.candidates for one in anchors.values())
    assert anchors["B"].history == ("p1", "p2", "p3")


@pytest.mark.parametrize(
    ("one", "other", "degrees"),
    [
        ((0.0, 0.0), (0.0, 1.0), 1),
        ((0.0, 179.5), (0.0, -179.5), 1),  # across the date line
        ((89.0, 10.0), (89.0, -170.0), 2),  # over the pole
        ((-90.0, 0.0), (90.0, 77.0), 180),
        ((60.0, 5.0), (60.0, 5.0), 0),
    ],
)
def test_distances_are_great_circles(
    one: tuple[float, float], other: tuple[float, float], degrees: float
) -> None:
    assert distance_km(one, other) == pytest.approx(6371.0088 * math.radians(degrees))


def test_the_place_that_asks_comes_before_others_at_its_address_in_any_order() -> None:
    twins = [museum("A", 0), museum("B", 0), museum("C", 0), museum("D", 1)]
    orders = nearest_orders(world_of(twins, []), twins[1], "museum", 3)
    assert ["".join(one.id for one in order) for order in orders] == ["BAC", "BCA"]


def test_the_nearest_of_a_name_stays_whatever_its_letter_case() -> None:
    names = ("Shell", "SHELL", "Esso", "shell", "Shell 2")
    places = [Business(str(i), name, None, frozenset()) for i, name in enumerate(names)]
    assert [one.id for one in unique_names(places)] == ["0", "2", "4"]


def test_tags_become_categories() -> None:
    tags = ["Italian restaurant", "Tourist attraction", "Steak house", "Coffee house", "Gift shop"]
    assert categories_of(tags) == {"restaurant", "tourist attraction", "steak house"}
    assert categories_of([]) == categories_of(None) == categories_of(["", "Shopping mall"]) == set()


def test_the_size_is_not_part_of_a_photo() -> None:
    assert photo_identity("https://h/p/AF=x=w150-h150-k-no-p") == "https://h/p/AF=x"
    assert photo_identity("https://h/size=3/AF") == "https://h/size=3/AF"


def test_a_build_that_algorithm_1_cannot_give_is_found(equator: World) -> None:
    rules = replace(HAND, min_drawn=3, max_drawn=5)
    for drawn in (3, 4, 5):
        right = fixed_examples(equator, replace(rules, min_drawn=drawn, max_drawn=drawn))
        assert disagreements(equator, rules, right) == []
    right = fixed_examples(equator, HAND)
    (missing,) = disagreements(equator, HAND, right[:1])
    assert "not built" in missing
    (twice,) = disagreements(equator, HAND, [*right, right[0]])
    assert "twice" in twice
    wrong = replace(right[0], candidates=frozenset("ABCE"))
    (other,) = disagreements(equator, HAND, [wrong, right[1]])
    assert other.endswith("candidates has ['E'] instead of []")
    (made_up,) = disagreements(equator, HAND, [*right, replace(right[0], user_id="v")])
    assert "no review asks" in made_up


def test_rows_that_repeat_or_lead_nowhere_are_dropped_and_counted(tmp_path: Path) -> None:
    meta = {"gmap_id": "A", "name": "A", "category": ["Museum"], "latitude": 1, "longitude": 2}
    url = "https://h/p/x"
    pics = [{"url": [f"{url}=s1", f"{url}-other=s1"]}, {"url": [f"{url}=s2"]}]
    review = {"user_id": "u", "gmap_id": "A", "time": 5, "pics": pics}
    write(tmp_path / "meta-X.json.gz", [meta, {**meta, "name": "later"}, {"gmap_id": None}])
    nowhere = [{**review, "gmap_id": "B"}, {**review, "time": None}]
    write(tmp_path / "review-X.json.gz", [review, {**review, "pics": None}, *nowhere])
    world = read_google(tmp_path)
    a = opaque("A")
    assert world.businesses == {a: Business(a, "A", (1, 2), frozenset({"museum"}))}
    assert world.reviews == {"u": (Review("u", a, 5, (url, url)),)}
    assert world.dropped == {
        "repeated business": 1,
        "incomplete business": 1,
        "repeated review": 1,
        "unknown business": 1,
        "incomplete review": 1,
    }


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One dump of many small worlds, where no two places are equally far from a third."""
    return write_worlds(tmp_path_factory.mktemp("worlds"), at_one_address=0)


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, where some places share their address, so that chance decides between them."""
    return write_worlds(tmp_path_factory.mktemp("crowded"), at_one_address=0.1)


def write_worlds(folder: Path, *, at_one_address: float) -> Path:
    metas: tuple[list[Row], list[Row]] = ([], [])
    reviews: tuple[list[Row], list[Row]] = ([], [])
    rng = np.random.default_rng(20)
    neighbours: list[Row] = []
    for number in range(WORLDS):
        places = draw_businesses(rng, number, at_one_address)
        metas[number % 2].extend(places)
        metas[number % 2].extend(row for row in places if rng.random() < 0.05)
        here = draw_reviews(rng, number, places)
        reviews[number % 2].extend(here)
        if neighbours:  # a day trip over the border
            reviews[1 - number % 2].extend(draw_reviews(rng, number, neighbours)[:15])
        neighbours = places
    for state, rows in zip(("Alabama", "Alaska"), reviews, strict=True):
        rng.shuffle(rows)
        rows.extend({**row, "pics": None} for row in rows[::40])
        rows.extend({**row, "gmap_id": "nowhere"} for row in rows[::50])
        write(folder / f"review-{state}.json.gz", rows)
    for state, rows in zip(("Alabama", "Alaska"), metas, strict=True):
        write(folder / f"meta-{state}.json.gz", rows)
    return folder


def draw_businesses(rng: np.random.Generator, number: int, at_one_address: float) -> list[Row]:
    """Draw the businesses of a world: anywhere, at a pole, at the date line, or far apart."""
    anywhere = (rng.uniform(-60, 60), rng.uniform(-180, 180))
    middle, width = (
        (anywhere, (0.05, 0.05)),
        ((rng.choice([-89.95, 89.95]), 0), (0.05, 90)),
        ((anywhere[0], 179.99), (0.05, 0.05)),
        (anywhere, (20, 20)),
    )[number % 4]
    tags = [f"{tag}{number:03d}" for tag in ("Art museum", "park", "Thai CAFE", "Steak cafe")]
    # Some categories reach over many worlds; one is removed.
    tags += ["Gift shop", *(["Tourist attraction", "Steak house"] if number % 5 == 0 else [])]
    count = int(rng.integers(6, 31))
    rows: list[Row] = []
    for one in range(count):
        chosen = rng.permutation(len(tags))[: int(rng.integers(1, 4))]
        name = f"Inn {rng.integers(count)}"
        north, east = rng.normal(middle, width)
        # Over the pole and down on the other side, so that no two places lie on the pole itself.
        over = math.copysign(180, north) - north if abs(north) > 90 else north
        row: Row = {
            "gmap_id": f"w{number}b{(one * 7919) % 10_007}",
            "name": str(rng.choice([name, name.upper(), name.lower()])),
            "category": [tags[tag] for tag in chosen] if rng.random() < 0.97 else None,
            "latitude": float(over),
            "longitude": float((east + 180) % 360 - 180),
        }
        if rows and rng.random() < at_one_address:
            row.update({key: rows[-1][key] for key in ("latitude", "longitude")})
        for lost in ("latitude", "longitude", "name"):
            row[lost] = row[lost] if rng.random() < 0.97 else None
        rows.append(row)
    return rows


def draw_reviews(rng: np.random.Generator, number: int, places: list[Row]) -> list[Row]:
    """Draw reviews of a few users, many of them in the same millisecond."""
    rows: list[Row] = []
    for user in range(int(rng.integers(1, 4))):
        moments = int(rng.choice([1, 5, 30, 1000]))
        for _ in range(int(rng.integers(5, 40))):
            url = f"https://lh5.googleusercontent.com/p/AF{rng.integers(1 << 40)}"
            sizes = ("=w150-h150-k-no-p", "=s0")[: int(rng.integers(0, 3))]
            entries = [{"url": [url + size, url + "-2" + size]} for size in sizes]
            more = [{"url": [f"{url}-{one}=s0"]} for one in range(5, 5 + int(rng.integers(0, 3)))]
            rows.append(
                {
                    "user_id": f"w{number}u{user}",
                    "time": 1_500_000_000_000 + int(rng.integers(moments)),
                    "gmap_id": places[int(rng.integers(len(places)))]["gmap_id"],
                    "pics": [*more, *entries] or None,
                    "rating": int(rng.integers(1, 6)),
                }
            )
    return rows


def write(path: Path, rows: list[Row]) -> None:
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    path.write_bytes(gzip.compress(lines.encode(), mtime=0))


# A split of a stated size leaves out what does not fit, so all go to one.
ONE_SPLIT = {"dev_examples": 0, "test_examples": 0}


def build(raw: Path, out: Path, rules: Rules, splits: dict[str, int]) -> list[PlainExample]:
    values = {**asdict(rules), **splits}
    settings = [f"--set=benchmark.{name}={value}" for name, value in values.items()]
    where = ["--raw", str(raw), "--out", str(out), "--workers", "1"]
    result = CliRunner().invoke(
        visuallens,
        ["benchmark", "build", "google-review-v", *where, *settings],
        catch_exceptions=False,
    )
    assert result.exit_code == 0, result.output
    return read_built(out)


def test_a_build_with_a_fixed_draw_equals_the_reference(worlds: Path, tmp_path: Path) -> None:
    world = read_google(worlds)
    expected = fixed_examples(world, FIXED)
    assert len({one.user_id for one in expected}) > WORLDS
    built = build(worlds, tmp_path / "built", FIXED, ONE_SPLIT)
    assert disagreements(world, FIXED, built) == []
    assert sorted(one.key for one in built) == sorted(one.key for one in expected)
    assert set(built) == set(expected)


def test_splits_leave_out_only_what_they_count(worlds: Path, tmp_path: Path) -> None:
    expected = fixed_examples(read_google(worlds), FIXED)
    built = build(worlds, tmp_path / "built", FIXED, {"dev_examples": 150, "test_examples": 170})
    about = json.loads((tmp_path / "built" / "benchmark.json").read_text("utf-8"))
    assert set(built) < set(expected)
    assert len(expected) - len(built) == about["counts"]["dropped"]["in_no_split"]


@pytest.mark.parametrize("rules", [FIXED, DRAWN], ids=["fixed", "drawn"])
def test_a_build_where_chance_decides_is_one_that_some_draws_give(
    crowded: Path, tmp_path: Path, rules: Rules
) -> None:
    built = build(crowded, tmp_path / "built", rules, ONE_SPLIT)
    assert len({one.user_id for one in built}) > WORLDS
    assert disagreements(read_google(crowded), rules, built) == []


def test_a_synthetic_dump_is_built_by_the_rules_of_the_paper(tmp_path: Path) -> None:
    write_google(tmp_path / "raw", reviews=10_000, businesses=1_000)
    rules = Rules(min_category_reviews=200)
    built = build(tmp_path / "raw", tmp_path / "built", rules, ONE_SPLIT)
    assert len(built) > 300
    assert disagreements(read_google(tmp_path / "raw"), rules, built) == []
