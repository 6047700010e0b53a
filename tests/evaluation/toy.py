"""A benchmark of a few items that tests can count by hand: item n is shown by photo pn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from visuallens.benchmark import schema
from visuallens.benchmark.folder import Benchmark
from visuallens.benchmark.writing import QrelsWriter, TableWriter, discard, finish

_BEGIN = datetime(2020, 1, 1, tzinfo=UTC)
_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Ask:
    """One example: items are numbers."""

    user: str
    history: Sequence[int]
    candidates: Sequence[int]
    ground_truth: Sequence[int]
    category: str = "museum"
    seed: int = 0


def write_toy(
    folder: Path,
    splits: Mapping[str, Sequence[Ask]],
    *,
    positions: Mapping[int, Sequence[float]] | None = None,
    linked: bool = True,
    takers: Mapping[int, str] | None = None,
    pictures: Mapping[int, Sequence[int]] | None = None,
) -> Benchmark:
    """Write a benchmark of these examples and open it; with `linked` off, photos show nothing.

    Candidates have no photos but those that `pictures` names, by item.
    """
    work = folder.with_name(folder.name + ".part")
    discard(work)
    work.mkdir(parents=True)
    asks = [ask for split in splits.values() for ask in split]
    items = sorted({one for ask in asks for one in (*ask.history, *ask.candidates)})
    photos = [
        {
            "photo_id": f"p{item}",
            "path": f"p{item}.jpg",
            "business_id": f"{item}" if linked else None,
            "user_id": (takers or {}).get(item),
            "categories": ["museum"],
        }
        for item in items
    ]
    candidates = [
        {
            "candidate_id": f"{item}",
            "name": f"Museum {item}",
            "description": "",
            "categories": ["museum"],
            "photos": [f"p{photo}" for photo in (pictures or {}).get(item, ())],
            "rating": float(item),
        }
        for item in items
    ]
    places = [
        {"candidate_id": f"{item}", "source_id": f"{item}", "position": list(position)}
        for item, position in (positions or {}).items()
    ]
    _write(work / schema.PHOTOS, schema.PHOTOS_SCHEMA, photos)
    _write(work / schema.CANDIDATES, schema.CANDIDATES_SCHEMA, candidates)
    _write(work / schema.POSITIONS, schema.POSITIONS_SCHEMA, places)
    _write(work / schema.CATEGORIES, schema.CATEGORIES_SCHEMA, [])
    for split in schema.SPLITS:
        _write_split(work, split, splits.get(split, ()))
    about = {"name": folder.name, "seed": 0, "settings": {"candidate_photos": 8}}
    finish(work, folder, about, folder / "photos")
    return Benchmark(folder)


def _write_split(work: Path, split: str, asks: Sequence[Ask]) -> None:
    rows = [_row(f"{split}-{number}", ask) for number, ask in enumerate(asks)]
    _write(work / schema.examples_file(split), schema.EXAMPLES_SCHEMA, rows)
    _write(work / schema.ground_truth_file(split), schema.GROUND_TRUTH_SCHEMA, rows)
    with QrelsWriter(work / schema.qrels_file(split)) as qrels:
        for row in rows:
            qrels.write(row["example_id"], row["ground_truth"])


def _row(example_id: str, ask: Ask) -> dict[str, Any]:
    return {
        "example_id": example_id,
        "user_id": ask.user,
        "asked_at": _BEGIN + 1000 * _DAY,
        "category": ask.category,
        "question": f"Recommend a {ask.category}.",
        "history": [f"p{item}" for item in ask.history],
        "history_at": [_BEGIN + at * _DAY for at in range(len(ask.history))],
        "candidates": [f"{item}" for item in ask.candidates],
        "seed": ask.seed,
        "ground_truth": sorted(f"{item}" for item in ask.ground_truth),
        "anchor": f"{ask.ground_truth[0]}",
    }


def _write(path: Path, columns: Any, rows: list[dict[str, Any]]) -> None:  # noqa: ANN401 - pyarrow
    with TableWriter(path, columns) as writer:
        writer.write(pa.Table.from_pylist(rows, schema=columns))
