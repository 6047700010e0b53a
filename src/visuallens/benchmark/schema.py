"""The files of a benchmark folder: their names and columns, in one place.

    benchmark.json               name, format, settings, seed, sources, counts, checksums
    examples-SPLIT.parquet       what a ranker may see: question, history, candidates
    ground_truth-SPLIT.parquet   the answers, apart from it
    qrels-SPLIT.txt              the answers again, as TREC qrels
    candidates.parquet           name, description, photos of everything that can be recommended
    positions.parquet            where candidates are; only the audit and the controls read it
    photos.parquet               the photos of histories and candidates
    categories.parquet           photos to draw category embeddings from
    local.json                   where this machine keeps the photo files; not part of the benchmark

Choice: positions lie apart, because Algorithm 1 draws the candidates around a place of the ground
    truth: whoever sees positions sees the answer.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa

FORMAT = 1
"""Version of the folder; readers refuse a newer one."""

SPLITS = ("train", "dev", "test")
ABOUT = "benchmark.json"
LOCAL = "local.json"
CANDIDATES = "candidates.parquet"
POSITIONS = "positions.parquet"
PHOTOS = "photos.parquet"
CATEGORIES = "categories.parquet"

_TEXTS = pa.list_(pa.string())
_MOMENT = pa.timestamp("ms", tz="UTC")

EXAMPLES_SCHEMA: Any = pa.schema(  # Any: pyarrow has no types of its own
    [
        ("example_id", pa.string()),
        ("user_id", pa.string()),
        ("asked_at", _MOMENT),
        ("category", pa.string()),
        ("question", pa.string()),
        ("history", _TEXTS),  # photo ids, oldest first
        ("history_at", pa.list_(_MOMENT)),  # when each was posted
        ("candidates", _TEXTS),  # shuffled with the seed
        ("seed", pa.int64()),
    ]
)
GROUND_TRUTH_SCHEMA: Any = pa.schema(
    [
        ("example_id", pa.string()),
        ("ground_truth", _TEXTS),  # sorted
        ("anchor", pa.string()),  # the business whose review asks; one of the ground truth
    ]
)
CANDIDATES_SCHEMA: Any = pa.schema(
    [
        ("candidate_id", pa.string()),
        ("name", pa.string()),
        ("description", pa.string()),
        ("categories", _TEXTS),
        ("photos", _TEXTS),  # photo ids; more than a request shows, see `folder.py`
        ("rating", pa.float64()),
        ("rating_count", pa.int64()),
    ]
)
POSITIONS_SCHEMA: Any = pa.schema(
    [
        ("candidate_id", pa.string()),
        ("source_id", pa.string()),  # as the dump has it; Google's begins with a cell of the map
        ("position", pa.list_(pa.float64())),  # latitude and longitude, or log popularity
    ]
)
PHOTOS_SCHEMA: Any = pa.schema(
    [
        ("photo_id", pa.string()),
        ("path", pa.string()),  # below the folder that local.json names
        ("url", pa.string()),
        ("caption", pa.string()),
        ("user_id", pa.string()),  # who took it, where that is known
        ("posted_at", _MOMENT),  # where a photo has one time, not one for each user
        ("business_id", pa.string()),
        ("categories", _TEXTS),  # of the business, as far as questions ask for them
    ]
)
CATEGORIES_SCHEMA: Any = pa.schema(
    [
        ("category", pa.string()),
        ("photos", _TEXTS),  # photo ids of many businesses, shuffled with the seed
    ]
)


def examples_file(split: str) -> str:
    """Name the file of a split's examples."""
    return f"examples-{split}.parquet"


def ground_truth_file(split: str) -> str:
    """Name the file of a split's ground truth."""
    return f"ground_truth-{split}.parquet"


def qrels_file(split: str) -> str:
    """Name the file of a split's ground truth in TREC's format."""
    return f"qrels-{split}.txt"


def content_files() -> tuple[str, ...]:
    """List the files that make up a benchmark and its checksum."""
    of_splits = (
        make(split) for split in SPLITS for make in (examples_file, ground_truth_file, qrels_file)
    )
    return (*of_splits, CANDIDATES, POSITIONS, PHOTOS, CATEGORIES)
