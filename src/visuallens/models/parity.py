"""Do two backbones answer alike? The same prompts on both, compared label by label.

Two servers of one model, two number formats, or a merged model and its adapter should agree; this
measures how far they do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from visuallens.errors import RequestError
from visuallens.models.base import Backbone, PromptImage
from visuallens.models.label_space import LabelSpace
from visuallens.types import FloatArray

Spaces = tuple[LabelSpace, LabelSpace]


@dataclass(frozen=True, slots=True)
class Parity:
    """How far two backbones agree on some prompts.

    Attributes:
        prompts: how many were compared.
        labels: asked for in each prompt.
        labels_compared: mean number that both told; a server may tell only the most probable.
        kendall_tau: mean over the prompts, 1 where the order is the same.
        least_kendall_tau: of the worst prompt.
        largest_difference: of log-probabilities, among the labels of one prompt.
        same_first: share of prompts with the same best label.
    """

    prompts: int
    labels: int
    labels_compared: float
    kendall_tau: float
    least_kendall_tau: float
    largest_difference: float
    same_first: float


def shared_labels(first: Backbone, second: Backbone, most: int) -> Spaces:
    """Find the letters with which both can name candidates, before prompts are written.

    Args:
        first: any backbone.
        second: any other.
        most: how many are wanted.

    Returns:
        The label space of each, cut to the same letters.

    Raises:
        RequestError: one of them gives no log-probabilities, or names the candidates otherwise.
    """
    for backbone in (first, second):
        if backbone.scores != "logits":
            raise RequestError(f"{backbone.name} gives no log-probabilities to compare.")
    one, other = (backbone.label_space("letters") for backbone in (first, second))
    count = min(most, len(one), len(other))
    if one.labels[:count] != other.labels[:count]:
        raise RequestError(f"{first.name} and {second.name} have different letters as labels.")
    return one.cut(count), other.cut(count)


def parity(
    first: Backbone,
    second: Backbone,
    images: Sequence[PromptImage | None],
    prompts: Sequence[str],
    spaces: Spaces,
) -> Parity:
    """Ask two backbones the same.

    Args:
        first: any backbone.
        second: any other.
        images: one per prompt, or None; a backbone that does not see ignores them.
        prompts: written with the labels of `spaces`.
        spaces: of `shared_labels`.

    Returns:
        The agreement. Choice: log-probabilities are compared after normalising over the labels of
        a prompt that both told, since only their order and distances rank.

    Raises:
        RequestError: there are no prompts, or one for which no label was told by both.
    """
    if not prompts:
        raise RequestError("There are no prompts to compare. Give at least one.")
    scores = [
        backbone.score_labels(images, prompts, space)
        for backbone, space in zip((first, second), spaces, strict=True)
    ]
    told = np.isfinite(scores[0]) & np.isfinite(scores[1])
    if not told.any(axis=1).all():
        raise RequestError(
            f"{first.name} and {second.name} told nothing about the same label of a prompt, so "
            "there is nothing to compare. Compare fewer candidates, or other models."
        )
    logs = [_normalised(np.where(told, score, np.nan)) for score in scores]
    taus = [kendall_tau(one, other) for one, other in zip(*logs, strict=True)]
    return Parity(
        prompts=len(prompts),
        labels=len(spaces[0]),
        labels_compared=float(told.sum(axis=1).mean()),
        kendall_tau=float(np.mean(taus)),
        least_kendall_tau=float(np.min(taus)),
        largest_difference=float(np.nanmax(np.abs(logs[0] - logs[1]))),
        same_first=float(np.mean(np.nanargmax(logs[0], 1) == np.nanargmax(logs[1], 1))),
    )


def kendall_tau(one: FloatArray, other: FloatArray) -> float:
    """Compute Kendall's tau-b of two lists of scores.

    Args:
        one: (labels,) float32; pairs with a NaN on either side are left out.
        other: likewise.

    Returns:
        Between -1 and 1; 1 where nothing can be compared.

    Source: Kendall 1945, tau-b, which takes ties into account.
    """
    upper = np.triu_indices(len(one), k=1)
    a, b = (np.sign(x[upper[0]] - x[upper[1]]) for x in (one, other))
    known = ~(np.isnan(a) | np.isnan(b))
    a, b = a[known], b[known]
    norm = np.sqrt(np.count_nonzero(a) * np.count_nonzero(b))
    return float((a * b).sum() / norm) if norm else 1.0


def _normalised(logs: FloatArray) -> FloatArray:
    said = np.where(np.isnan(logs), -np.inf, logs)
    return np.asarray(logs - np.logaddexp.reduce(said, axis=1, keepdims=True), np.float32)
