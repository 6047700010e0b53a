"""The losses of §5: Equations 1 to 3, and two forms of the second for comparison."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from visuallens.errors import TrainingError

if TYPE_CHECKING:
    from torch import Tensor

MatchForm = Literal["sigmoid", "softmax", "listwise"]

_NEARLY_ONE = -1e-7
"""The largest log-probability whose complement still has a logarithm in float32."""


def match_loss(logits: Tensor, relevant: Tensor, present: Tensor, form: MatchForm) -> Tensor:
    """Compute the loss of candidate matching, L_pred, of each example.

    Args:
        logits: (examples, candidates) of the candidates' labels; whatever is not `present` is
            ignored.
        relevant: (examples, candidates) bool, the ground truth, at least one in each row.
        present: (examples, candidates) bool, which candidates there are.
        form: "sigmoid": BCE of the sigmoid of each logit, the mean over the candidates; "softmax":
            BCE of the softmax over the candidates; "listwise": cross-entropy between the softmax
            and the ground truth, which shares the probability.

    Returns:
        (examples,) float32.

    Raises:
        TrainingError: an example has no ground truth among its candidates.

    Source: §5.3, Equation 2.
    Choice: the paper does not define the p inside its BCE; the sigmoid of each label's logit needs
        no probability to be shared among several ground truths, so it is the default.
    """
    import torch
    from torch.nn import functional

    relevant = relevant & present
    if not bool(relevant.any(dim=-1).all()):
        raise TrainingError(
            "an example has no ground truth among its candidates",
            "Check the train split, and that the label space has as many labels as candidates.",
        )
    target = relevant.float()
    if form == "sigmoid":
        known = logits.float().masked_fill(~present, 0.0)
        each = functional.binary_cross_entropy_with_logits(known, target, reduction="none")
        return _mean(each, present)
    logs = logits.float().masked_fill(~present, -torch.inf).log_softmax(dim=-1)
    logs = logs.masked_fill(~present, -1.0)  # any finite number: 0 times infinity is not 0
    if form == "listwise":
        share = target / target.sum(dim=-1, keepdim=True)
        return -(share * logs).sum(dim=-1)
    # log(1 - p), also where p is so near to 1 that float32 knows no difference.
    others = torch.log(-torch.expm1(logs.clamp(max=_NEARLY_ONE)))
    return _mean(-(target * logs + (1 - target) * others), present)


def teacher_loss(logits: Tensor, taught: Tensor, present: Tensor) -> Tensor:
    """Compute the cross-entropy between the softmax of a teacher's scores and our own.

    Args:
        logits: (examples, candidates); whatever is not `present` is ignored.
        taught: (examples, candidates) the teacher's scores, standardised.
        present: (examples, candidates) bool, which candidates there are.

    Returns:
        (examples,) float32.

    Source: Hinton et al. 2015, distillation.
    """
    import torch

    logs = logits.float().masked_fill(~present, -torch.inf).log_softmax(dim=-1)
    share = taught.masked_fill(~present, -torch.inf).softmax(dim=-1)
    return -(share * logs.masked_fill(~present, 0.0)).sum(dim=-1)


def aspect_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Compute the loss of aspect word generation, L_asp, of each example.

    Args:
        logits: (examples, tokens, vocabulary); those at t predict the token at t + 1.
        targets: (examples, tokens) token ids; -100 where nothing is asked, as in the prompt.

    Returns:
        (examples,) float32, the mean over the tokens of each answer; 0 where nothing is asked.

    Source: §5.2, Equation 1.
    """
    import torch
    from torch.nn import functional

    asked = targets[:, 1:] != -100
    # Only what is asked is widened to float32: prompts are long, and vocabularies large.
    found = functional.cross_entropy(
        logits[:, :-1][asked].float(), targets[:, 1:][asked], reduction="none"
    )
    each = torch.zeros(asked.shape, device=found.device).masked_scatter(asked, found)
    return _mean(each, asked)


def joint_loss(aspects: Tensor, matching: Tensor, match_weight: float) -> Tensor:
    """Add the two: L_asp + lambda * L_pred.

    Source: §5.3, Equation 3.
    """
    return aspects + match_weight * matching


def _mean(each: Tensor, counted: Tensor) -> Tensor:
    weights = counted.float()
    return (each * weights).sum(dim=-1) / weights.sum(dim=-1).clamp(min=1)
