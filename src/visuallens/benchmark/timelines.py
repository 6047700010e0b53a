"""From the reviews of one bucket of users to their timelines, oldest review first.

A timeline holds every review of a user with the photos that it shows (§6.1, user logs). Each bucket
is one task.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from visuallens.benchmark.base import Job
from visuallens.benchmark.businesses import BUSINESS_PHOTOS, BUSINESSES
from visuallens.benchmark.database import database, quoted, target

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_ONCE = """
CREATE TABLE once AS
SELECT DISTINCT ON (user_hash, user_id, business_id, at_ms) * FROM read_parquet({files})
ORDER BY user_hash, user_id, business_id, at_ms, file, line
"""

_KNOWN = """
CREATE TABLE known AS
SELECT user_hash, user_id, business, at_ms, photos AS urls, categories
FROM once JOIN read_parquet({businesses}) USING (business_id)
"""

# The first of one photo's rows is the one that came first.
_PHOTOS_OF_REVIEWS = """
CREATE TABLE shown AS
SELECT user_hash, user_id, business, at_ms, place, url,
    left(md5(regexp_replace(url, '=[whs][0-9][^=/]*$', '')), 16) AS photo_id
FROM (
    SELECT *, unnest(urls) AS url, generate_subscripts(urls, 1) AS place FROM known
)
"""

_PHOTOS_OF_BUSINESSES = """
CREATE TABLE shown AS
SELECT user_hash, user_id, business, at_ms, place, NULL AS url, photo_id
FROM (
    SELECT known.*, photo_id,
        row_number() OVER (
            PARTITION BY user_hash, user_id, business, at_ms
            ORDER BY md5(concat_ws('|', {seed}, user_id, business, at_ms, photo_id)), photo_id
        ) AS place,
        count(*) OVER (PARTITION BY user_hash, user_id, business, at_ms) AS shown_by_business
    FROM known JOIN read_parquet({photos}) USING (business)
)
WHERE place <= ceil(shown_by_business * {share} - 1e-9)
"""

_TIMELINES = """
COPY (
    WITH photos AS (
        SELECT user_hash, user_id, business, at_ms, list(photo_id ORDER BY place) AS photos
        FROM shown GROUP BY ALL
    ), enough AS (
        SELECT user_hash, user_id FROM shown GROUP BY ALL
        HAVING count(DISTINCT photo_id) >= {min_history}
    )
    SELECT user_hash, user_id, business, at_ms, coalesce(photos, []) AS photos
    FROM known SEMI JOIN enough USING (user_hash, user_id)
        LEFT JOIN photos USING (user_hash, user_id, business, at_ms)
    ORDER BY user_hash, user_id, at_ms, business
) TO {out} (FORMAT parquet)
"""

_PHOTO_FACTS = """
COPY (
    SELECT DISTINCT ON (photo_id) photo_id, url, user_id, business, at_ms
    FROM shown ORDER BY photo_id, at_ms, user_id, business, place
) TO {out} (FORMAT parquet)
"""

_BUSINESS_COUNTS = """
COPY (SELECT business, count(*) AS reviews FROM known GROUP BY business ORDER BY business)
TO {out} (FORMAT parquet)
"""


@dataclass(frozen=True, slots=True)
class TimelineReport:
    """What was found in one bucket.

    Attributes:
        reviews: kept.
        repeated: reviews of the same user, business and time as another; they count once.
        unknown: reviews of businesses that the dump does not describe.
        few_photos: reviews of users with fewer photos than a history needs.
        category_reviews: reviews by category.
        days: reviews by day since 1970, for splits by time.
    """

    reviews: int
    repeated: int
    unknown: int
    few_photos: int
    category_reviews: dict[str, int]
    days: dict[int, int]


@dataclass(frozen=True, slots=True)
class TimelineTask:
    """What is done to one bucket.

    Attributes:
        rows: folder of `reviews-FILE-BUCKET.parquet`.
        out: folder for `timelines-`, `facts-` and `counts-BUCKET.parquet`; holds the businesses.
    """

    job: Job
    rows: Path
    out: Path
    bucket: int


def make_timelines(task: TimelineTask) -> TimelineReport:
    """Order the reviews of one bucket by user and time, with the photos that each shows.

    Users with fewer photos than a history needs are left out; their photos stay known, because
    they show candidates.

    Choice: of reviews of one user, business and time the first counts. A third of a business's
        photos is rounded up, so that a business with photos always shows one.
    """
    job, share = task.job, task.job.dataset().photo_share
    with database(task.out, memory_gb=job.memory_gb) as connection:
        files = quoted(task.rows / f"reviews-*-{task.bucket}.parquet")
        connection.execute(_ONCE.format(files=files))
        connection.execute(_KNOWN.format(businesses=quoted(task.out / BUSINESSES)))
        if share is None:
            connection.execute(_PHOTOS_OF_REVIEWS)
            facts = target(task.out / f"facts-{task.bucket}.parquet")
            connection.execute(_PHOTO_FACTS.format(out=facts))
        else:
            photos = quoted(task.out / BUSINESS_PHOTOS)
            connection.execute(
                _PHOTOS_OF_BUSINESSES.format(photos=photos, seed=job.seed, share=share)
            )
        out = task.out / f"timelines-{task.bucket}.parquet"
        connection.execute(
            _TIMELINES.format(out=target(out), min_history=max(job.rules.min_history, 1))
        )
        counts = target(task.out / f"counts-{task.bucket}.parquet")
        connection.execute(_BUSINESS_COUNTS.format(out=counts))
        return _report(connection, files, quoted(out))


def _report(connection: DuckDBPyConnection, files: str, timelines: str) -> TimelineReport:
    def count(table: str) -> int:
        return int(connection.execute(f"SELECT count(*) FROM {table}").fetchall()[0][0])

    once, known = count("once"), count("known")
    categories = connection.execute(
        "SELECT unnest(categories) AS category, count(*) FROM known GROUP BY category"
    ).fetchall()
    days = connection.execute(
        f"SELECT at_ms // 86400000 AS day, count(*) FROM read_parquet({timelines}) GROUP BY day"
    ).fetchall()
    return TimelineReport(
        reviews=known,
        repeated=count(f"read_parquet({files})") - once,
        unknown=once - known,
        few_photos=known - sum(count for _, count in days),
        category_reviews=dict(categories),
        days=dict(days),
    )
