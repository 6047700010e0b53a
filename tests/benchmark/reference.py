"""A slow reference of §6.1 and Algorithm 1 for Google Review-V, to compare a build with.

Written from the paper and from what DESIGN.md decides where it is silent; it shares no code with
`visuallens.benchmark` but the names of files and of businesses. Plain Python on the raw dump:
distances by hand, every business of the category sorted for every question.
"""

from __future__ import annotations

import gzip
import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from itertools import chain, groupby, permutations, product
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from visuallens.benchmark import schema
from visuallens.benchmark.datasets.google import opaque

KEPT_WHOLE = ("tourist attraction", "steak house", "historical landmark", "nature preserve")
"""Categories of more than one word. Source: appendix A.2."""

_REMOVED = (
    "shop store complex service company supplier caterer agency center organization attraction "
    "house mall landmark wash course preserve alley groomer field peak venue delivery dealer "
    "lounge office arcade court spot stop maintenance trainer wholesaler planner place facility "
    "school stand range consultant designer veterinarian ground contractor manufacturer studio "
    "point lot"
)
REMOVED = frozenset(_REMOVED.split())
"""Ambiguous categories of Google Review-V. Source: appendix A.2."""


@dataclass(frozen=True)
class Rules:
    """The numbers of Algorithm 1, §6.1 and A.2; m is from min_drawn to max_drawn, inclusive."""

    min_category_reviews: int = 10_000
    min_history: int = 10
    min_drawn: int = 30
    max_drawn: int = 100
    min_candidates: int = 10
    min_ground_truth: int = 2


@dataclass(frozen=True)
class Business:
    """A row of meta-STATE; `place` is latitude and longitude in degrees, or None.

    Choice: what has no place or no name cannot be recommended, nor ask; it stays in histories.
    """

    id: str
    name: str | None
    place: tuple[float, float] | None
    categories: frozenset[str]

    @property
    def can_be_recommended(self) -> bool:
        """Whether it can be a candidate."""
        return self.place is not None and bool(self.name)


@dataclass(frozen=True)
class Review:
    """A row of review-STATE; photos are URLs without the suffix that asks for a size."""

    user_id: str
    business_id: str
    time_ms: int
    photos: tuple[str, ...]


@dataclass(frozen=True)
class World:
    """A dump: businesses by id, reviews of each user oldest first, rows dropped by reason."""

    businesses: Mapping[str, Business]
    reviews: Mapping[str, tuple[Review, ...]]
    dropped: Counter[str]

    @cached_property
    def reviews_of_category(self) -> Counter[str]:
        """How many reviews each category has."""
        return Counter(
            category
            for reviews in self.reviews.values()
            for review in reviews
            for category in self.businesses[review.business_id].categories
        )

    @cached_property
    def places_of_category(self) -> Mapping[str, list[Business]]:
        """Businesses of each category that can be recommended."""
        places: dict[str, list[Business]] = {}
        for business in self.businesses.values():
            for category in business.categories:
                if business.can_be_recommended:
                    places.setdefault(category, []).append(business)
        return places


@dataclass(frozen=True)
class PlainExample:
    """What is compared: who asks for what and when, where, what they may get, what they chose."""

    user_id: str
    category: str
    asked_at_ms: int
    anchor: str
    candidates: frozenset[str]
    ground_truth: frozenset[str]
    history: tuple[str, ...]

    @property
    def key(self) -> tuple[str, str, int, str]:
        """What two examples can never share."""
        return (self.user_id, self.category, self.asked_at_ms, self.anchor)


Outcomes = list[PlainExample | None]
"""What a question can become, for each m and each order of equal distances; None: no example."""


def read_google(folder: Path) -> World:
    """Read review-*.json(.gz) and meta-*.json(.gz).

    Choice: where rows repeat a business or a review (same user, business and time), the first one
    counts, files in the order of their names. A row that lacks one of its ids or its time is
    dropped.
    """
    dropped: Counter[str] = Counter()
    businesses: dict[str, Business] = {}
    for row in _rows(folder, "meta", dropped):
        business_id = row.get("gmap_id") and opaque(row["gmap_id"])
        if not business_id:
            dropped["incomplete business"] += 1
        elif business_id in businesses:
            dropped["repeated business"] += 1
        else:
            businesses[business_id] = Business(
                business_id, row.get("name"), _place(row), categories_of(row.get("category"))
            )
    found: dict[tuple[str, str, int], Review] = {}
    for row in _rows(folder, "review", dropped):
        user_id, time_ms = row.get("user_id"), row.get("time")
        business_id = row.get("gmap_id") and opaque(row["gmap_id"])
        if not user_id or not business_id or time_ms is None:
            dropped["incomplete review"] += 1
        elif business_id not in businesses:
            dropped["unknown business"] += 1
        elif (user_id, business_id, time_ms) in found:
            dropped["repeated review"] += 1
        else:
            found[user_id, business_id, time_ms] = Review(
                user_id, business_id, time_ms, _photos(row.get("pics"))
            )
    return World(businesses, in_order(found.values()), dropped)


def in_order(reviews: Iterable[Review]) -> dict[str, tuple[Review, ...]]:
    """Group reviews by user, each user's by time and then by business."""
    grouped: dict[str, list[Review]] = {}
    for review in reviews:
        grouped.setdefault(review.user_id, []).append(review)
    return {
        user_id: tuple(sorted(own, key=lambda review: (review.time_ms, review.business_id)))
        for user_id, own in grouped.items()
    }


def categories_of(tags: Iterable[str] | None) -> frozenset[str]:
    """Turn tags into categories: the last word, but for some the last two; removed ones go."""
    found = set()
    for tag in tags or ():
        words = tag.lower().split()
        whole = " ".join(words[-2:])
        if words:
            found.add(whole if whole in KEPT_WHOLE else words[-1])
    return frozenset(found - REMOVED)


def photo_identity(url: str) -> str:
    """Cut the size off a URL: everything from the last "=" after the last "/"."""
    folder, slash, name = url.rpartition("/")
    return folder + slash + (name.rpartition("=")[0] or name)


def distance_km(one: tuple[float, float], other: tuple[float, float]) -> float:
    """Compute the great-circle distance between two places by the haversine formula."""
    (lat_1, lon_1), (lat_2, lon_2) = one, other
    half_lat = math.sin(math.radians(lat_2 - lat_1) / 2)
    half_lon = math.sin(math.radians(lon_2 - lon_1) / 2)
    across = math.cos(math.radians(lat_1)) * math.cos(math.radians(lat_2)) * half_lon**2
    return 2 * 6371.0088 * math.asin(min(1.0, math.sqrt(half_lat**2 + across)))


def nearest_orders(
    world: World, anchor: Business, category: str, most: int
) -> Iterator[list[Business]]:
    """Sort the places of a category by distance from the anchor, which comes first.

    Choice: among places equally far away, any order is right; each is given, that of the ids first.
        Only the `most` nearest need to be in order.
    """
    here = anchor.place
    assert here is not None

    def order(business: Business) -> tuple[bool, float]:
        assert business.place is not None
        return (business.id != anchor.id, distance_km(here, business.place))

    by_id = sorted(world.places_of_category[category], key=lambda business: business.id)
    groups: list[list[Business]] = []
    for _, group in groupby(sorted(by_id, key=order), key=order):
        if sum(map(len, groups)) < most:
            groups.append(list(group))
    assert max(map(len, groups)) <= 7, "too many places equally far to try every order"
    for orders in product(*map(permutations, groups)):
        yield list(chain.from_iterable(orders))


def unique_names(businesses: Iterable[Business]) -> list[Business]:
    """Keep the first business of each name, letter case ignored."""
    kept: dict[str, Business] = {}
    for business in businesses:
        kept.setdefault((business.name or "").lower(), business)
    return list(kept.values())


def history_before(reviews: Iterable[Review], moment_ms: int) -> dict[str, str]:
    """Collect photos of strictly earlier reviews: photo → its business, oldest first, each once."""
    photos: dict[str, str] = {}
    for review in reviews:
        if review.time_ms < moment_ms:
            for photo in review.photos:
                photos.setdefault(photo, review.business_id)
    return photos


def outcomes(
    world: World, rules: Rules, review: Review, category: str, claimed: frozenset[str]
) -> Outcomes:
    """List all that the question of a review can become."""
    reviews = world.reviews[review.user_id]
    anchor = world.businesses[review.business_id]
    history = history_before(reviews, review.time_ms)
    if (
        not anchor.can_be_recommended
        or anchor.id in claimed
        or len(history) < rules.min_history
        or not any(category in world.businesses[one].categories for one in history.values())
    ):
        return [None]
    later = {one.business_id for one in reviews if one.time_ms >= review.time_ms}
    possible: Outcomes = []
    for ordered in nearest_orders(world, anchor, category, rules.max_drawn):
        for drawn in range(rules.min_drawn, rules.max_drawn + 1):
            candidates = frozenset(one.id for one in unique_names(ordered[:drawn]))
            chosen = candidates & later
            fits = len(candidates) >= rules.min_candidates
            asked = (review.user_id, category, review.time_ms, anchor.id)
            example = PlainExample(*asked, candidates, chosen, tuple(history))
            possible.append(example if fits and len(chosen) >= rules.min_ground_truth else None)
    return possible


Choose = Callable[[tuple[str, str, int, str], Outcomes], PlainExample | None]


def walk(world: World, rules: Rules, choose: Choose) -> list[PlainExample]:
    """Ask for every review of a kept category; `choose` says which outcome came true."""
    examples = []
    for user_id, reviews in world.reviews.items():
        asked = {one for r in reviews for one in world.businesses[r.business_id].categories}
        for category in sorted(asked):
            if world.reviews_of_category[category] < rules.min_category_reviews:
                continue
            claimed: frozenset[str] = frozenset()
            for review in reviews:
                if category not in world.businesses[review.business_id].categories:
                    continue
                key = (user_id, category, review.time_ms, review.business_id)
                example = choose(key, outcomes(world, rules, review, category, claimed))
                if example is not None:
                    examples.append(example)
                    claimed |= example.ground_truth
    return examples


def fixed_examples(world: World, rules: Rules) -> list[PlainExample]:
    """Make all examples where m is fixed; places equally far are taken in the order of ids."""
    assert rules.min_drawn == rules.max_drawn, "the draws of a build cannot be known"
    return walk(world, rules, lambda _, possible: possible[0])


def disagreements(world: World, rules: Rules, built: Iterable[PlainExample]) -> list[str]:
    """Say where a build is not one that Algorithm 1 can give, whatever m it drew.

    Where the build has an example, it must be what some m gives; where it has none, some m must
    give none. The build's own examples decide which businesses are claimed.
    """
    problems: list[str] = []
    left: dict[tuple[str, str, int, str], PlainExample] = {}
    for example in built:
        if example.key in left:
            problems.append(f"{example.key}: built twice")
        left[example.key] = example

    def choose(key: tuple[str, str, int, str], possible: Outcomes) -> PlainExample | None:
        example = left.pop(key, None)
        if example not in possible:
            problems.append(f"{key}: {_difference(example, possible)}")
        return example

    walk(world, rules, choose)
    problems.extend(f"{key}: no review asks for it" for key in left)
    return problems


def _difference(example: PlainExample | None, possible: Outcomes) -> str:
    """Compare an example with the outcome that differs in the fewest fields."""
    expected = [one for one in possible if one is not None]
    if example is None:
        sizes = sorted({len(one.candidates) for one in expected})
        return f"not built, but every m gives an example, of {sizes} candidates"
    if not expected:
        return "built, but no m gives an example"

    def differing(one: PlainExample) -> list[str]:
        names = [field.name for field in fields(one)]
        return [name for name in names if getattr(one, name) != getattr(example, name)]

    closest = min(expected, key=lambda one: len(differing(one)))
    return "; ".join(
        _shown(name, getattr(example, name), getattr(closest, name)) for name in differing(closest)
    )


def _shown(name: str, built: object, expected: object) -> str:
    if isinstance(built, frozenset) and isinstance(expected, frozenset):
        return f"{name} has {sorted(built - expected)} instead of {sorted(expected - built)}"
    return f"{name} is {built}, not {expected}"


def read_built(folder: Path) -> list[PlainExample]:
    """Read the examples of all splits of a finished benchmark folder, to compare them."""
    photos = pq.read_table(folder / schema.PHOTOS, columns=["photo_id", "url"]).to_pylist()
    urls = {row["photo_id"]: photo_identity(row["url"]) for row in photos}
    examples = []
    for split in schema.SPLITS:
        answers = {
            row["example_id"]: row
            for row in pq.read_table(folder / schema.ground_truth_file(split)).to_pylist()
        }
        for row in pq.read_table(folder / schema.examples_file(split)).to_pylist():
            answer = answers.pop(row["example_id"])
            assert len(set(row["candidates"])) == len(row["candidates"]), row
            examples.append(
                PlainExample(
                    row["user_id"],
                    row["category"],
                    round(row["asked_at"].timestamp() * 1000),
                    answer["anchor"],
                    frozenset(row["candidates"]),
                    frozenset(answer["ground_truth"]),
                    tuple(urls[one] for one in row["history"]),
                )
            )
        assert not answers, f"{split} has answers without questions"
    return examples


# Any: rows of the raw dump, whose fields can hold anything.
def _rows(folder: Path, kind: str, dropped: Counter[str]) -> Iterator[dict[str, Any]]:
    for path in sorted(folder.glob(f"{kind}-*.json*")):
        raw = path.read_bytes()
        content = gzip.decompress(raw) if path.suffix == ".gz" else raw
        for line in content.splitlines():
            try:
                yield json.loads(line)
            except ValueError:
                dropped["not JSON"] += 1


# Any: as above.
def _place(row: Mapping[str, Any]) -> tuple[float, float] | None:
    latitude, longitude = row.get("latitude"), row.get("longitude")
    return None if latitude is None or longitude is None else (latitude, longitude)


# Any: as above.
def _photos(pics: Iterable[Mapping[str, Any]] | None) -> tuple[str, ...]:
    return tuple(photo_identity(entry["url"][0]) for entry in pics or () if entry.get("url"))
