from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.benchmark.tiny import write_tiny
from tests.evaluation.annotated import export_of, write_export
from tests.evaluation.slow_ranker import SlowRanker
from tests.evaluation.toy import Ask, write_toy

from visuallens import registry
from visuallens.benchmark.folder import Benchmark
from visuallens.benchmark.run_file import run_lines
from visuallens.config import load_settings
from visuallens.errors import EvaluationError, RunFileError
from visuallens.evaluation import positions
from visuallens.evaluation.controls import ControlSettings
from visuallens.evaluation.evaluate import Drawing
from visuallens.evaluation.orders import shown_order
from visuallens.evaluation.positions import examine_positions
from visuallens.evaluation.runs import Asked, write_run
from visuallens.rankers.base import Ranker, to_ranking
from visuallens.types import Ranking, RankingRequest


# Any: JSON.
def write(path: Path, orders: Mapping[str, Sequence[int]], **manifest: Any) -> Path:  # noqa: ANN401
    """Write a run with these orders, and a manifest where something is to be said."""
    path.write_text(
        "".join(
            line
            for example_id, order in orders.items()
            for line in run_lines(
                example_id, [(f"{one}", float(-at)) for at, one in enumerate(order)], "t"
            )
        )
    )
    if manifest:
        path.with_name(path.name + ".json").write_text(json.dumps(manifest))
    return path


def test_fifths_and_correlation_by_hand(tmp_path: Path) -> None:
    # Two users with five candidates each, the first of which is always ranked first.
    asks = [Ask(user, [9], [1, 2, 3, 4, 5], [2]) for user in "ab"]
    toy = write_toy(tmp_path / "toy", {"test": asks})
    run = write(tmp_path / "a.run", {"test-0": [1, 2, 3, 4, 5], "test-1": [1, 2, 3, 5, 4]})
    (found,) = examine_positions(toy, [run], Drawing(20_000)).runs
    assert (found.run, found.order, found.examples, found.users) == ("a", 0, 2, 2)
    assert [one.share for one in found.fifths] == [1, 0, 0, 0, 0]
    assert [one.expected for one in found.fifths] == pytest.approx([1 / 5] * 5)
    assert found.fifths[0].interval == pytest.approx((1, 1))
    # Both in the first fifth: 1/25. Neither in another one: as far from 2/5 as can be expected.
    assert [one.p_value for one in found.fifths] == pytest.approx([0.04, 1, 1, 1, 1], abs=0.005)
    # Both in one fifth, whichever: 5/25.
    assert found.p_value == pytest.approx(0.2, abs=0.01)
    # 1, and with the last two turned 1 - 6 · 2 / (5 · 24) = 0.9.
    assert found.correlation == pytest.approx(0.95)
    assert found.interval == pytest.approx((0.9, 1))
    # Two of four patterns of signs reach it.
    assert found.correlation_p == pytest.approx(0.5, abs=0.015)


def test_what_is_expected_is_exact_for_every_length(tmp_path: Path) -> None:
    # Of seven places, 0 and 1 are in the first fifth, 2 in the second, 3 and 4 in the third; of
    # three, each is in one of the first, second and fourth.
    asks = [Ask("a", [9], range(1, 8), [2]), Ask("b", [9], [1, 2, 3], [2])]
    toy = write_toy(tmp_path / "toy", {"test": asks})
    run = write(tmp_path / "a.run", {"test-0": [7, 1, 2, 3, 4, 5, 6], "test-1": [2, 1, 3]})
    (found,) = examine_positions(toy, [run]).runs
    expected = [(2 / 7 + 1 / 3) / 2, (1 / 7 + 1 / 3) / 2, 2 / 7 / 2, (1 / 7 + 1 / 3) / 2, 1 / 7 / 2]
    assert [one.expected for one in found.fifths] == pytest.approx(expected)
    assert [one.share for one in found.fifths] == [0, 0.5, 0, 0, 0.5]


def test_two_orders_by_hand(tmp_path: Path) -> None:
    asks = [Ask("a", [9], [1, 2, 3], [2]), Ask("b", [9], [1, 2], [2]), Ask("b", [9], [4], [4])]
    toy = write_toy(tmp_path / "toy", {"test": asks})
    one = write(
        tmp_path / "one.run", {"test-0": [1, 2, 3], "test-1": [1, 2], "test-2": [4]}, ranker="t"
    )
    other = write(
        tmp_path / "other.run", {"test-0": [1, 3, 2], "test-1": [2, 1], "test-2": [4]},
        ranker="t", candidate_order=4,
    )  # fmt: skip
    (pair,) = examine_positions(toy, [one, other]).pairs
    assert (pair.runs, pair.orders) == (("one", "other"), (0, 4))
    # The question with one candidate has no order.
    assert (pair.examples, pair.users) == (2, 2)
    assert pair.same_best == 0.5
    assert pair.same_best_interval == pytest.approx((0, 1))
    assert pair.same_best_by_chance == pytest.approx((1 / 3 + 1 / 2) / 2)
    # One of three pairs is turned: 1/3; the only one: -1.
    assert pair.tau == pytest.approx((1 / 3 - 1) / 2)
    assert pair.tau_interval == pytest.approx((-1, 1 / 3))
    # 2 is at ranks 2 and 2, then at 3 and 1.
    assert pair.mrr == pytest.approx((1 / 2, (1 / 3 + 1) / 2))


def test_only_runs_that_differ_by_the_order_are_compared(tmp_path: Path) -> None:
    toy = write_toy(tmp_path / "toy", {"test": [Ask("a", [9], [1, 2], [2])]})
    answer = {"test-0": [1, 2]}
    own = write(tmp_path / "own.run", answer, ranker="t")
    others = [
        write(tmp_path / "same.run", answer, ranker="t"),
        write(tmp_path / "ranker.run", answer, ranker="s", candidate_order=1),
        write(tmp_path / "settings.run", answer, ranker="t", settings={"x": 1}, candidate_order=1),
        write(tmp_path / "history.run", answer, ranker="t", history_photos=3, candidate_order=1),
        write(tmp_path / "foreign.run", answer),
    ]
    found = examine_positions(toy, [own, *others])
    assert [one.order for one in found.runs] == [0, 0, 1, 1, 1, 0]
    assert found.pairs == ()


def test_people_are_examined_too(tmp_path: Path) -> None:
    asks = [Ask("a", [9], [1, 2, 3, 4, 5], [2]), Ask("b", [9], [1, 2], [2])]
    toy = write_toy(tmp_path / "toy", {"test": asks})
    record = export_of(toy, "Ada", {"test-0": ["5", "4", "3", "2", "1"], "test-1": []})
    found = examine_positions(toy, [write_export(tmp_path / "ada.json", record)])
    (one,) = found.runs
    assert (one.order, one.examples, one.correlation) == (0, 1, -1)
    assert [fifth.share for fifth in one.fifths] == [0, 0, 0, 0, 1]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Benchmark:
    folder = tmp_path_factory.mktemp("positions") / "tiny"
    return Benchmark(write_tiny(folder, photos=False, examples=200, users=40))


class FirstShown:
    """Prefers what is shown first."""

    name = "first-shown"

    def rank(self, request: RankingRequest) -> Ranking:
        return to_ranking(request, self.name, [-at for at in range(len(request.candidates))])


def answered(ranker: Ranker, benchmark: Benchmark, folder: Path, *orders: int) -> list[Path]:
    paths = []
    for order in orders:
        paths.append(folder / f"{ranker.name}-{order}.run")
        asked = Asked("train", load_settings(), candidate_order=order)
        write_run(ranker, benchmark, paths[-1], asked)
    return paths


def test_a_ranker_that_prefers_the_first_is_found_out(tiny: Benchmark, tmp_path: Path) -> None:
    found = examine_positions(tiny, answered(FirstShown(), tiny, tmp_path, 0, 1, 2, 3))
    assert [one.order for one in found.runs] == [0, 1, 2, 3]
    for one in found.runs:
        assert [fifth.share for fifth in one.fifths] == [1, 0, 0, 0, 0]
        assert one.p_value < 0.001
        assert one.fifths[0].p_value < 0.001
        assert one.fifths[0].interval[0] > one.fifths[0].expected
        assert one.correlation == pytest.approx(1)
        assert one.correlation_p < 0.001
    # Six pairs, as alike as random orders: 720 comparisons, of which 4.3% are expected to agree.
    assert [one.orders for one in found.pairs] == [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    by_chance = found.pairs[0].same_best_by_chance
    assert np.mean([one.same_best for one in found.pairs]) == pytest.approx(by_chance, abs=0.023)
    assert np.mean([one.tau for one in found.pairs]) == pytest.approx(0, abs=0.02)


def test_the_shown_order_is_found_again(tiny: Benchmark, tmp_path: Path) -> None:
    # Taken for an order in which it was not shown, the preference cannot be seen.
    (path,) = answered(FirstShown(), tiny, tmp_path, 1)
    told = path.with_name(path.name + ".json")
    told.write_text(json.dumps(json.loads(told.read_text()) | {"candidate_order": 2}))
    (found,) = examine_positions(tiny, [path]).runs
    assert abs(found.correlation) < 0.2


@pytest.mark.parametrize("control", registry.names("controls"))
def test_controls_do_not_prefer_a_place(tiny: Benchmark, tmp_path: Path, control: str) -> None:
    ranker = registry.load("controls", control)(tiny, ControlSettings())
    found = examine_positions(tiny, answered(ranker, tiny, tmp_path, 0, 1), Drawing(20_000))
    for one in found.runs:
        # Twelve runs are looked at, and for what prefers a place p is 1 / 20,001.
        assert one.p_value > 0.0001
        assert abs(one.correlation) < 0.1
    (pair,) = found.pairs
    if control != "random":
        assert (pair.same_best, pair.tau) == pytest.approx((1, 1))
        assert pair.mrr[0] == pytest.approx(pair.mrr[1])
    else:
        assert abs(pair.tau) < 0.2


def test_false_alarms_are_as_rare_as_they_say() -> None:
    # 400 runs of 60 questions, whose best candidates stand anywhere.
    generator = np.random.default_rng(0)
    lengths = generator.integers(3, 40, 60)
    found = []
    for seed in range(400):
        fifths = 5 * generator.integers(lengths) // lengths
        counts = np.bincount(fifths, minlength=5).astype(np.float64)
        _, each, together = positions._tested(lengths, counts, Drawing(200, seed))
        found.append([*each, together])
    for level in (0.05, 0.25, 0.5):
        rates = (np.array(found) <= level).mean(axis=0)
        assert (rates <= level + 0.05).all()
        assert rates[-1] == pytest.approx(level, abs=0.06)


def test_a_sample_is_examined_over_what_it_answers(tiny: Benchmark, tmp_path: Path) -> None:
    asked = Asked("train", load_settings(), 12, candidate_order=1)
    write_run(FirstShown(), tiny, tmp_path / "some.run", asked)
    (whole,) = answered(FirstShown(), tiny, tmp_path, 0)
    found = examine_positions(tiny, [whole, tmp_path / "some.run"])
    assert [one.examples for one in found.runs] == [tiny.count("train"), 12]
    assert [one.examples for one in found.pairs] == [12]
    assert found.runs[1].correlation == pytest.approx(1)


def test_the_orders_are_those_that_rankers_saw(tiny: Benchmark, tmp_path: Path) -> None:
    shown: dict[str, list[str]] = {}

    class Noticing(SlowRanker):
        def rank(self, request: RankingRequest) -> Ranking:
            shown[request.id] = [one.id for one in request.candidates]
            return super().rank(request)

    answered(Noticing(), tiny, tmp_path, 3)
    for request in tiny.requests("train"):
        places = shown_order(request.seed, len(request.candidates), 3)
        assert shown[request.id] == [request.candidates[at].id for at in places.tolist()]


def test_what_cannot_be_examined_is_refused(tmp_path: Path) -> None:
    asks = [Ask("a", [9], [1], [1]), Ask("b", [9], [1, 2], [1])]
    toy = write_toy(tmp_path / "toy", {"test": asks})
    with pytest.raises(EvaluationError, match="There is no run to examine"):
        examine_positions(toy, [])
    one = write(tmp_path / "a.run", {"test-0": [1]}, sample=1)
    with pytest.raises(EvaluationError, match="a answers no question of several candidates"):
        examine_positions(toy, [one])
    for order in (-1, "second"):
        run = write(tmp_path / "b.run", {"test-1": [1, 2]}, sample=1, candidate_order=order)
        with pytest.raises(RunFileError, match="has the candidate order"):
            examine_positions(toy, [run])
