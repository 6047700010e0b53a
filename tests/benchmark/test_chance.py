from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from math import log2

import pytest

from visuallens.benchmark.chance import (
    hit_by_chance,
    map_by_chance,
    mrr_by_chance,
    ndcg_by_chance,
)


def ranks_of_the_first(candidates: int, relevant: int) -> Iterator[int]:
    """The best rank of every way in which the relevant ones can lie."""
    for places in combinations(range(1, candidates + 1), relevant):
        yield places[0]


def test_hit_by_hand() -> None:
    # 5 candidates, 2 relevant, 2 looked at: 1 - C(3,2)/C(5,2) = 1 - 3/10.
    assert hit_by_chance(5, 2, 2) == pytest.approx(0.7)
    # The first alone: 2 of 5.
    assert hit_by_chance(5, 2, 1) == pytest.approx(0.4)
    # Only 3 are not relevant, so 4 cannot miss.
    assert hit_by_chance(5, 2, 4) == 1


def test_mrr_by_hand() -> None:
    # 4 candidates, 2 relevant: first at rank 1 with 2/4, at rank 2 with 2/4 * 2/3 = 1/3, at rank 3
    # with 2/4 * 1/3 = 1/6: 1/2 + 1/3 / 2 + 1/6 / 3 = 1/2 + 1/6 + 1/18 = 13/18.
    assert mrr_by_chance(4, 2) == pytest.approx(13 / 18)
    # 3 candidates, 1 relevant: (1 + 1/2 + 1/3) / 3 = 11/18.
    assert mrr_by_chance(3, 1) == pytest.approx(11 / 18)


@pytest.mark.parametrize("candidates", range(1, 9))
def test_both_agree_with_every_order_counted(candidates: int) -> None:
    for relevant in range(1, candidates + 1):
        ranks = list(ranks_of_the_first(candidates, relevant))
        expected = sum(1 / rank for rank in ranks) / len(ranks)
        assert mrr_by_chance(candidates, relevant) == pytest.approx(expected, abs=1e-12)
        for k in range(candidates + 3):
            hits = sum(rank <= k for rank in ranks) / len(ranks)
            assert hit_by_chance(candidates, relevant, k) == pytest.approx(hits, abs=1e-12)


def test_ndcg_by_hand() -> None:
    # 3 candidates, 1 relevant: its discount is 1, 1 / log2(3) or 1 / 2, each with 1/3; best is 1.
    assert ndcg_by_chance(3, 1) == pytest.approx((1 + 1 / log2(3) + 1 / 2) / 3)
    # Looking 1 deep: 1 with 1/3.
    assert ndcg_by_chance(3, 1, 1) == pytest.approx(1 / 3)


def test_map_by_hand() -> None:
    # 3 candidates, 2 relevant, at ranks 1 2, 1 3 or 2 3: precisions (1 + 1) / 2, (1 + 2/3) / 2 and
    # (1/2 + 2/3) / 2, so the mean is (1 + 5/6 + 7/12) / 3 = 29/36.
    assert map_by_chance(3, 2) == pytest.approx(29 / 36)


@pytest.mark.parametrize("candidates", range(1, 8))
def test_ndcg_and_map_agree_with_every_order_counted(candidates: int) -> None:
    for relevant in range(1, candidates + 1):
        orders = list(combinations(range(1, candidates + 1), relevant))
        precisions = [sum((n + 1) / rank for n, rank in enumerate(o)) / relevant for o in orders]
        assert map_by_chance(candidates, relevant) == pytest.approx(sum(precisions) / len(orders))
        for k in (1, 3, candidates):
            best = sum(1 / log2(rank + 1) for rank in range(1, min(relevant, k) + 1))
            gains = [sum(1 / log2(rank + 1) for rank in o if rank <= k) / best for o in orders]
            expected = sum(gains) / len(orders)
            assert ndcg_by_chance(candidates, relevant, k) == pytest.approx(expected)


def test_the_edges() -> None:
    assert ndcg_by_chance(10, 0) == map_by_chance(10, 0) == 0
    assert ndcg_by_chance(10, 10) == pytest.approx(1)
    assert map_by_chance(10, 10) == pytest.approx(1)
    assert hit_by_chance(10, 0, 3) == 0
    assert mrr_by_chance(10, 0) == 0
    assert hit_by_chance(10, 10, 1) == 1
    assert mrr_by_chance(10, 10) == 1
    assert hit_by_chance(10, 3, 0) == 0
    assert hit_by_chance(3, 1, 10) == 1


def test_the_sizes_of_the_paper_are_near_its_random_row() -> None:
    # Table 1: 43.1 candidates and 2.7 ground truths on average, 66.7 and 8.2; Table 2, Random:
    # MRR 21.2 % and 30.0 %, Hit@1 7.6 % and 13.0 %. Averages hide a spread, so only near.
    assert mrr_by_chance(43, 3) == pytest.approx(0.212, abs=0.03)
    assert mrr_by_chance(67, 8) == pytest.approx(0.300, abs=0.03)
    assert hit_by_chance(43, 3, 1) == pytest.approx(0.076, abs=0.02)
    assert hit_by_chance(67, 8, 1) == pytest.approx(0.130, abs=0.02)
