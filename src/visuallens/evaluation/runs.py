"""Asking a ranker every question of a split, and writing what it answers as a run file.

    FILE                  the run, in TREC's format
    FILE.json             the manifest: what it was made with, counts, latency, account
    FILE.questions.jsonl  latency, counts and account of each question
    FILE.journal          while it runs: what is answered so far

Source: §6.2; §6.3 for samples ("we subsample 1k instances from the test sets"); §7.4 for other
orders of the candidates and shorter histories.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from tqdm import tqdm

from visuallens import __version__
from visuallens.benchmark.folder import Benchmark
from visuallens.benchmark.run_file import manifest_path, read_manifest, read_run, run_lines
from visuallens.benchmark.writing import file_checksum, write_json
from visuallens.config import Settings
from visuallens.errors import EvaluationError, RunFileError
from visuallens.evaluation.engine import Team, Watched, answer_all
from visuallens.evaluation.journal import Answered, Journal, refuse_other
from visuallens.evaluation.orders import reordered
from visuallens.evaluation.shuffled import ShuffledHistories
from visuallens.evaluation.truncated import truncated
from visuallens.rankers.base import Ranker
from visuallens.types import RankingRequest
from visuallens.workers import Workers

__all__ = ["Asked", "Team", "Watched", "read_run", "write_run"]

_FORMAT = 1
_MADE_WITH = (
    "format", "benchmark", "checksum", "split", "sample", "shuffled_history", "history_photos",
    "candidate_order", "seed", "settings", "ranker", "with",
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
        history_photos: so many photos of each history are known, the newest; None: all.
        candidate_order: in which candidates are shown, see `shown_order`; 0: the benchmark's.
    """

    split: str
    settings: Settings
    sample: int | None = None
    shuffled_history: bool = False
    made_with: Mapping[str, Any] = field(default_factory=dict)  # Any: JSON
    history_photos: int | None = None
    candidate_order: int = 0


# Any, here and below: JSON.
def write_run(
    ranker: Ranker,
    benchmark: Benchmark,
    out: Path,
    asked: Asked,
    watched: Watched | None = None,
    team: Team | None = None,
) -> dict[str, Any]:
    """Ask a ranker the questions of a split, and write a run file with its manifest.

    Args:
        ranker: of any kind.
        benchmark: that asks.
        out: the run file; a stopped run goes on where it was, and a finished one is left alone.
        asked: what is asked, and with what.
        watched: what is counted beside it, or None.
        team: who answers instead of this process, or None; the run is the same.

    Returns:
        The manifest. It names who answered, or who finished what others had begun.

    Raises:
        EvaluationError: the split has no questions, or none that can be asked.
        RunFileError: there is another run, or an answer does not fit into a run file: an id with a
            blank, a score that is NaN. Such an answer is not kept, and its question is asked again.
        WorkerError: a worker of the team was lost.
    """
    made_with = _made_with(ranker, benchmark, asked)
    lock = FileLock(out.with_name(out.name + ".lock"), blocking=False)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with lock:
            done = _finished(out, _journal(out), made_with)
            manifest = done or _run(ranker, benchmark, out, asked, made_with, (watched, team))
            Path(lock.lock_file).unlink(missing_ok=True)
            return manifest
    except Timeout as error:
        advice = "Wait for it, or choose another --out."
        raise RunFileError(out, "another process is writing it", advice) from error
    except OSError as error:
        advice = "Free some space or check --out, then give the same command again: it goes on."
        raise RunFileError(out, f"it cannot be written ({error})", advice) from error


def _journal(out: Path) -> Path:
    return out.with_name(out.name + ".journal")


def _run(
    ranker: Ranker,
    benchmark: Benchmark,
    out: Path,
    asked: Asked,
    made_with: Mapping[str, Any],
    by: tuple[Watched | None, Team | None],
) -> dict[str, Any]:
    """Begin a run or go on with it, until it is finished."""
    watched, team = by
    total = _total(benchmark, asked)
    with Journal(_journal(out), made_with) as journal:
        left = _left(_requests(benchmark, asked), journal)
        _keep_all(answer_all(ranker, left, watched or Watched(), team), total, journal)
        workers = Workers() if team is None else team.workers
        made_by = {"engine": workers.engine, "workers": workers.count}
        manifest = _finish(journal, out, ranker.name, {**made_with, **made_by})
    _journal(out).unlink()
    return manifest


def _made_with(ranker: Ranker, benchmark: Benchmark, asked: Asked) -> dict[str, Any]:
    """List what decides the answers.

    Choice: a whole history and the benchmark's order are not named, so that runs from before there
        was anything else are still the same runs.
    """
    other: dict[str, Any] = {}
    if asked.history_photos is not None:
        other["history_photos"] = asked.history_photos
    if asked.candidate_order:
        other["candidate_order"] = asked.candidate_order
    return {
        **other,
        "format": _FORMAT,
        "benchmark": benchmark.name,
        "checksum": benchmark.about["checksum"],
        "split": asked.split,
        "sample": asked.sample,
        "shuffled_history": asked.shuffled_history,
        "ranker": ranker.name,
        "with": dict(asked.made_with),
        "seed": asked.settings.seed,
        "settings": asked.settings.recorded(),
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
    if asked.shuffled_history:
        requests = map(ShuffledHistories(benchmark, asked.split, asked.settings.seed), requests)
    known = asked.history_photos
    if known is not None:
        requests = (truncated(one, known) for one in requests)
    return (reordered(one, asked.candidate_order) for one in requests)


def _left(requests: Iterator[RankingRequest], journal: Journal) -> Iterator[RankingRequest]:
    """Yield the requests that the journal does not answer."""
    done = tuple(journal.example_ids)
    for at, request in enumerate(requests):
        if at >= len(done):
            yield request
        elif done[at] != request.id:
            raise RunFileError(
                journal.path,
                f"it answers {done[at]!r} where {request.id!r} is asked",
                "Delete it to begin anew.",
            )


def _keep_all(answers: Generator[Answered], total: int, journal: Journal) -> None:
    done = len(journal.example_ids)
    with (
        closing(answers),
        tqdm(total=total, initial=done, unit="question", disable=None) as bar,
    ):
        for answered in answers:
            journal.add(answered)
            bar.update(1)


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
