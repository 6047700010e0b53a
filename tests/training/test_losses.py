from __future__ import annotations

import math
from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from visuallens.errors import TrainingError
from visuallens.training.losses import MatchForm, aspect_loss, joint_loss, match_loss

FORMS: tuple[MatchForm, ...] = get_args(MatchForm)
LOGITS = torch.tensor([[math.log(2), 0.0, math.log(3)]])  # softmax: 2/6, 1/6, 3/6
ALL = torch.ones((1, 3), dtype=torch.bool)


def mask(*values: int) -> Tensor:
    return torch.tensor([values], dtype=torch.bool)


def test_sigmoid_is_the_mean_bce_of_each_label_by_itself() -> None:
    # sigmoid: 2/3, 1/2, 3/4; the first is liked: -(log 2/3 + log 1/2 + log 1/4) / 3
    expected = -(math.log(2 / 3) + math.log(1 / 2) + math.log(1 / 4)) / 3
    assert match_loss(LOGITS, mask(1, 0, 0), ALL, "sigmoid").item() == pytest.approx(expected)
    # two are liked: -(log 2/3 + log 1/2 + log 3/4) / 3
    expected = -(math.log(2 / 3) + math.log(1 / 2) + math.log(3 / 4)) / 3
    assert match_loss(LOGITS, mask(1, 0, 1), ALL, "sigmoid").item() == pytest.approx(expected)


def test_softmax_is_the_mean_bce_of_shared_probabilities() -> None:
    # p: 1/3, 1/6, 1/2; the first is liked: -(log 1/3 + log 5/6 + log 1/2) / 3
    expected = -(math.log(1 / 3) + math.log(5 / 6) + math.log(1 / 2)) / 3
    assert match_loss(LOGITS, mask(1, 0, 0), ALL, "softmax").item() == pytest.approx(expected)
    # two are liked: -(log 1/3 + log 5/6 + log 1/2) / 3, for 1 - 1/2 = 1/2
    assert match_loss(LOGITS, mask(1, 0, 1), ALL, "softmax").item() == pytest.approx(expected)


def test_listwise_is_the_cross_entropy_with_what_the_ground_truth_shares() -> None:
    # one: -log 1/3; two: -(log 1/3 + log 1/2) / 2
    one = match_loss(LOGITS, mask(1, 0, 0), ALL, "listwise").item()
    two = match_loss(LOGITS, mask(1, 0, 1), ALL, "listwise").item()
    assert one == pytest.approx(-math.log(1 / 3))
    assert two == pytest.approx(-(math.log(1 / 3) + math.log(1 / 2)) / 2)


def test_aspects_is_the_mean_over_the_tokens_of_the_answer() -> None:
    # Three tokens, a vocabulary of two; the logits at 0 and 1 predict the tokens at 1 and 2:
    # p(0) = 1/4 and p(1) = 1/2, so -(log 1/4 + log 1/2) / 2. The last logits predict nothing.
    logits = torch.tensor([[[0.0, math.log(3)], [5.0, 5.0], [9.0, -9.0]]])
    loss = aspect_loss(logits, torch.tensor([[-100, 0, 1]])).item()
    assert loss == pytest.approx(-(math.log(1 / 4) + math.log(1 / 2)) / 2)
    # The prompt is not asked: only -log 1/2.
    assert aspect_loss(logits, torch.tensor([[-100, -100, 1]])).item() == pytest.approx(math.log(2))


def test_an_answer_of_no_tokens_has_no_loss_and_answers_weigh_the_same() -> None:
    logits = torch.zeros((3, 4, 2))
    targets = torch.tensor([[-100] * 4, [-100, 1, -100, -100], [-100, 1, 1, 0]])
    assert aspect_loss(logits, targets).tolist() == pytest.approx([0, math.log(2), math.log(2)])


def test_joint_adds_the_weighted_match_loss() -> None:
    # 0.5 + 2 * 0.25 = 1; 1 + 2 * 2 = 5
    joint = joint_loss(torch.tensor([0.5, 1.0]), torch.tensor([0.25, 2.0]), 2.0)
    assert joint.tolist() == [1.0, 5.0]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("scale", [1e2, 1e4, 1e8])
def test_extreme_logits_have_finite_losses_and_gradients(form: MatchForm, scale: float) -> None:
    for signs in ([1.0, -1.0, 0.0], [-1.0, 1.0, 0.0]):
        logits = (scale * torch.tensor([signs])).requires_grad_()
        loss = match_loss(logits, mask(1, 0, 0), mask(1, 1, 0), form)
        loss.sum().backward()
        assert logits.grad is not None
        assert bool(loss.isfinite().all())
        assert bool(logits.grad.isfinite().all())


@pytest.mark.parametrize("form", FORMS)
def test_a_confident_mistake_is_pushed_the_right_way(form: MatchForm) -> None:
    logits = torch.tensor([[-30.0, 30.0]], requires_grad=True)
    match_loss(logits, mask(1, 0), mask(1, 1), form).sum().backward()
    assert logits.grad is not None
    assert logits.grad[0, 0] < 0 < logits.grad[0, 1]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.floats(-20, 20, width=32), min_size=2, max_size=6),
    st.lists(st.sampled_from([0.0, 1e30, -1e30, math.inf, -math.inf, math.nan]), max_size=4),
    st.integers(0, 5),
)
def test_padding_changes_neither_loss_nor_gradient(
    known: list[float], padding: list[float], liked: int
) -> None:
    number, padded = len(known), len(known) + len(padding)
    relevant = torch.arange(padded)[None] == liked % number
    relevant[:, number:] = True  # what is not present is not liked either
    present = (torch.arange(padded) < number)[None]
    for form in FORMS:
        short = torch.tensor([known], requires_grad=True)
        long = torch.tensor([known + padding], requires_grad=True)
        alone = match_loss(short, relevant[:, :number], present[:, :number], form)
        beside = match_loss(long, relevant, present, form)
        torch.testing.assert_close(beside, alone)
        alone.sum().backward()
        beside.sum().backward()
        assert short.grad is not None
        assert long.grad is not None
        torch.testing.assert_close(long.grad[:, :number], short.grad)
        assert not bool(long.grad[:, number:].any())


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(form: MatchForm, dtype: torch.dtype) -> None:
    half = LOGITS.to(dtype)
    loss = match_loss(half, mask(1, 0, 1), ALL, form)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, match_loss(half.float(), mask(1, 0, 1), ALL, form))
    words = aspect_loss(torch.full((1, 2, 3), 60_000.0, dtype=dtype), torch.tensor([[0, 2]]))
    assert words.dtype == torch.float32
    assert words.item() == pytest.approx(math.log(3))


@pytest.mark.parametrize("form", FORMS)
def test_no_ground_truth_among_the_candidates_is_refused(form: MatchForm) -> None:
    with pytest.raises(TrainingError, match="no ground truth"):
        match_loss(LOGITS, mask(0, 0, 1), mask(1, 1, 0), form)
