"""Writes a benchmark again without the photos whose files are not there.

Photos of years ago are gone from the servers. What was built stays what the paper's rules say: a
history that became too short, or no longer shows the category asked for, drops its example, and
the drops are counted.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from tqdm import tqdm

from visuallens.benchmark import schema
from visuallens.benchmark.export.staging import unfinished
from visuallens.benchmark.folder import Benchmark
from visuallens.benchmark.left import PhotosLeft
from visuallens.benchmark.opening import refuse_outside
from visuallens.benchmark.writing import QrelsWriter, TableWriter, finish
from visuallens.errors import BenchmarkFolderError

GONE_SHORT = "photos_gone"
"""Under `dropped` in benchmark.json: too few photos of the history are left."""

GONE_CATEGORY = "photos_gone_category"
"""Enough photos are left, but none of the category asked for."""

_PHOTO_ROWS = 8192
_LEAST_GROUP = 1024
_BATCH_ROWS = 64
_BATCH_PHOTOS = 1_000_000
"""Photos in lists that are held at a time; histories can be long, so rows do not say how much."""

_MIN_HISTORY = 10


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
        BenchmarkFolderError: there is something at `out` already, another command is writing it,
            the disk refuses, or no photo or no example would be left.

    Source: §6.1, histories of at least 10 photos that contain the category.
    Choice: candidates stay candidates without photos, and ground truth stays ground truth: else
        whether a photo is gone would decide what is right.
    """
    out = out.resolve()
    pruned = Pruned()
    with unfinished(out) as folder:
        left = _photos(benchmark, folder, pruned)
        for name, columns in (
            (schema.CANDIDATES, schema.CANDIDATES_SCHEMA),
            (schema.CATEGORIES, schema.CATEGORIES_SCHEMA),
        ):
            with TableWriter(folder / name, columns) as writer:
                for rows in _batches(benchmark, name, "photos"):
                    lists = _Lists(rows.column("photos"))
                    writer.write(_with(rows, photos=lists.kept(left.kinds(lists.flat) >= 0)))
        for split in schema.SPLITS:
            _split(benchmark, folder, split, left, pruned)
        if not any(one["examples"] for one in pruned.splits.values()):
            raise _nothing_left(benchmark, "no example has enough photos left")
        shutil.copyfile(benchmark.path(schema.POSITIONS), folder / schema.POSITIONS)
        about = finish(folder, out, _about(benchmark, pruned), benchmark.photos_folder.resolve())
    return pruned, about


def _photos(benchmark: Benchmark, folder: Path, pruned: Pruned) -> PhotosLeft:
    """Keep the photos whose files are there, in the table and in memory."""
    above = f"{benchmark.photos_folder}{os.sep}"
    table = benchmark.path(schema.PHOTOS)
    with (
        benchmark.open_table(schema.PHOTOS) as file,
        TableWriter(folder / schema.PHOTOS, schema.PHOTOS_SCHEMA) as writer,
        tqdm(total=file.metadata.num_rows, unit="photo", disable=None) as bar,
    ):
        left = PhotosLeft(file.metadata.num_rows)
        for batch in file.iter_batches(_PHOTO_ROWS):
            rows = pa.Table.from_batches([batch])
            is_there = []
            for path in rows.column("path").to_pylist():
                refuse_outside(path, table)
                is_there.append(os.path.isfile(above + path))  # noqa: PTH113 - of millions
            kept = rows.filter(pa.array(is_there, pa.bool_()))
            writer.write(kept)
            ids, categories = (rows.column(one).to_pylist() for one in ("photo_id", "categories"))
            left.add(ids, categories, is_there)
            pruned.photos += rows.num_rows
            pruned.photos_gone += rows.num_rows - kept.num_rows
            bar.update(rows.num_rows)
    if pruned.photos == pruned.photos_gone:
        raise _nothing_left(benchmark, f"not one of its photos is in {benchmark.photos_folder}")
    if not left.close():
        raise BenchmarkFolderError(table, "a photo id occurs twice", "Build the benchmark again.")
    return left


def _split(
    benchmark: Benchmark, folder: Path, split: str, left: PhotosLeft, pruned: Pruned
) -> None:
    """Shorten the histories of a split; drop examples, ground truth and qrels in step."""
    examples, answers = schema.examples_file(split), schema.ground_truth_file(split)
    users: set[str] = set()
    count = 0
    with (
        benchmark.open_table(answers) as answers_file,
        TableWriter(
            folder / examples, schema.EXAMPLES_SCHEMA, _group_rows(benchmark, examples)
        ) as examples_writer,
        TableWriter(folder / answers, schema.GROUND_TRUTH_SCHEMA) as answers_writer,
        QrelsWriter(folder / schema.qrels_file(split)) as qrels,
        tqdm(total=benchmark.count(split), unit="example", desc=split, disable=None) as bar,
    ):
        truths = _Rows(answers_file.schema_arrow, answers_file.iter_batches(_PHOTO_ROWS))
        for rows in _batches(benchmark, examples, "history"):
            beside = truths.take(rows.num_rows)
            if rows.column("example_id") != beside.column("example_id"):
                raise benchmark.disorder(split)
            shortened, is_kept = _shortened(benchmark, rows, left, pruned)
            kept, kept_truth = shortened.filter(is_kept), beside.filter(is_kept)
            examples_writer.write(kept)
            answers_writer.write(kept_truth)
            for row in kept_truth.to_pylist():
                qrels.write(row["example_id"], row["ground_truth"])
            users.update(kept.column("user_id").to_pylist())
            count += kept.num_rows
            bar.update(rows.num_rows)
    pruned.splits[split] = {"examples": count, "users": len(users)}


# Any: Arrow tables.
def _shortened(
    benchmark: Benchmark,
    rows: Any,  # noqa: ANN401
    left: PhotosLeft,
    pruned: Pruned,
) -> tuple[Any, Any]:
    """Shorten the histories of some examples; say which of them to keep, and count the others."""
    settings = benchmark.about.get("settings", {})
    least = max(int(settings.get("min_history", _MIN_HISTORY)), 1)
    history, history_at = _Lists(rows.column("history")), _Lists(rows.column("history_at"))
    kinds = left.kinds(history.flat)
    is_left = kinds >= 0
    asked = rows.column("category").to_pylist()
    lengths = history.counted(is_left)
    is_long = lengths >= least
    shows = history.counted(is_left & left.shows(kinds, asked, history.owners)) > 0
    is_kept = is_long & shows
    pruned.dropped[GONE_SHORT] += int(np.count_nonzero(~is_long))
    pruned.dropped[GONE_CATEGORY] += int(np.count_nonzero(is_long & ~shows))
    pruned.history_photos_gone += int((history.lengths - lengths)[is_kept].sum())
    new = _with(rows, history=history.kept(is_left), history_at=history_at.kept(is_left))
    return new, pa.array(is_kept)


class _Lists:
    """A column of lists, laid flat.

    Args:
        column: of a table.

    Attributes:
        lengths: (rows,) of each list.
        owners: (values,) the row that each value is of.
        flat: (values,) an Arrow array.
    """

    # Any: pyarrow is untyped.
    def __init__(self, column: Any) -> None:  # noqa: ANN401
        lists = column.combine_chunks()
        filled = pc.fill_null(pc.list_value_length(lists), 0)
        self.lengths: NDArray[np.int64] = filled.to_numpy(zero_copy_only=False).astype(np.int64)
        self.owners = np.repeat(np.arange(len(self.lengths)), self.lengths)
        self.flat: Any = lists.flatten()

    def counted(self, flags: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Count the values of each row that have a flag."""
        counts: NDArray[np.int64] = np.bincount(self.owners[flags], minlength=len(self.lengths))
        return counts

    def kept(self, flags: NDArray[np.bool_]) -> Any:  # noqa: ANN401 - an Arrow array
        """Return the lists with those values only that have a flag, in their order."""
        offsets = np.concatenate(([0], np.cumsum(self.counted(flags)))).astype(np.int32)
        return pa.ListArray.from_arrays(pa.array(offsets), self.flat.filter(pa.array(flags)))


class _Rows:
    """Rows that are taken from a stream of record batches, as many as asked for.

    Args:
        columns: an Arrow schema.
        batches: an iterator of Arrow record batches.
    """

    # Any: pyarrow is untyped.
    def __init__(self, columns: Any, batches: Iterator[Any]) -> None:  # noqa: ANN401
        self._batches = batches
        self._waiting = columns.empty_table()

    def take(self, count: int) -> Any:  # noqa: ANN401 - an Arrow table
        """Return the next rows; fewer at the end."""
        while self._waiting.num_rows < count and (batch := next(self._batches, None)):
            self._waiting = pa.concat_tables([self._waiting, pa.Table.from_batches([batch])])
        taken = self._waiting.slice(0, count)
        self._waiting = self._waiting.slice(count)
        return taken


# Any: Arrow tables.
def _batches(benchmark: Benchmark, name: str, column: str) -> Iterator[Any]:
    """Yield the rows of a table, so many at a time that their lists are not too long together."""
    with benchmark.open_table(name) as file:
        waiting: list[Any] = []
        photos = 0
        for batch in file.iter_batches(_BATCH_ROWS):
            waiting.append(batch)
            photos += len(batch.column(column).flatten())
            if photos >= _BATCH_PHOTOS:
                yield pa.Table.from_batches(waiting)
                waiting, photos = [], 0
        if waiting:
            yield pa.Table.from_batches(waiting)


def _group_rows(benchmark: Benchmark, name: str) -> int:
    """Make row groups as long as they were, within reason: the same rows give the same bytes."""
    with benchmark.open_table(name) as file:
        groups = range(file.metadata.num_row_groups)
        longest = max((file.metadata.row_group(one).num_rows for one in groups), default=0)
    return min(max(longest, _LEAST_GROUP), _PHOTO_ROWS)


# Any: Arrow tables and arrays.
def _with(rows: Any, **columns: Any) -> Any:  # noqa: ANN401
    for name, column in columns.items():
        rows = rows.set_column(rows.schema.get_field_index(name), name, column)
    return rows


def _nothing_left(benchmark: Benchmark, problem: str) -> BenchmarkFolderError:
    advice = f"Fetch its photos first: visuallens benchmark fetch {benchmark.folder}"
    return BenchmarkFolderError(benchmark.folder, problem, advice)


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
