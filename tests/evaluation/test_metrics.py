from __future__ import annotations

from math import log2
from pathlib import Path

import numpy as np
import pytest
from tests.benchmark.tiny import write_tiny
from tests.evaluation.toy import Ask, write_toy

from visuallens.benchmark.folder import Benchmark
from visuallens.benchmark.lists import CandidateLists, read_lists
from visuallens.errors import EvaluationError
from visuallens.evaluation.metrics import (
    average_precision,
    hit,
    ndcg,
    ordered,
    reciprocal_rank,
)
from visuallens.rankers.base import to_ranking
from visuallens.types import Candidate, Question, RankingRequest, VisualHistory


@pytest.fixture(scope="module")
def lists(tmp_path_factory: pytest.TempPathFactory) -> CandidateLists:
    # Two lists: of 4 candidates, 2 relevant, and of 2 candidates, 1 relevant.
    asks = [Ask("a", [9], [1, 2, 3, 4], [2, 3]), Ask("b", [9], [1, 2], [1])]
    opened = write_toy(tmp_path_factory.mktemp("metrics") / "toy", {"test": asks})
    return read_lists(opened, "test")


def test_metrics_by_hand(lists: CandidateLists) -> None:
    # First list in the order 1, 2, 4, 3: relevant at ranks 2 and 4. Second: 1, 2: at rank 1.
    answers = ordered(lists, np.array([4.0, 3.0, 1.0, 2.0, 1.0, 0.0]))
    assert answers.ranks.tolist() == [1, 2, 3, 4, 1, 2]
    assert answers.first_ranks.tolist() == [2, 1]
    assert hit(answers, 1).tolist() == [0, 1]
    assert hit(answers, 3).tolist() == [1, 1]
    assert reciprocal_rank(answers).tolist() == [0.5, 1]
    assert reciprocal_rank(answers, 1).tolist() == [0, 1]
    # Gain 1 / log2(3) + 1 / log2(5), at best 1 + 1 / log2(3).
    gain = 1 / log2(3) + 1 / log2(5)
    assert ndcg(answers) == pytest.approx([gain / (1 + 1 / log2(3)), 1])
    # Two deep: 1 / log2(3) of 1 + 1 / log2(3).
    assert ndcg(answers, 2)[0] == pytest.approx((1 / log2(3)) / (1 + 1 / log2(3)))
    # Precision 1/2 at rank 2 and 2/4 at rank 4: (1/2 + 1/2) / 2.
    assert average_precision(answers).tolist() == [0.5, 1]
    # What comes after rank 3 counts 0: (1/2) / 2.
    assert average_precision(answers, 3).tolist() == [0.25, 1]


def test_hits_need_a_depth(lists: CandidateLists) -> None:
    with pytest.raises(EvaluationError, match="hit@3"):
        hit(ordered(lists, np.zeros(6)))


def test_without_questions_there_are_no_values(lists: CandidateLists) -> None:
    none = ordered(lists.taken(np.zeros(2, np.bool_)), np.zeros(0))
    for metric in (reciprocal_rank, ndcg, average_precision):
        assert metric(none).tolist() == []


def test_a_list_without_relevant_candidates_scores_nothing(lists: CandidateLists) -> None:
    lists.relevant[:4], kept = False, lists.relevant[:4].copy()
    answers = ordered(lists, np.arange(6.0))
    for metric in (reciprocal_rank, ndcg, average_precision):
        assert metric(answers)[0] == 0
    assert hit(answers, 10).tolist() == [0, 1]
    lists.relevant[:4] = kept


def test_equal_scores_get_the_ranks_of_a_ranking(tmp_path: Path) -> None:
    folder = write_tiny(tmp_path / "tiny", photos=False)
    lists = read_lists(Benchmark(folder), "train")
    scores = np.random.default_rng(0).integers(0, 3, len(lists.candidates)).astype(np.float64)
    answers = ordered(lists, scores)
    for row, (start, count) in enumerate(zip(lists.starts, lists.lengths, strict=True)):
        own = slice(start, start + count)
        candidates = tuple(Candidate(lists.candidate_ids[at], "") for at in lists.candidates[own])
        history, seed = VisualHistory("u", ()), int(lists.seeds[row])
        request = RankingRequest("r", Question("q", "c"), history, candidates, seed=seed)
        ranking = to_ranking(request, "any", scores[own].tolist())
        ids = [lists.candidate_ids[at] for at in lists.candidates[answers.order[own]]]
        assert ids == [one.candidate.id for one in ranking.candidates]


@pytest.fixture(scope="module")
def random_answers(tmp_path_factory: pytest.TempPathFactory) -> tuple[CandidateLists, np.ndarray]:
    folder = write_tiny(tmp_path_factory.mktemp("random") / "tiny", photos=False)
    lists = read_lists(Benchmark(folder), "train")
    return lists, np.random.default_rng(0).permutation(len(lists.candidates)).astype(np.float64)


def test_metrics_agree_with_trec_eval(
    random_answers: tuple[CandidateLists, np.ndarray],
) -> None:
    ir_measures = pytest.importorskip("ir_measures")
    lists, scores = random_answers
    answers = ordered(lists, scores)
    qrels, run = {}, {}
    for row, (start, count) in enumerate(zip(lists.starts, lists.lengths, strict=True)):
        own = range(start, start + count)
        qrels[str(row)] = {str(at): int(lists.relevant[at]) for at in own}
        run[str(row)] = {str(at): float(scores[at]) for at in own}
    ours = {
        "Success@1": hit(answers, 1),
        "Success@3": hit(answers, 3),
        "Success@10": hit(answers, 10),
        "RR": reciprocal_rank(answers),
        "nDCG": ndcg(answers),
        "nDCG@10": ndcg(answers, 10),
        "AP": average_precision(answers),
        "AP@5": average_precision(answers, 5),
    }
    parsed = {ir_measures.parse_measure(name): name for name in ours}
    compared = 0
    for found in ir_measures.iter_calc(list(parsed), qrels, run):
        mine = ours[parsed[found.measure]][int(found.query_id)]
        assert found.value == pytest.approx(mine, abs=1e-9), found
        compared += 1
    assert compared == len(ours) * len(lists)
