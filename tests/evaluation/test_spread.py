from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.evaluation.toy import Ask, write_toy

from visuallens.benchmark.lists import CandidateLists, read_lists
from visuallens.errors import EvaluationError
from visuallens.evaluation.metrics import ordered
from visuallens.evaluation.spread import calibration_error, coverage, gini


@pytest.fixture
def lists(tmp_path: Path) -> CandidateLists:
    asks = [Ask("a", [9], [1, 2, 3, 4], [1]), Ask("b", [9], [1, 2, 3, 4], [2])]
    return read_lists(write_toy(tmp_path / "toy", {"test": asks}), "test")


def test_coverage_by_hand(lists: CandidateLists) -> None:
    # First of both lists: 1 and 1; of four candidates one is shown. Two deep: 1 and 2, 1 and 3.
    answers = ordered(lists, np.array([4.0, 3, 2, 1, 4, 2, 3, 1]))
    assert coverage(answers, 1) == 1 / 4
    assert coverage(answers, 2) == 3 / 4
    assert coverage(answers) == 1


def test_gini_by_hand(lists: CandidateLists) -> None:
    answers = ordered(lists, np.array([4.0, 3, 2, 1, 4, 2, 3, 1]))
    # One deep, candidates are shown 0, 0, 0 and 2 times: 2 * (4 * 2) / (4 * 2) - 5 / 4 = 3 / 4.
    assert gini(answers, 1) == pytest.approx(3 / 4)
    # Two deep: 0, 1, 1, 2: 2 * (2 + 3 + 8) / (4 * 4) - 5 / 4 = 3 / 8.
    assert gini(answers, 2) == pytest.approx(3 / 8)
    # To the end, all twice.
    assert gini(answers) == pytest.approx(0)


def test_calibration_by_hand(lists: CandidateLists) -> None:
    # At 0.9: two candidates, one relevant: |1.8 - 1| = 0.8. At 0.25: six, one relevant: 0.5.
    scores = np.array([0.9, 0.25, 0.25, 0.25, 0.9, 0.25, 0.25, 0.25])
    assert calibration_error(ordered(lists, scores)) == pytest.approx((0.8 + 0.5) / 8)
    assert calibration_error(ordered(lists, scores), 1) == pytest.approx(0.8 / 2)
    # A probability of 1 belongs to the last range.
    assert calibration_error(ordered(lists, np.ones(8))) == pytest.approx(6 / 8)


def test_scores_that_are_no_probabilities_have_no_calibration(lists: CandidateLists) -> None:
    with pytest.raises(EvaluationError, match="between -1 and 2"):
        calibration_error(ordered(lists, np.array([-1.0, 2, 0, 0, 0, 0, 0, 0])))


def test_without_questions_nothing_is_shown(lists: CandidateLists) -> None:
    none = lists.taken(np.zeros(2, np.bool_))
    answers = ordered(none, np.zeros(0))
    assert (coverage(answers), gini(answers), calibration_error(answers)) == (0, 0, 0)
