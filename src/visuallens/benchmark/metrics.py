"""How well rankings answer, measured by their first relevant candidate (§6.2)."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from visuallens.errors import EvaluationError
from visuallens.types import Ranking

HITS = (1, 3, 10)


def first_relevant_rank(ranking: Ranking, ground_truth: Collection[str]) -> int:
    """Find the rank of the first relevant candidate.

    Args:
        ranking: of all candidates, best first.
        ground_truth: ids of the relevant ones.

    Returns:
        From 1.

    Raises:
        EvaluationError: none of the candidates is relevant.
    """
    for ranked in ranking.candidates:
        if ranked.candidate.id in ground_truth:
            return ranked.rank
    raise EvaluationError(
        f"{ranking.request_id}: none of its candidates is ground truth",
        "Build the benchmark again, or audit it: visuallens benchmark audit",
    )


def rank_metrics(ranks: Sequence[int]) -> dict[str, float]:
    """Compute mean reciprocal rank and hit rates.

    Args:
        ranks: of the first relevant candidate of each example, from 1; at least one.

    Returns:
        "mrr", "hit@1", "hit@3" and "hit@10", between 0 and 1.

    Source: §6.2.
    """
    count = len(ranks)
    hits = {f"hit@{most}": sum(rank <= most for rank in ranks) / count for most in HITS}
    return {"mrr": sum(1 / rank for rank in ranks) / count, **hits}
