"""Searching the timelines of one bucket of users for examples; each bucket is one task."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from visuallens.benchmark.base import Job
from visuallens.benchmark.candidates import Found, Timeline, find_examples
from visuallens.benchmark.reading import text_hash
from visuallens.benchmark.splits import Group, Part
from visuallens.benchmark.world import World, WorldPlan, load_world
from visuallens.benchmark.writing import TableWriter

FOUND: Any = pa.schema(  # Any: pyarrow is untyped
    [
        ("example_id", pa.string()),
        ("history_row", pa.int64()),
        ("history_length", pa.int64()),
        ("user_hash", pa.uint64()),
        ("part", pa.string()),
        ("category", pa.string()),
        ("asked_at_ms", pa.int64()),
        ("anchor", pa.int32()),
        ("candidates", pa.list_(pa.int32())),
        ("ground_truth", pa.list_(pa.int32())),
        ("seed", pa.int64()),
    ]
)
HISTORIES: Any = pa.schema(
    [
        ("user_id", pa.string()),
        ("photos", pa.list_(pa.string())),
        ("at_ms", pa.list_(pa.int64())),
    ]
)


@dataclass(frozen=True, slots=True)
class SearchTask:
    """What is searched for in one bucket.

    Attributes:
        folder: holds `timelines-BUCKET.parquet`; `found-` and `histories-` go there.
    """

    job: Job
    folder: Path
    bucket: int
    world: WorldPlan
    parts: tuple[Part, ...]


@dataclass(slots=True)
class SearchReport:
    """What was found: examples by group, and reviews that give none by reason."""

    groups: list[tuple[Group, int]] = field(default_factory=list)
    dropped: dict[str, int] = field(default_factory=dict)


class _User(NamedTuple):
    user_id: str
    user_hash: int
    photo_ids: list[str]
    timeline: Timeline


def search(task: SearchTask) -> SearchReport:
    """Find the examples of all users of a bucket, in the order of users, time and category."""
    world = load_world(task.world)
    groups: Counter[Group] = Counter()
    dropped: Counter[str] = Counter()
    histories = 0
    with (
        TableWriter(task.folder / f"found-{task.bucket}.parquet", FOUND) as found_writer,
        TableWriter(task.folder / f"histories-{task.bucket}.parquet", HISTORIES) as writer,
    ):
        for user in _users(task.folder / f"timelines-{task.bucket}.parquet"):
            generator = np.random.default_rng((task.job.seed, user.user_hash))
            for half in dict.fromkeys(part.half for part in task.parts):
                seen = _of_half(user, half, world)
                rows: list[dict[str, object]] = []
                for part in task.parts:
                    if part.half == half:
                        found = find_examples(
                            seen.timeline, part, world, task.job.rules, generator, dropped
                        )
                        rows.extend(_rows(task, seen, part, histories, found))
                if rows:
                    rows.sort(key=lambda row: (row["asked_at_ms"], row["category"]))
                    found_writer.write(pa.Table.from_pylist(rows, FOUND))
                    writer.write(_history(seen))
                    histories += 1
                    groups.update(
                        Group(user.user_hash, str(row["category"]), str(row["part"]))
                        for row in rows
                    )
    return SearchReport(list(groups.items()), dict(dropped))


def _rows(
    task: SearchTask, user: _User, part: Part, history_row: int, found: Iterator[Found]
) -> Iterator[dict[str, object]]:
    for number, one in enumerate(found):
        example_id = _example_id(task.job.name, user.user_id, one, number)
        seed = text_hash(f"{task.job.seed}|{example_id}") >> 1
        yield {
            "example_id": example_id,
            "history_row": history_row,
            "history_length": one.history,
            "user_hash": user.user_hash,
            "part": part.name,
            "category": one.category,
            "asked_at_ms": one.asked_at_ms,
            "anchor": one.anchor,
            "candidates": shuffled(one.candidates, seed),
            "ground_truth": sorted(one.ground_truth),
            "seed": seed,
        }


def _example_id(name: str, user_id: str, found: Found, number: int) -> str:
    """Name an example by what is asked; never by the answer."""
    asked = f"{name}|{user_id}|{found.category}|{found.asked_at_ms}|{number}"
    return hashlib.sha256(asked.encode()).hexdigest()[:16]


def shuffled(candidates: tuple[int, ...], seed: int) -> list[int]:
    """Shuffle candidates with the seed of their example.

    Choice: from the order of their numbers and not of their distance, since whoever knows the seed
        could turn the shuffle back.
    """
    ordered = np.sort(np.array(candidates, np.int64))
    return [int(one) for one in np.random.default_rng((seed, 5)).permutation(ordered)]


def _users(path: Path) -> Iterator[_User]:
    table = pq.read_table(path)
    hashes, ids = table.column("user_hash").to_numpy(), table.column("user_id").to_pylist()
    businesses, times = (table.column(one).to_numpy() for one in ("business", "at_ms"))
    photos = table.column("photos").combine_chunks()
    counts = photos.value_lengths().to_numpy(zero_copy_only=False).astype(np.int64)
    offsets = np.concatenate(([0], np.cumsum(counts)))
    photo_ids = photos.flatten()
    codes = photo_ids.dictionary_encode().indices.to_numpy(zero_copy_only=False)
    changes = [row for row in range(1, len(ids)) if ids[row] != ids[row - 1]]
    for start, end in pairwise([0, *changes, len(ids)] if ids else []):
        first, last = offsets[start], offsets[end]
        # Each photo once, where it came first.
        kept = np.sort(np.unique(codes[first:last], return_index=True)[1])
        review = np.repeat(np.arange(start, end), counts[start:end])[kept]
        timeline = Timeline(
            businesses[start:end].tolist(),
            times[start:end].tolist(),
            businesses[review].tolist(),
            times[review].astype(np.int64),
        )
        shown = photo_ids.take(pa.array(kept + first)).to_pylist()
        yield _User(ids[start], int(hashes[start]), shown, timeline)


def _of_half(user: _User, half: int | None, world: World) -> _User:
    """Keep what shows one half of the businesses."""
    if half is None:
        return user
    whole = user.timeline
    reviews = [at for at, one in enumerate(whole.businesses) if world.half[one] == half]
    photos = [at for at, one in enumerate(whole.photo_businesses) if world.half[one] == half]
    timeline = Timeline(
        [whole.businesses[at] for at in reviews],
        [whole.at_ms[at] for at in reviews],
        [whole.photo_businesses[at] for at in photos],
        whole.photos_at_ms[photos],
    )
    return user._replace(photo_ids=[user.photo_ids[at] for at in photos], timeline=timeline)


def _history(user: _User) -> Any:  # noqa: ANN401 - an Arrow table
    row = {
        "user_id": user.user_id,
        "photos": user.photo_ids,
        "at_ms": user.timeline.photos_at_ms.tolist(),
    }
    return pa.Table.from_pylist([row], HISTORIES)
