"""The same questions with their candidates shown in other orders, to see whether the order decides.

Source: §7.4 (Q4), robustness; the paper does not try this. That language models prefer places in a
list is known: Zheng et al. 2024, "Large language models are not robust multiple choice selectors".
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from visuallens.benchmark.lists import Ints
from visuallens.types import RankingRequest


def shown_order(seed: int, count: int, order: int) -> Ints:
    """Draw in which order the candidates of a question are shown.

    Args:
        seed: of the question.
        count: of candidates.
        order: 0: that of the benchmark; others are drawn.

    Returns:
        (count,) places in the benchmark's list, in the order in which they are shown.
    """
    if order == 0:
        return np.arange(count)
    return np.random.default_rng((seed, 10, order)).permutation(count)


def reordered(request: RankingRequest, order: int) -> RankingRequest:
    """Show the candidates of a request in another order.

    Args:
        request: in the order of the benchmark.
        order: see `shown_order`; 0: the request as it is.

    Returns:
        The same request; it knows the places that its candidates had.

    Choice: all else stays, the seed too, so that whatever differs in the answers comes from the
        order. Equal scores are broken by the places in the benchmark's list (`to_ranking`): what a
        ranker scores alike has one order, however it is shown, which is the one that `ordered`
        (metrics.py) gives it.
    """
    if order == 0:
        return request
    places = shown_order(request.seed, len(request.candidates), order).tolist()
    shown = tuple(request.candidates[at] for at in places)
    return replace(request, candidates=shown, places=tuple(places))
