from __future__ import annotations

import numpy as np
import pytest
from tests.models.toy_backbone import ToyBackbone

from visuallens.errors import RequestError
from visuallens.models.parity import kendall_tau, parity

PROMPTS = ["A: Zoo\nB: Aquarium\nC: Park\nAnswer:", "A: Opera\nB: Inn\nC: Tea house\nAnswer:"]


def toy(weight: float = 1.0) -> ToyBackbone:
    return ToyBackbone(lambda line: weight * sum(line.lower().count(v) for v in "aeiou"))


def lettered(backbone: ToyBackbone) -> ToyBackbone:
    backbone._labels = tuple("ABC")
    return backbone


def test_a_backbone_agrees_with_itself() -> None:
    found = parity(lettered(toy()), lettered(toy()), [None] * 2, PROMPTS, 3)
    assert (found.kendall_tau, found.largest_difference, found.same_first) == (1.0, 0.0, 1.0)


def test_the_opposite_is_found() -> None:
    found = parity(lettered(toy()), lettered(toy(-1)), [None] * 2, PROMPTS, 3)
    assert found.kendall_tau < -0.9
    assert found.least_kendall_tau == -1
    assert found.same_first == 0


def test_the_largest_difference_by_hand() -> None:
    # Vowels (2, 5, 1) and twice as many (4, 10, 2), as log-probabilities:
    # (-3.066, -0.066, -4.066) and (-6.003, -0.003, -8.003); the third differ most, by 3.937.
    found = parity(lettered(toy()), lettered(toy(2)), [None], PROMPTS[:1], 3)
    assert found.largest_difference == pytest.approx(3.937, abs=1e-3)
    assert found.kendall_tau == 1.0


def test_tau_by_hand() -> None:
    # Pairs of (3, 2, 1) against (3, 1, 2): two agree, one does not: (2 - 1) / 3.
    a, b = np.array([3, 2, 1], np.float32), np.array([3, 1, 2], np.float32)
    assert kendall_tau(a, b) == pytest.approx(1 / 3)
    # A tie on one side: one of three pairs is not counted there, (2 - 0) / sqrt(2 * 3).
    tied = np.array([3, 1, 1], np.float32)
    assert kendall_tau(tied, a) == pytest.approx(2 / np.sqrt(6))
    assert kendall_tau(tied[1:], a[1:]) == 1.0
    assert kendall_tau(np.array([3, np.nan, 1], np.float32), a) == 1.0


def test_words_cannot_be_compared() -> None:
    with pytest.raises(RequestError, match="no log-probabilities"):
        parity(toy(), ToyBackbone(in_words=str), [None], PROMPTS[:1], 3)
