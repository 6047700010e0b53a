from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.evaluation.toy import Ask, write_toy

from visuallens.benchmark.lists import CandidateLists, read_lists
from visuallens.evaluation import correlations
from visuallens.evaluation.correlations import (
    kendall_of_lists,
    spearman,
    spearman_of_lists,
    spearman_p_value,
)

stats = pytest.importorskip("scipy.stats")


def of(*values: float) -> np.ndarray:
    return np.array(values, np.float64)


def test_spearman_by_hand() -> None:
    # Ranks 1 2 3 4 and 2 1 4 3: d² is 1 four times; 1 - 6 · 4 / (4 · 15) = 0.6.
    assert spearman(of(1, 5, 6, 9), of(2, 1, 8, 7)) == pytest.approx(0.6)
    # Ranks 1 2.5 2.5 and 1 2 3, about their means: (1 + 0 + 0.5) / sqrt(1.5 · 2).
    assert spearman(of(1, 7, 7), of(1, 2, 3)) == pytest.approx(1.5 / math.sqrt(3))
    assert math.isnan(spearman(of(1, 1), of(1, 2)))
    assert math.isnan(spearman(of(1), of(1)))
    assert math.isnan(spearman(of(), of()))


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=12))
def test_spearman_is_that_of_others(pairs: list[tuple[int, int]]) -> None:
    first, second = np.array(pairs, np.float64).T
    found = spearman(first, second)
    if len(set(first)) == 1 or len(set(second)) == 1:
        assert math.isnan(found)
    else:
        assert found == pytest.approx(stats.spearmanr(first, second).statistic)


def test_p_values_by_hand() -> None:
    # Of the 6 orders of three, 2 reach |1|.
    assert spearman_p_value(of(1, 2, 3), of(4, 5, 9), resamples=20_000) == pytest.approx(
        1 / 3, abs=0.015
    )
    # A correlation of 0 is reached by all.
    assert spearman_p_value(of(1, 2, 3, 4), of(2, 4, 1, 3)) == 1
    assert spearman_p_value(of(*range(20)), of(*range(20)), resamples=99) == 1 / 100
    assert math.isnan(spearman_p_value(of(1, 1, 1), of(1, 2, 3)))


@pytest.fixture(scope="module")
def lists(tmp_path_factory: pytest.TempPathFactory) -> CandidateLists:
    sizes = (3, 2, 4, 30, 3, 11)
    asks = [Ask("a", [99], range(1, size + 1), [1]) for size in sizes]
    toy = write_toy(tmp_path_factory.mktemp("correlations") / "toy", {"test": asks})
    return read_lists(toy, "test")


def test_orders_of_lists_by_hand(tmp_path: Path) -> None:
    asks = [Ask("a", [99], range(1, size + 1), [1]) for size in (3, 2)]
    two = read_lists(write_toy(tmp_path / "two", {"test": asks}), "test")
    first, second = np.array([1, 2, 3, 1, 2]), np.array([2, 1, 3, 2, 1])
    # One of three pairs is turned: (2 - 1) / 3; the only pair is turned: -1.
    assert kendall_of_lists(two, first, second).tolist() == pytest.approx([1 / 3, -1])
    # d² adds up to 2 of three: 1 - 6 · 2 / (3 · 8); to 2 of two: 1 - 6 · 2 / (2 · 3).
    assert spearman_of_lists(two, first, second).tolist() == pytest.approx([0.5, -1])


@pytest.mark.parametrize("at_once", [1, 2000, 4_000_000])
def test_orders_of_lists_are_those_of_others(
    lists: CandidateLists, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(correlations, "_AT_ONCE", at_once)
    generator = np.random.default_rng(0)
    first, second = (
        np.concatenate([generator.permutation(size) + 1 for size in lists.lengths])
        for _ in range(2)
    )
    tau, rho = (f(lists, first, second) for f in (kendall_of_lists, spearman_of_lists))
    for at, (start, size) in enumerate(zip(lists.starts, lists.lengths, strict=True)):
        own = slice(start, start + size)
        assert tau[at] == pytest.approx(stats.kendalltau(first[own], second[own]).statistic)
        if size > 2:
            assert rho[at] == pytest.approx(stats.spearmanr(first[own], second[own]).statistic)
    assert kendall_of_lists(lists, first, first).tolist() == [1] * 6
