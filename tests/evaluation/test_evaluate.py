from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from tests.benchmark.tiny import write_tiny
from tests.evaluation.slow_ranker import SlowRanker, run
from tests.evaluation.toy import Ask, write_toy

from visuallens.benchmark.chance import mrr_by_chance
from visuallens.benchmark.folder import Benchmark
from visuallens.benchmark.metrics import first_relevant_rank, rank_metrics
from visuallens.benchmark.run_file import run_lines
from visuallens.errors import EvaluationError, RunFileError, UnknownNameError
from visuallens.evaluation.evaluate import RANDOM, Drawing, evaluate
from visuallens.evaluation.groups import SEEN, UNSEEN
from visuallens.evaluation.statistics import wilson

TRAIN = [Ask("z", [1], [2, 3], [3])]
# Two users; a asks twice.
TEST = [
    Ask("a", [9], [1, 2, 3, 4], [2]),
    Ask("a", [9], [1, 2, 3, 4], [3]),
    Ask("b", [9], [5, 6], [6]),
]


@pytest.fixture
def toy(tmp_path: Path) -> Benchmark:
    return write_toy(tmp_path / "toy", {"train": TRAIN, "test": TEST})


def write(path: Path, orders: Mapping[str, list[int]]) -> Path:
    """Write a run with these orders."""
    lines = [
        line
        for example_id, order in orders.items()
        for line in run_lines(
            example_id, [(f"{one}", float(-at)) for at, one in enumerate(order)], "t"
        )
    ]
    path.write_text("".join(lines))
    return path


GOOD = {"test-0": [2, 1, 3, 4], "test-1": [1, 3, 2, 4], "test-2": [6, 5]}
BAD = {"test-0": [1, 2, 3, 4], "test-1": [1, 2, 4, 3], "test-2": [5, 6]}


def test_scores_and_differences_by_hand(toy: Benchmark, tmp_path: Path) -> None:
    good, bad = write(tmp_path / "good.run", GOOD), write(tmp_path / "bad.run", BAD)
    found = evaluate(toy, [good], baseline=bad, metrics=["hit@1", "mrr"], by="seen")
    # Ranks 1, 2, 1: MRR (1 + 1/2 + 1) / 3; ranks 2, 4, 2: (1/2 + 1/4 + 1/2) / 3.
    first, second = found.runs
    assert (first.run, second.run) == ("good", "bad")
    assert first.metrics == pytest.approx({"hit@1": 2 / 3, "mrr": 2.5 / 3})
    assert second.metrics == pytest.approx({"hit@1": 0, "mrr": 1.25 / 3})
    # One of four is relevant: (1 + 1/2 + 1/3 + 1/4) / 4 = 25/48, twice; one of two: 3/4.
    assert found.random.run == RANDOM
    assert found.random.metrics["mrr"] == pytest.approx((2 * 25 / 48 + 3 / 4) / 3)
    assert found.random.metrics["hit@1"] == pytest.approx((1 / 4 + 1 / 4 + 1 / 2) / 3)
    assert (found.examples, found.asked, found.users) == (3, 3, 2)
    by_metric = {one.metric: one for one in found.differences}
    # Differences of MRR: a gains 1/2 and 1/4, b gains 1/2: (1.25) / 3; per user 3/8 and 1/2, so
    # the effect is (7/16) / (1/8 / sqrt(2)).
    mrr = by_metric["mrr"]
    assert (mrr.run, mrr.baseline) == ("good", "bad")
    assert mrr.difference == pytest.approx(1.25 / 3)
    assert mrr.effect_size == pytest.approx((7 / 16) / (1 / 8 / 2**0.5))
    # a alone gives 3/8, b alone 1/2.
    assert mrr.interval == pytest.approx((3 / 8, 1 / 2))
    # Two of four patterns of signs are as large.
    assert mrr.p_value == pytest.approx(0.5, abs=0.05)
    assert mrr.p_holm == pytest.approx(min(1, 2 * mrr.p_value))
    # Training has shown 2 and 3, not 6.
    groups = [(one.group, one.run, one.examples) for one in found.groups]
    assert groups == [
        (SEEN, RANDOM, 2), (SEEN, "good", 2), (SEEN, "bad", 2),
        (UNSEEN, RANDOM, 1), (UNSEEN, "good", 1), (UNSEEN, "bad", 1),
    ]  # fmt: skip
    assert found.groups[1].metrics == pytest.approx({"hit@1": 1 / 2, "mrr": 3 / 4})


def test_without_a_baseline_nothing_is_compared(toy: Benchmark, tmp_path: Path) -> None:
    found = evaluate(toy, [write(tmp_path / "good.run", GOOD)])
    assert (found.differences, found.groups) == ((), ())
    assert set(found.runs[0].intervals) == {"hit@1", "hit@3", "hit@10", "mrr", "ndcg", "map"}
    assert set(found.runs[0].metrics) - set(found.runs[0].intervals) == {"coverage@10", "gini@10"}
    assert "coverage@10" not in found.random.metrics


def test_a_run_against_itself_does_not_differ(toy: Benchmark, tmp_path: Path) -> None:
    good, same = write(tmp_path / "good.run", GOOD), write(tmp_path / "same.run", GOOD)
    for one in evaluate(toy, [good, same], baseline=good).differences:
        assert (one.run, one.difference, one.interval) == ("same", 0, (0, 0))
        assert (one.p_value, one.p_holm, one.effect_size) == (1, 1, 0)


def test_figures_are_those_of_the_rankings(tmp_path: Path) -> None:
    tiny = Benchmark(write_tiny(tmp_path / "tiny", photos=False))
    ranker = SlowRanker()
    run(tiny, tmp_path / "slow.run", ranker)
    found = evaluate(tiny, [tmp_path / "slow.run"], metrics=["mrr", "hit@1", "hit@3", "hit@10"])
    examples = list(tiny.examples("train"))
    ranks = [first_relevant_rank(ranker.rank(one.request), one.ground_truth) for one in examples]
    assert found.split == "train"
    assert found.runs[0].metrics == pytest.approx(rank_metrics(ranks))
    chance = [mrr_by_chance(len(one.request.candidates), len(one.ground_truth)) for one in examples]
    assert found.random.metrics["mrr"] == pytest.approx(np.mean(chance))


def test_runs_of_different_samples_are_scored_where_they_meet(tmp_path: Path) -> None:
    tiny = Benchmark(write_tiny(tmp_path / "tiny", photos=False))
    whole, some = tmp_path / "whole.run", tmp_path / "some.run"
    run(tiny, whole, SlowRanker())
    run(tiny, some, SlowRanker(), sample=10)
    found = evaluate(tiny, [whole, some], baseline=some)
    assert (found.asked, found.examples) == (tiny.count("train"), 10)
    assert found.runs[0].metrics == found.runs[1].metrics
    assert {one.difference for one in found.differences} == {0}


def test_hits_of_users_who_ask_once_have_wilsons_interval(tmp_path: Path) -> None:
    asks = [Ask(f"u{number}", [9], [1, 2], [1]) for number in range(10)]
    toy = write_toy(tmp_path / "toy", {"test": asks})
    orders = {f"test-{number}": [1, 2] if number < 8 else [2, 1] for number in range(10)}
    found = evaluate(toy, [write(tmp_path / "a.run", orders)], metrics=["hit@1", "mrr"])
    assert found.runs[0].intervals["hit@1"] == pytest.approx(wilson(8, 10))
    assert found.runs[0].intervals["mrr"] != pytest.approx(wilson(8, 10))


def test_the_seed_and_the_resamples_decide_the_draws(toy: Benchmark, tmp_path: Path) -> None:
    paths = [write(tmp_path / "good.run", GOOD), write(tmp_path / "bad.run", BAD)]

    def drawn(drawing: Drawing) -> list[float]:
        return [one.p_value for one in evaluate(toy, paths, baseline=paths[1], drawing=drawing)
                .differences]  # fmt: skip

    assert drawn(Drawing(200, 1)) == drawn(Drawing(200, 1)) != drawn(Drawing(200, 2))


def test_runs_of_one_name_are_told_apart(toy: Benchmark, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    one, other = write(tmp_path / "a.run", GOOD), write(tmp_path / "other" / "a.run", BAD)
    found = evaluate(toy, [one, other])
    assert [score.run for score in found.runs] == [str(one), str(other)]


def test_what_cannot_be_evaluated_is_refused(toy: Benchmark, tmp_path: Path) -> None:
    good = write(tmp_path / "good.run", GOOD)
    with pytest.raises(UnknownNameError, match="magic"):
        evaluate(toy, [good], metrics=["magic"])
    with pytest.raises(RunFileError, match="lacks"):
        evaluate(toy, [write(tmp_path / "b.run", {**GOOD, "test-2": [6]})])
    with pytest.raises(EvaluationError, match="no probabilities"):
        evaluate(toy, [good], metrics=["ece"])
    with pytest.raises(EvaluationError, match="There is no run to evaluate"):
        evaluate(toy, [])


def test_samples_that_do_not_meet_are_refused(tmp_path: Path) -> None:
    toy = write_toy(tmp_path / "toy", {"train": [TRAIN[0], *TEST]})
    # Seeds 0 and 1 draw different questions here.
    paths = []
    for seed in range(2):
        paths.append(
            write(tmp_path / f"{seed}.run", {f"train-{2 + seed}": [[1, 2, 3, 4], [5, 6]][seed]})
        )
        (tmp_path / f"{seed}.run.json").write_text('{"sample": 1, "split": "train"}')
    with pytest.raises(EvaluationError, match="No question is answered by all"):
        evaluate(toy, paths)
