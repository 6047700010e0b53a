from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.benchmark.tiny import write_tiny
from tests.evaluation.toy import Ask, write_toy

from visuallens import registry
from visuallens.benchmark.folder import Benchmark
from visuallens.evaluation.controls import (
    ControlSettings,
    Ease,
    ItemKnn,
    Nearest,
    Popularity,
    Rating,
)
from visuallens.rankers.base import Ranker

# What users have: a 1, 2, 3; b 1, 3; c 2, 4.
TRAIN = [Ask("a", [1, 2], [3, 4], [3]), Ask("b", [1], [3, 4], [3]), Ask("c", [2], [3, 4], [4])]
TEST = [Ask("t", [1], [2, 3, 4, 9], [3])]
SETTINGS = ControlSettings()


@pytest.fixture
def toy(tmp_path: Path) -> Benchmark:
    places = {2: [5.0], 3: [1.0], 4: [4.0], 9: [6.0]}
    return write_toy(tmp_path / "toy", {"train": TRAIN, "test": TEST}, positions=places)


def scores(control: Ranker, benchmark: Benchmark, split: str = "test") -> dict[str, float]:
    request = next(benchmark.requests(split))
    ranking = control.rank(request)
    assert [one.rank for one in ranking.candidates] == list(range(1, len(request.candidates) + 1))
    return {one.candidate.id: one.score for one in ranking.candidates}


def test_popularity_counts_train_users(toy: Benchmark) -> None:
    assert scores(Popularity(toy, SETTINGS), toy) == {"2": 2, "3": 2, "4": 1, "9": 0}


def test_item_knn_by_hand(toy: Benchmark) -> None:
    # Of the users {a, b} of 1: both have 3, which has two: 2 / sqrt(2 * 2) = 1. One has 2, which
    # has two: 1 / sqrt(2 * 2) = 1/2. None has 4 or 9.
    assert scores(ItemKnn(toy, SETTINGS), toy) == pytest.approx({"3": 1, "2": 0.5, "4": 0, "9": 0})


def test_item_knn_adds_the_items_of_a_history_up(tmp_path: Path) -> None:
    # History 1, 2 for candidate 3: 1 as above, and with 2, of a and c: 1 / sqrt(2 * 2).
    asks = {"train": TRAIN, "test": [Ask("t", [1, 2], [3, 4], [3])]}
    toy = write_toy(tmp_path / "toy", asks)
    # Candidate 4 has c alone, who has 2: 1 / sqrt(1 * 2).
    expected = {"3": 1.5, "4": 1 / np.sqrt(2)}
    assert scores(ItemKnn(toy, SETTINGS), toy) == pytest.approx(expected)


def test_ease_by_hand(tmp_path: Path) -> None:
    # Users {1, 2} and {1}, lambda 1: G = [[2, 1], [1, 1]] + I = [[3, 1], [1, 2]], its inverse is
    # [[2, -1], [-1, 3]] / 5, so 2 is expected from 1 with (1/5) / (3/5) = 1/3.
    train = [Ask("a", [1], [2, 3], [2]), Ask("b", [1], [1, 3], [1])]
    toy = write_toy(tmp_path / "toy", {"train": train, "test": [Ask("t", [1], [2, 3], [2])]})
    ease = Ease(toy, ControlSettings(ease_ridge=1.0, ease_power=0.0))
    assert scores(ease, toy) == pytest.approx({"2": 1 / 3, "3": 0})


def test_ease_weighs_users_by_how_much_they_have(tmp_path: Path) -> None:
    # Users have 2 and 1 items, mean 1.5; with power -1 they weigh 3/4 and 3/2:
    # G = 3/4 [[1, 1], [1, 1]] + 3/2 [[1, 0], [0, 0]] + I = [[3.25, 0.75], [0.75, 1.75]]; the score
    # is 0.75 / 3.25.
    train = [Ask("a", [1], [2, 3], [2]), Ask("b", [1], [1, 3], [1])]
    toy = write_toy(tmp_path / "toy", {"train": train, "test": [Ask("t", [1], [2, 3], [2])]})
    ease = Ease(toy, ControlSettings(ease_ridge=1.0, ease_power=-1.0))
    assert scores(ease, toy) == pytest.approx({"2": 0.75 / 3.25, "3": 0})


@pytest.mark.parametrize("control", [Popularity, ItemKnn, Ease])
def test_the_own_train_examples_of_a_user_never_speak_for_them(
    control: type[Ease], tmp_path: Path
) -> None:
    settings = ControlSettings(ease_ridge=2.0, ease_power=0.0)
    with_own = write_toy(tmp_path / "with", {"train": TRAIN})
    without = write_toy(tmp_path / "without", {"train": TRAIN[1:], "test": TRAIN[:1]})
    found = scores(control(with_own, settings), with_own, "train")
    assert found == pytest.approx(scores(control(without, settings), without))


def test_nearest_finds_the_middle_of_a_line(toy: Benchmark) -> None:
    # Positions 5, 1, 4 and 6: the median is 4.5.
    found = scores(Nearest(toy, SETTINGS), toy)
    assert found == pytest.approx({"2": -0.5, "4": -0.5, "9": -1.5, "3": -3.5})


def test_nearest_finds_the_middle_of_the_map_and_puts_the_unplaced_last(tmp_path: Path) -> None:
    places = {2: [51.5, -0.1], 3: [51.5, 0.0], 4: [51.5, 0.1]}
    toy = write_toy(tmp_path / "toy", {"train": TRAIN, "test": TEST}, positions=places)
    found = scores(Nearest(toy, SETTINGS), toy)
    assert next(iter(found)) == "3"
    assert list(found)[-1] == "9"
    assert found["9"] == -np.inf
    assert found["2"] == pytest.approx(found["4"])


def test_nearest_without_positions_leaves_the_order_to_the_seed(tmp_path: Path) -> None:
    toy = write_toy(tmp_path / "toy", {"train": TRAIN, "test": TEST})
    assert set(scores(Nearest(toy, SETTINGS), toy).values()) == {0.0}


def test_the_best_rated_comes_first(toy: Benchmark) -> None:
    assert list(scores(Rating(toy, SETTINGS), toy)) == ["9", "4", "3", "2"]


@pytest.mark.parametrize("name", registry.names("controls"))
def test_every_control_ranks_a_benchmark(name: str, tmp_path: Path) -> None:
    benchmark = Benchmark(write_tiny(tmp_path / "tiny", photos=False))
    control: Ranker = registry.load("controls", name)(benchmark, SETTINGS)
    assert control.name == name
    for split in ("train", "test"):
        for request in benchmark.requests(split):
            ranking = control.rank(request)
            ids = sorted(one.candidate.id for one in ranking.candidates)
            assert ids == sorted(one.id for one in request.candidates)
            assert not np.isnan([one.score for one in ranking.candidates]).any()
            assert ranking == control.rank(request)
