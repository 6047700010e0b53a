from __future__ import annotations

import pytest

from visuallens.config import LoopSettings
from visuallens.training.schedule import Order, draw_seed, learning_rate, pieces, share

SETTINGS = LoopSettings(steps=10, warmup_steps=4, learning_rate=0.8, schedule="cosine")


def test_the_rate_rises_over_the_warm_up() -> None:
    # 0.8 * 1/4, 2/4, 3/4, 4/4
    assert [learning_rate(step, SETTINGS) for step in range(4)] == pytest.approx(
        [0.2, 0.4, 0.6, 0.8]
    )


def test_cosine_falls_from_the_top_to_nearly_nothing() -> None:
    # (1 + cos(pi * done)) / 2 with done = 0/6, 2/6, 3/6 and 5/6: 1, 3/4, 1/2, (1 - 0.866) / 2
    rates = [learning_rate(step, SETTINGS) for step in (4, 6, 7, 9)]
    assert rates == pytest.approx([0.8, 0.6, 0.4, 0.8 * 0.0669873], rel=1e-6)


def test_linear_falls_by_equal_steps() -> None:
    settings = SETTINGS.model_copy(update={"schedule": "linear"})
    # 1 - done with done = 0/6, 3/6, 5/6
    rates = [learning_rate(step, settings) for step in (4, 7, 9)]
    assert rates == pytest.approx([0.8, 0.4, 0.8 / 6])


def test_constant_stays_at_the_top() -> None:
    settings = SETTINGS.model_copy(update={"schedule": "constant"})
    assert [learning_rate(step, settings) for step in (3, 4, 9)] == [0.8, 0.8, 0.8]


def test_without_a_warm_up_the_first_step_has_the_top_rate() -> None:
    assert learning_rate(0, SETTINGS.model_copy(update={"warmup_steps": 0})) == 0.8


def test_a_warm_up_longer_than_the_run_is_cut() -> None:
    settings = SETTINGS.model_copy(update={"warmup_steps": 20})
    assert learning_rate(9, settings) == pytest.approx(0.8 * 10 / 20)


def test_each_round_shows_every_example_once_in_another_order() -> None:
    order = Order(6, seed=1)
    shown = [example for step in range(6) for example in order.batch(step, 4)]
    rounds = [shown[start : start + 6] for start in range(0, 24, 6)]
    assert all(sorted(one) == list(range(6)) for one in rounds)
    assert len({tuple(one) for one in rounds}) > 1


def test_a_step_has_the_same_examples_whatever_was_asked_before() -> None:
    walked = [Order(5, seed=2).batch(step, 3) for step in range(9)]
    assert Order(5, seed=2).batch(8, 3) == walked[8]
    assert Order(5, seed=3).batch(8, 3) != walked[8]


def test_processes_share_a_batch_without_gap_or_overlap() -> None:
    batch = [9, 8, 7, 6, 5, 4]
    assert [share(batch, process, 2) for process in range(2)] == [[9, 7, 5], [8, 6, 4]]
    assert list(pieces(batch, 4)) == [[9, 8, 7, 6], [5, 4]]


def test_draws_differ_between_seeds_steps_and_examples() -> None:
    seeds = {draw_seed(0, 0), draw_seed(1, 0), draw_seed(0, 1), draw_seed(0, 0, 5)}
    assert len(seeds) == 4
    assert draw_seed(3, 4, 5) == draw_seed(3, 4, 5)
