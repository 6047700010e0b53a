"""What chance gives: exact Hit@k and MRR of a random order, in closed form."""

from __future__ import annotations

from functools import lru_cache
from math import comb


def hit_by_chance(candidates: int, relevant: int, k: int) -> float:
    """Return the probability that a random order has a relevant candidate in its first k.

    Args:
        candidates: n, at least 1.
        relevant: g of them, 0 to n.
        k: how deep one looks, at least 0; more than n counts as n.

    Returns:
        1 - C(n - g, k) / C(n, k), between 0 and 1.

    Source: §6.2, Hit@k; the hypergeometric distribution.
    """
    depth = min(k, candidates)
    return 1 - comb(candidates - relevant, depth) / comb(candidates, depth)


@lru_cache(maxsize=65_536)
def mrr_by_chance(candidates: int, relevant: int) -> float:
    """Return the expected reciprocal rank of the first relevant candidate of a random order.

    Args:
        candidates: n, at least 1.
        relevant: g of them, 0 to n.

    Returns:
        The sum over ranks r of 1/r times the probability that the first relevant one is at r.
        None relevant: 0.

    Source: §6.2, MRR; the negative hypergeometric distribution.
    """
    expected, none_yet = 0.0, 1.0
    for rank in range(1, min(candidates, candidates - relevant + 1) + 1):
        left = candidates - rank + 1
        expected += none_yet * (relevant / left) / rank
        none_yet *= (left - relevant) / left
    return expected
