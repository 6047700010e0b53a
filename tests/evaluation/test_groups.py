from __future__ import annotations

from pathlib import Path

from tests.evaluation.toy import Ask, write_toy

from visuallens.benchmark.lists import read_lists
from visuallens.evaluation.groups import MIXED, SEEN, UNSEEN, groups_of

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
