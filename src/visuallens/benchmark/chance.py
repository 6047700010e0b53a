"""What chance gives: exact Hit@k, MRR, NDCG and MAP of a random order, in closed form."""

from __future__ import annotations

from functools import lru_cache
from math import comb, log2


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


@lru_cache(maxsize=65_536)
def ndcg_by_chance(candidates: int, relevant: int, k: int | None = None) -> float:
    """Return the expected NDCG of a random order, every relevant candidate worth the same.

    Args:
        candidates: n, at least 1.
        relevant: g of them, 0 to n.
        k: how deep one looks; None: to the end.

    Returns:
        g / n times the sum of the discounts that are seen, over the best sum. None relevant: 0.
    """
    depth = candidates if k is None else min(k, candidates)
    best = sum(1 / log2(rank + 1) for rank in range(1, min(relevant, depth) + 1))
    if best == 0:
        return 0.0
    seen = sum(1 / log2(rank + 1) for rank in range(1, depth + 1))
    return relevant / candidates * seen / best


@lru_cache(maxsize=65_536)
def map_by_chance(candidates: int, relevant: int) -> float:
    """Return the expected average precision of a random order.

    Args:
        candidates: n, at least 1.
        relevant: g of them, 0 to n.

    Returns:
        The mean over ranks r of (1 + (r - 1) (g - 1) / (n - 1)) / r: at each rank a relevant one is
        as likely, and the ranks before it hold the others evenly. None relevant: 0.
    """
    if relevant == 0:
        return 0.0
    denser = (relevant - 1) / max(candidates - 1, 1)
    ranks = range(1, candidates + 1)
    return sum((1 + (rank - 1) * denser) / rank for rank in ranks) / candidates
