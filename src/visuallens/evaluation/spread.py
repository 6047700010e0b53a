"""Metrics of a whole run: what it shows to all users together, and whether it knows how sure it is.

Source: none in the paper. A run that shows everybody the same has little coverage and much Gini.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from visuallens.errors import EvaluationError
from visuallens.evaluation.metrics import Ordered

DEPTH = 10
"""Choice: as many as §6.2 looks at on screens."""

_BINS = 10


def coverage(answers: Ordered, k: int | None = None) -> float:
    """Compute the share of all candidates that come among the first k of some list.

    Args:
        answers: of a run.
        k: how deep one looks; None: 10.

    Returns:
        Between 0 and 1; 0 without questions.
    """
    shown = _shown(answers, k)
    return float((shown > 0).mean()) if len(shown) else 0.0


def gini(answers: Ordered, k: int | None = None) -> float:
    """Compute how unequally often candidates come among the first k.

    Args:
        answers: of a run.
        k: how deep one looks; None: 10.

    Returns:
        0 where all are shown as often, towards 1 where few are; 0 without questions.

    Source: Gini 1912, over every candidate of the questions.
    """
    shown = np.sort(_shown(answers, k))
    count, total = len(shown), float(shown.sum())
    if total == 0:
        return 0.0
    return float(2 * (np.arange(1, count + 1) @ shown) / (count * total) - (count + 1) / count)


def calibration_error(answers: Ordered, k: int | None = None) -> float:
    """Compute the expected calibration error, where scores are probabilities of being relevant.

    Args:
        answers: of a run whose scores are between 0 and 1.
        k: only the first k of each list; None: all candidates.

    Returns:
        Between 0 and 1: the mean distance between score and share of relevant candidates, over ten
        equal ranges of scores, each weighing as much as it holds. 0 without candidates.

    Raises:
        EvaluationError: the scores are no probabilities.

    Source: Guo et al. 2017, equation 3.
    """
    seen = np.ones(len(answers.ranks), np.bool_) if k is None else answers.ranks <= k
    scores, relevant = answers.scores[answers.order][seen], answers.relevant[seen]
    if len(scores) == 0:
        return 0.0
    if scores.min() < 0 or scores.max() > 1:
        raise EvaluationError(
            f"the scores of this run lie between {scores.min():g} and {scores.max():g}, so they "
            "are no probabilities and have no calibration error",
            "Leave --metric ece out.",
        )
    bins = np.minimum((scores * _BINS).astype(np.int64), _BINS - 1)
    said = np.bincount(bins, scores, _BINS)
    true = np.bincount(bins, relevant.astype(np.float64), _BINS)
    return float(np.abs(said - true).sum() / len(scores))


def _shown(answers: Ordered, k: int | None) -> NDArray[np.int64]:
    """Count how often each candidate of the questions comes among the first k."""
    candidates = answers.lists.candidates
    items = len(answers.lists.candidate_ids)
    offered = np.bincount(candidates, minlength=items) > 0
    first = candidates[answers.order][answers.ranks <= (DEPTH if k is None else k)]
    return np.bincount(first, minlength=items)[offered]
