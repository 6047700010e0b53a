from __future__ import annotations

import math
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visuallens.evaluation.statistics import (
    UserSums,
    effect_sizes,
    holm,
    intervals,
    p_values,
    user_sums,
    wilson,
)


def of_users(*values: float) -> UserSums:
    """One example for each user, one column."""
    return user_sums(np.array(values, np.float64)[:, None], np.arange(len(values)))


def test_sums_by_hand() -> None:
    # User 7 has 1 and 3, user 2 has 5: sums 4 and 5, counts 2 and 1; the mean is 9 / 3.
    sums = user_sums(np.array([[1.0], [5.0], [3.0]]), np.array([7, 2, 7]))
    assert sums.sums.tolist() == [[5.0], [4.0]]
    assert sums.counts.tolist() == [1.0, 2.0]
    assert sums.means.tolist() == [3.0]


def test_without_examples_nothing_is_known() -> None:
    sums = user_sums(np.zeros((0, 2)), np.zeros(0, np.int64))
    assert np.isnan(sums.means).all()
    assert np.isnan(intervals(sums)).all()
    assert np.isnan(intervals(of_users(1.0))).all()


def test_an_interval_by_hand() -> None:
    # Two users, 0 and 1: both drawn twice with 1/4 each, so the mean is 0, 1/2 or 1 with 1/4, 1/2
    # and 1/4. The middle 40% is 1/2 alone, the middle 95% is everything.
    sums = of_users(0.0, 1.0)
    assert intervals(sums, confidence=0.4).tolist() == [[0.5, 0.5]]
    assert intervals(sums, confidence=0.95).tolist() == [[0.0, 1.0]]


def test_a_user_weighs_as_much_as_they_asked() -> None:
    # User 0 asked three times and had 0, user 1 once and had 1: the mean is 1/4, and so is that of
    # a draw of both.
    sums = user_sums(np.array([[0.0], [0.0], [0.0], [1.0]]), np.array([0, 0, 0, 1]))
    assert sums.means.tolist() == [0.25]
    assert intervals(sums, confidence=0.4).tolist() == [[0.25, 0.25]]


@given(st.lists(st.floats(0, 1), min_size=2, max_size=30), st.integers(0, 9))
def test_identical_runs_differ_by_nothing(values: list[float], seed: int) -> None:
    run = np.array(values)
    sums = user_sums((run - run)[:, None], np.arange(len(run)) // 2)
    if len(sums.counts) > 1:
        assert intervals(sums, resamples=100, seed=seed).tolist() == [[0.0, 0.0]]
        assert effect_sizes(sums).tolist() == [0.0]
    assert p_values(sums, resamples=100, seed=seed).tolist() == [1.0]


def test_intervals_are_paired_and_seeded() -> None:
    generator = np.random.default_rng(0)
    run = generator.random(40)
    # The second run is better by 0.1 for everybody: whoever is drawn, the difference is 0.1.
    both = user_sums(np.stack((run, run + 0.1, np.full(40, 0.1)), axis=1), np.arange(40))
    found = intervals(both, seed=3)
    assert found[1] == pytest.approx(found[0] + 0.1)
    assert found[2] == pytest.approx([0.1, 0.1])
    assert (intervals(both, seed=3) == found).all()
    assert (intervals(both, seed=4) != found).any()


def test_intervals_of_users_cover_what_those_of_examples_would_not() -> None:
    # Users differ, their examples do not: 30 users with 20 equal examples each.
    generator = np.random.default_rng(1)
    users = np.repeat(np.arange(30), 20)
    covered = 0
    for seed in range(200):
        values = np.repeat(generator.normal(size=30), 20)
        ((low, high),) = intervals(user_sums(values[:, None], users), resamples=400, seed=seed)
        covered += low <= 0 <= high
    assert 0.87 <= covered / 200 <= 0.99


def test_p_values_by_hand() -> None:
    # Three users who all gain 1: of 8 patterns of signs, 2 reach |3|, so p is 1/4. One user: every
    # pattern reaches it.
    assert p_values(of_users(1, 1, 1), resamples=20_000)[0] == pytest.approx(0.25, abs=0.015)
    assert p_values(of_users(1.0)).tolist() == [1.0]
    # Gains of 1, 1 and -2 add up to 0, which every pattern reaches.
    assert p_values(of_users(1, 1, -2)).tolist() == [1.0]


def test_no_p_value_is_zero() -> None:
    assert p_values(of_users(*[1.0] * 50), resamples=99).tolist() == [1 / 100]


def test_p_values_are_uniform_where_nothing_differs() -> None:
    # 600 tables of 25 users; each user has examples that are alike, of a user who prefers neither.
    generator = np.random.default_rng(2)
    sizes = generator.integers(1, 20, 25)
    per_user = generator.normal(size=(25, 600))
    noise = generator.normal(size=(sizes.sum(), 600)) / 10
    values = np.repeat(per_user, sizes, axis=0) + noise
    found = p_values(user_sums(values, np.repeat(np.arange(25), sizes)), resamples=999)
    for level in (0.05, 0.25, 0.5, 0.75):
        assert (found <= level).mean() == pytest.approx(level, abs=0.06)


def test_effect_sizes_by_hand() -> None:
    # User 0 gains 1 and 1, user 1 gains 3: means 1 and 3, mean of them 2, deviation sqrt(2).
    sums = user_sums(np.array([[1.0], [1.0], [3.0]]), np.array([0, 0, 1]))
    assert effect_sizes(sums)[0] == pytest.approx(2 / math.sqrt(2))
    assert effect_sizes(of_users(0.5, 0.5)).tolist() == [math.inf]
    assert effect_sizes(of_users(-0.5, -0.5)).tolist() == [-math.inf]
    assert math.isnan(effect_sizes(of_users(1.0))[0])


def test_holm_by_hand() -> None:
    # Sorted 0.01, 0.03, 0.04, times 3, 2, 1: 0.03, 0.06, 0.04; none may fall below one before it.
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]).tolist() == [1.0, 1.0]
    assert holm([]).tolist() == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_corrects_upward_and_keeps_the_order(raw: list[float]) -> None:
    adjusted = holm(raw)
    assert (adjusted >= np.array(raw) - 1e-15).all()
    assert (adjusted <= 1).all()
    order = np.argsort(raw, kind="stable")
    assert (np.diff(adjusted[order]) >= 0).all()


def test_wilson_by_hand() -> None:
    # 8 of 10, z = 1.96: middle (0.8 + 0.192) / 1.384 = 0.717, half 1.96 * sqrt(0.016 + 0.0096) /
    # 1.384 = 0.227.
    assert wilson(8, 10) == pytest.approx((0.490, 0.943), abs=0.001)
    assert wilson(0, 10)[0] == pytest.approx(0.0, abs=1e-12)
    assert wilson(10, 10)[1] == pytest.approx(1.0)
    assert wilson(0, 0) == (0.0, 1.0)


def test_many_users_take_seconds() -> None:
    generator = np.random.default_rng(0)
    values, users = generator.random((200_000, 8)), generator.integers(0, 20_000, 200_000)
    start = time.perf_counter()
    sums = user_sums(values, users)
    assert intervals(sums, resamples=300).shape == (8, 2)
    assert p_values(sums, resamples=300).shape == (8,)
    assert time.perf_counter() - start < 30
