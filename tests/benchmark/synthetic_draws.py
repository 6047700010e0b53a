"""Made-up places, people and visits for synthetic dumps: towns, chains, Zipf-like activity."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.integer]
Floats = NDArray[np.float64]

_BUSINESSES_OF_A_TOWN = 300
_REVIEWS_OF_A_USER = 10
_FIRST_S, _LAST_S = (int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) for year in (2014, 2021))
_DAY_S = 86_400
_ALL_AT_ONCE = 0.02
_DAYS_WRITTEN_UP_LATER = 0.05

_FAMILY_SHARES = (0.45, 0.25, 0.15, 0.15)
_CHAINS = (
    "Starbucks|STARBUCKS|starbucks|McDonald's|MCDONALD'S|Subway|SUBWAY|subway|Dollar General"
    "|DOLLAR GENERAL|Waffle House|Waffle house|Walmart Supercenter|Shell|SHELL|Hampton Inn"
    "|City Park|CITY PARK|First Baptist Church|Café Olé|CAFÉ OLÉ"
)
_NAME_PARTS = (
    "Old|Blue|Golden|Little|Grand|Lucky|Rosa's|Big Al's|Bob & Ann's|\"The\"|<b>New</b>|Señor|王朝",
    "River|Oak|Harbor|Mountain|Bear|Elm|Lake|Eagle|Cotton|Depot|Anchor|Cedar|Market|Moon|Magnolia",
    "Downtown|on Main|& Co|No. 2|1892|by the Lake|\\ East|West",
)


@dataclass(frozen=True)
class Places:
    """Businesses sorted by town; one entry for each, but `town_start`."""

    ids: list[str]
    names: list[str]
    tags: list[list[str]]
    town: Ints
    town_start: Ints
    position: Floats


@dataclass(frozen=True)
class Visits:
    """Reviews sorted by business; one entry for each."""

    user: Ints
    business: Ints
    time_s: Ints
    rating: Ints
    photos: Ints


def draw_places(
    rng: np.random.Generator,
    count: int,
    states: int,
    families: Sequence[str],
    write_id: Callable[[int], str],
) -> Places:
    """Crowd businesses in towns; towns take turns between states.

    Args:
        rng: of every draw.
        count: of businesses.
        states: how many; town number modulo this is the state.
        families: tags of one kind, common ones first, joined by "|".
        write_id: makes an id of 64 bits.

    Returns:
        Businesses sorted by town.
    """
    towns = max(states, count // _BUSINESSES_OF_A_TOWN)
    # The first town of a state is its largest, some three times the usual size.
    shares = 1 / (np.arange(towns) // states + towns / 10)
    town = np.sort(rng.choice(towns, count, p=shares / shares.sum()))
    # A state has ten by ten degrees, beside the next one; a town is a few kilometres wide.
    middle = rng.uniform(0, 10, (towns, 2)) + np.array([30.0, -160.0])
    middle[:, 1] += np.arange(towns) % states * 11.0
    tags = _draw_tags(rng, count, [family.split("|") for family in families])
    return Places(
        ids=[write_id(number) for number in mixed_bits(np.arange(count), 1)],
        names=_draw_names(rng, tags),
        tags=tags,
        town=town,
        town_start=np.searchsorted(town, np.arange(towns + 1)),
        position=np.round(middle[town] + rng.normal(0, 0.02, (count, 2)), 7),
    )


def _draw_tags(
    rng: np.random.Generator, count: int, families: Sequence[Sequence[str]]
) -> list[list[str]]:
    chosen = rng.choice(len(families), count, p=_FAMILY_SHARES).tolist()
    drawn = (rng.random((count, 4)) ** 2).tolist()
    numbers = rng.integers(1, 5, count).tolist()
    tags = []
    for family, draws, number in zip(chosen, drawn, numbers, strict=True):
        words = families[family]
        tags.append(list(dict.fromkeys(words[int(len(words) * one)] for one in draws[:number])))
    return tags


def _draw_names(rng: np.random.Generator, tags: Sequence[Sequence[str]]) -> list[str]:
    chains = _CHAINS.split("|")
    lists = [part.split("|") for part in _NAME_PARTS]
    picks = [rng.integers(0, len(words), len(tags)).tolist() for words in (*lists, chains)]
    of_chain = (rng.random(len(tags)) < 0.15).tolist()
    return [
        chains[chain]
        if is_chain
        else f"{lists[0][first]} {lists[1][second]} {own[0]} {lists[2][third]}"
        for first, second, third, chain, is_chain, own in zip(*picks, of_chain, tags, strict=True)
    ]


def draw_visits(
    rng: np.random.Generator, places: Places, count: int, users: int | None, *, home_share: float
) -> Visits:
    """Let people review places, mostly in their home town.

    Args:
        rng: of every draw.
        places: where they go; the first ones of a town get most visits.
        count: of visits.
        users: how many people; one for every ten visits if not given.
        home_share: of a person's visits.

    Returns:
        Visits sorted by business.
    """
    people = users or max(1, count // _REVIEWS_OF_A_USER)
    # Zipf-Mandelbrot: the shift keeps the most active person at the same size in every dump.
    activity = np.cumsum(1 / (np.arange(people) + 1 + people / 500))
    user = np.searchsorted(activity, rng.random(count) * activity[-1]).astype(np.int32)
    homes = rng.choice(places.town, people)
    town = np.where(
        rng.random(count) < home_share, homes[user], rng.choice(places.town, count)
    ).astype(np.int32)
    first, size = places.town_start[town], np.diff(places.town_start)[town]
    business = (first + size * rng.random(count) ** 2).astype(np.int32)
    level = rng.choice((0.0, 0.3, 0.9), people, p=(0.5, 0.3, 0.2))
    photos = np.minimum(rng.geometric(0.4, count), 9) * (rng.random(count) < level[user])
    order = np.argsort(business, kind="stable")
    return Visits(
        user=user[order],
        business=business[order],
        time_s=_draw_times(rng, user[order], people),
        rating=rng.choice(5, count, p=(0.08, 0.05, 0.12, 0.25, 0.5)).astype(np.int8) + np.int8(1),
        photos=photos[order].astype(np.int8),
    )


def _draw_times(rng: np.random.Generator, user: Ints, people: int) -> Ints:
    begin = rng.integers(_FIRST_S, _LAST_S - 400 * _DAY_S, people)
    share = rng.random(len(user)) * (rng.random(people) >= _ALL_AT_ONCE)[user]
    time_s = begin[user] + (share * (_LAST_S - begin[user])).astype(np.int64)
    late = rng.random(len(user)) < _DAYS_WRITTEN_UP_LATER
    return np.where(late, time_s // (7 * _DAY_S) * (7 * _DAY_S), time_s).astype(np.int32)


def mixed_bits(numbers: Ints, kind: int) -> list[int]:
    """Scatter small numbers over 64 bits, no two alike: the finaliser of splitmix64."""
    mixed = numbers.astype(np.uint64) + np.uint64(kind << 40)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    scattered: list[int] = (mixed ^ (mixed >> np.uint64(31))).tolist()
    return scattered
