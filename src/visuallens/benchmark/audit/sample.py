"""The examples that the audit looks at, drawn with a seed and laid out for controls.

Choice: set checks go over all examples, in SQL; controls over a sample, since what 20,000 examples
    of a split do not show is no use to a ranker.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from visuallens.benchmark import schema
from visuallens.benchmark.audit.controls import Choices
from visuallens.benchmark.audit.ranks import Floats
from visuallens.benchmark.database import database, quoted
from visuallens.benchmark.folder import Benchmark

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_MEMORY_GB = 2.0
_THREADS = 2
_BATCH = 4096
"""Examples whose candidates are held at a time."""

_LOOKED = """
CREATE TABLE looked (
    no BIGINT, split TEXT, example_id TEXT, user_id TEXT, category TEXT,
    history TEXT[], candidates TEXT[], ground_truth TEXT[], anchor TEXT)
"""

_LOOK = """
INSERT INTO looked
SELECT ? + row_number() OVER (ORDER BY e.file_row_number), ?, e.example_id, e.user_id, e.category,
    e.history, e.candidates, coalesce(g.ground_truth, []), g.anchor
FROM read_parquet({examples}, file_row_number = true) e
    JOIN picked ON picked.row = e.file_row_number
    LEFT JOIN read_parquet({answers}) g ON g.example_id = e.example_id
"""

_CHOICES = """
CREATE TABLE users AS
    SELECT user_id, row_number() OVER (ORDER BY user_id) AS code
    FROM (SELECT DISTINCT user_id FROM looked);
CREATE TABLE seen AS
    SELECT DISTINCT no, business_id
    FROM (SELECT no, unnest(history) AS photo_id FROM looked)
        JOIN read_parquet({photos}) USING (photo_id);
CREATE TABLE choice AS
    WITH listed AS (
        SELECT no, ground_truth, anchor, unnest(candidates) AS candidate_id,
            generate_subscripts(candidates, 1) AS place
        FROM looked),
    facts AS (SELECT DISTINCT ON (candidate_id) * FROM read_parquet({candidates})),
    places AS (SELECT DISTINCT ON (candidate_id) * FROM read_parquet({positions})),
    described AS (
        SELECT l.*, f.name, f.rating, f.rating_count, f.description, len(f.photos) AS photos,
            p.position,
            s.business_id IS NOT NULL AS visited,
            regexp_extract_all(concat_ws(' ', f.name, f.description, l.candidate_id),
                '-?[0-9]{{1,3}}\\.[0-9]{{3,}}') AS decimals
        FROM listed l
            LEFT JOIN facts f USING (candidate_id)
            LEFT JOIN places p USING (candidate_id)
            LEFT JOIN seen s ON s.no = l.no AND s.business_id = l.candidate_id)
    SELECT no, place, candidate_id, lower(name) AS name,
        list_contains(ground_truth, candidate_id) AS relevant,
        coalesce(candidate_id = anchor, false) AS anchored,
        rating, rating_count::DOUBLE AS rating_count,
        photos::DOUBLE AS photos, length(description)::DOUBLE AS letters,
        position[1] AS x, position[2] AS y, visited::DOUBLE AS visited,
        try_cast(decimals[1] AS DOUBLE) AS first_decimal,
        try_cast(decimals[2] AS DOUBLE) AS second_decimal,
        (rank() OVER (PARTITION BY no ORDER BY candidate_id))::DOUBLE AS id_order,
        (rank() OVER (PARTITION BY no ORDER BY name))::DOUBLE AS name_order
    FROM described ORDER BY no, place
"""

_BATCH_QUERY = """
SELECT c.no, l.split, u.code, c.relevant, c.anchored, {columns}
FROM choice c JOIN looked l USING (no) JOIN users u ON u.user_id = l.user_id
WHERE c.no > ? AND c.no <= ? ORDER BY c.no, c.place
"""


class Sample:
    """Examples of a benchmark in a database: tables `looked`, `choice`, `seen`.

    Args:
        connection: holds the tables.
        benchmark: that they are of.
        splits: that they are drawn from.
        counts: split → examples drawn; only splits that have any.
    """

    def __init__(
        self,
        connection: DuckDBPyConnection,
        benchmark: Benchmark,
        splits: Sequence[str],
        counts: dict[str, int],
    ) -> None:
        self.connection = connection
        self.benchmark = benchmark
        self.splits = tuple(splits)
        self.counts = counts

    @property
    def seed(self) -> int:
        """Seed of the benchmark, from which the audit draws too."""
        return self.benchmark.seed

    def file(self, name: str) -> str:
        """Write the path of a file of the folder as SQL."""
        return quoted(self.benchmark.path(name))

    def count(self, query: str) -> int:
        """Run a query that gives one number."""
        return self.counts_of(query)[0]

    def counts_of(self, query: str) -> list[int]:
        """Run a query that gives one row of numbers; what is null counts as 0."""
        return [int(one or 0) for one in self.connection.execute(query).fetchall()[0]]

    def batches(self, *columns: str) -> Iterator[Choices]:
        """Yield the candidates of the examples looked at, some thousand examples at a time.

        Args:
            *columns: of the table `choice`, numbers; `place` counts from 1.

        Yields:
            Batches whose `values` are these columns.
        """
        query = _BATCH_QUERY.format(columns=", ".join(f"c.{one}" for one in columns))
        total = sum(self.counts.values())
        for start in range(0, total, _BATCH):
            rows = self.connection.execute(query, [start, start + _BATCH]).fetchnumpy()
            if len(rows["no"]):
                yield _choices(rows, columns)


@contextmanager
def open_sample(benchmark: Benchmark, splits: Sequence[str], size: int) -> Iterator[Sample]:
    """Draw examples and join what is known of their candidates.

    Args:
        benchmark: finished.
        splits: to draw from.
        size: examples of each split, at most.

    Yields:
        The sample.
    """
    with database(Path(tempfile.gettempdir()), memory_gb=_MEMORY_GB, threads=_THREADS) as found:
        found.execute(_LOOKED)
        counts: dict[str, int] = {}
        for split in splits:
            rows = drawn_rows(benchmark.count(split), size, (benchmark.seed, 5, len(counts)))
            found.register("picked", pa.table({"row": rows}))
            files = (schema.examples_file(split), schema.ground_truth_file(split))
            examples, answers = (quoted(benchmark.path(name)) for name in files)
            query = _LOOK.format(examples=examples, answers=answers)
            found.execute(query, [sum(counts.values()), split])
            found.unregister("picked")
            if len(rows):
                counts[split] = len(rows)
        names = {"photos": schema.PHOTOS, "candidates": schema.CANDIDATES}
        names["positions"] = schema.POSITIONS
        files_by_name = {key: quoted(benchmark.path(name)) for key, name in names.items()}
        found.execute(_CHOICES.format(**files_by_name))
        yield Sample(found, benchmark, splits, counts)


def drawn_rows(count: int, size: int, seed: tuple[int, ...]) -> NDArray[np.int64]:
    """Draw row numbers without repetition.

    Args:
        count: of the rows there are.
        size: how many at most.
        seed: of the draw.

    Returns:
        (rows,) ascending, from 0.
    """
    if size >= count:
        return np.arange(count, dtype=np.int64)
    drawn = np.random.default_rng(seed).choice(count, size=size, replace=False, shuffle=False)
    return np.sort(drawn).astype(np.int64)


def _choices(rows: dict[str, NDArray[np.generic]], columns: Sequence[str]) -> Choices:
    numbers = rows["no"].astype(np.int64)
    starts = np.flatnonzero(np.diff(numbers, prepend=numbers[0] - 1)).astype(np.int64)
    return Choices(
        splits=rows["split"][starts].astype(np.str_),
        users=rows["code"][starts].astype(np.int64),
        starts=starts,
        relevant=_filled(rows["relevant"]) == 1,
        anchors=_filled(rows["anchored"]) == 1,
        values={name: _filled(rows[name]) for name in columns},
    )


def _filled(column: NDArray[np.generic]) -> Floats:
    """Turn what has no value into NaN."""
    return np.asarray(np.ma.filled(column.astype(np.float64), np.nan), dtype=np.float64)
