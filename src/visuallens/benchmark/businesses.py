"""From raw businesses to the numbered table that all later steps share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from visuallens.benchmark.base import Dataset, Job, Rules
from visuallens.benchmark.database import database, quoted, target
from visuallens.benchmark.tags import categories_of
from visuallens.benchmark.writing import TableWriter

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

BUSINESSES = "businesses.parquet"
BUSINESS_PHOTOS = "business_photos.parquet"

_NUMBERED: Any = pa.schema(  # Any: pyarrow is untyped
    [
        ("business", pa.int32()),
        ("business_id", pa.string()),
        ("source_id", pa.string()),
        ("name", pa.string()),
        ("description", pa.string()),
        ("categories", pa.list_(pa.string())),
        ("rating", pa.float64()),
        ("rating_count", pa.int64()),
        ("latitude", pa.float64()),
        ("longitude", pa.float64()),
    ]
)

_ONCE = """
CREATE TABLE once AS
SELECT DISTINCT ON (business_id) * FROM read_parquet({files})
ORDER BY business_id, latitude IS NULL, name IS NULL, file, line
"""

_MOST_REVIEWED = """
DELETE FROM once WHERE business_id NOT IN (
    SELECT business_id FROM read_parquet({files}) SEMI JOIN once USING (business_id)
    GROUP BY business_id ORDER BY count(*) DESC, business_id LIMIT {most}
)
"""

_PHOTOS = """
COPY (
    SELECT DISTINCT ON (photo_id) photo_id, business, path, caption
    FROM read_parquet({files}) JOIN once_numbered USING (business_id)
    ORDER BY photo_id, file, line
) TO {out} (FORMAT parquet)
"""


@dataclass(frozen=True, slots=True)
class BusinessCounts:
    """What was found among the businesses.

    Attributes:
        repeated: rows of a business that was there already.
        unnamed: businesses without a name, which cannot be recommended.
        unplaced: businesses without a position, which cannot be recommended.
        uncategorised: businesses without a category that questions could ask for.
        stray_photos: photos of unknown businesses, and repeated ones.
    """

    businesses: int
    repeated: int
    unnamed: int
    unplaced: int
    uncategorised: int
    stray_photos: int = 0


@dataclass(frozen=True, slots=True)
class BusinessTask:
    """The businesses of a dump.

    Attributes:
        rows: holds `businesses-*.parquet`, `reviews-*.parquet` and, where photos belong to
            businesses, `photos-*`.
        out: folder for the tables.
    """

    job: Job
    rows: Path
    out: Path


def number_businesses(task: BusinessTask) -> BusinessCounts:
    """Keep each business once, find its categories, and number it in the order of its id.

    Args:
        task: where the rows are.

    Returns:
        What was found.

    Choice: of rows that repeat a business the first one with a position and a name counts.
    """
    dataset, rows, out = task.job.dataset(), task.rows, task.out
    with database(
        out, memory_gb=task.job.memory_gb * task.job.workers, threads=task.job.workers
    ) as connection:
        connection.execute(_ONCE.format(files=quoted(rows / "businesses-*.parquet")))
        if most := task.job.rules.most_reviewed:
            reviews = quoted(rows / "reviews-*.parquet")
            connection.execute(_MOST_REVIEWED.format(files=reviews, most=most))
        _write_numbered(connection, out / BUSINESSES, dataset, task.job.rules)
        stray = 0 if dataset.photo_share is None else _write_photos(connection, rows, out)
        return BusinessCounts(*_counts(connection, task, dataset), stray)


def _write_numbered(
    connection: DuckDBPyConnection, path: Path, dataset: Dataset, rules: Rules
) -> None:
    rows = connection.sql("SELECT * FROM once ORDER BY business_id")
    reader: Any = rows.to_arrow_reader(65_536)  # Any: pyarrow is untyped
    first = 0
    with TableWriter(path, _NUMBERED) as writer:
        for batch in reader:
            table = pa.Table.from_batches([batch])
            categories = [
                categories_of(tags, rules.kept_phrases, dataset.removed)
                for tags in table.column("tags").to_pylist()
            ]
            numbers = pa.array(range(first, first + table.num_rows), pa.int32())
            table = table.append_column("business", numbers)
            table = table.append_column("categories", pa.array(categories, pa.list_(pa.string())))
            writer.write(table)
            first += table.num_rows


def _write_photos(connection: DuckDBPyConnection, work: Path, out: Path) -> int:
    connection.execute(
        "CREATE VIEW once_numbered AS SELECT business, business_id "
        f"FROM read_parquet({quoted(out / BUSINESSES)})"
    )
    files = quoted(work / "photos-*.parquet")
    connection.execute(_PHOTOS.format(files=files, out=target(out / BUSINESS_PHOTOS)))
    read = _one_number(connection, f"SELECT count(*) FROM read_parquet({files})")
    kept = f"SELECT count(*) FROM read_parquet({quoted(out / BUSINESS_PHOTOS)})"
    return read - _one_number(connection, kept)


def _counts(
    connection: DuckDBPyConnection, task: BusinessTask, dataset: Dataset
) -> tuple[int, int, int, int, int]:
    files = quoted(task.rows / "businesses-*.parquet")
    rows = _one_number(connection, f"SELECT count(*) FROM read_parquet({files})")
    unplaced = "latitude IS NULL" if dataset.distance == "great_circle" else "false"
    kept, unnamed, nowhere, uncategorised = connection.execute(
        "SELECT count(*), count(*) FILTER (coalesce(trim(name), '') = ''), "
        f"count(*) FILTER ({unplaced}), count(*) FILTER (len(categories) = 0) "
        f"FROM read_parquet({quoted(task.out / BUSINESSES)})"
    ).fetchall()[0]
    return kept, rows - kept, unnamed, nowhere, uncategorised


def _one_number(connection: DuckDBPyConnection, query: str) -> int:
    return int(connection.execute(query).fetchall()[0][0])
