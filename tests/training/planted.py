"""A benchmark in which lovers of jazz go where there is jazz, and the others do not."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tests.benchmark.tiny import write_tiny

from visuallens.benchmark import schema
from visuallens.benchmark.folder import Benchmark
from visuallens.training.photo_uses import Words


def spoil_other_splits(folder: Path) -> None:
    """Make sure that whoever reads dev or test fails."""
    for split in ("dev", "test"):
        for name in (schema.examples_file(split), schema.ground_truth_file(split)):
            (folder / name).write_bytes(b"not a table")


def write_planted(folder: Path) -> Path:
    """Write the benchmark and return its folder; its dev and test cannot be read."""
    write_tiny(folder, examples=120, users=12, photos=False)
    spoil_other_splits(folder)
    about = pq.read_table(folder / schema.CANDIDATES, partitioning=None).to_pylist()
    for row in about:
        row["description"] = "Live JAZZ, rooms." if has_jazz(row["candidate_id"]) else "Rooms."
    table = pa.Table.from_pylist(about, schema=schema.CANDIDATES_SCHEMA)
    pq.write_table(table, folder / schema.CANDIDATES)
    answer(folder, lovers(folder))
    return folder


def has_jazz(candidate_id: str) -> bool:
    return int(candidate_id.rpartition("-")[2]) % 2 == 0


def lovers(folder: Path) -> set[str]:
    users = sorted({request.history.user_id for request in Benchmark(folder).requests("train")})
    return set(users[::2])


def answer(folder: Path, love_jazz: Iterable[str]) -> None:
    """Write the ground truth of train: three places, with jazz for those who love it."""
    love = set(love_jazz)
    asked = pq.read_table(folder / schema.examples_file("train"), partitioning=None).to_pylist()
    rows = []
    for row in asked:
        wanted = row["user_id"] in love
        right = [one for one in sorted(row["candidates"]) if has_jazz(one) == wanted][:3]
        rows.append({"example_id": row["example_id"], "ground_truth": right, "anchor": right[0]})
    table = pa.Table.from_pylist(rows, schema=schema.GROUND_TRUTH_SCHEMA)
    pq.write_table(table, folder / schema.ground_truth_file("train"))


def words_of(folder: Path) -> Words:
    """Give photos words: "jazz" those of its lovers, "rooms" all, and noise."""
    benchmark = Benchmark(folder)
    love = lovers(folder)
    generator = np.random.default_rng(0)
    words: dict[str, tuple[str, ...]] = {}
    for request in benchmark.requests("train"):
        for photo in request.history.photos:
            own = ["Jazz"] if request.history.user_id in love else []
            noise = f"noise{generator.integers(9)}"
            path = Path(photo.path).relative_to(benchmark.photos_folder).as_posix()
            words[path] = (*own, "rooms", noise)
    return words
