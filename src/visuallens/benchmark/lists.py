"""The candidate lists of a split in flat arrays: all questions at once, for metrics and controls.

`Benchmark.examples` makes records one by one, as rankers need them; what counts over hundreds of
thousands of questions reads columns instead.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from visuallens.benchmark import schema
from visuallens.benchmark.folder import Benchmark

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

_COLUMNS = ["example_id", "user_id", "category", "seed", "candidates"]


@dataclass(frozen=True, slots=True, eq=False)
class CandidateLists:
    """The questions of a split; candidate lists lie one after another.

    Attributes:
        split: that they are of.
        example_ids: (examples,) in the order of the file.
        users: (examples,) a number for each user, from 0.
        user_ids: (users,) by that number.
        categories: (examples,) of the questions.
        seeds: (examples,) that break ties.
        starts: (examples,) where each list begins.
        candidate_ids: (items,) of everything that is a candidate.
        candidates: (candidates,) numbers into `candidate_ids`.
        relevant: (candidates,) which are ground truth.
    """

    split: str
    example_ids: tuple[str, ...]
    users: Ints
    user_ids: tuple[str, ...]
    categories: tuple[str, ...]
    seeds: Ints
    starts: Ints
    candidate_ids: tuple[str, ...]
    candidates: Ints
    relevant: Flags

    def __len__(self) -> int:
        return len(self.example_ids)

    @property
    def lengths(self) -> Ints:
        """(examples,) candidates of each."""
        return np.diff(self.starts, append=len(self.candidates))

    @property
    def rows(self) -> Ints:
        """(candidates,) the example that each belongs to."""
        return np.repeat(np.arange(len(self), dtype=np.int64), self.lengths)

    def taken(self, chosen: Flags) -> CandidateLists:
        """Keep some of the examples.

        Args:
            chosen: (examples,) which to keep.

        Returns:
            Their lists; numbers of users and candidates stay as they are.
        """
        inside = np.repeat(chosen, self.lengths)
        lengths = self.lengths[chosen]
        kept = np.flatnonzero(chosen).tolist()
        return CandidateLists(
            split=self.split,
            example_ids=tuple(self.example_ids[at] for at in kept),
            users=self.users[chosen],
            user_ids=self.user_ids,
            categories=tuple(self.categories[at] for at in kept),
            seeds=self.seeds[chosen],
            starts=np.cumsum(lengths) - lengths,
            candidate_ids=self.candidate_ids,
            candidates=self.candidates[inside],
            relevant=self.relevant[inside],
        )


def read_lists(benchmark: Benchmark, split: str) -> CandidateLists:
    """Read the candidate lists of a split.

    Args:
        benchmark: an open one.
        split: "train", "dev" or "test".

    Returns:
        All of its questions; a question without candidates is left out.

    Raises:
        BenchmarkFolderError: a table is broken, or the ground truth is not beside its examples.
    """
    asked = _table(benchmark, schema.examples_file(split), _COLUMNS)
    answers = _table(benchmark, schema.ground_truth_file(split), ["example_id", "ground_truth"])
    if asked["example_id"] != answers["example_id"]:
        raise benchmark.disorder(split)
    filled = pc.greater(pc.list_value_length(asked["candidates"]), 0)
    asked, answers = asked.filter(filled), answers.filter(filled)
    offered = pc.list_flatten(asked["candidates"]).combine_chunks().dictionary_encode()
    candidates = offered.indices.to_numpy().astype(np.int64)
    lengths = _numbers(pc.list_value_length(asked["candidates"]))
    users = asked["user_id"].combine_chunks().dictionary_encode()
    relevant = pc.index_in(pc.list_flatten(answers["ground_truth"]), offered.dictionary)
    rows = np.repeat(
        np.arange(len(lengths)), _numbers(pc.list_value_length(answers["ground_truth"]))
    )
    known = _numbers(pc.fill_null(relevant, -1))
    items = max(len(offered.dictionary), 1)
    right = (rows * items + known)[known >= 0]
    return CandidateLists(
        split=split,
        example_ids=tuple(asked["example_id"].to_pylist()),
        users=users.indices.to_numpy().astype(np.int64),
        user_ids=tuple(users.dictionary.to_pylist()),
        categories=tuple(asked["category"].to_pylist()),
        seeds=_numbers(asked["seed"]),
        starts=np.cumsum(lengths) - lengths,
        candidate_ids=tuple(offered.dictionary.to_pylist()),
        candidates=candidates,
        relevant=np.isin(np.repeat(np.arange(len(lengths)), lengths) * items + candidates, right),
    )


def history_batches(
    benchmark: Benchmark, split: str
) -> Iterator[tuple[NDArray[np.object_], NDArray[np.object_]]]:
    """Yield who has which photos in a history, some thousand examples at a time.

    Args:
        benchmark: an open one.
        split: "train", "dev" or "test".

    Yields:
        (pairs,) user ids and (pairs,) photo ids; a pair comes once in a batch, and again in others.
    """
    with benchmark.open_table(schema.examples_file(split)) as file:
        for batch in file.iter_batches(4096, columns=["user_id", "history"]):
            of_row = pc.list_parent_indices(batch["history"])
            table = pa.table(
                {"user": batch["user_id"].take(of_row), "photo": pc.list_flatten(batch["history"])}
            )
            pairs = table.group_by(["user", "photo"], use_threads=False).aggregate([])
            yield (
                pairs["user"].to_numpy(zero_copy_only=False),
                pairs["photo"].to_numpy(zero_copy_only=False),
            )


def count_photos(benchmark: Benchmark, lists: CandidateLists) -> Ints:
    """Count the photos of each history.

    Args:
        benchmark: an open one.
        lists: of some of its questions.

    Returns:
        (examples,) counts, in the order of the lists.
    """
    counted: dict[str, int] = {}
    with benchmark.open_table(schema.examples_file(lists.split)) as file:
        for batch in file.iter_batches(4096, columns=["example_id", "history"]):
            lengths = pc.fill_null(pc.list_value_length(batch["history"]), 0).to_pylist()
            counted.update(zip(batch["example_id"].to_pylist(), lengths, strict=True))
    return np.array([counted[example_id] for example_id in lists.example_ids], np.int64)


def count_categories(benchmark: Benchmark, split: str) -> dict[str, int]:
    """Count the examples of each category.

    Args:
        benchmark: an open one.
        split: "train", "dev" or "test".

    Returns:
        Category → how many of its examples there are; those without any are left out.
    """
    column = _table(benchmark, schema.examples_file(split), ["category"])["category"]
    counted = pc.value_counts(column)
    names, counts = (counted.field(name).to_pylist() for name in ("values", "counts"))
    return dict(zip(names, counts, strict=True))


# Any, here and below: pyarrow is untyped.
def _table(benchmark: Benchmark, name: str, columns: list[str]) -> Any:  # noqa: ANN401
    with benchmark.open_table(name) as file:
        return file.read(columns=columns)


def _numbers(column: Any) -> Ints:  # noqa: ANN401
    found: Ints = column.to_numpy(zero_copy_only=False).astype(np.int64)
    return found
