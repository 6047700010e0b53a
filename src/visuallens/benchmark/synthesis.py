"""A synthetic world: made-up people with known tastes, who visit places and photograph them.

A raw dump in the schema of Google Local, with drawn photos beside it. All that a method could learn
from is put in on purpose, so a method that works must find it, and what it is denied must cost:

- A person has a taste for each kind of place: a colour, a thing and a mood. Tastes for different
  kinds have nothing to do with each other, so photos of other kinds mislead (retrieval).
- Of a photo, the pixels show the colour, the caption says the thing, the aspect word is the mood
  (see `visuallens.drawn`): those of the place, and now and then of another.
- A place has one of each, which its description names.
- Ratings, names, positions and how often others visit a place say nothing about a person.

Source: §6.1 for what an example is; the world itself is ours.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from visuallens.benchmark.datasets.synthetic import PHOTOS
from visuallens.drawn import COLOURS, KINDS, MOODS, THINGS, Scene, draw_scene
from visuallens.errors import RawDataError

NAMES = tuple(
    first + last
    for first in ("Ash", "Birch", "Cedar", "Elm", "Maple", "Oak", "Rowan", "Willow")
    for last in ("brook", "dale", "field", "gate", "ham")
)
"""Of places; no two of a kind share one."""

WORLD = "world.json"
"""File of a dump that says what it was made with, and what everybody likes."""

_ATTRIBUTES = (tuple(COLOURS), THINGS, MOODS)
_WEIGHTS = np.array([4.4, 3.9, 3.9])
"""How much a colour, a thing and a mood count, beside noise of the usual logit kind."""
_SHOWN_LIKED, _SHOWN_OTHER = (0.9, 0.9), 0.15
"""How often a photo shows the thing and the mood of a place, where the person likes them and where
not: people photograph what they like. The colour is on all photos."""
_MISTAKEN = 0.03
"""How often what it shows is not that of the place."""
_STATE = "Synthetic"
_TOWN_DEG = (43.6, 1.44)
_FIRST_S = int(datetime(2018, 1, 1, tzinfo=UTC).timestamp())
_DAY_S = 86_400
_QUALITY = 92

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class SyntheticPlan:
    """How large a world is.

    Attributes:
        users: how many people.
        places: of each kind, at most as many as there are `NAMES`.
        visits: of each person, each with one photo.
        seed: decides every draw.
    """

    users: int = 180
    places: int = 24
    visits: int = 36
    seed: int = 0


class Visit(NamedTuple):
    """One visit of a person: the kind, and the number of the place among those of its kind."""

    user: int
    kind: int
    place: int


def synthesize(out: Path, plan: SyntheticPlan) -> dict[str, int]:
    """Write a raw dump.

    Args:
        out: its folder; does not exist, or is empty.
        plan: how large it is.

    Returns:
        How many users, places, reviews and photos there are.

    Raises:
        RawDataError: there is something in the folder, or the plan asks for too many places.
    """
    if out.exists() and any(out.iterdir()):
        raise RawDataError(out, "there is something here already", "Choose another folder.")
    if plan.places > len(NAMES):
        raise RawDataError(out, f"there are {len(NAMES)} names for places", "Ask for fewer places.")
    generator = np.random.default_rng(plan.seed)
    places = generator.integers(
        [len(one) for one in _ATTRIBUTES], size=(len(KINDS), plan.places, 3)
    )
    tastes = generator.integers([len(one) for one in _ATTRIBUTES], size=(plan.users, len(KINDS), 3))
    visits = list(_visits(generator, places, tastes, plan.visits))
    out.mkdir(parents=True, exist_ok=True)
    _write_lines(out / f"meta-{_STATE}.json", _businesses(generator, places, visits))
    _write_lines(out / f"review-{_STATE}.json", _reviews(visits, plan))
    for number, visit in enumerate(visits):
        _draw(
            out / PHOTOS,
            photo_url(plan.seed, number),
            _scene(generator, places, tastes, visit),
            generator,
        )
    _write_lines(out / WORLD, [{"synthetic": True, **asdict(plan), "tastes": _named(tastes)}])
    found = {"users": plan.users, "places": places[..., 0].size, "reviews": len(visits)}
    return {**found, "photos": len(visits)}


def fit(places: Ints, taste: Ints) -> NDArray[np.float64]:
    """Say how well places fit a taste.

    Args:
        places: (places, 3) numbers of their colour, thing and mood.
        taste: (3,) likewise.

    Returns:
        (places,) float64: the weights of what agrees, summed.
    """
    return np.asarray((places == taste) @ _WEIGHTS)


def photo_url(seed: int, number: int) -> str:
    """Give the address of a photo, which leads nowhere: its file lies beside the dump."""
    return f"https://synthetic.invalid/{seed}/{number}"


def _visits(
    generator: np.random.Generator, places: Ints, tastes: Ints, count: int
) -> Iterator[Visit]:
    """Let everybody visit each kind equally often, places of their taste more often than others.

    Choice: a person goes to a place that they know as gladly as to a new one.
    """
    for user, own in enumerate(tastes):
        kinds = generator.permutation(np.arange(count) % len(KINDS))
        for kind in kinds.tolist():
            likely = np.exp(fit(places[kind], own[kind]))
            yield Visit(user, kind, int(generator.choice(len(likely), p=likely / likely.sum())))


def _scene(generator: np.random.Generator, places: Ints, tastes: Ints, visit: Visit) -> Scene:
    """Decide what the photo of a visit shows."""
    taste = tastes[visit.user, visit.kind].tolist()
    seen = places[visit.kind, visit.place].tolist()
    for at, words in enumerate(_ATTRIBUTES):
        if generator.random() < _MISTAKEN:
            seen[at] = int(generator.integers(len(words)))
    shown: list[str | None] = []
    for at, liked in enumerate(_SHOWN_LIKED, start=1):
        share = liked if seen[at] == taste[at] else _SHOWN_OTHER
        shown.append(_ATTRIBUTES[at][seen[at]] if generator.random() < share else None)
    thing, mood = shown
    return Scene(KINDS[visit.kind], _ATTRIBUTES[0][seen[0]], thing, mood)


def vocabulary() -> tuple[str, ...]:
    """List all words that are said of places and photos of a world."""
    return (*KINDS, *NAMES, *(word for words in _ATTRIBUTES for word in words))


def _businesses(
    generator: np.random.Generator, places: Ints, visits: Sequence[Visit]
) -> Iterator[Mapping[str, object]]:
    counts = np.zeros(places.shape[:2], np.int64)
    for visit in visits:
        counts[visit.kind, visit.place] += 1
    for kind, own in enumerate(places):
        names = generator.permutation(len(NAMES))[: len(own)].tolist()
        for place, (attributes, name) in enumerate(zip(own.tolist(), names, strict=True)):
            where = np.array(_TOWN_DEG) + generator.normal(0, 0.02, 2)
            words = [_ATTRIBUTES[at][value] for at, value in enumerate(attributes)]
            yield {
                "name": NAMES[name],
                "address": f"{NAMES[name]}, {place} Synthetic St",
                "gmap_id": _gmap_id(kind, place),
                "description": " ".join(words),
                "latitude": round(float(where[0]), 6),
                "longitude": round(float(where[1]), 6),
                "category": [KINDS[kind].capitalize()],
                "avg_rating": round(float(generator.uniform(3, 5)), 1),
                "num_of_reviews": int(counts[kind, place]),
            }


def _reviews(visits: Sequence[Visit], plan: SyntheticPlan) -> Iterator[Mapping[str, object]]:
    for number, visit in enumerate(visits):
        days = number % plan.visits * 7 + visit.user % 7
        yield {
            "user_id": f"synthetic-{visit.user:05d}",
            "time": (_FIRST_S + days * _DAY_S) * 1000,
            "rating": 5,
            "pics": [{"url": [photo_url(plan.seed, number)]}],
            "gmap_id": _gmap_id(visit.kind, visit.place),
        }


def _draw(folder: Path, url: str, scene: Scene, generator: np.random.Generator) -> None:
    """Draw a photo where the benchmark looks for it; `timelines.py` makes ids of addresses."""
    photo_id = hashlib.md5(url.encode(), usedforsecurity=False).hexdigest()[:16]
    path = folder / photo_id[:2] / f"{photo_id}.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    draw_scene(scene, generator).save(path, quality=_QUALITY)


def _named(tastes: Ints) -> list[dict[str, list[str]]]:
    return [
        {
            kind: [_ATTRIBUTES[at][value] for at, value in enumerate(taste)]
            for kind, taste in zip(KINDS, own, strict=True)
        }
        for own in tastes.tolist()
    ]


def _gmap_id(kind: int, place: int) -> str:
    return f"synthetic:{KINDS[kind]}:{place}"


def _write_lines(path: Path, rows: Iterable[Mapping[str, object]]) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
