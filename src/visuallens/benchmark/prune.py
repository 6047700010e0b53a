"""Writes a benchmark again without the photos whose files are not there.

Photos of years ago are gone from the servers. What was built stays what the paper's rules say: a
history that became too short, or no longer shows the category asked for, drops its example, and
the drops are counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from tqdm import tqdm

from visuallens.benchmark import schema
from visuallens.benchmark.database import database, quoted
from visuallens.benchmark.folder import Benchmark
from visuallens.benchmark.writing import (
    QrelsWriter,
    TableWriter,
    discard,
    finish,
    refuse_existing,
)

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

GONE_SHORT = "photos_gone"
"""Under `dropped` in benchmark.json: too few photos of the history are left."""

GONE_CATEGORY = "photos_gone_category"
"""Enough photos are left, but none of the category asked for."""

_MEMORY_GB = 2.0
_THREADS = 2
_BATCH_ROWS = 8192
_MIN_HISTORY = 10

# What is left of each history, in its order; one row for every example, in the order of the file.
_HISTORIES = """
WITH example AS (
    SELECT file_row_number AS row, category, history, history_at
    FROM read_parquet({examples}, file_row_number = true)),
one AS (
    SELECT row, category, unnest(history) AS photo_id, unnest(history_at) AS taken,
        generate_subscripts(history, 1) AS place
    FROM example),
shown AS (
    SELECT row, list(photo_id ORDER BY place) AS history, list(taken ORDER BY place) AS history_at,
        bool_or(list_contains(there.categories, one.category)) AS shows_category
    FROM one JOIN there USING (photo_id) GROUP BY row)
SELECT row, coalesce(shown.history, []) AS history, coalesce(shown.history_at, []) AS history_at,
    coalesce(shown.shows_category, false) AS shows_category
FROM example LEFT JOIN shown USING (row) ORDER BY row
"""

# Lists of photo ids of a table, without those that are gone; rows in the order of the file.
_LISTS = """
WITH listed AS (
    SELECT file_row_number AS row, photos
    FROM read_parquet({file}, file_row_number = true)),
one AS (
    SELECT row, unnest(photos) AS photo_id, generate_subscripts(photos, 1) AS place FROM listed),
left_over AS (
    SELECT row, list(photo_id ORDER BY place) AS photos
    FROM one SEMI JOIN there USING (photo_id) GROUP BY row)
SELECT row, coalesce(left_over.photos, []) AS photos
FROM listed LEFT JOIN left_over USING (row) ORDER BY row
"""


@dataclass(slots=True)
class Pruned:
    """What was left out.

    Attributes:
        photos: in the benchmark before.
        photos_gone: of these, those whose file is not there.
        history_photos_gone: places in histories that they had, of the examples that are kept.
        dropped: examples, by reason.
        splits: split → examples and users that are left.
    """

    photos: int = 0
    photos_gone: int = 0
    history_photos_gone: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    splits: dict[str, dict[str, int]] = field(default_factory=dict)


# Any: JSON; `schema.py` says what is in it.
def prune(benchmark: Benchmark, out: Path) -> tuple[Pruned, dict[str, Any]]:
    """Write a benchmark again without the photos whose files are not there.

    Args:
        benchmark: finished; it stays as it is.
        out: folder of the new one; does not exist, or is empty.

    Returns:
        What was left out, and what the new benchmark.json holds: `pruned_from` is the checksum of
        the old one, `counts.dropped` goes on counting.

    Raises:
        BenchmarkFolderError: there is something at `out` already.
        MissingPackageError: DuckDB is not installed.

    Source: §6.1, histories of at least 10 photos that contain the category.
    Choice: candidates stay candidates without photos, and ground truth stays ground truth: else
        whether a photo is gone would decide what is right.
    """
    refuse_existing(out)
    folder = out.with_name(out.name + ".pruning")
    discard(folder)
    folder.mkdir(parents=True)
    pruned = Pruned()
    try:
        with database(folder, memory_gb=_MEMORY_GB, threads=_THREADS) as connection:
            _photos(benchmark, folder, connection, pruned)
            for name, columns in (
                (schema.CANDIDATES, schema.CANDIDATES_SCHEMA),
                (schema.CATEGORIES, schema.CATEGORIES_SCHEMA),
            ):
                query = _LISTS.format(file=quoted(benchmark.path(name)))
                with TableWriter(folder / name, columns) as writer:
                    for rows, left in _beside(benchmark.path(name), connection, query):
                        writer.write(_replaced(rows, left, ("photos",)))
            for split in schema.SPLITS:
                _split(benchmark, folder, split, connection, pruned)
        _copy(benchmark.path(schema.POSITIONS), folder / schema.POSITIONS)
        about = finish(folder, out, _about(benchmark, pruned), benchmark.photos_folder)
    except BaseException:
        discard(folder)
        raise
    return pruned, about


def _photos(
    benchmark: Benchmark, folder: Path, connection: DuckDBPyConnection, pruned: Pruned
) -> None:
    """Keep the photos whose files are there, in the table and in the database."""
    connection.execute("CREATE TABLE there (photo_id TEXT, categories TEXT[])")
    with (
        pq.ParquetFile(benchmark.path(schema.PHOTOS)) as file,
        TableWriter(folder / schema.PHOTOS, schema.PHOTOS_SCHEMA) as writer,
        tqdm(total=file.metadata.num_rows, unit="photo", disable=None) as bar,
    ):
        for batch in file.iter_batches(_BATCH_ROWS):
            rows = pa.Table.from_batches([batch])
            paths = rows.column("path").to_pylist()
            is_there = [bool(path) and (benchmark.photos_folder / path).is_file() for path in paths]
            kept = rows.filter(pa.array(is_there))
            writer.write(kept)
            connection.register("kept", kept)
            connection.execute("INSERT INTO there SELECT photo_id, categories FROM kept")
            connection.unregister("kept")
            pruned.photos += rows.num_rows
            pruned.photos_gone += rows.num_rows - kept.num_rows
            bar.update(rows.num_rows)


def _split(
    benchmark: Benchmark,
    folder: Path,
    split: str,
    connection: DuckDBPyConnection,
    pruned: Pruned,
) -> None:
    """Shorten the histories of a split; drop examples, ground truth and qrels in step."""
    settings = benchmark.about.get("settings", {})
    least = max(int(settings.get("min_history", _MIN_HISTORY)), 1)
    examples, answers = schema.examples_file(split), schema.ground_truth_file(split)
    query = _HISTORIES.format(examples=quoted(benchmark.path(examples)))
    users: set[str] = set()
    count = 0
    with (
        pq.ParquetFile(benchmark.path(answers)) as answers_file,
        TableWriter(folder / examples, schema.EXAMPLES_SCHEMA) as examples_writer,
        TableWriter(folder / answers, schema.GROUND_TRUTH_SCHEMA) as answers_writer,
        QrelsWriter(folder / schema.qrels_file(split)) as qrels,
        tqdm(total=benchmark.count(split), unit="example", desc=split, disable=None) as bar,
    ):
        beside = _beside(benchmark.path(examples), connection, query)
        truths = _Rows(answers_file.iter_batches(_BATCH_ROWS))
        for rows, left in beside:
            lengths = pc.list_value_length(left.column("history"))
            is_long = pc.greater_equal(lengths, least)
            is_kept = pc.and_(is_long, left.column("shows_category"))
            pruned.dropped[GONE_SHORT] += pc.sum(pc.invert(is_long)).as_py() or 0
            lacking = pc.and_(is_long, pc.invert(left.column("shows_category")))
            pruned.dropped[GONE_CATEGORY] += pc.sum(lacking).as_py() or 0
            kept = _replaced(rows, left, ("history", "history_at")).filter(is_kept)
            before = pc.sum(pc.list_value_length(rows.filter(is_kept).column("history"))).as_py()
            after = pc.sum(pc.list_value_length(kept.column("history"))).as_py()
            pruned.history_photos_gone += (before or 0) - (after or 0)
            kept_truth = truths.take(rows.num_rows).filter(is_kept)
            examples_writer.write(kept)
            answers_writer.write(kept_truth)
            for row in kept_truth.to_pylist():
                qrels.write(row["example_id"], row["ground_truth"])
            users.update(kept.column("user_id").to_pylist())
            count += kept.num_rows
            bar.update(rows.num_rows)
    pruned.splits[split] = {"examples": count, "users": len(users)}


class _Rows:
    """Rows that are taken from a stream of record batches, as many as asked for.

    Args:
        batches: an iterator of Arrow record batches.
    """

    # Any: pyarrow is untyped.
    def __init__(self, batches: Iterator[Any]) -> None:
        self._batches = batches
        self._waiting: Any = None

    def take(self, count: int) -> Any:  # noqa: ANN401 - an Arrow table
        """Return the next rows; there are at least so many."""
        while self._waiting is None or self._waiting.num_rows < count:
            more = pa.Table.from_batches([next(self._batches)])
            parts = [more] if self._waiting is None else [self._waiting, more]
            self._waiting = pa.concat_tables(parts)
        taken = self._waiting.slice(0, count)
        self._waiting = self._waiting.slice(count)
        return taken


# Any: pyarrow tables.
def _beside(path: Path, connection: DuckDBPyConnection, query: str) -> Iterator[tuple[Any, Any]]:
    """Yield a file's rows beside those of a query that gives one for each, in the same order."""
    left = _Rows(iter(connection.sql(query).to_arrow_reader(_BATCH_ROWS)))
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(_BATCH_ROWS):
            yield pa.Table.from_batches([batch]), left.take(batch.num_rows)


# Any: pyarrow tables.
def _replaced(rows: Any, left: Any, columns: tuple[str, ...]) -> Any:  # noqa: ANN401
    for name in columns:
        at = rows.schema.get_field_index(name)
        rows = rows.set_column(at, name, left.column(name).cast(rows.schema.field(name).type))
    return rows


def _copy(source: Path, target: Path) -> None:
    target.write_bytes(source.read_bytes())


# Any: JSON.
def _about(benchmark: Benchmark, pruned: Pruned) -> dict[str, Any]:
    old = dict(benchmark.about)
    for made_again in ("format", "files", "checksum"):
        old.pop(made_again, None)
    counts = dict(old.get("counts", {}))
    dropped: Mapping[str, int] = counts.get("dropped", {})
    counts["dropped"] = dict(Counter(dropped) + pruned.dropped)
    counts["splits"] = pruned.splits
    gone: Counter[str] = Counter(counts.get("photos_gone", {}))
    gone.update({"photos": pruned.photos_gone, "in_histories": pruned.history_photos_gone})
    counts["photos_gone"] = dict(gone)
    return {**old, "counts": counts, "pruned_from": benchmark.about.get("checksum")}
