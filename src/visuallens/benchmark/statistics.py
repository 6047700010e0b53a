"""What a benchmark holds: Table 1, Figure 5, distributions, and what chance gives on it.

Everything is counted by DuckDB over the Parquet files, so memory stays bounded however large the
benchmark is.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from visuallens.benchmark import schema
from visuallens.benchmark.chance import hit_by_chance, mrr_by_chance
from visuallens.benchmark.database import database, quoted
from visuallens.errors import BenchmarkFolderError

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection, DuckDBPyRelation

    from visuallens.benchmark.folder import Benchmark

ALL = "all"
"""Name of the row that takes the splits together."""

METRICS = ("hit@1", "hit@3", "hit@10", "mrr")
QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)

_MAX_BARS = 15
_MEMORY_GB = 1.0
_THREADS = 2


@dataclass(frozen=True, slots=True)
class Distribution:
    """How a whole number is spread over examples.

    Attributes:
        mean: 0 without examples.
        quantiles: one value for each of `QUANTILES`, the least that this share of the examples
            does not exceed; empty without examples.
        histogram: (lowest, highest, examples), both ends included, bars of equal width.
    """

    mean: float
    quantiles: tuple[int, ...]
    histogram: tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True)
class SplitStatistics:
    """One row of Table 1, and what lies behind it.

    Attributes:
        history: photos in the history.
        random: metric → what a random order is expected to reach, between 0 and 1.
    """

    examples: int
    users: int
    categories: int
    history: Distribution
    ground_truth: Distribution
    candidates: Distribution
    random: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Statistics:
    """All that `visuallens benchmark stats` tells.

    Attributes:
        splits: split → its row; `ALL` takes them together.
        categories: category → training examples, most first (Figure 5).
        rejected: raw file → reason → rows that could not be used; a file that is read into two
            tables counts for each, as "FILE (TABLE)".
        dropped: reason → questions that became no example.
        counted: whatever else the build counted, such as reviews of unknown businesses.
    """

    name: str
    checksum: str
    splits: Mapping[str, SplitStatistics]
    categories: Mapping[str, int]
    rejected: Mapping[str, Mapping[str, int]]
    dropped: Mapping[str, int]
    counted: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class PaperRow:
    """A benchmark as the paper describes it.

    Attributes:
        examples: split → examples, rounded as printed.
        random: metric → the printed score of a random order, between 0 and 1.
    """

    title: str
    examples: Mapping[str, int]
    categories: int
    images: float
    ground_truth: float
    candidates: float
    random: Mapping[str, float]


# Source: Table 1; Table 2, row "Random".
PAPER = {
    "google-review-v": PaperRow(
        "GR-V",
        {"train": 15_690_000, "dev": 2_000, "test": 200_000},
        categories=66,
        images=157.0,
        ground_truth=2.7,
        candidates=43.1,
        random={"hit@1": 0.076, "hit@3": 0.210, "hit@10": 0.550, "mrr": 0.212},
    ),
    "yelp-v": PaperRow(
        "Yelp-V",
        {"train": 4_120_000, "dev": 2_000, "test": 100_000},
        categories=35,
        images=263.6,
        ground_truth=8.2,
        candidates=66.7,
        random={"hit@1": 0.130, "hit@3": 0.336, "hit@10": 0.727, "mrr": 0.300},
    ),
}


@dataclass(frozen=True, slots=True)
class _Counts:
    """What was counted in one split, enough to add splits up."""

    users: int
    categories: Counter[str]
    history: Counter[int]
    sizes: Counter[tuple[int, int]]
    """(candidates, ground truths) → examples."""


def statistics(benchmark: Benchmark) -> Statistics:
    """Count what a benchmark holds.

    Args:
        benchmark: an open one.

    Returns:
        Rows of Table 1, the bars of Figure 5, distributions, exact Random, and what was left out.

    Raises:
        MissingPackageError: DuckDB is not installed.
        BenchmarkFolderError: examples and ground truth do not belong together.

    Source: Table 1, Figure 5, §6.2.
    Choice: the paper prints one average for each benchmark without naming the splits it is over;
        we print every split and all together.
    """
    spill = Path(tempfile.gettempdir())
    with database(spill, memory_gb=_MEMORY_GB, threads=_THREADS) as connection:
        steps = tqdm(schema.SPLITS, desc="counting", unit="split", disable=None)
        counted = {split: _count(connection, benchmark, split) for split in steps}
        files = [benchmark.path(schema.examples_file(split)) for split in schema.SPLITS]
        whole = _Counts(_users(connection, files), Counter(), Counter(), Counter())
    for one in counted.values():
        whole.categories.update(one.categories)
        whole.history.update(one.history)
        whole.sizes.update(one.sizes)
    about = benchmark.about
    return Statistics(
        name=benchmark.name,
        checksum=about["checksum"],
        splits={
            **{split: _summarise(one) for split, one in counted.items()},
            ALL: _summarise(whole),
        },
        categories=_most_first(counted["train"].categories),
        rejected=_rejected(about.get("sources", ())),
        dropped=_most_first(Counter(about.get("counts", {}).get("dropped", {}))),
        counted=dict(_counted(about)),
    )


def random_scores(sizes: Mapping[tuple[int, int], int]) -> dict[str, float]:
    """Average over examples what a random order is expected to reach.

    Args:
        sizes: (candidates, ground truths) → examples.

    Returns:
        Metric → score between 0 and 1; all 0 without examples.

    Source: Table 2, row "Random"; exact, not sampled.
    """
    examples = sum(sizes.values())
    totals = dict.fromkeys(METRICS, 0.0)
    for (candidates, relevant), count in sorted(sizes.items()):
        for k in (1, 3, 10):
            totals[f"hit@{k}"] += count * hit_by_chance(candidates, relevant, k)
        totals["mrr"] += count * mrr_by_chance(candidates, relevant)
    return {metric: total / max(examples, 1) for metric, total in totals.items()}


def distribution(counts: Mapping[int, int]) -> Distribution:
    """Describe how a whole number is spread.

    Args:
        counts: value → examples with it.

    Returns:
        Mean, quantiles, and a histogram of at most 15 bars whose width is 1, 2 or 5 times a power
        of ten.
    """
    examples = sum(counts.values())
    if not examples:
        return Distribution(0.0, (), ())
    values = sorted(counts)
    mean = sum(value * counts[value] for value in values) / examples
    reached = list(accumulate(counts[value] for value in values))
    quantiles = tuple(
        next(value for value, below in zip(values, reached, strict=True) if below >= q * examples)
        for q in QUANTILES
    )
    return Distribution(mean, quantiles, tuple(_histogram(counts, values[0], values[-1])))


def _histogram(counts: Mapping[int, int], least: int, most: int) -> Iterator[tuple[int, int, int]]:
    widths = (factor * 10**power for power in range(18) for factor in (1, 2, 5))
    width = next(one for one in widths if most // one - least // one < _MAX_BARS)
    bars = Counter[int]()
    for value, count in counts.items():
        bars[value // width] += count
    for bar in range(least // width, most // width + 1):
        yield bar * width, (bar + 1) * width - 1, bars[bar]


def _summarise(counts: _Counts) -> SplitStatistics:
    candidates, ground_truth = Counter[int](), Counter[int]()
    for (offered, relevant), count in counts.sizes.items():
        candidates[offered] += count
        ground_truth[relevant] += count
    return SplitStatistics(
        examples=counts.sizes.total(),
        users=counts.users,
        categories=len(counts.categories),
        history=distribution(counts.history),
        ground_truth=distribution(ground_truth),
        candidates=distribution(candidates),
        random=random_scores(counts.sizes),
    )


# Any: JSON.
def _counted(about: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """Find the numbers that stand in no place of their own, one level of names deep.

    Choice: photos of unknown businesses are counted only where the dump has a table of photos;
        those of reviews cannot be of another business.
    """
    has_photos = any(one.get("table") == "photos" for one in about.get("sources", ()))
    for name, count in about.get("counts", {}).items():
        if isinstance(count, int):
            yield name, count
        elif name not in {"splits", "dropped"}:
            for key, one in count.items():
                if has_photos or key != "stray_photos":
                    yield f"{name}: {key}", one


# Any: JSON.
def _rejected(sources: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, int]]:
    """Add up what was rejected, by file and, where a file is read into several, by table."""
    tables: dict[str, set[str]] = {}
    for one in sources:
        tables.setdefault(one["file"], set()).add(one.get("table", ""))
    counts: dict[str, Counter[str]] = {}
    for one in sources:
        several = len(tables[one["file"]]) > 1
        name = f"{one['file']} ({one.get('table', '')})" if several else one["file"]
        counts.setdefault(name, Counter()).update(one["rejected"])
    return {name: _most_first(reasons) for name, reasons in counts.items()}


def _most_first(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _count(connection: DuckDBPyConnection, benchmark: Benchmark, split: str) -> _Counts:
    path = benchmark.path(schema.examples_file(split))
    answers = benchmark.path(schema.ground_truth_file(split))
    examples = _table(connection, [path])
    offered = examples.project("example_id, len(candidates) AS n")
    relevant = _table(connection, [answers]).project("example_id, len(ground_truth) AS g")
    pairs = offered.join(relevant, "example_id").aggregate("n, g, count(*)", "n, g").fetchall()
    sizes = Counter({(n, g): count for n, g, count in pairs})
    if sizes.total() != benchmark.count(split):
        raise BenchmarkFolderError(
            benchmark.folder,
            f"the examples and the ground truth of {split} do not belong together",
            "Build the benchmark again.",
        )
    # The moments of a history are as many as its photos, and much faster to read.
    length = "len(history_at)"
    return _Counts(
        users=_users(connection, [path]),
        categories=Counter(dict(_grouped(examples, "category"))),
        history=Counter(dict(_grouped(examples, length))),
        sizes=sizes,
    )


# Any: a value of whichever column is counted.
def _grouped(examples: DuckDBPyRelation, value: str) -> list[tuple[Any, int]]:
    return examples.aggregate(f"{value}, count(*)", value).fetchall()


def _table(connection: DuckDBPyConnection, paths: Sequence[Path]) -> DuckDBPyRelation:
    files = ", ".join(quoted(path) for path in paths)
    return connection.sql(f"SELECT * FROM read_parquet([{files}])")


def _users(connection: DuckDBPyConnection, paths: Sequence[Path]) -> int:
    ((users,),) = _table(connection, paths).aggregate("count(DISTINCT user_id)").fetchall()
    return int(users)
