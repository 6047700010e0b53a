from __future__ import annotations

from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import kendalltau
from tests.evaluation.annotated import export_of, write_export
from tests.evaluation.toy import Ask, write_toy

from visuallens.benchmark.folder import Benchmark
from visuallens.evaluation.annotation.agreement import first_overlap, kendall_tau_b
from visuallens.evaluation.evaluate import evaluate
from visuallens.evaluation.statistics import Floats, wilson

# Of candidates A to E, one person ranks A, B, C, the other B, A, D.
ONE = np.array([3.0, 2.0, 1.0, 0.0, 0.0])
OTHER = np.array([2.0, 3.0, 0.0, 1.0, 0.0])

TEST = [
    Ask("a", [9], [1, 2, 3, 4, 5], [2]),
    Ask("b", [9], [1, 2, 3, 4], [3]),
    Ask("c", [9], [5, 6], [6]),
]
ADA = {"test-0": ["1", "2", "3"], "test-1": ["4"], "test-2": ["5"]}
BO = {"test-0": ["2", "1", "4"], "test-1": ["4", "1"]}


@pytest.fixture
def toy(tmp_path: Path) -> Benchmark:
    return write_toy(tmp_path / "toy", {"test": TEST})


def test_tau_b_by_hand() -> None:
    # Of ten pairs, six are put the same way round (AC AD AE BC BD BE), two the other way (AB CD),
    # one ties one person (DE) and one the other (CE): (6 - 2) / sqrt(9 * 9).
    assert kendall_tau_b(ONE, OTHER) == pytest.approx(4 / 9)
    assert kendall_tau_b(ONE, ONE) == pytest.approx(1)
    assert kendall_tau_b(np.array([2.0, 1.0, 0.0]), np.array([0.0, 1.0, 2.0])) == -1
    assert np.isnan(kendall_tau_b(np.array([1.0]), np.array([1.0])))


@pytest.mark.parametrize("seed", range(20))
def test_tau_b_is_that_of_scipy(seed: int) -> None:
    generator = np.random.default_rng(seed)
    first, second = (ranked(generator, 30) for _ in range(2))
    assert kendall_tau_b(first, second) == pytest.approx(kendalltau(first, second).statistic)


def ranked(generator: np.random.Generator, count: int) -> Floats:
    some = int(generator.integers(1, count))
    scores = np.zeros(count)
    scores[generator.permutation(count)[:some]] = np.arange(some, 0, -1)
    return scores


def test_overlap_by_hand() -> None:
    # A, B, C and B, A, D share two of three; by chance 3 of 5.
    assert first_overlap(ONE, OTHER) == pytest.approx((2 / 3, 3 / 5))
    assert first_overlap(ONE, OTHER, depth=1) == pytest.approx((0, 1 / 5))
    # Whoever ranks one alone is compared by that one.
    assert first_overlap(ONE, np.array([1.0, 0, 0, 0, 0])) == pytest.approx((1, 1 / 5))


@pytest.mark.parametrize(
    ("one", "other"), [([3, 2, 1, 0, 0], [2, 1, 0, 0, 0]), ([1, 0, 0], [3, 2, 1])]
)
def test_chance_is_what_random_people_reach(one: list[float], other: list[float]) -> None:
    first = np.array(one, np.float64)
    orders = [np.array(order, np.float64) for order in permutations(other)]
    overlaps = [first_overlap(first, order) for order in orders]
    assert np.mean([found for found, _ in overlaps]) == pytest.approx(overlaps[0][1])
    assert np.mean([kendall_tau_b(first, order) for order in orders]) == pytest.approx(0)


def test_two_people_by_hand(toy: Benchmark, tmp_path: Path) -> None:
    paths = [
        write_export(tmp_path / f"{name}.json", export_of(toy, name, rankings))
        for name, rankings in (("Ada", ADA), ("Bo", BO))
    ]
    (found,) = evaluate(toy, paths).agreement
    assert found.annotators == ("Ada", "Bo")
    # Bo has not answered the third.
    assert (found.examples, found.users) == (2, 2)
    # In the first question as above; in the second, 4 is the first choice of both, of 4 candidates.
    assert found.first_choice.value == pytest.approx(1 / 2)
    assert found.first_choice.interval == pytest.approx(wilson(1, 2))
    assert found.first_choice.by_chance == pytest.approx((1 / 5 + 1 / 4) / 2)
    assert found.first_three.value == pytest.approx((2 / 3 + 1) / 2)
    assert found.first_three.by_chance == pytest.approx((3 / 5 + 1 / 4) / 2)
    assert found.first_three.interval == pytest.approx((2 / 3, 1))
    # Second question, candidates 1 to 4: [0 0 0 1] and [1 0 0 2]. Pairs 14, 24, 34 agree, 12 and 13
    # tie Ada, 23 ties both: 3 / sqrt(3 * 5).
    second = 3 / 15**0.5
    assert found.tau_b.value == pytest.approx((4 / 9 + second) / 2)
    assert found.tau_b.interval == pytest.approx((4 / 9, second))
    assert found.tau_b.by_chance == 0


def test_every_pair_of_people_is_compared_and_nobody_with_themselves(
    toy: Benchmark, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    people = ("Ada", "Bo", "ADA", "Cy")
    paths = [
        write_export(tmp_path / f"{at}.json", export_of(toy, name, ADA))
        for at, name in enumerate(people)
    ]
    found = evaluate(toy, paths).agreement
    pairs = [one.annotators for one in found]
    assert pairs == [("Ada", "Bo"), ("Ada", "Cy"), ("Bo", "ADA"), ("Bo", "Cy"), ("ADA", "Cy")]
    assert {one.first_choice.value for one in found} == {1.0}
    assert caplog.text.count("Two exports are of the annotator 'Ada'") == 1
    assert evaluate(toy, [paths[0]]).agreement == ()


def test_people_are_compared_over_their_own_questions(toy: Benchmark, tmp_path: Path) -> None:
    """A third run that answers fewer questions cuts the scores, not the agreement of others."""
    rankings = {"Ada": ADA, "Bo": ADA, "Cy": {"test-0": ["5"]}}
    paths = [
        write_export(tmp_path / f"{name}.json", export_of(toy, name, own))
        for name, own in rankings.items()
    ]
    found = evaluate(toy, paths)
    assert found.examples == 1
    assert [one.examples for one in found.agreement] == [3, 1, 1]


def test_a_question_with_one_candidate_is_no_agreement(tmp_path: Path) -> None:
    toy = write_toy(tmp_path / "toy", {"test": [Ask("a", [9], [1], [1])]})
    paths = [
        write_export(tmp_path / f"{name}.json", export_of(toy, name, {"test-0": ["1"]}))
        for name in ("Ada", "Bo")
    ]
    assert evaluate(toy, paths).agreement == ()
