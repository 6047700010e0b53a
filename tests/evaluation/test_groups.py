from __future__ import annotations

from pathlib import Path

import numpy as np
from tests.evaluation.toy import Ask, write_toy

from visuallens.benchmark.lists import read_lists
from visuallens.evaluation.groups import MIXED, SEEN, UNSEEN, By, groups_of

# Training has shown 1 in a history, 2 as a candidate and 3 as a ground truth.
TRAIN = [Ask("a", [1], [2, 3], [3])]
TEST = [
    Ask("t", [9], [1, 2, 3, 8], [1, 2, 3], "park"),
    Ask("t", [9], [1, 7, 8], [7, 8], "museum"),
    Ask("t", [9], [1, 7, 8], [1, 8], "museum"),
]


def test_questions_are_divided_by_what_training_has_shown(tmp_path: Path) -> None:
    toy = write_toy(tmp_path / "toy", {"train": TRAIN, "test": TEST})
    found = {
        name: flags.tolist() for name, flags in groups_of(toy, read_lists(toy, "test"), "seen")
    }
    assert found == {
        SEEN: [True, False, False],
        MIXED: [False, False, True],
        UNSEEN: [False, True, False],
    }


def test_groups_without_questions_are_left_out(tmp_path: Path) -> None:
    toy = write_toy(tmp_path / "toy", {"train": TRAIN, "test": TEST[:1]})
    assert [name for name, _ in groups_of(toy, read_lists(toy, "test"), "seen")] == [SEEN]


def test_questions_are_divided_by_category(tmp_path: Path) -> None:
    toy = write_toy(tmp_path / "toy", {"train": TRAIN, "test": TEST})
    found = [(n, f.tolist()) for n, f in groups_of(toy, read_lists(toy, "test"), "category")]
    assert found == [("museum", [False, True, True]), ("park", [True, False, False])]


def test_questions_are_divided_by_numbers(tmp_path: Path) -> None:
    candidates = (2, 9, 10, 35, 39, 100)
    photos = (3, 9, 10, 19, 20, 160)
    asks = [
        Ask("t", [200] * many, range(1, count + 1), [1])
        for count, many in zip(candidates, photos, strict=True)
    ]
    toy = write_toy(tmp_path / "toy", {"test": asks})
    lists = read_lists(toy, "test")

    def members(by: By) -> dict[str, list[int]]:
        return {name: flags.nonzero()[0].tolist() for name, flags in groups_of(toy, lists, by)}

    assert members("candidates") == {"0-9": [0, 1], "10-19": [2], "30-39": [3, 4], "100-109": [5]}
    assert members("photos") == {"0-9": [0, 1], "10-19": [2, 3], "20-39": [4], "160+": [5]}


def test_photos_are_counted_for_the_questions_that_are_left(tmp_path: Path) -> None:
    asks = [Ask("t", [9] * many, [1, 2], [1]) for many in (5, 30, 90)]
    toy = write_toy(tmp_path / "toy", {"test": asks})
    lists = read_lists(toy, "test").taken(np.array([False, True, True]))
    found = [(name, flags.tolist()) for name, flags in groups_of(toy, lists, "photos")]
    assert found == [("20-39", [True, False]), ("80-159", [False, True])]


def test_questions_are_divided_by_the_train_examples_of_their_category(tmp_path: Path) -> None:
    train = [
        Ask("a", [9], [1, 2], [1], category)
        for category, count in (("park", 1), ("zoo", 10), ("bar", 23))
        for _ in range(count)
    ]
    test = [Ask("t", [9], [1, 2], [1], one) for one in ("zoo", "museum", "park", "bar", "park")]
    toy = write_toy(tmp_path / "toy", {"train": train, "test": test})
    found = groups_of(toy, read_lists(toy, "test"), "train-examples")
    assert [(name, flags.nonzero()[0].tolist()) for name, flags in found] == [
        ("0", [1]), ("1-9", [2, 4]), ("10-19", [0]), ("20-49", [3]),
    ]  # fmt: skip
