from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from tests.evaluation.toy import Ask, write_toy

from visuallens.benchmark import schema
from visuallens.errors import BenchmarkFolderError, EvaluationError
from visuallens.evaluation.items import items_of, known_from_train, train_sets

TRAIN = [
    Ask("a", [1, 2], [3, 5], [3]),
    Ask("a", [1, 2, 3], [4, 5], [4]),
    Ask("b", [1], [3, 6], [3]),
]


def test_each_user_has_what_they_show_and_what_they_went_to(tmp_path: Path) -> None:
    # a shows 1, 2, 3 and goes to 3, 4; b shows 1 and goes to 3. The test user counts for nothing.
    opened = write_toy(tmp_path / "toy", {"train": TRAIN, "test": [Ask("c", [7], [3, 8], [8])]})
    sets = train_sets(opened)
    assert set(sets.items) == {"1", "2", "3", "4"}
    assert {one: sets.counts[at] for one, at in sets.items.items()} == {
        "1": 2, "2": 1, "3": 2, "4": 1,
    }  # fmt: skip
    named = {at: one for one, at in sets.items.items()}
    assert {named[at] for at in sets.of_user("a").tolist()} == {"1", "2", "3", "4"}
    assert {named[at] for at in sets.of_user("b").tolist()} == {"1", "3"}
    assert sets.of_user("c").tolist() == []
    assert sets.sizes.tolist() == [4, 2]
    assert set(sets.owners_of(sets.items["3"]).tolist()) == set(sets.users.values())


def test_known_is_whatever_the_train_split_has_shown(tmp_path: Path) -> None:
    opened = write_toy(tmp_path / "toy", {"train": TRAIN, "test": [Ask("c", [7], [3, 8], [8])]})
    assert known_from_train(opened) == {"1", "2", "3", "4", "5", "6"}


def test_histories_are_read_as_items(tmp_path: Path) -> None:
    opened = write_toy(tmp_path / "toy", {"test": [Ask("c", [7, 2, 7], [3, 8], [8])]})
    (request,) = opened.requests("test")
    assert items_of(request.history, opened) == ["7", "2"]


def test_a_benchmark_that_links_no_photo_is_refused(tmp_path: Path) -> None:
    opened = write_toy(tmp_path / "toy", {"train": TRAIN}, linked=False)
    with pytest.raises(EvaluationError, match="does not say what its photos show"):
        train_sets(opened)


def test_ground_truth_in_another_order_is_refused(tmp_path: Path) -> None:
    opened = write_toy(tmp_path / "toy", {"train": TRAIN})
    path = opened.path(schema.ground_truth_file("train"))
    pq.write_table(pq.read_table(path).take([2, 1, 0]), path)
    for read in (train_sets, known_from_train):
        with pytest.raises(BenchmarkFolderError, match="of train are in different order"):
            read(opened)


def test_an_empty_train_split_is_refused(tmp_path: Path) -> None:
    opened = write_toy(tmp_path / "toy", {"test": [Ask("c", [7], [3, 8], [8])]})
    with pytest.raises(EvaluationError, match="has no examples to learn a control from"):
        train_sets(opened)
    assert known_from_train(opened) == frozenset()
