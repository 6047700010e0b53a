from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.benchmark.tiny import write_tiny
from tests.evaluation.toy import Ask, write_toy

from visuallens.benchmark.folder import Benchmark
from visuallens.benchmark.lists import CandidateLists, history_batches, read_lists


@pytest.fixture(scope="module")
def benchmark_(tmp_path_factory: pytest.TempPathFactory) -> Benchmark:
    return Benchmark(write_tiny(tmp_path_factory.mktemp("lists") / "tiny", photos=False))


def ids(lists: CandidateLists, at: int) -> list[str]:
    own = lists.candidates[lists.starts[at] : lists.starts[at] + lists.lengths[at]]
    return [lists.candidate_ids[one] for one in own]


def test_lists_hold_what_examples_hold(benchmark_: Benchmark) -> None:
    lists = read_lists(benchmark_, "train")
    examples = list(benchmark_.examples("train"))
    assert len(lists) == len(examples) > 0
    for at, example in enumerate(examples):
        request = example.request
        assert lists.example_ids[at] == request.id
        assert lists.user_ids[lists.users[at]] == request.history.user_id
        assert (lists.categories[at], lists.seeds[at]) == (request.question.category, request.seed)
        assert ids(lists, at) == [candidate.id for candidate in request.candidates]
        own = slice(lists.starts[at], lists.starts[at] + lists.lengths[at])
        relevant = np.array(ids(lists, at))[lists.relevant[own]]
        assert set(relevant.tolist()) == example.ground_truth
    assert (np.bincount(lists.rows) == lists.lengths).all()


def test_some_of_the_lists_can_be_taken(benchmark_: Benchmark) -> None:
    lists = read_lists(benchmark_, "train")
    chosen = np.arange(len(lists)) % 3 == 1
    taken = lists.taken(chosen)
    kept = np.flatnonzero(chosen).tolist()
    assert taken.example_ids == tuple(lists.example_ids[at] for at in kept)
    for new, old in enumerate(kept):
        assert ids(taken, new) == ids(lists, old)
    assert taken.relevant.sum() == sum(
        lists.relevant[lists.starts[at] : lists.starts[at] + lists.lengths[at]].sum() for at in kept
    )


def test_a_split_without_examples_has_no_lists(tmp_path: Path) -> None:
    lists = read_lists(write_toy(tmp_path / "toy", {"test": [Ask("a", [1], [2, 3], [3])]}), "dev")
    assert (len(lists), len(lists.candidates), lists.candidate_ids) == (0, 0, ())


def test_histories_are_read_in_pairs(tmp_path: Path) -> None:
    asks = [
        Ask("a", [1, 2], [5, 6], [5]),
        Ask("a", [1, 2, 3], [5, 6], [5]),
        Ask("b", [3], [5], [5]),
    ]
    opened = write_toy(tmp_path / "toy", {"test": asks})
    ((users, photos),) = history_batches(opened, "test")
    found = sorted(zip(users.tolist(), photos.tolist(), strict=True))
    assert found == [("a", "p1"), ("a", "p2"), ("a", "p3"), ("b", "p3")]
