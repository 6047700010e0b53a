from __future__ import annotations

import numpy as np
import pytest
from tests.models.toy_backbone import ToyBackbone

from visuallens.errors import RequestError
from visuallens.models.parity import Parity, kendall_tau, parity, shared_labels

PROMPTS = ["A: Zoo\nB: Aquarium\nC: Park\nAnswer:", "A: Opera\nB: Inn\nC: Tea house\nAnswer:"]


def toy(weight: float = 1.0) -> ToyBackbone:
    return ToyBackbone(lambda line: weight * sum(line.lower().count(v) for v in "aeiou"))


def lettered(backbone: ToyBackbone) -> ToyBackbone:
    backbone._labels = tuple("ABC")
    return backbone


def compared(
    first: ToyBackbone, second: ToyBackbone, images: list[None], prompts: list[str]
) -> Parity:
    return parity(first, second, images, prompts, shared_labels(first, second, 3))


def test_a_backbone_agrees_with_itself() -> None:
    found = compared(lettered(toy()), lettered(toy()), [None] * 2, PROMPTS)
    assert (found.kendall_tau, found.largest_difference, found.same_first) == (1.0, 0.0, 1.0)


def test_the_opposite_is_found() -> None:
    found = compared(lettered(toy()), lettered(toy(-1)), [None] * 2, PROMPTS)
    assert found.kendall_tau < -0.9
    assert found.least_kendall_tau == -1
    assert found.same_first == 0


def test_the_largest_difference_by_hand() -> None:
    # Vowels (2, 5, 1) and twice as many (4, 10, 2), as log-probabilities:
    # (-3.066, -0.066, -4.066) and (-6.003, -0.003, -8.003); the third differ most, by 3.937.
    found = compared(lettered(toy()), lettered(toy(2)), [None], PROMPTS[:1])
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
        compared(toy(), ToyBackbone(in_words=str), [None], PROMPTS[:1])


def test_only_what_both_told_is_compared() -> None:
    # Of B nothing is told by one side. Without normalising over what is left, A and C would differ
    # by the share of B, exp(5) / (exp(2) + exp(5) + exp(1)) = 0.94, that is by 2.73.
    partial = ToyBackbone(toy()._liking, unsaid="B")
    found = compared(lettered(toy()), lettered(partial), [None], PROMPTS[:1])
    assert found.largest_difference == pytest.approx(0, abs=1e-5)
    assert (found.kendall_tau, found.same_first) == (1.0, 1.0)
    assert (found.labels, found.labels_compared) == (3, 2.0)


def test_a_prompt_without_anything_to_compare_is_an_error() -> None:
    first, second = ToyBackbone(unsaid="AB"), ToyBackbone(unsaid="C")
    with pytest.raises(RequestError, match="nothing to compare"):
        compared(lettered(first), lettered(second), [None], PROMPTS[:1])
    with pytest.raises(RequestError, match="no prompts"):
        compared(lettered(toy()), lettered(toy()), [], [])


def test_labels_are_those_of_the_side_with_fewer() -> None:
    one, other = shared_labels(ToyBackbone(labels=52), ToyBackbone(labels=5), 20)
    assert one.labels == other.labels == tuple("abcde")
    with pytest.raises(RequestError, match="different letters"):
        shared_labels(ToyBackbone(), lettered(toy()), 20)
