from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from visuallens.benchmark.audit.controls import Choices, Tally, lower_bounds
from visuallens.benchmark.audit.ranks import (
    chance_variances,
    first_shares,
    medians,
    reciprocal_ranks,
)
from visuallens.benchmark.chance import mrr_by_chance

NAN = float("nan")


def _reciprocal(scores: list[float], relevant: list[bool]) -> float:
    found = reciprocal_ranks(np.array(scores), np.array([0]), np.array(relevant))
    return float(found[0])


def test_without_ties_it_is_one_over_the_rank_of_the_first_relevant() -> None:
    assert _reciprocal([9, 7, 8, 1], [False, True, False, True]) == pytest.approx(1 / 3)


def test_a_tie_is_broken_by_chance() -> None:
    # One is better; of the three tied, two are relevant: second with 2/3, third with 1/3.
    expected = 2 / 3 * 1 / 2 + 1 / 3 * 1 / 3
    assert _reciprocal([9, 5, 5, 5], [False, True, True, False]) == pytest.approx(expected)


def test_it_equals_the_mean_over_all_orders_of_the_tied() -> None:
    generator = np.random.default_rng(0)
    for _ in range(50):
        scores = generator.integers(0, 3, 6)
        relevant = generator.random(6) < 0.4
        if not relevant.any():
            continue
        orders = [
            sorted(range(6), key=lambda at: (-scores[at], tie[at]))
            for tie in permutations(range(6))
        ]
        ranks = [1 / (1 + next(n for n, at in enumerate(one) if relevant[at])) for one in orders]
        found = _reciprocal([float(one) for one in scores], relevant.tolist())
        assert found == pytest.approx(np.mean(ranks))


def test_unknown_scores_come_last() -> None:
    assert _reciprocal([NAN, 1.0], [True, False]) == pytest.approx(1 / 2)
    assert _reciprocal([NAN, NAN], [True, False]) == pytest.approx(3 / 4)


def test_lists_of_different_lengths_do_not_mix() -> None:
    relevant = np.array([True, False, False, True])
    found = reciprocal_ranks(np.array([1.0, 9, 1, 2]), np.array([0, 1]), relevant)
    assert found.tolist() == pytest.approx([1, 1 / 2])
    chance = reciprocal_ranks(np.zeros(4), np.array([0, 1]), relevant)
    assert chance.tolist() == pytest.approx([1, mrr_by_chance(3, 1)])


def test_a_list_without_ground_truth_scores_nothing() -> None:
    assert _reciprocal([1.0, 2.0], [False, False]) == 0


def test_shares_of_the_first_place_split_between_the_tied() -> None:
    chosen = np.array([True, False, False])
    everyone = np.ones(3, bool)
    starts = np.array([0])
    tied = first_shares(np.array([2.0, 2, 1]), starts, chosen, everyone)
    assert tied.tolist() == [0.5]
    among = first_shares(np.array([2.0, 9, 1]), starts, chosen, np.array([True, False, True]))
    assert among.tolist() == [1.0]


def test_medians_leave_out_the_unknown() -> None:
    values = np.array([1.0, NAN, 3, 10, NAN, 5, 6, 100])
    found = medians(values, np.array([0, 4, 5]))
    assert found.tolist()[:4] == [3, 3, 3, 3]
    assert np.isnan(found[4])
    assert found.tolist()[5:] == [6, 6, 6]


def test_the_interval_of_users_that_agree_is_narrow_and_of_users_that_differ_wide() -> None:
    users = np.repeat(np.arange(10), 6)
    agree = np.full(60, 0.2)
    differ = np.where(users % 2 == 0, 0.9, -0.5)
    means, lows = lower_bounds(np.stack((agree, differ), axis=1), users)
    assert means.tolist() == pytest.approx([0.2, 0.2])
    assert lows[0] == pytest.approx(0.2)
    # Ten users of standard deviation 0.7: error 0.7/sqrt(9), Student's t(9) at 0.9995 is 4.78.
    assert lows[1] == pytest.approx(0.2 - 4.78 * 0.7 / 3, abs=0.1)


def test_controls_of_pure_noise_do_not_beat_chance() -> None:
    generator = np.random.default_rng(3)
    false_alarms = 0
    for seed in range(30):
        starts = np.arange(0, 60 * 20, 20)
        relevant = generator.random((60, 20)).argsort(axis=1).reshape(-1) < 3
        users = np.repeat(np.arange(12), 5)
        splits = np.array(["train"] * 35 + ["test"] * 25)
        choices = Choices(splits, users, starts, relevant, relevant, {})
        tally = Tally(seed)
        tally.add(choices, {str(one): generator.random(1200) for one in range(10)})
        false_alarms += sum(one.beats_chance for one in tally.scores())
    assert false_alarms == 0


def test_the_variance_of_chance_by_hand_and_over_all_orders() -> None:
    # One of two is relevant: rank 1 or 2, each half: (1 + 1/4) / 2 - (3/4)^2 = 1/16.
    assert chance_variances(np.array([0]), np.array([True, False])).tolist() == [1 / 16]
    starts, relevant = np.array([0, 2, 5]), np.array([0, 0, 1, 1, 1, 0, 1, 0, 1, 0], bool)
    found = chance_variances(starts, relevant)
    ranks = [1 / (1 + min(order.index(1), order.index(3))) for order in permutations(range(5))]
    assert found.tolist() == pytest.approx([0, 0, np.var(ranks)])


def _drawn_false_alarms(examples: int, offered: int, relevant: int, draws: int) -> int:
    """Count benchmarks drawn at random in which the first, last or a random place is a leak."""
    alarms = 0
    for seed in range(draws):
        generator = np.random.default_rng((4, seed))
        starts = np.arange(0, examples * offered, offered)
        ranks = generator.random((examples, offered)).argsort(axis=1)
        truth = (ranks < relevant).reshape(-1)
        place = np.tile(np.arange(offered, dtype=np.float64), examples)
        splits = np.full(examples, "train")
        choices = Choices(splits, np.arange(examples), starts, truth, (ranks == 0).reshape(-1), {})
        tally = Tally(seed)
        tally.add(choices, {"first": -place, "last": place, "random": generator.random(len(place))})
        alarms += any(one.beats_chance for one in tally.scores())
    return alarms


@pytest.mark.parametrize(("offered", "relevant"), [(6, 5), (7, 6), (10, 9), (4, 2)])
@pytest.mark.parametrize("examples", [5, 9, 40])
def test_small_and_saturated_benchmarks_raise_no_alarm(
    examples: int, offered: int, relevant: int
) -> None:
    assert _drawn_false_alarms(examples, offered, relevant, draws=60) == 0


def test_a_leak_in_few_examples_that_chance_cannot_give_is_still_found() -> None:
    starts = np.arange(0, 20 * 40, 40)
    truth = np.tile(np.arange(40) < 2, 20)
    choices = Choices(np.full(20, "train"), np.arange(20), starts, truth, truth, {})
    tally = Tally(0)
    tally.add(choices, {"first": -np.tile(np.arange(40.0), 20)})
    assert all(one.beats_chance for one in tally.scores())
