"""Reading a benchmark folder: examples for training and evaluation, requests for rankers."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from visuallens.benchmark import schema
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
        self.about: Mapping[str, Any] = _about(folder)  # Any: JSON; see `schema.py`
        self.name: str = self.about["name"]
        self.seed: int = self.about["seed"]
        self._shown: int = self.about["settings"]["candidate_photos"]

    @cached_property
    def photos_folder(self) -> Path:
        """Folder that the paths of photos are below, as local.json says; else FOLDER/photos."""
        local = self.folder / schema.LOCAL
        if not local.is_file():
            return self.folder / "photos"
        try:
            photos: str = json.loads(local.read_text("utf-8"))["photos"]
            return (self.folder / photos).resolve()
        except (ValueError, TypeError, KeyError) as error:
            raise BenchmarkFolderError(
                local,
                "it does not say where the photos are",
                f'Write {{"photos": "FOLDER"}} into it, or delete it if they are in '
                f"{self.folder / 'photos'}.",
            ) from error

    def path(self, name: str) -> Path:
        """Locate a file of the folder by the name that `schema.py` gives it."""
        return self.folder / name

    def count(self, split: str) -> int:
        """Count the examples of a split without reading them."""
        with self._open(schema.examples_file(split)) as file:
            return int(file.metadata.num_rows)

    def requests(self, split: str) -> Iterator[RankingRequest]:
        """Yield the requests of a split, in the order of the file, without ground truth."""
        for row in self._rows(schema.examples_file(split)):
            yield self._request(row)

    def examples(self, split: str) -> Iterator[Example]:
        """Yield the examples of a split, in the order of the file.

        Args:
            split: "train", "dev" or "test".

        Yields:
            Requests with their ground truth. A request never has a position, of the user or of a
            candidate.
        """
        answers = self._rows(schema.ground_truth_file(split))
        for row, answer in zip(self._rows(schema.examples_file(split)), answers, strict=True):
            if row["example_id"] != answer["example_id"]:
                raise BenchmarkFolderError(
                    self.folder,
                    f"the examples and the ground truth of {split} are in different order",
                    "Build the benchmark again.",
                )
            yield Example(self._request(row), frozenset(answer["ground_truth"]))

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
        file = schema.examples_file(split)
        row = self._row(file, example_id)
        if row is None:
            first = self._row(file, None)
            raise RequestError(
                f"The {split} split of {self.name} has no examples. Choose another --split."
                if first is None
                else f"The {split} split of {self.name} has no example {example_id!r}; its first "
                f"is {first['example_id']!r}. Choose another id or another --split."
            )
        answer = self._row(schema.ground_truth_file(split), row["example_id"])
        if answer is None:
            raise BenchmarkFolderError(
                self.folder,
                f"there is no ground truth for {row['example_id']}",
                "Build the benchmark again.",
            )
        narrow = self._narrow(row)
        example = Example(narrow._request(row), frozenset(answer["ground_truth"]))  # noqa: SLF001
        return FoundExample(example, row["asked_at"])

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
        """
        category = request.question.category
        if category not in self._category_pools:
            raise RequestError(
                f"{self.name} has no photos for the category {category!r}. Known: "
                f"{', '.join(self._category_pools)}."
            )
        shown = {candidate.id for candidate in request.candidates}
        seen = {path for candidate in request.candidates for path in candidate.photos}
        pool = self._category_pools[category]
        drawn: list[str] = []
        for index in np.random.default_rng((request.seed, 4)).permutation(len(pool)):
            photo, path = self._photos[pool[index]], self._file(pool[index])
            own = photo.user_id == request.history.user_id
            if not own and photo.business_id not in shown and path not in seen:
                drawn.append(path)
            if len(drawn) == count:
                break
        return tuple(drawn)

    def positions(self) -> dict[str, NDArray[np.float64]]:
        """Read where candidates are: for controls and the audit, never for a ranker.

        Returns:
            Candidate id → (2,) latitude and longitude in degrees, or (1,) log popularity.
        """
        rows = self._rows(schema.POSITIONS)
        return {row["candidate_id"]: np.asarray(row["position"]) for row in rows}

    def _rows(self, name: str, columns: Sequence[str] | None = None) -> Iterator[Row]:
        with self._open(name) as file:
            for batch in file.iter_batches(_BATCH_ROWS, columns=columns):
                yield from batch.to_pylist()

    # Any: pyarrow is untyped.
    def _open(self, name: str) -> Any:  # noqa: ANN401
        try:
            return pq.ParquetFile(self.path(name))
        except pa.ArrowInvalid as error:
            raise BenchmarkFolderError(
                self.path(name), f"it is broken ({error})", "Build the benchmark again."
            ) from error

    def _row(self, name: str, example_id: str | None) -> Row | None:
        """Read the row of one example, or the first, one row group at a time."""
        with self._open(name) as file:
            for group in range(file.num_row_groups):
                ids = file.read_row_group(group, columns=["example_id"])["example_id"]
                at = 0 if example_id is None else ids.index(example_id).as_py()
                if at >= 0:
                    row: Row = file.read_row_group(group).slice(at, 1).to_pylist()[0]
                    return row
        return None

    def _narrow(self, row: Row) -> Benchmark:
        """Open the folder again, knowing only the photos and candidates of one example."""
        narrow = Benchmark(self.folder)
        found = self._chosen(schema.CANDIDATES, "candidate_id", row["candidates"])
        photo_ids = {*row["history"], *(one for row in found for one in row["photos"])}
        photos = self._chosen(schema.PHOTOS, "photo_id", photo_ids, _PHOTO_COLUMNS)
        narrow._candidates, narrow._photos = _by_candidate(found), _by_photo(photos)
        return narrow

    def _chosen(
        self, name: str, key: str, ids: Iterable[str], columns: Sequence[str] | None = None
    ) -> list[Row]:
        wanted = [(key, "in", list(ids))]
        rows: list[Row] = pq.read_table(
            self.path(name), columns=columns, filters=wanted
        ).to_pylist()
        return rows

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

    @cached_property
    def _above_photos(self) -> str:
        """What to put before the path of a photo; joining paths object by object is slow."""
        return f"{self.photos_folder}{os.sep}"

    @cached_property
    def _photos(self) -> dict[str, _PhotoFacts]:
        return _by_photo(self._rows(schema.PHOTOS, _PHOTO_COLUMNS))

    @cached_property
    def _candidates(self) -> dict[str, Row]:
        return _by_candidate(self._rows(schema.CANDIDATES))

    @cached_property
    def _category_pools(self) -> dict[str, list[str]]:
        return {row["category"]: row["photos"] for row in self._rows(schema.CATEGORIES)}


def _by_photo(rows: Iterable[Row]) -> dict[str, _PhotoFacts]:
    return {
        row["photo_id"]: _PhotoFacts(*(row[one] for one in _PhotoFacts._fields)) for row in rows
    }


def _by_candidate(rows: Iterable[Row]) -> dict[str, Row]:
    return {row["candidate_id"]: row for row in rows}


# Any: JSON; `schema.py` says what is in it.
def _about(folder: Path) -> Mapping[str, Any]:
    advice = "Give a folder that visuallens benchmark build has finished."
    try:
        about = json.loads((folder / schema.ABOUT).read_text("utf-8"))
    except FileNotFoundError as error:
        raise BenchmarkFolderError(folder, f"it holds no {schema.ABOUT}", advice) from error
    except (OSError, ValueError) as error:
        raise BenchmarkFolderError(
            folder, f"{schema.ABOUT} cannot be read ({error})", advice
        ) from error
    if (
        not isinstance(about, dict)
        or not {"name", "seed", "settings", "checksum"} <= about.keys()
        or not isinstance(about.get("format"), int)
    ):
        raise BenchmarkFolderError(folder, f"{schema.ABOUT} is not one of a benchmark", advice)
    if about["format"] > schema.FORMAT:
        raise BenchmarkFolderError(
            folder,
            f"its format is {about['format']}, this VisualLens reads up to {schema.FORMAT}",
            "Upgrade VisualLens.",
        )
    missing = [name for name in schema.content_files() if not (folder / name).is_file()]
    if missing:
        raise BenchmarkFolderError(folder, f"it lacks {', '.join(missing)}", advice)
    return about
