"""Asking a ranker every question of a split, and writing what it answers as a run file.

    FILE                  the run, in TREC's format
    FILE.json             the manifest: what it was made with, counts, latency, account
    FILE.questions.jsonl  latency, counts and account of each question
    FILE.journal          while it runs: what is answered so far

Source: §6.2; §6.3 for samples ("we subsample 1k instances from the test sets").
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from visuallens import __version__
from visuallens.benchmark.folder import Benchmark
from visuallens.benchmark.run_file import manifest_path, read_manifest, read_run, run_lines
from visuallens.benchmark.writing import file_checksum, write_json
from visuallens.config import Settings
from visuallens.errors import EvaluationError, RunFileError
from visuallens.evaluation.journal import Answered, Journal, refuse_other
from visuallens.evaluation.shuffled import ShuffledHistories
from visuallens.rankers.base import Ranker
from visuallens.types import RankingRequest, VisualHistory

__all__ = ["Asked", "Watched", "read_run", "write_run"]

_FORMAT = 1
_MADE_WITH = (
    "format", "benchmark", "checksum", "split", "sample", "shuffled_history", "seed", "settings",
    "ranker", "with",
)  # fmt: skip
"""Keys of a manifest that decide what is answered."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked, and with what.

    Attributes:
        split: whose questions.
        settings: the whole tree, resolved; its seed draws the sample and the strangers.
        sample: how many questions, drawn; None: all.
        shuffled_history: with the history of another user.
        made_with: what else decides the answers, such as adapter, backbone, encoder; JSON.
    """

    split: str
    settings: Settings
    sample: int | None = None
    shuffled_history: bool = False
    made_with: Mapping[str, Any] = field(default_factory=dict)  # Any: JSON


@dataclass(frozen=True, slots=True)
class Watched:
    """What is watched while a ranker answers.

    Attributes:
        account: reads what the backbone has used so far, by name; None: it keeps no account.
        missing_photos: counts the photos of a history that the ranker cannot see.
    """

    account: Callable[[], Mapping[str, float] | None] | None = None
    missing_photos: Callable[[VisualHistory], int] | None = None


# Any, here and below: JSON.
def write_run(
    ranker: Ranker, benchmark: Benchmark, out: Path, asked: Asked, watched: Watched | None = None
) -> dict[str, Any]:
    """Ask a ranker the questions of a split, and write a run file with its manifest.

    Args:
        ranker: of any kind.
        benchmark: that asks.
        out: the run file; a stopped run goes on where it was, and a finished one is left alone.
        asked: what is asked, and with what.
        watched: what is counted beside it, or None.

    Returns:
        The manifest.

    Raises:
        EvaluationError: the split has no questions, or none that can be asked.
        RunFileError: there is another run, or an answer does not fit into a run file: an id with a
            blank, a score that is NaN. Such an answer is not kept, and its question is asked again.
    """
    made_with = _made_with(ranker, benchmark, asked)
    journal_path = out.with_name(out.name + ".journal")
    done = _finished(out, journal_path, made_with)
    if done is not None:
        return done
    total = _total(benchmark, asked)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunFileError(out, f"it cannot be written ({error})", "Check --out.") from error
    with Journal(journal_path, made_with) as journal:
        _answer_all(ranker, _requests(benchmark, asked), total, journal, watched or Watched())
        manifest = _finish(journal, out, ranker.name, made_with)
    journal_path.unlink()
    return manifest


def _made_with(ranker: Ranker, benchmark: Benchmark, asked: Asked) -> dict[str, Any]:
    return {
        "format": _FORMAT,
        "benchmark": benchmark.name,
        "checksum": benchmark.about["checksum"],
        "split": asked.split,
        "sample": asked.sample,
        "shuffled_history": asked.shuffled_history,
        "ranker": ranker.name,
        "with": dict(asked.made_with),
        "seed": asked.settings.seed,
        "settings": asked.settings.model_dump(mode="json"),
    }


def _finished(out: Path, journal: Path, made_with: Mapping[str, Any]) -> dict[str, Any] | None:
    """Read the manifest of a run that is finished; refuse what is another one."""
    if journal.exists() or not out.exists():
        return None
    manifest = read_manifest(out)
    if manifest is None:
        raise RunFileError(out, "there is something here already", "Choose another --out.")
    refuse_other(out, {key: manifest.get(key) for key in _MADE_WITH}, made_with)
    return dict(manifest)


def _total(benchmark: Benchmark, asked: Asked) -> int:
    count = benchmark.count(asked.split)
    if count == 0:
        raise EvaluationError(
            f"the {asked.split} split of {benchmark.name} has no examples",
            "Choose another --split, or build the benchmark with more users.",
        )
    if asked.sample is not None and asked.sample > count:
        raise EvaluationError(
            f"the {asked.split} split of {benchmark.name} has {count:,} examples, not "
            f"{asked.sample:,}",
            "Leave --examples out to ask all of them.",
        )
    return count if asked.sample is None else asked.sample


def _requests(benchmark: Benchmark, asked: Asked) -> Iterator[RankingRequest]:
    """Yield what is asked, always in the same order."""
    if asked.sample is None:
        requests = benchmark.requests(asked.split)
    else:
        generator = np.random.default_rng((asked.settings.seed, 5))
        rows = generator.choice(benchmark.count(asked.split), asked.sample, replace=False)
        requests = (one.example.request for one in benchmark.some(asked.split, rows.tolist()))
    if not asked.shuffled_history:
        return requests
    return map(ShuffledHistories(benchmark, asked.split, asked.settings.seed), requests)


def _answer_all(
    ranker: Ranker,
    requests: Iterator[RankingRequest],
    total: int,
    journal: Journal,
    watched: Watched,
) -> None:
    done = tuple(journal.example_ids)
    with tqdm(total=total, initial=len(done), unit="question", disable=None) as bar:
        for at, request in enumerate(requests):
            if at < len(done):
                if done[at] != request.id:
                    raise RunFileError(
                        journal.path,
                        f"it answers {done[at]!r} where {request.id!r} is asked",
                        "Delete it to begin anew.",
                    )
                continue
            journal.add(_answer(ranker, request, watched))
            bar.update(1)


def _answer(ranker: Ranker, request: RankingRequest, watched: Watched) -> Answered:
    before = _read_account(watched)
    start = time.perf_counter()
    ranking = ranker.rank(request)
    latency_ms = 1000 * (time.perf_counter() - start)
    after = _read_account(watched)
    ranked = tuple((one.candidate.id, one.score) for one in ranking.candidates)
    # What no run file can hold must not get into the journal, where it would stay.
    list(run_lines(request.id, ranked, ranker.name))
    counts = Counter(ranking.counts)
    if watched.missing_photos is not None:
        counts["photos"] += len(request.history)
        counts["photos_not_indexed"] += watched.missing_photos(request.history)
    return Answered(
        request.id,
        ranked,
        round(latency_ms, 3),
        dict(counts),
        {key: after[key] - before.get(key, 0) for key in after},
    )


def _read_account(watched: Watched) -> Mapping[str, float]:
    return (watched.account() if watched.account is not None else None) or {}


def _finish(journal: Journal, out: Path, tag: str, made_with: Mapping[str, Any]) -> dict[str, Any]:
    """Write the run, then what was measured, then the manifest, each whole or not at all."""
    counts, used = Counter[str](), dict[str, float]()
    latencies: list[float] = []
    run, questions = (out.with_name(out.name + end) for end in (".part", ".questions.part"))
    with (
        run.open("w", encoding="utf-8", newline="\n") as lines,
        questions.open("w", encoding="utf-8", newline="\n") as records,
    ):
        for one in journal.read():
            lines.writelines(run_lines(one.example_id, one.ranked, tag))
            record = {
                "example_id": one.example_id,
                "latency_ms": one.latency_ms,
                "counts": dict(one.counts),
                "used": dict(one.used),
            }
            records.write(json.dumps(record, sort_keys=True) + "\n")
            counts.update(one.counts)
            used = {key: used.get(key, 0) + one.used[key] for key in one.used}
            latencies.append(one.latency_ms)
    manifest = {
        **made_with,
        "version": __version__,
        "sha256": file_checksum(run),
        "examples": len(latencies),
        "counts": dict(sorted(counts.items())),
        "account": used or None,
        "latency_ms": {
            "median": round(float(np.median(latencies)), 3),
            "p95": round(float(np.percentile(latencies, 95)), 3),
            "total": round(sum(latencies), 3),
        },
    }
    questions.replace(out.with_name(out.name + ".questions.jsonl"))
    run.replace(out)
    write_json(manifest_path(out), manifest)
    return manifest
