"""Runs every check of the audit over one benchmark."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec

from tqdm import tqdm

from visuallens.benchmark import schema
from visuallens.benchmark.audit import files, history, shown, splits, visible
from visuallens.benchmark.audit.pictures import Pictures, category_duplicates, near_duplicates
from visuallens.benchmark.audit.sample import Sample, open_sample
from visuallens.benchmark.audit.verdict import Check, Verdict, not_checked
from visuallens.benchmark.base import INSTALL
from visuallens.benchmark.folder import Benchmark
from visuallens.errors import BenchmarkFolderError, MissingPackageError

SAMPLE = 20_000
"""Examples of each split that controls look at."""

REQUESTS = 1000
"""Requests of each split whose photos are looked at."""

_IN_TABLES: Mapping[str, Callable[[Sample], Check]] = {
    "pairs": files.pairs,
    "ground truth": files.ground_truth,
    "references": files.references,
    "names": files.names,
    "history category": files.history_category,
    "anchor geography": visible.anchor_geography,
    "visible numbers": visible.visible_numbers,
    "candidate order": visible.order,
    "position balance": visible.balance,
    "visited businesses": history.visited,
    "timestamps": history.timestamps,
    "split overlap": splits.overlap,
    "business overlap": splits.business_overlap,
}
_IN_REQUESTS = (
    "photos of the user", "own photos left out", "category embedding", "near-duplicate photos",
    "category pictures",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Audit:
    """What the audit found.

    Attributes:
        looked_at: split → examples that the controls looked at.
        requests: whose photos were looked at.
    """

    checks: tuple[Check, ...]
    looked_at: Mapping[str, int]
    requests: int

    @property
    def leaks(self) -> tuple[Check, ...]:
        """The checks that found one."""
        return tuple(one for one in self.checks if one.verdict is Verdict.LEAK)


def audit(
    benchmark: Benchmark,
    *,
    splits_looked_at: Sequence[str] = schema.SPLITS,
    sample: int = SAMPLE,
    requests: int = REQUESTS,
) -> Audit:
    """Check a benchmark for leaks.

    Args:
        benchmark: finished.
        splits_looked_at: of these; what splits must not share is checked over all of them.
        sample: examples of each split that controls look at, drawn with the benchmark's seed.
        requests: of each split whose photos are looked at.

    Returns:
        One check after another; the same benchmark gives the same audit.

    Raises:
        MissingPackageError: DuckDB or SciPy is not installed.
    """
    if find_spec("scipy") is None:
        raise MissingPackageError("scipy", "Auditing a benchmark", INSTALL)
    first = [files.columns(benchmark), files.checksums(benchmark)]
    if first[0].figures["wrong"]:
        reason = "the columns are not those of the schema"
        rest = [not_checked(name, reason) for name in (*_IN_TABLES, *_IN_REQUESTS)]
        return Audit((*first, *rest), {}, 0)
    with (
        tqdm(total=len(_IN_TABLES) + 2, unit="step", disable=None) as bar,
        open_sample(benchmark, splits_looked_at, sample) as looked,
    ):
        checks = [*first]
        bar.update(1)
        for name, check in _IN_TABLES.items():
            bar.set_description(name)
            checks.append(check(looked))
            bar.update(1)
        bar.set_description("photos")
        seen, reason = _look(looked, requests)
        checks += _in_requests(looked, seen, reason)
        bar.update(1)
        return Audit(tuple(checks), looked.counts, len(seen))


def _look(sample: Sample, requests: int) -> tuple[Sequence[shown.Shown], str]:
    """Read requests; say why not, if the tables do not fit together: other checks tell where."""
    try:
        return shown.look(sample, requests), "there are no examples"
    except (KeyError, BenchmarkFolderError) as error:
        return (), f"the requests cannot be read ({error})"


def _in_requests(sample: Sample, seen: Sequence[shown.Shown], reason: str) -> list[Check]:
    if not seen:
        return [not_checked(name, reason) for name in _IN_REQUESTS]
    facts = shown.facts_of(sample, seen)
    pictures = Pictures(seen)
    return [
        shown.own_images(sample, seen, facts),
        shown.left_out(sample, seen),
        shown.category_embedding(seen, facts),
        near_duplicates(sample, pictures, facts),
        category_duplicates(sample, pictures),
    ]
