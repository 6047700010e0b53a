from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.benchmark.tiny import write_tiny
from tests.cluster import HERE, ROOT, TWO_ON_RAY, TWO_PROCESSES, two_workers
from tests.evaluation.slow_ranker import SlowRanker, opened, run
from tests.evaluation.toy import Ask, write_toy

from visuallens.benchmark.folder import Benchmark
from visuallens.errors import RunFileError, WorkerError
from visuallens.evaluation.engine import answer_all
from visuallens.evaluation.runs import Team, Watched
from visuallens.rankers.baselines import RatingRanker
from visuallens.types import Ranking, RankingRequest
from visuallens.workers import Workers


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Benchmark:
    return Benchmark(write_tiny(tmp_path_factory.mktemp("engine") / "tiny", photos=False))


@pytest.fixture(scope="module")
def alone(tiny: Benchmark, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process answers."""
    out = tmp_path_factory.mktemp("alone") / "a.run"
    run(tiny, out, SlowRanker())
    return out


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    with two_workers():
        yield


@pytest.fixture(params=[TWO_PROCESSES, TWO_ON_RAY], ids=["processes", "ray"])
def workers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Workers:
    chosen: Workers = request.param
    if chosen.engine == "ray":
        request.getfixturevalue("cluster")
    monkeypatch.syspath_prepend(ROOT)
    return chosen


class BreakingRanker(SlowRanker):
    """Answers one question with what no run file can hold, wherever it is asked."""

    def __init__(self, broken: str) -> None:
        super().__init__()
        self._broken = broken

    def rank(self, request: RankingRequest) -> Ranking:
        ranking = super().rank(request)
        if request.id != self._broken:
            return ranking
        first, *others = ranking.candidates
        return replace(ranking, candidates=(*others, replace(first, score=math.nan)))


@contextmanager
def breaking(broken: str) -> Iterator[tuple[SlowRanker, Watched]]:
    ranker = BreakingRanker(broken)
    yield ranker, Watched()


# Any: JSON.
def questions(out: Path) -> list[dict[str, Any]]:
    """What is known of each question, but how long it took."""
    lines = out.with_name(out.name + ".questions.jsonl").read_text().splitlines()
    return [{**json.loads(line), "latency_ms": 0} for line in lines]


@contextmanager
def rating() -> Iterator[tuple[RatingRanker, Watched]]:
    yield RatingRanker(), Watched()


def test_a_case_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT)
    # Item n is rated n: the best is the largest number.
    asks = [Ask("a", [1], [2, 3], [2]), Ask("b", [1], [9, 4, 5], [4]), Ask("a", [1], [7, 6], [6])]
    toy = write_toy(tmp_path / "toy", {"train": asks})
    requests = list(toy.requests("train"))
    team = Team(rating, TWO_PROCESSES)
    found = list(answer_all(RatingRanker(), iter(requests), Watched(), team))
    assert [one.example_id for one in found] == ["train-0", "train-1", "train-2"]
    assert [[candidate for candidate, _ in one.ranked] for one in found] == [
        ["3", "2"], ["9", "5", "4"], ["7", "6"],
    ]  # fmt: skip


def test_a_team_answers_to_the_same_bytes(
    tiny: Benchmark, tmp_path: Path, alone: Path, workers: Workers
) -> None:
    ranker = SlowRanker()
    manifest = run(tiny, tmp_path / "a.run", ranker, team=Team(opened, workers))
    assert ranker.asked == []  # the others were asked
    assert (tmp_path / "a.run").read_bytes() == alone.read_bytes()
    assert questions(tmp_path / "a.run") == questions(alone)
    other = json.loads(alone.with_name("a.run.json").read_text())
    assert (manifest["engine"], manifest["workers"]) == (workers.engine, 2)
    assert (other["engine"], other["workers"]) == ("local", 1)
    apart = {"latency_ms", "engine", "workers"}
    assert {k: v for k, v in manifest.items() if k not in apart} == {
        k: v for k, v in other.items() if k not in apart
    }


@pytest.mark.parametrize("strange", [False, True])
def test_samples_and_strangers_are_the_same(
    tiny: Benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strange: bool
) -> None:
    monkeypatch.syspath_prepend(ROOT)
    team = Team(opened, TWO_PROCESSES)
    for out, who in (("a.run", None), ("b.run", team)):
        run(tiny, tmp_path / out, SlowRanker(), sample=9, shuffled_history=strange, team=who)
    assert (tmp_path / "b.run").read_bytes() == (tmp_path / "a.run").read_bytes()
    assert questions(tmp_path / "b.run") == questions(tmp_path / "a.run")


def test_an_answer_that_cannot_be_written_stops_a_team_at_its_question(
    tiny: Benchmark, tmp_path: Path, alone: Path, workers: Workers
) -> None:
    ids = [request.id for request in tiny.requests("train")]
    out = tmp_path / "a.run"
    team = Team(partial(breaking, ids[5]), workers)
    with pytest.raises(RunFileError) as caught:
        run(tiny, out, SlowRanker(), team=team)
    with pytest.raises(RunFileError) as here:
        run(tiny, tmp_path / "b.run", BreakingRanker(ids[5]))
    assert str(caught.value) == str(here.value)
    # What came before is kept, in order, and this process goes on with it.
    journal = (tmp_path / "a.run.journal").read_text().splitlines()
    assert [json.loads(line)["example_id"] for line in journal[1:]] == ids[:5]
    rest = SlowRanker()
    run(tiny, out, rest)
    assert rest.asked == ids[5:]
    assert out.read_bytes() == alone.read_bytes()


def test_a_team_refuses_another_run_in_the_same_words(
    tiny: Benchmark, tmp_path: Path, workers: Workers
) -> None:
    out = tmp_path / "a.run"
    run(tiny, out, SlowRanker(), sample=3)
    with pytest.raises(RunFileError, match="sample: there 3, here 5"):
        run(tiny, out, SlowRanker(), sample=5, team=Team(opened, workers))


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("engine", ["local", pytest.param("ray", marks=pytest.mark.slow)])
def test_a_killed_team_goes_on_to_the_same_bytes(
    tiny: Benchmark, tmp_path: Path, alone: Path, engine: str
) -> None:
    if engine == "ray":
        pytest.importorskip("ray", reason="the `scale` extra is not installed")
    out, journal = tmp_path / "a.run", tmp_path / "a.run.journal"
    command = [sys.executable, "-m", "tests.evaluation.slow_ranker", str(tiny.folder), str(out)]
    process = subprocess.Popen(
        [*command, "0.2", engine, "2"],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    until = time.monotonic() + 120
    while not journal.exists() or journal.read_bytes().count(b"\n") < 4:
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.02)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert not out.exists()
    rest = SlowRanker()
    run(tiny, out, rest)
    assert 0 < len(rest.asked) <= tiny.count("train") - 3
    assert out.read_bytes() == alone.read_bytes()


@contextmanager
def dying(wait_s: float) -> Iterator[tuple[SlowRanker, Watched]]:
    """A ranker whose process is killed before its third question."""
    ranker = SlowRanker(wait_s)

    def account() -> dict[str, float]:
        if len(ranker.asked) == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return {}

    yield ranker, Watched(account)


def test_a_lost_process_keeps_what_was_answered(
    tiny: Benchmark, tmp_path: Path, alone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(ROOT)
    out = tmp_path / "a.run"
    with pytest.raises(WorkerError, match="it goes on where it was"):
        run(tiny, out, SlowRanker(), team=Team(partial(dying, 0.05), TWO_PROCESSES))
    run(tiny, out, SlowRanker(), team=Team(opened, HERE))
    assert out.read_bytes() == alone.read_bytes()
