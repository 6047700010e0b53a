from __future__ import annotations

import pytest

from visuallens.benchmark.metrics import first_relevant_rank, rank_metrics
from visuallens.errors import EvaluationError
from visuallens.types import Candidate, RankedCandidate, Ranking

RANKING = Ranking(
    "r", "any", tuple(RankedCandidate(rank, Candidate(f"c{rank}", ""), 0.0) for rank in range(1, 6))
)


def test_the_first_relevant_candidate_counts() -> None:
    assert first_relevant_rank(RANKING, {"c4", "c2"}) == 2


def test_a_ranking_without_ground_truth_is_refused() -> None:
    with pytest.raises(EvaluationError, match="r: none of its candidates"):
        first_relevant_rank(RANKING, {"c9"})


def test_metrics_by_hand() -> None:
    # Ranks 1, 2, 4 and 20: MRR (1 + 1/2 + 1/4 + 1/20) / 4 = 1.8 / 4 = 0.45; hits within one: 1 of
    # 4, within three: 2 of 4, within ten: 3 of 4.
    metrics = rank_metrics([1, 2, 4, 20])
    assert metrics == pytest.approx({"mrr": 0.45, "hit@1": 0.25, "hit@3": 0.5, "hit@10": 0.75})
