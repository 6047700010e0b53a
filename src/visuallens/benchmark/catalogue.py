"""Writing what the examples speak of: candidates, their positions, photos, category photos."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from visuallens.benchmark import schema
from visuallens.benchmark.base import Dataset, Job
from visuallens.benchmark.businesses import BUSINESS_PHOTOS, BUSINESSES
from visuallens.benchmark.database import database, quoted
from visuallens.benchmark.world import World
from visuallens.benchmark.writing import TableWriter

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_OF_REVIEWS = """
SELECT DISTINCT ON (photo_id) photo_id, business, user_id, epoch_ms(at_ms) AS posted_at, url,
    NULL AS path, NULL AS caption
FROM read_parquet({files}) ORDER BY photo_id, at_ms, user_id, business
"""

_OF_BUSINESSES = """
SELECT photo_id, business, NULL AS user_id, NULL::TIMESTAMP AS posted_at, NULL AS url, path, caption
FROM read_parquet({files})
"""

_PHOTOS = """
CREATE TABLE photo AS SELECT * FROM ({source})
WHERE photo_id IN (SELECT photo_id FROM read_parquet({used}))
    OR business IN (SELECT business FROM recommended)
"""

# Photos of every candidate: one of each user, then a second of each, in an order that the seed
# shuffles. So no user has more than half of the first ones, as long as others have any left.
_DRAWN = """
CREATE TABLE drawn AS
SELECT business, photo_id, chance,
    row_number() OVER (PARTITION BY business ORDER BY turn, chance, photo_id) AS place
FROM (
    SELECT *, md5('{seed}|' || photo_id) AS chance,
        row_number() OVER (PARTITION BY business, user_id ORDER BY chance, photo_id) AS turn
    FROM photo
) SEMI JOIN recommended USING (business)
"""

_CANDIDATES = """
SELECT business_id AS candidate_id, trim(name) AS name, description, asked AS categories,
    coalesce(photos, []) AS photos, rating, rating_count
FROM recommended JOIN read_parquet({businesses}) USING (business)
    LEFT JOIN (
        SELECT business, list(photo_id ORDER BY place) AS photos FROM drawn
        WHERE place <= {most} GROUP BY business
    ) USING (business)
ORDER BY business
"""

# The first photo of every business, then a second of each, so that each weighs the same.
_POOLS = """
CREATE TABLE pool AS
SELECT category, photo_id,
    row_number() OVER (PARTITION BY category ORDER BY place, chance, photo_id) AS turn
FROM (SELECT unnest(asked) AS category, photo_id, place, chance
    FROM drawn JOIN recommended USING (business))
QUALIFY turn <= {most}
"""

_CATEGORIES = """
SELECT category, coalesce(photos, []) AS photos
FROM (SELECT DISTINCT unnest(asked) AS category FROM recommended)
    LEFT JOIN (SELECT category, list(photo_id ORDER BY turn) AS photos FROM pool GROUP BY category)
    USING (category)
ORDER BY category
"""

_SHOWN = """
SELECT photo_id, path, url, caption, user_id, posted_at, business_id,
    coalesce(asked, []) AS categories
FROM photo JOIN read_parquet({businesses}) USING (business) LEFT JOIN known USING (business)
WHERE photo_id IN (SELECT photo_id FROM read_parquet({used}))
    OR photo_id IN (SELECT photo_id FROM drawn WHERE place <= {most})
    OR photo_id IN (SELECT photo_id FROM pool)
ORDER BY photo_id
"""


SPARE = 2
"""How many times more photos a candidate has than a request shows of it: without those of one user
there are still enough."""


def write_catalogue(
    job: Job, work: Path, out: Path, world: World, recommended: NDArray[np.bool_]
) -> None:
    """Write candidates, positions, photos and category photos.

    Args:
        job: of the build.
        work: holds the businesses and the photos that histories use.
        out: folder for the files.
        world: all businesses.
        recommended: (businesses,) which are a candidate of some example.

    Choice: photos of a candidate are drawn from all of its photos. A request leaves out those of
        the user who asks, of the history, and of later; there are spare ones, so that what is left
        out cannot be told from how many are shown.
    """
    dataset, rules = job.dataset(), job.rules
    with database(work, memory_gb=job.memory_gb * job.workers, threads=job.workers) as connection:
        known = _known(world)
        connection.register("known", known)
        connection.register("recommended", known.filter(pa.array(recommended)))
        of_reviews = dataset.photo_share is None
        files = quoted(work / ("facts-*.parquet" if of_reviews else BUSINESS_PHOTOS))
        source = (_OF_REVIEWS if of_reviews else _OF_BUSINESSES).format(files=files)
        names = {
            "used": quoted(work / "used-*.parquet"),
            "businesses": quoted(work / BUSINESSES),
            "most": SPARE * rules.candidate_photos,
        }
        connection.execute(_PHOTOS.format(source=source, **names))
        connection.execute(_DRAWN.format(seed=job.seed))
        connection.execute(_POOLS.format(most=rules.category_photos))
        tables = (
            (schema.CANDIDATES, schema.CANDIDATES_SCHEMA, _CANDIDATES.format(**names)),
            (schema.CATEGORIES, schema.CATEGORIES_SCHEMA, _CATEGORIES),
            (schema.PHOTOS, schema.PHOTOS_SCHEMA, _SHOWN.format(**names)),
        )
        for name, columns, query in tables:
            _write(connection, query, out / name, columns, dataset)
        _write_positions(connection, world, recommended, work, out)


def _known(world: World) -> Any:  # noqa: ANN401 - an Arrow table
    numbers = pa.array(np.arange(len(world.names)), pa.int32())
    asked = pa.array(world.categories, pa.list_(pa.string()))
    return pa.table({"business": numbers, "asked": asked})


def _write(
    connection: DuckDBPyConnection,
    query: str,
    path: Path,
    columns: Any,  # noqa: ANN401 - an Arrow schema
    dataset: Dataset,
) -> None:
    reader: Any = connection.sql(query).to_arrow_reader(65_536)  # Any: pyarrow is untyped
    with TableWriter(path, columns) as writer:
        for batch in reader:
            table = pa.Table.from_batches([batch])
            if "path" in columns.names:
                ids = table.column("photo_id").to_pylist()
                paths = pa.array([dataset.photo_path(one) for one in ids], pa.string())
                table = table.set_column(table.schema.get_field_index("path"), "path", paths)
            writer.write(table)


def _write_positions(
    connection: DuckDBPyConnection,
    world: World,
    recommended: NDArray[np.bool_],
    work: Path,
    out: Path,
) -> None:
    connection.execute(
        "SELECT business_id, coalesce(source_id, business_id) FROM recommended "
        f"JOIN read_parquet({quoted(work / BUSINESSES)}) USING (business) ORDER BY business"
    )
    ids, source_ids = zip(*connection.fetchall(), strict=True)
    positions = pa.array(world.positions[recommended].tolist(), pa.list_(pa.float64()))
    with TableWriter(out / schema.POSITIONS, schema.POSITIONS_SCHEMA) as writer:
        writer.write(
            pa.table({"candidate_id": ids, "source_id": source_ids, "position": positions})
        )
