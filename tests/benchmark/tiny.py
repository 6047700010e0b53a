"""A small valid benchmark folder without leaks, for tests: everything in it is drawn at random."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from visuallens import __version__
from visuallens.benchmark import schema
from visuallens.benchmark.writing import QrelsWriter, TableWriter, discard, finish

CATEGORIES = ("museum", "park", "bakery", "steak house")
SHARES = {"train": 0.6, "dev": 0.15, "test": 0.25}
REJECTED = {"not_json": 2, "no_position": 1}
DROPPED = {"short_history": 7, "few_ground_truth": 5}

_CANDIDATES_EACH = 56
_VISITED_EACH = 8
_LEAST_HISTORY = 10
_BEGIN = datetime(2019, 5, 1, 8, tzinfo=UTC)
_MIDDLE = (51.5, -0.12)
_SPAN_DEGREES = 0.2
_SIDE_PX = 48

# Any: one row of a Parquet file, whose columns `schema.py` lists.
Row = dict[str, Any]


@dataclass(frozen=True)
class _World:
    """Every table but those of the examples."""

    businesses: list[Row]
    positions: list[Row]
    photos: list[Row]
    taken: dict[str, list[tuple[str, datetime]]]
    """User → photo ids and moments, oldest first."""
    offered: dict[str, list[str]]
    """Category → businesses that can be candidates; no history shows one of them."""


def write_tiny(
    folder: Path,
    *,
    examples: int = 60,
    users: int = 12,
    seed: int = 0,
    photos: bool = True,
    name: str = "tiny",
) -> Path:
    """Write a benchmark of a few examples and return its folder.

    Args:
        folder: does not exist yet; its parent does.
        examples: of all splits together.
        users: at least 3; each is in one split.
        seed: the same gives the same bytes.
        photos: draw the photo files, below FOLDER/photos; else none of them is there.
        name: of the benchmark.
    """
    generator = np.random.default_rng(seed)
    user_ids = [f"user-{number:02d}" for number in range(users)]
    world = _world(generator, user_ids, questions_each=math.ceil(examples / users))
    work = folder.with_name(folder.name + ".part")
    discard(work)
    work.mkdir()
    if photos:
        _draw(work / "photos", [row["path"] for row in world.photos], seed)
    _write(work / schema.CANDIDATES, schema.CANDIDATES_SCHEMA, world.businesses)
    _write(work / schema.POSITIONS, schema.POSITIONS_SCHEMA, world.positions)
    _write(work / schema.PHOTOS, schema.PHOTOS_SCHEMA, world.photos)
    _write(work / schema.CATEGORIES, schema.CATEGORIES_SCHEMA, _pools(generator, world.photos))
    counts: dict[str, dict[str, int]] = {}
    asked = list(_ask(generator, world, user_ids, examples))
    for split, own in _split(user_ids).items():
        rows = [row for row in asked if row["user_id"] in own]
        _write_split(work, split, rows)
        counts[split] = {"examples": len(rows), "users": len({row["user_id"] for row in rows})}
    finish(work, folder, _about(name, seed, counts), folder / "photos")
    return folder


def _about(name: str, seed: int, counts: dict[str, dict[str, int]]) -> dict[str, Any]:
    return {
        "name": name,
        "seed": seed,
        "visuallens": __version__,
        "card": {
            "title": "Tiny",
            "source": "drawn at random",
            "licence": "CC0-1.0",
            "citation": "",
            "note": "For tests only.",
        },
        "settings": {
            "min_drawn": 12,
            "max_drawn": 40,
            "min_ground_truth": 2,
            "min_history": 10,
            "candidate_photos": 8,
        },
        "sources": [
            {
                "file": "tiny.jsonl",
                "sha256": hashlib.sha256(b"tiny").hexdigest(),
                "bytes": 4,
                "rows": 1234,
                "rejected": REJECTED,
            }
        ],
        "counts": {"splits": counts, "dropped": DROPPED},
        "distance": "great_circle",
    }


def _split(user_ids: Sequence[str]) -> dict[str, set[str]]:
    dev = max(1, round(len(user_ids) * SHARES["dev"]))
    test = max(1, round(len(user_ids) * SHARES["test"]))
    train = len(user_ids) - dev - test
    return {
        "train": set(user_ids[:train]),
        "dev": set(user_ids[train : train + dev]),
        "test": set(user_ids[train + dev :]),
    }


def _world(generator: np.random.Generator, user_ids: list[str], questions_each: int) -> _World:
    """Make places of each category: some that histories show, others that can be candidates."""
    names = [category for category in CATEGORIES for _ in range(_CANDIDATES_EACH + _VISITED_EACH)]
    world = _World([], [], [], {}, {category: [] for category in CATEGORIES})
    visited: dict[str, list[str]] = {category: [] for category in CATEGORIES}
    for number, at in enumerate(generator.permutation(len(names))):
        category, business_id = names[at], f"business-{number:03d}"
        is_visited = len(visited[category]) < _VISITED_EACH
        (visited if is_visited else world.offered)[category].append(business_id)
        # The second photo of a place is a guest's, whoever that is.
        takers = [None, user_ids[generator.integers(len(user_ids))]]
        shown = [_photo(world, business_id, category, user_id) for user_id in takers]
        world.businesses.append(_business(generator, business_id, category, shown))
        shift = generator.uniform(-_SPAN_DEGREES / 2, _SPAN_DEGREES / 2, 2)
        position = [float(one) for one in np.add(_MIDDLE, shift)]
        world.positions.append(
            {"candidate_id": business_id, "source_id": business_id, "position": position}
        )
    for user_id in user_ids:
        world.taken[user_id] = []
        order = generator.permutation(len(CATEGORIES))
        for visit in range(_LEAST_HISTORY + 2 * questions_each):
            category = CATEGORIES[order[visit % len(order)]]
            business_id = visited[category][generator.integers(_VISITED_EACH)]
            moment = _BEGIN + timedelta(days=7 * visit, minutes=int(generator.integers(600)))
            photo_id = _photo(world, business_id, category, user_id, moment)
            world.taken[user_id].append((photo_id, moment))
    return world


def _business(
    generator: np.random.Generator, business_id: str, category: str, shown: list[str]
) -> Row:
    number = business_id.removeprefix("business-")
    has_rating = generator.random() < 0.9
    return {
        "candidate_id": business_id,
        "name": f"The {number} {category.title()}",
        "description": f"A {category} with {int(generator.integers(2, 30))} rooms & a view.",
        "categories": [category],
        "photos": shown,
        "rating": round(float(generator.uniform(2, 5)), 1) if has_rating else None,
        "rating_count": int(generator.integers(1, 500)) if has_rating else None,
    }


def _photo(
    world: _World,
    business_id: str,
    category: str,
    user_id: str | None,
    posted_at: datetime | None = None,
) -> str:
    photo_id = f"photo-{len(world.photos):04d}"
    world.photos.append(
        {
            "photo_id": photo_id,
            "path": f"{business_id}/{photo_id}.jpg",
            "url": None,
            "caption": None,
            "user_id": user_id,
            "posted_at": posted_at,
            "business_id": business_id,
            "categories": [category],
        }
    )
    return photo_id


def _pools(generator: np.random.Generator, photos: list[Row]) -> list[Row]:
    pools = []
    for category in CATEGORIES:
        ids = [row["photo_id"] for row in photos if category in row["categories"]]
        pools.append({"category": category, "photos": list(generator.permutation(ids))})
    return pools


def _ask(
    generator: np.random.Generator, world: _World, user_ids: Sequence[str], examples: int
) -> Iterator[Row]:
    """Ask users in turn, each after two more photos than the time before."""
    for number in range(examples):
        turn, at = divmod(number, len(user_ids))
        category = CATEGORIES[generator.integers(len(CATEGORIES))]
        history = world.taken[user_ids[at]][: _LEAST_HISTORY + 2 * turn]
        drawn = generator.choice(
            world.offered[category], size=int(generator.integers(12, 41)), replace=False
        )
        answers = [str(one) for one in generator.choice(drawn, generator.integers(2, 6), False)]
        seed = int(generator.integers(2**31))
        yield {
            "example_id": f"tiny-{number:03d}",
            "user_id": user_ids[at],
            "asked_at": history[-1][1] + timedelta(hours=30),
            "category": category,
            "question": f"Recommend a nearby {category}.",
            "history": [photo_id for photo_id, _ in history],
            "history_at": [moment for _, moment in history],
            "candidates": list(np.random.default_rng(seed).permutation(sorted(drawn))),
            "seed": seed,
            "ground_truth": sorted(answers),
            "anchor": answers[0],
        }


def _write_split(folder: Path, split: str, rows: list[Row]) -> None:
    _write(folder / schema.examples_file(split), schema.EXAMPLES_SCHEMA, rows)
    _write(folder / schema.ground_truth_file(split), schema.GROUND_TRUTH_SCHEMA, rows)
    with QrelsWriter(folder / schema.qrels_file(split)) as qrels:
        for row in rows:
            qrels.write(row["example_id"], row["ground_truth"])


def _write(path: Path, columns: Any, rows: list[Row]) -> None:  # noqa: ANN401 - pyarrow is untyped
    with TableWriter(path, columns) as writer:
        writer.write(pa.Table.from_pylist(rows, schema=columns))


def _draw(folder: Path, paths: Sequence[str], seed: int) -> None:
    """Draw photos of coarse noise; no two are alike."""
    generator = np.random.default_rng((seed, 1))
    for path in paths:
        pixels = generator.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        photo = Image.fromarray(pixels).resize((_SIDE_PX, _SIDE_PX), Image.Resampling.BICUBIC)
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        photo.save(folder / path, quality=85)
