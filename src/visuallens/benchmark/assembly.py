"""Putting the examples that were found into their splits, and writing them out.

Buckets come one after the other, so users lie in the order of their hash and memory holds one
bucket.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from visuallens.benchmark import schema
from visuallens.benchmark.base import Dataset, Job, Rules
from visuallens.benchmark.businesses import BUSINESSES
from visuallens.benchmark.neighbours import IntArray
from visuallens.benchmark.splits import Group, Share
from visuallens.benchmark.steps import Progress, quiet
from visuallens.benchmark.writing import QrelsWriter, TableWriter

_PHOTOS = 1_000_000
"""Photos of histories that are spelled out at a time."""

_EXAMPLES_GROUP = 1024
"""Rows of a row group of examples, each of which may have thousands of photos."""


@dataclass(slots=True)
class Assembled:
    """What was written.

    Attributes:
        examples: by split.
        users: by split.
        dropped: examples that went nowhere, by reason.
        recommended: (businesses,) which are a candidate of some example.
    """

    recommended: NDArray[np.bool_]
    examples: Counter[str] = field(default_factory=Counter)
    users: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)


class _SplitFiles:
    """The three files of a split, open for writing."""

    def __init__(self, folder: Path, split: str, stack: ExitStack) -> None:
        self.examples = stack.enter_context(
            TableWriter(
                folder / schema.examples_file(split), schema.EXAMPLES_SCHEMA, _EXAMPLES_GROUP
            )
        )
        self.ground_truth = stack.enter_context(
            TableWriter(folder / schema.ground_truth_file(split), schema.GROUND_TRUTH_SCHEMA)
        )
        self.qrels = stack.enter_context(QrelsWriter(folder / schema.qrels_file(split)))


def assemble(
    job: Job,
    work: Path,
    out: Path,
    buckets: Sequence[int],
    shares: Mapping[Group, Share],
    progress: Progress = quiet,
) -> Assembled:
    """Write the examples and the ground truth of every split.

    Args:
        job: of the build.
        work: holds the businesses, `found-BUCKET.parquet` and `histories-BUCKET.parquet`;
            `used-BUCKET.parquet`, the photos of histories, goes there.
        out: folder for the files.
        buckets: in order.
        shares: where each group of examples goes.
        progress: is told of every bucket that is done.

    Returns:
        What was written.
    """
    dataset = job.dataset()
    table = pq.read_table(work / BUSINESSES, columns=["business_id"])
    business_ids = table.column("business_id").combine_chunks()
    done = Assembled(np.zeros(len(business_ids), bool))
    with ExitStack() as stack:
        files = {split: _SplitFiles(out, split, stack) for split in schema.SPLITS}
        for bucket in buckets:
            found = pq.read_table(work / f"found-{bucket}.parquet")
            histories = _Histories(work / f"histories-{bucket}.parquet")
            splits = _splits(found, shares, job.rules, done)
            needed = np.zeros(histories.count, np.int64)
            for split in schema.SPLITS:
                rows = np.flatnonzero(splits == split)
                of_split = found.take(pa.array(rows))
                _count(of_split, split, needed, done)
                for start, end in _portions(of_split.column("history_length").to_numpy()):
                    some = of_split.slice(start, end - start)
                    _write(files[split], some, histories, business_ids, dataset)
            progress("assemble", bucket + 1, len(buckets))
            pq.write_table(histories.first_photos(needed), work / f"used-{bucket}.parquet")
    return done


def _portions(history_lengths: IntArray) -> Iterator[tuple[int, int]]:
    """Cut examples where their histories together reach `_PHOTOS`."""
    portions = np.cumsum(history_lengths) // _PHOTOS
    changes = (np.flatnonzero(np.diff(portions)) + 1).tolist()
    yield from pairwise([0, *changes, len(history_lengths)] if len(history_lengths) else [])


def _splits(
    found: Any,  # noqa: ANN401 - an Arrow table
    shares: Mapping[Group, Share],
    rules: Rules,
    done: Assembled,
) -> NDArray[np.object_]:
    """Name the split of each row; empty where it goes nowhere."""
    columns = (found.column(one).to_pylist() for one in ("user_hash", "category", "part"))
    seen: Counter[Group] = Counter()
    splits = []
    for group in map(Group, *columns):
        share = shares[group]
        kept = seen[group] < share.size
        seen[group] += 1
        splits.append(share.split if kept else "")
    if rules.split == "by_category":
        _keep_apart(found, splits, done)
    done.dropped["in_no_split"] += splits.count("")
    return np.array(splits, object)


def _keep_apart(found: Any, splits: list[str], done: Assembled) -> None:  # noqa: ANN401 - Arrow
    """Let no business answer two splits for the same user.

    Choice: a business of several categories could, when splits are by category; test keeps it, then
        dev.
    """
    users = found.column("history_row").to_pylist()
    answers = found.column("ground_truth").to_pylist()
    taken: dict[tuple[int, int], str] = {}
    for split in ("test", "dev", "train"):
        for row in [row for row, one in enumerate(splits) if one == split]:
            pairs = [(users[row], business) for business in answers[row]]
            if any(taken.get(pair, split) != split for pair in pairs):
                splits[row] = ""
                done.dropped["answers_two_splits"] += 1
                done.dropped["in_no_split"] -= 1
            else:
                taken.update(dict.fromkeys(pairs, split))


def _count(found: Any, split: str, needed: IntArray, done: Assembled) -> None:  # noqa: ANN401
    done.examples[split] += found.num_rows
    done.users[split] += len(set(found.column("user_hash").to_pylist()))
    candidates = found.column("candidates").combine_chunks().flatten().to_numpy()
    done.recommended[candidates] = True
    rows, lengths = (found.column(one).to_numpy() for one in ("history_row", "history_length"))
    np.maximum.at(needed, rows, lengths)


class _Histories:
    """The photos of a bucket's users, of which every example shows the first ones."""

    def __init__(self, path: Path) -> None:
        table = pq.read_table(path).combine_chunks()
        self._user_ids = table.column("user_id").combine_chunks()
        photos = table.column("photos").combine_chunks()
        self._photos = photos.flatten()
        self._at = table.column("at_ms").combine_chunks().flatten()
        lengths = photos.value_lengths().to_numpy(zero_copy_only=False)
        self._starts = np.concatenate(([0], np.cumsum(lengths.astype(np.int64))))
        self.count = table.num_rows

    def users(self, rows: IntArray) -> Any:  # noqa: ANN401 - an Arrow array
        """Return the user ids of some rows."""
        return self._user_ids.take(pa.array(rows))

    def photos(self, rows: IntArray, lengths: IntArray) -> tuple[Any, Any]:
        """Return, for some rows, lists of their first photos and of when those were posted."""
        ends = np.cumsum(lengths)
        within = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - lengths, lengths)
        flat = pa.array(np.repeat(self._starts[rows], lengths) + within)
        offsets = pa.array(np.concatenate(([0], ends)), pa.int32())
        return tuple(
            pa.ListArray.from_arrays(offsets, values.take(flat))
            for values in (self._photos, self._at)
        )

    def first_photos(self, lengths: IntArray) -> Any:  # noqa: ANN401 - an Arrow table
        """Return the ids of the first photos of all rows, each once."""
        photos, _ = self.photos(np.arange(self.count), lengths)
        return pa.table({"photo_id": photos.flatten().unique()})


def _write(
    files: _SplitFiles,
    found: Any,  # noqa: ANN401 - an Arrow table
    histories: _Histories,
    business_ids: Any,  # noqa: ANN401 - an Arrow array
    dataset: Dataset,
) -> None:
    rows, lengths = (found.column(one).to_numpy() for one in ("history_row", "history_length"))
    photos, at_ms = histories.photos(rows, lengths)
    categories = found.column("category")
    questions = [dataset.question(one) for one in categories.to_pylist()]
    columns = {
        "example_id": found.column("example_id"),
        "user_id": histories.users(rows),
        "asked_at": found.column("asked_at_ms").cast(pa.timestamp("ms", tz="UTC")),
        "category": categories,
        "question": pa.array(questions, pa.string()),
        "history": photos,
        "history_at": at_ms.cast(pa.list_(pa.timestamp("ms", tz="UTC"))),
        "candidates": _named(found.column("candidates"), business_ids),
        "seed": found.column("seed"),
    }
    files.examples.write(pa.table(columns))
    ground_truth = _named(found.column("ground_truth"), business_ids)
    anchors = business_ids.take(found.column("anchor").combine_chunks())
    answers = {
        "example_id": found.column("example_id"),
        "ground_truth": ground_truth,
        "anchor": anchors,
    }
    files.ground_truth.write(pa.table(answers))
    for example_id, listed in _pairs(found, ground_truth):
        files.qrels.write(example_id, listed)


def _named(lists: Any, business_ids: Any) -> Any:  # noqa: ANN401 - Arrow arrays
    """Turn lists of numbers into lists of the ids that the dump uses."""
    numbers = lists.combine_chunks()
    return pa.ListArray.from_arrays(
        pa.array(np.concatenate(([0], np.cumsum(numbers.value_lengths().to_numpy()))), pa.int32()),
        business_ids.take(numbers.flatten()),
    )


def _pairs(found: Any, lists: Any) -> Iterator[tuple[str, list[str]]]:  # noqa: ANN401 - Arrow
    yield from zip(found.column("example_id").to_pylist(), lists.to_pylist(), strict=True)
