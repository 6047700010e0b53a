"""The run of another ranker that teaches: its scores say more than which candidates were right.

Source: Hinton et al. 2015, distillation.
Choice: of the train split, by anything that ranks: a slower ranker of ours, or a control such as
    EASE, which knows ids where the student sees photos and names. Controls leave the asking user
    out of what they know (`evaluation/controls.py`), so their scores betray no ground truth; those
    of a ranker that was trained on the same examples may.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from visuallens.benchmark.folder import Benchmark
from visuallens.benchmark.run_file import RunFile, read_run
from visuallens.benchmark.writing import file_checksum
from visuallens.errors import TrainingError
from visuallens.types import FloatArray

Teacher = Callable[[str], Mapping[str, float]]
"""Looks up the scores of an example, candidate id → score, in the run of another ranker."""


def open_teacher(run: Path | None, benchmark: Benchmark, taste: float = 0.0) -> Teacher | None:
    """Open the run that teaches, if there is one.

    Args:
        run: of the train split, or None.
        benchmark: that it must answer.
        taste: how much more than in the run counts what it says of a candidate to one user beyond
            what it says of it to all, 0 or more.

    Returns:
        The teacher, or None.

    Raises:
        RunFileError: it is broken, or answers something else.

    Choice: what is liked by all is learned first and then outweighs what is not; `taste` keeps up
        the weight of the latter.
    """
    if run is None:
        return None
    found = read_run(run, benchmark, "train")
    return found.scores_of if taste == 0 else _personal(found, taste)


def _personal(run: RunFile, taste: float) -> Teacher:
    """Strengthen what a run says to one user alone.

    Choice: what it says to all is the mean of a candidate's standardised scores.
    """
    lists = np.split(run.scores, run.starts[1:])
    scores = np.concatenate([_standardised(scores) for scores in lists])
    sums, counts = np.bincount(run.candidates, scores), np.bincount(run.candidates)
    to_all = (sums / np.maximum(counts, 1))[run.candidates]
    return replace(run, scores=scores + taste * (scores - to_all)).scores_of


def _standardised(scores: NDArray[np.floating]) -> NDArray[np.floating]:
    """Give the scores of a question a mean of 0 and a deviation of 1, or leave them equal."""
    known = scores[np.isfinite(scores)]
    finite = np.clip(scores, known.min(initial=0), known.max(initial=0))  # some rule out by -inf
    return np.asarray((finite - finite.mean()) / max(float(finite.std()), 1e-6))


def digest_of(run: Path | None) -> dict[str, str]:
    """Say which teacher a run has, so that it does not go on with another."""
    return {} if run is None else {"teacher": file_checksum(run)}


def taught_scores(teacher: Teacher, example_id: str, ids: Sequence[str]) -> FloatArray:
    """Look up what a teacher says of the candidates of an example.

    Args:
        teacher: its run.
        example_id: of the train split.
        ids: of the candidates.

    Returns:
        (candidates,) float32, standardised.

    Raises:
        TrainingError: the run lacks a candidate.
        RunFileError: it lacks the example.

    Choice: scores of rankers have any scale, so those of a question are standardised.
    """
    scores = teacher(example_id)
    missing = [candidate_id for candidate_id in ids if candidate_id not in scores]
    if missing:
        raise TrainingError(
            f"the teacher's run has no score for {len(missing)} of the {len(ids)} candidates of "
            f"{example_id}, such as {missing[0]}",
            "Rank the train split of the same benchmark with it, whole.",
        )
    row = np.array([scores[candidate_id] for candidate_id in ids], np.float32)
    return np.asarray(_standardised(row), np.float32)
