"""Reading a benchmark folder: examples for training and evaluation, requests for rankers."""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from visuallens.benchmark import schema
from visuallens.benchmark.opening import photos_folder, read_about, refuse_outside
from visuallens.errors import BenchmarkFolderError, RequestError
from visuallens.types import (
    Candidate,
    DateSource,
    Example,
    Photo,
    PhotoMetadata,
    Question,
    RankingRequest,
    VisualHistory,
)

_BATCH_ROWS = 1024
"""Examples held at a time; a benchmark has millions."""

# Any: rows of a Parquet file, whose columns `schema.py` lists.
Row = dict[str, Any]


class FoundExample(NamedTuple):
    """One example and when it was asked."""

    example: Example
    asked_at: datetime


class _PhotoFacts(NamedTuple):
    path: str
    user_id: str | None
    business_id: str
    posted_at: datetime | None


_PHOTO_COLUMNS = ["photo_id", *_PhotoFacts._fields]


class Benchmark:
    """A finished benchmark folder, opened for reading.

    Args:
        folder: what `visuallens benchmark build` wrote.

    Raises:
        BenchmarkFolderError: it is not a finished benchmark, or of a newer format.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.about: Mapping[str, Any] = read_about(folder)  # Any: JSON; see `schema.py`
        self.name: str = self.about["name"]
        self.seed: int = self.about["seed"]
        self._shown: int = self.about["settings"]["candidate_photos"]

    @cached_property
    def photos_folder(self) -> Path:
        """Folder that the paths of photos are below, as local.json says; else FOLDER/photos."""
        return photos_folder(self.folder)

    def path(self, name: str) -> Path:
        """Locate a file of the folder by the name that `schema.py` gives it."""
        return self.folder / name

    # Any: pyarrow is untyped.
    def open_table(self, name: str) -> Any:  # noqa: ANN401
        """Open a table of the folder as a Parquet file.

        Args:
            name: that `schema.py` gives it.

        Returns:
            A `pyarrow.parquet.ParquetFile`, to be closed.

        Raises:
            BenchmarkFolderError: it is no Parquet file.
        """
        try:
            return pq.ParquetFile(self.path(name))
        except pa.ArrowInvalid as error:
            raise BenchmarkFolderError(
                self.path(name), f"it is broken ({error})", "Build the benchmark again."
            ) from error

    def count(self, split: str) -> int:
        """Count the examples of a split without reading them."""
        with self.open_table(schema.examples_file(split)) as file:
            return int(file.metadata.num_rows)

    def requests(self, split: str) -> Iterator[RankingRequest]:
        """Yield the requests of a split, in the order of the file, without ground truth."""
        for row in self._rows(schema.examples_file(split)):
            yield self._request(row)

    def examples(self, split: str) -> Iterator[Example]:
        """Yield the examples of a split, in the order of the file.

        All photos and candidates are held in memory; `some` holds those of a few examples.

        Args:
            split: "train", "dev" or "test".

        Yields:
            Requests with their ground truth. A request never has a position, of the user or of a
            candidate.
        """
        answers = self._rows(schema.ground_truth_file(split))
        for row, answer in zip(self._rows(schema.examples_file(split)), answers, strict=True):
            if row["example_id"] != answer["example_id"]:
                raise self.disorder(split)
            yield Example(self._request(row), frozenset(answer["ground_truth"]))

    def some(self, split: str, rows: Iterable[int]) -> Iterator[FoundExample]:
        """Yield some examples of a split, holding only the photos and candidates that they need.

        Args:
            split: "train", "dev" or "test".
            rows: their numbers in the file, from 0; those beyond its end are left out.

        Yields:
            The same examples as `examples`, in the order of the file, and when each was asked.

        Raises:
            BenchmarkFolderError: the ground truth is not beside the examples.
        """
        wanted = sorted(set(rows))
        asked = self._taken(schema.examples_file(split), wanted)
        answers = self._taken(schema.ground_truth_file(split), wanted)
        if asked["example_id"] != answers["example_id"]:
            raise self.disorder(split)
        view = self._narrow(asked)
        for at in range(asked.num_rows):
            (row,), (answer,) = (one.slice(at, 1).to_pylist() for one in (asked, answers))
            example = Example(view._request(row), frozenset(answer["ground_truth"]))  # noqa: SLF001
            yield FoundExample(example, row["asked_at"])

    def find(self, split: str, example_id: str | None = None) -> FoundExample:
        """Read one example, without loading the benchmark.

        Args:
            split: "train", "dev" or "test".
            example_id: None: the first example of the split.

        Returns:
            The same example that `examples` yields, and when its question was asked.

        Raises:
            RequestError: the split has no such example.
        """
        row = 0 if example_id is None else self._place(split, example_id)
        found = next(self.some(split, () if row is None else (row,)), None)
        if found is not None:
            return found
        first = next(self.some(split, (0,)), None)
        raise RequestError(
            f"The {split} split of {self.name} has no examples. Choose another --split."
            if first is None
            else f"The {split} split of {self.name} has no example {example_id!r}; its first "
            f"is {first.example.request.id!r}. Choose another id or another --split."
        )

    def disorder(self, split: str) -> BenchmarkFolderError:
        """Make the error for ground truth that is not beside its examples."""
        return BenchmarkFolderError(
            self.folder,
            f"the examples and the ground truth of {split} are in different order",
            "Build the benchmark again.",
        )

    def category_photos(self, request: RankingRequest, count: int) -> tuple[str, ...]:
        """Draw photos that show what a category looks like, free of the request's candidates.

        Args:
            request: of this benchmark.
            count: how many at most.

        Returns:
            Paths of photo files, drawn with the request's seed; fewer, or none, in a category with
            few photos.

        Raises:
            RequestError: the benchmark has no question of that category.

        Source: §4.2, "randomly select a set of candidate items in the category".
        Choice: never a photo of one of the request's own candidates, nor one that the user took:
            v_c would otherwise lean towards the answer.
        Choice: only photos posted before the newest of the history, which is older than the
            question: a request does not say when it was asked, so that no ranker can use it, and
            this needs nothing but the request. What was posted between the two is lost as well.
            A photo without a time can be drawn always.
        """
        category = request.question.category
        if category not in self._category_pools:
            raise RequestError(
                f"{self.name} has no photos for the category {category!r}. Known: "
                f"{', '.join(self._category_pools)}."
            )
        shown = {candidate.id for candidate in request.candidates}
        seen = {path for candidate in request.candidates for path in candidate.photos}
        taken = (photo.metadata.taken_at for photo in request.history.photos)
        newest = max((one for one in taken if one is not None), default=None)
        pool = self._category_pools[category]
        drawn: list[str] = []
        for index in np.random.default_rng((request.seed, 4)).permutation(len(pool)):
            photo = self._pool_photos[pool[index]]
            path = self._above_photos + photo.path
            own = photo.user_id == request.history.user_id
            later = photo.posted_at and (newest is None or photo.posted_at >= newest)
            if not (own or later or photo.business_id in shown or path in seen):
                drawn.append(path)
            if len(drawn) == count:
                break
        return tuple(drawn)

    def shown_in(self, photo_id: str) -> str | None:
        """Tell what a photo of this benchmark shows: for controls and breakdowns, not for rankers.

        Args:
            photo_id: as in a history.

        Returns:
            The id as a candidate; None where the benchmark does not say.
        """
        facts = self._photos.get(photo_id)
        return None if facts is None else facts.business_id

    def taken_by(self, photo_id: str) -> str | None:
        """Name who took a photo, where the benchmark says so."""
        facts = self._photos.get(photo_id)
        return None if facts is None else facts.user_id

    def positions(self) -> dict[str, NDArray[np.float64]]:
        """Read where candidates are: for controls and the audit, never for a ranker.

        Returns:
            Candidate id → (2,) latitude and longitude in degrees, or (1,) log popularity.
        """
        rows = self._rows(schema.POSITIONS)
        return {row["candidate_id"]: np.asarray(row["position"]) for row in rows}

    def _rows(self, name: str, columns: Sequence[str] | None = None) -> Iterator[Row]:
        with self.open_table(name) as file:
            for batch in file.iter_batches(_BATCH_ROWS, columns=columns):
                yield from batch.to_pylist()

    # Any: an Arrow table.
    def _taken(self, name: str, rows: Sequence[int]) -> Any:  # noqa: ANN401
        """Read rows by their numbers, which ascend, one row group at a time."""
        with self.open_table(name) as file:
            parts, first = [file.schema_arrow.empty_table()], 0
            for group in range(file.num_row_groups):
                end = first + file.metadata.row_group(group).num_rows
                own = rows[bisect_left(rows, first) : bisect_left(rows, end)]
                if own:
                    parts.append(file.read_row_group(group).take([one - first for one in own]))
                first = end
            return pa.concat_tables(parts)

    def _place(self, split: str, example_id: str) -> int | None:
        """Find the number of an example, one row group at a time."""
        first = 0
        with self.open_table(schema.examples_file(split)) as file:
            for group in range(file.num_row_groups):
                ids = file.read_row_group(group, columns=["example_id"])["example_id"]
                at: int = ids.index(example_id).as_py()
                if at >= 0:
                    return first + at
                first += len(ids)
        return None

    # Any: an Arrow table.
    def _narrow(self, asked: Any) -> Self:  # noqa: ANN401
        """Open the folder again, knowing only the photos and candidates of some examples."""
        narrow = type(self)(self.folder)
        ids = pc.unique(pc.list_flatten(asked["candidates"]))
        found = self._chosen(schema.CANDIDATES, "candidate_id", ids)
        lists = (pc.list_flatten(one) for one in (asked["history"], found["photos"]))
        photo_ids = pa.chunked_array([chunk for one in lists for chunk in one.chunks], pa.string())
        photos = self._chosen(schema.PHOTOS, "photo_id", pc.unique(photo_ids), _PHOTO_COLUMNS)
        narrow._candidates = _by_candidate(found.to_pylist())  # noqa: SLF001 - of this class
        narrow._photos = self._by_photo(photos.to_pylist())  # noqa: SLF001
        return narrow

    # Any: Arrow tables and arrays.
    def _chosen(
        self,
        name: str,
        key: str,
        ids: Any,  # noqa: ANN401
        columns: Sequence[str] | None = None,
    ) -> Any:  # noqa: ANN401
        """Read the rows with these ids."""
        wanted = pc.field(key).isin(ids)
        return pq.read_table(self.path(name), columns=columns, filters=wanted, partitioning=None)

    def _request(self, row: Row) -> RankingRequest:
        photos = tuple(
            Photo(one, self._file(one), PhotoMetadata(moment, DateSource.MANIFEST))
            for one, moment in zip(row["history"], row["history_at"], strict=True)
        )
        seen = frozenset(row["history"])
        return RankingRequest(
            id=row["example_id"],
            question=Question(row["question"], row["category"]),
            history=VisualHistory(row["user_id"], photos),
            candidates=tuple(self._candidate(one, row, seen) for one in row["candidates"]),
            seed=row["seed"],
        )

    def _candidate(self, candidate_id: str, asked: Row, seen: frozenset[str]) -> Candidate:
        """Describe a candidate.

        Choice: photos that the user has taken, or that the history shows, are left out: to
            recognise one would not be taste. So are those that nobody had posted yet.
        """

        def is_shown(photo_id: str) -> bool:
            photo = self._photos[photo_id]
            known = photo.posted_at is None or photo.posted_at < asked["asked_at"]
            return known and photo.user_id != asked["user_id"] and photo_id not in seen

        row = self._candidates[candidate_id]
        shown = (self._file(one) for one in row["photos"] if is_shown(one))
        return Candidate(
            id=candidate_id,
            name=row["name"],
            description=row["description"],
            categories=tuple(row["categories"]),
            photos=tuple(islice(shown, self._shown)),
            rating=row["rating"],
            rating_count=row["rating_count"],
        )

    def _file(self, photo_id: str) -> str:
        return self._above_photos + self._photos[photo_id].path

    def _by_photo(self, rows: Iterable[Row]) -> dict[str, _PhotoFacts]:
        found = {}
        table = self.path(schema.PHOTOS)
        for row in rows:
            refuse_outside(row["path"], table)
            found[row["photo_id"]] = _PhotoFacts(*(row[one] for one in _PhotoFacts._fields))
        return found

    @cached_property
    def _above_photos(self) -> str:
        """What to put before the path of a photo; joining paths object by object is slow."""
        return f"{self.photos_folder}{os.sep}"

    @cached_property
    def _photos(self) -> dict[str, _PhotoFacts]:
        return self._by_photo(self._rows(schema.PHOTOS, _PHOTO_COLUMNS))

    @cached_property
    def _pool_photos(self) -> dict[str, _PhotoFacts]:
        """What is known of the photos of categories, few beside those of a benchmark."""
        ids = {photo_id for pool in self._category_pools.values() for photo_id in pool}
        wanted = pa.array(sorted(ids), pa.string())
        photos = self._chosen(schema.PHOTOS, "photo_id", wanted, _PHOTO_COLUMNS)
        return self._by_photo(photos.to_pylist())

    @cached_property
    def _candidates(self) -> dict[str, Row]:
        return _by_candidate(self._rows(schema.CANDIDATES))

    @cached_property
    def _category_pools(self) -> dict[str, list[str]]:
        return {row["category"]: row["photos"] for row in self._rows(schema.CATEGORIES)}


def _by_candidate(rows: Iterable[Row]) -> dict[str, Row]:
    return {row["candidate_id"]: row for row in rows}
