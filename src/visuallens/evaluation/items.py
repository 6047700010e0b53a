"""What train users have taken photos of or gone to: all that the controls may learn from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from visuallens.benchmark import schema
from visuallens.benchmark.folder import Benchmark
from visuallens.benchmark.lists import history_batches
from visuallens.errors import EvaluationError
from visuallens.types import VisualHistory

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

_NOTHING: Ints = np.zeros(0, np.int64)


@dataclass(frozen=True, eq=False)
class ItemSets:
    """The set of items of each user of a split.

    Attributes:
        items: id → number, of everything that a set holds.
        users: id → number.
        owners: (pairs,) numbers of users, ascending.
        owned: (pairs,) numbers of items; no pair comes twice.
    """

    items: Mapping[str, int]
    users: Mapping[str, int]
    owners: Ints
    owned: Ints

    @cached_property
    def counts(self) -> Floats:
        """(items,) how many users have each."""
        return np.bincount(self.owned, minlength=len(self.items)).astype(np.float64)

    @cached_property
    def sizes(self) -> Floats:
        """(users,) how many items each has."""
        return np.bincount(self.owners, minlength=len(self.users)).astype(np.float64)

    def of_user(self, user_id: str) -> Ints:
        """List the items of a user; none of one who is not of the split."""
        user = self.users.get(user_id)
        if user is None:
            return _NOTHING
        start, end = np.searchsorted(self.owners, (user, user + 1))
        return self.owned[start:end]

    def owners_of(self, item: int) -> Ints:
        """List the numbers of the users who have an item."""
        start, end = np.searchsorted(self._by_item[0], (item, item + 1))
        return self._by_item[1][start:end]

    @cached_property
    def _by_item(self) -> tuple[Ints, Ints]:
        order = np.argsort(self.owned, kind="stable")
        return self.owned[order], self.owners[order]


def train_sets(benchmark: Benchmark) -> ItemSets:
    """Read what each train user has: what their histories show, and their ground truths.

    Args:
        benchmark: an open one.

    Returns:
        The sets of its train users.

    Raises:
        EvaluationError: the benchmark does not say what the photos of its train split show, or has
            no train split.
        BenchmarkFolderError: the ground truth is not beside its examples.

    Choice: a set, not a sequence: a user who photographs a place twice has it once.
    """
    parts = [_answers(benchmark, "train"), *_histories(benchmark, "train")]
    user_ids, owners = np.unique(np.concatenate([one for one, _ in parts]), return_inverse=True)
    item_ids, owned = np.unique(np.concatenate([one for _, one in parts]), return_inverse=True)
    if not len(owned):
        raise EvaluationError(
            f"the train split of {benchmark.name} has no examples to learn a control from",
            "Build the benchmark with more users, or take a control that learns nothing: random.",
        )
    pairs = np.unique(owners.astype(np.int64) * len(item_ids) + owned)
    return ItemSets(
        items={one: at for at, one in enumerate(item_ids.tolist())},
        users={one: at for at, one in enumerate(user_ids.tolist())},
        owners=pairs // len(item_ids),
        owned=pairs % len(item_ids),
    )


def known_from_train(benchmark: Benchmark) -> frozenset[str]:
    """List what the train split has shown: candidates, ground truth, and what histories show.

    Args:
        benchmark: an open one.

    Returns:
        Ids as of candidates.

    Raises:
        BenchmarkFolderError: the ground truth is not beside its examples.
    """
    known: set[str] = set()
    with benchmark.open_table(schema.examples_file("train")) as file:
        for batch in file.iter_batches(4096, columns=["candidates"]):
            known.update(pc.unique(pc.list_flatten(batch["candidates"])).to_pylist())
    known.update(_answers(benchmark, "train")[1].tolist())
    for _, items in _histories(benchmark, "train"):
        known.update(np.unique(items).tolist())
    return frozenset(known)


def items_of(history: VisualHistory, benchmark: Benchmark) -> list[str]:
    """List what the photos of a history show, each once, in the order of the photos.

    Args:
        history: of a request of this benchmark.
        benchmark: that it is of.

    Returns:
        Ids as of candidates; photos of which the benchmark does not say are left out.
    """
    shown = (benchmark.shown_in(photo.id) for photo in history.photos)
    return list(dict.fromkeys(one for one in shown if one is not None))


# Any, here and below: NumPy arrays of Python texts.
def _answers(benchmark: Benchmark, split: str) -> tuple[Any, Any]:
    with benchmark.open_table(schema.examples_file(split)) as file:
        asked = file.read(columns=["example_id", "user_id"])
    with benchmark.open_table(schema.ground_truth_file(split)) as file:
        answers = file.read(columns=["example_id", "ground_truth"])
    if asked["example_id"] != answers["example_id"]:
        raise benchmark.disorder(split)
    lengths = pc.list_value_length(answers["ground_truth"])
    counts = lengths.to_numpy(zero_copy_only=False).astype(np.int64)
    items = pc.list_flatten(answers["ground_truth"]).to_numpy(zero_copy_only=False)
    return np.repeat(asked["user_id"].to_numpy(zero_copy_only=False), counts), items


def _histories(benchmark: Benchmark, split: str) -> list[tuple[Any, Any]]:
    """Read who has what in a history, each pair once in a batch."""
    photos = pq.read_table(benchmark.path(schema.PHOTOS), columns=["photo_id", "business_id"])
    ids = photos["photo_id"].combine_chunks()
    parts, read = [], 0
    for users, photo_ids in history_batches(benchmark, split):
        read += len(users)
        places = pc.index_in(pa.array(photo_ids, pa.string()), ids)
        shown = photos["business_id"].take(places)
        pairs = pa.table({"user": pa.array(users, pa.string()), "item": shown})
        pairs = pairs.filter(pc.is_valid(pairs["item"])).group_by(["user", "item"]).aggregate([])
        columns = (pairs[name].to_numpy(zero_copy_only=False) for name in ("user", "item"))
        parts.append(tuple(columns))
    if read and not sum(len(users) for users, _ in parts):
        raise EvaluationError(
            f"{benchmark.name} does not say what its photos show (the column business_id of "
            f"{schema.PHOTOS} is empty), so nothing links a history to candidates",
            "Take a control that looks at no history: popularity, rating, nearest or random.",
        )
    return [(users, items) for users, items in parts]
