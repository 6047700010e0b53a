"""Rewrites a tiny benchmark so that it leaks, in one known way, with checksums that fit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from visuallens.benchmark import schema
from visuallens.benchmark.audit import Check, audit
from visuallens.benchmark.folder import Benchmark
from visuallens.benchmark.writing import QrelsWriter, checksum, file_checksum, write_json

# Any: rows of Parquet files, whose columns `schema.py` lists.
Row = dict[str, Any]


def rows_of(folder: Path, name: str) -> list[Row]:
    rows: list[Row] = pq.read_table(folder / name).to_pylist()
    return rows


def change(folder: Path, name: str, of_row: Callable[[Row], Row | None]) -> None:
    """Rewrite the rows of a table; None drops one."""
    rows = [new for row in rows_of(folder, name) if (new := of_row(dict(row))) is not None]
    columns = pq.read_schema(folder / name)
    pq.write_table(pa.Table.from_pylist(rows, schema=columns), folder / name)


def add(folder: Path, name: str, rows: list[Row]) -> None:
    columns = pq.read_schema(folder / name)
    both = [*rows_of(folder, name), *rows]
    pq.write_table(pa.Table.from_pylist(both, schema=columns), folder / name)


def change_examples(folder: Path, of_pair: Callable[[Row], None]) -> None:
    """Change every example, its ground truth and its anchor in place; qrels follow."""
    for split in schema.SPLITS:
        names = schema.examples_file(split), schema.ground_truth_file(split)
        pairs = zip(rows_of(folder, names[0]), rows_of(folder, names[1]), strict=True)
        rows = [{**example, **answer} for example, answer in pairs]
        for row in rows:
            of_pair(row)
        for name, columns in zip(
            names, (schema.EXAMPLES_SCHEMA, schema.GROUND_TRUTH_SCHEMA), strict=True
        ):
            pq.write_table(pa.Table.from_pylist(rows, schema=columns), folder / name)
        with QrelsWriter(folder / schema.qrels_file(split)) as qrels:
            for row in rows:
                qrels.write(row["example_id"], row["ground_truth"])


def change_settings(folder: Path, **settings: object) -> None:
    about = json.loads((folder / schema.ABOUT).read_text("utf-8"))
    about["settings"] |= settings
    write_json(folder / schema.ABOUT, about)


def seal(folder: Path) -> None:
    """Make the checksums fit what the files are now."""
    about = json.loads((folder / schema.ABOUT).read_text("utf-8"))
    files = {name: file_checksum(folder / name) for name in schema.content_files()}
    write_json(folder / schema.ABOUT, {**about, "files": files, "checksum": checksum(files)})


def checks(folder: Path) -> dict[str, Check]:
    seal(folder)
    return {one.name: one for one in audit(Benchmark(folder)).checks}


def leaks(folder: Path) -> set[str]:
    return {name for name, one in checks(folder).items() if one.verdict.value == "leak"}


def draw_around_the_anchor(folder: Path, numbers: dict[str, tuple[float, ...]]) -> None:
    """Let the candidates be those nearest to the anchor, as Algorithm 1 does.

    Args:
        folder: of the benchmark.
        numbers: candidate id → what *nearest* is measured in.
    """

    def nearest(row: Row) -> None:
        generator = np.random.default_rng((row["seed"], 1))
        anchor = row["anchor"]
        category = {one["candidate_id"]: one["categories"] for one in candidates}
        of_category = [one for one in numbers if row["category"] in category[one]]
        offered = [one for one in of_category if one not in visited]
        away = {one: np.subtract(numbers[one], numbers[anchor]) for one in offered}
        drawn = sorted(offered, key=lambda one: float(np.linalg.norm(away[one])))[:20]
        others = [str(one) for one in generator.choice(drawn[1:], 3, replace=False)]
        row["ground_truth"] = sorted([anchor, *others])
        row["candidates"] = [str(one) for one in generator.permutation(drawn)]

    candidates = rows_of(folder, schema.CANDIDATES)
    business = {one["photo_id"]: one["business_id"] for one in rows_of(folder, schema.PHOTOS)}
    visited = {
        business[photo]
        for split in schema.SPLITS
        for row in rows_of(folder, schema.examples_file(split))
        for photo in row["history"]
    }
    change_examples(folder, nearest)


def add_photos(folder: Path, prefix: str, business_of: Callable[[str], str]) -> None:
    """Add one photo for each candidate, taken by nobody known.

    Args:
        folder: of the benchmark.
        prefix: the photo of candidate b is PREFIX-b, with a path of that name.
        business_of: candidate id → business that the photo is said to be of.
    """
    rows = [
        {
            "photo_id": f"{prefix}-{row['candidate_id']}",
            "path": f"{prefix}/{row['candidate_id']}.jpg",
            "url": None,
            "caption": None,
            "user_id": None,
            "posted_at": None,
            "business_id": business_of(row["candidate_id"]),
            "categories": row["categories"],
        }
        for row in rows_of(folder, schema.CANDIDATES)
    ]
    add(folder, schema.PHOTOS, rows)


def remember_before(row: Row, photo_ids: list[str]) -> None:
    """Put photos at the beginning of an example's history."""
    row["history"] = [*photo_ids, *row["history"]]
    row["history_at"] = [row["history_at"][0]] * len(photo_ids) + row["history_at"]
