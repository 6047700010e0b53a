"""Metrics by name: ours from the registry, all others from ir-measures where it is installed."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from visuallens import registry
from visuallens.benchmark.chance import (
    hit_by_chance,
    map_by_chance,
    mrr_by_chance,
    ndcg_by_chance,
)
from visuallens.benchmark.lists import CandidateLists
from visuallens.errors import MissingPackageError, UnknownNameError
from visuallens.evaluation.metrics import Floats, Ordered

DEFAULT = ("hit@1", "hit@3", "hit@10", "mrr", "ndcg", "map", "coverage@10", "gini@10")

_OURS = re.compile(r"([a-z]+)(?:@([1-9]\d*))?")


@dataclass(frozen=True, slots=True)
class Measure:
    """A metric, ready to be computed.

    Attributes:
        name: as it was asked for, such as "hit@3".
        compute: gives one value for each example, or one for the whole run.
        expect: gives what a random order is expected to reach, by candidates and relevant ones;
            None where no closed form is known here.
    """

    name: str
    compute: Callable[[Ordered], Floats | float]
    expect: Callable[[int, int], float] | None

    def by_chance(self, lists: CandidateLists) -> Floats | None:
        """Compute what a random order is expected to reach.

        Args:
            lists: of a split.

        Returns:
            (examples,) exact values, or None where no closed form is known here.
        """
        if self.expect is None:
            return None
        relevant = np.add.reduceat(lists.relevant.astype(np.int64), lists.starts)
        sizes = np.stack((lists.lengths, relevant), axis=1)
        kinds, which = np.unique(sizes, axis=0, return_inverse=True)
        values = [self.expect(int(candidates), int(right)) for candidates, right in kinds]
        return np.array(values, np.float64)[which.reshape(-1)]


def measure(name: str) -> Measure:
    """Find a metric by its name.

    Args:
        name: of a registered metric, with "@k" where it looks k deep, or a measure that
            ir-measures knows, such as "P@5" or "Rprec".

    Returns:
        The metric.

    Raises:
        UnknownNameError: nobody knows it.
        MissingPackageError: it is none of ours, and ir-measures is not installed.
    """
    matched = _OURS.fullmatch(name)
    if matched is None or matched[1] not in registry.names("metrics"):
        return Measure(name, _foreign(name), None)
    base, depth = matched[1], int(matched[2]) if matched[2] else None
    function = registry.load("metrics", base)
    return Measure(name, lambda answers: function(answers, depth), _expected(base, depth))


def _expected(base: str, depth: int | None) -> Callable[[int, int], float] | None:
    if base == "hit" and depth is not None:
        return lambda candidates, relevant: hit_by_chance(candidates, relevant, depth)
    if base == "ndcg":
        return lambda candidates, relevant: ndcg_by_chance(candidates, relevant, depth)
    if depth is None:
        return {"mrr": mrr_by_chance, "map": map_by_chance}.get(base)
    return None


def _foreign(name: str) -> Callable[[Ordered], Floats]:
    try:
        import ir_measures
    except ImportError as error:
        raise MissingPackageError(
            "ir-measures", f"The metric {name!r}", "pip install 'visuallens[evaluation]'"
        ) from error
    try:
        parsed = ir_measures.parse_measure(name)
    except (NameError, ValueError) as error:
        raise UnknownNameError("metric", name, registry.names("metrics")) from error

    def compute(answers: Ordered) -> Floats:
        qrels, run = _as_dictionaries(answers)
        values = np.zeros(len(answers.lists))
        for found in ir_measures.iter_calc([parsed], qrels, run):
            values[int(found.query_id)] = found.value
        return values

    return compute


# Any: the two dictionaries of ir-measures, query → document → grade or score.
def _as_dictionaries(answers: Ordered) -> tuple[dict[str, Any], dict[str, Any]]:
    """Write answers as ir-measures reads them, ranks as scores, which cannot be equal."""
    lists = answers.lists
    qrels: dict[str, Any] = {}
    run: dict[str, Any] = {}
    for row, (start, count) in enumerate(zip(lists.starts, lists.lengths, strict=True)):
        own = slice(start, start + count)
        names = [str(one) for one in answers.order[own]]
        graded = zip(names, answers.relevant[own].tolist(), strict=True)
        qrels[str(row)] = {one: int(relevant) for one, relevant in graded}
        run[str(row)] = {one: float(count - at) for at, one in enumerate(names)}
    return qrels, run
