from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from filelock import FileLock
from tests.benchmark.tiny import write_tiny
from tests.evaluation.slow_ranker import SlowRanker, run
from tests.evaluation.toy import Ask, write_toy

from visuallens import __version__
from visuallens.benchmark.folder import Benchmark
from visuallens.config import load_settings
from visuallens.errors import EvaluationError, RunFileError
from visuallens.evaluation.runs import Asked, read_run, write_run
from visuallens.rankers.baselines import RandomRanker
from visuallens.types import Ranking, RankingRequest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Benchmark:
    return Benchmark(write_tiny(tmp_path_factory.mktemp("runs") / "tiny", photos=False))


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_run_holds_every_ranking_and_what_made_it(tiny: Benchmark, tmp_path: Path) -> None:
    ranker = SlowRanker()
    manifest = run(tiny, tmp_path / "a.run", ranker, made_with={"adapter": "none"})
    requests = list(tiny.requests("train"))
    found = read_run(tmp_path / "a.run", tiny, "train")
    assert found.example_ids == tuple(request.id for request in requests)
    for request in requests:
        ranking = ranker.rank(request)
        expected = {one.candidate.id: one.score for one in ranking.candidates}
        assert list(found.scores_of(request.id).items()) == list(expected.items())
    assert manifest == json.loads((tmp_path / "a.run.json").read_text())
    assert manifest["benchmark"] == "tiny"
    assert manifest["checksum"] == tiny.about["checksum"]
    assert (manifest["ranker"], manifest["split"]) == ("slow", "train")
    assert manifest["with"] == {"adapter": "none"}
    assert (manifest["version"], manifest["seed"]) == (__version__, 0)
    assert manifest["settings"] == load_settings().recorded()
    count = len(requests)
    photos = sum(len(request.history) for request in requests)
    halves = sum(len(request.history) // 2 for request in requests)
    assert manifest["examples"] == count
    assert manifest["counts"] == {
        "prompts": 2 * count, "photos": photos, "photos_seen": photos, "photos_not_indexed": halves,
    }  # fmt: skip
    assert manifest["account"] == {"requests": count, "cost": count / 2}
    latency = manifest["latency_ms"]
    assert 0 <= latency["median"] <= latency["p95"] <= latency["total"]
    lines = (tmp_path / "a.run.questions.jsonl").read_text().splitlines()
    assert [json.loads(line)["example_id"] for line in lines] == list(found.example_ids)
    assert json.loads(lines[0])["used"] == {"requests": 1, "cost": 0.5}
    assert names(tmp_path) == {"a.run", "a.run.json", "a.run.questions.jsonl"}


def test_a_finished_run_is_left_alone(tiny: Benchmark, tmp_path: Path) -> None:
    first = run(tiny, tmp_path / "a.run", SlowRanker())
    again = SlowRanker()
    assert run(tiny, tmp_path / "a.run", again) == first
    assert again.asked == []


class StoppedError(Exception):
    """Stands for whatever stops a run."""


class StoppingRanker(SlowRanker):
    def __init__(self, after: int) -> None:
        super().__init__()
        self._after = after

    def rank(self, request: RankingRequest) -> Ranking:
        if len(self.asked) == self._after:
            raise StoppedError
        return super().rank(request)


class BrokenRanker(SlowRanker):
    """Answers one question with what no run file can hold."""

    def __init__(self, after: int, what: str) -> None:
        super().__init__()
        self._after, self._what = after, what

    def rank(self, request: RankingRequest) -> Ranking:
        ranking = super().rank(request)
        if len(self.asked) <= self._after:
            return ranking
        first, *others = ranking.candidates
        if self._what == "nan":
            return replace(ranking, candidates=(*others, replace(first, score=math.nan)))
        named = replace(first.candidate, id="a b")
        return replace(ranking, candidates=(replace(first, candidate=named), *others))


@pytest.mark.parametrize("after", [0, 3])
@pytest.mark.parametrize(
    ("what", "words"), [("nan", "is NaN"), ("blank", "'a b' cannot stand in a run file")]
)
def test_an_answer_that_cannot_be_written_stops_the_run_at_its_question(
    tiny: Benchmark, tmp_path: Path, after: int, what: str, words: str
) -> None:
    broken = BrokenRanker(after, what)
    with pytest.raises(RunFileError, match=words):
        run(tiny, tmp_path / "a.run", broken)
    assert len(broken.asked) == after + 1
    mended = SlowRanker()
    manifest = run(tiny, tmp_path / "a.run", mended)
    assert len(mended.asked) == manifest["examples"] - after
    run(tiny, tmp_path / "whole.run", SlowRanker())
    assert (tmp_path / "a.run").read_bytes() == (tmp_path / "whole.run").read_bytes()


@pytest.mark.parametrize("after", [0, 1, 7])
@pytest.mark.parametrize("sample", [None, 11])
def test_a_stopped_run_goes_on_to_the_same_bytes(
    tiny: Benchmark, tmp_path: Path, after: int, sample: int | None
) -> None:
    run(tiny, tmp_path / "whole.run", SlowRanker(), sample=sample)
    with pytest.raises(StoppedError):
        run(tiny, tmp_path / "a.run", StoppingRanker(after), sample=sample)
    assert not (tmp_path / "a.run").exists()
    rest = SlowRanker()
    manifest = run(tiny, tmp_path / "a.run", rest, sample=sample)
    assert len(rest.asked) == manifest["examples"] - after
    assert manifest["account"]["requests"] == manifest["examples"]
    assert (tmp_path / "a.run").read_bytes() == (tmp_path / "whole.run").read_bytes()


def test_a_killed_run_goes_on_to_the_same_bytes(tiny: Benchmark, tmp_path: Path) -> None:
    out = tmp_path / "a.run"
    command = [sys.executable, "-m", "tests.evaluation.slow_ranker", str(tiny.folder), str(out)]
    process = subprocess.Popen([*command, "0.05"], cwd=ROOT, stderr=subprocess.DEVNULL)
    journal = tmp_path / "a.run.journal"
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
    run(tiny, tmp_path / "whole.run", SlowRanker())
    assert out.read_bytes() == (tmp_path / "whole.run").read_bytes()


def test_a_sample_is_drawn_with_the_seed(tiny: Benchmark, tmp_path: Path) -> None:
    manifest = run(tiny, tmp_path / "a.run", SlowRanker(), sample=9)
    assert (manifest["sample"], manifest["examples"]) == (9, 9)
    ids = read_run(tmp_path / "a.run", tiny, "train").example_ids
    assert len(set(ids)) == 9
    order = [request.id for request in tiny.requests("train")]
    assert sorted(ids, key=order.index) == list(ids) != order[:9]
    write_run(
        SlowRanker(), tiny, tmp_path / "b.run", Asked("train", load_settings(None, ["seed=1"]), 9)
    )
    assert read_run(tmp_path / "b.run", tiny, "train").example_ids != ids


def test_histories_can_be_shuffled(tiny: Benchmark, tmp_path: Path) -> None:
    manifest = run(tiny, tmp_path / "a.run", SlowRanker(), shuffled_history=True)
    assert manifest["shuffled_history"] is True
    own = sum(len(request.history) for request in tiny.requests("train"))
    assert 0 < manifest["counts"]["photos_seen"] <= own


def test_what_cannot_go_on_is_refused(tiny: Benchmark, tmp_path: Path) -> None:
    out = tmp_path / "a.run"
    with pytest.raises(StoppedError):
        run(tiny, out, StoppingRanker(2))
    with pytest.raises(RunFileError, match="sample: there null, here 5"):
        run(tiny, out, SlowRanker(), sample=5)
    run(tiny, out, SlowRanker())
    with pytest.raises(RunFileError, match="shuffled_history: there false, here true"):
        run(tiny, out, SlowRanker(), shuffled_history=True)
    (tmp_path / "a.run.json").unlink()
    with pytest.raises(RunFileError, match="there is something here already"):
        run(tiny, out, SlowRanker())


def test_a_split_that_cannot_be_asked_is_refused(tmp_path: Path) -> None:
    toy = write_toy(tmp_path / "toy", {"train": [Ask("a", [1], [2, 3], [2])]})
    with pytest.raises(EvaluationError, match="has 1 examples, not 2"):
        run(toy, tmp_path / "a.run", SlowRanker(), sample=2)
    with pytest.raises(EvaluationError, match="the test split of toy has no examples"):
        write_run(SlowRanker(), toy, tmp_path / "a.run", Asked("test", load_settings()))


def test_the_room_loads_nothing_heavy() -> None:
    code = (
        "import sys, importlib; names = 'runs evaluate controls shuffled measures groups'.split();"
        "[importlib.import_module(f'visuallens.evaluation.{one}') for one in names];"
        "print([one for one in ('torch', 'transformers', 'openvino') if one in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


FILLS_A_DISK = """
import resource, signal, sys
from pathlib import Path
from visuallens.benchmark.folder import Benchmark
from visuallens.config import load_settings
from visuallens.errors import RunFileError
from visuallens.evaluation.runs import Asked, write_run
from visuallens.rankers.baselines import RandomRanker

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
tiny, out, most = Benchmark(Path(sys.argv[1])), Path(sys.argv[2]), int(sys.argv[3])
resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))
try:
    write_run(RandomRanker(), tiny, out, Asked("train", load_settings()))
except RunFileError as error:
    print(error)
"""


@pytest.mark.parametrize("most", [6_000, 12_000])
def test_a_full_disk_says_what_to_do_and_the_run_goes_on(
    tiny: Benchmark, tmp_path: Path, most: int
) -> None:
    asked = Asked("train", load_settings())
    whole = write_run(RandomRanker(), tiny, tmp_path / "whole.run", asked)
    out = tmp_path / "a.run"
    found = subprocess.run(
        [sys.executable, "-c", FILLS_A_DISK, str(tiny.folder), str(out), str(most)],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    assert "Free some space" in found.stdout
    assert not out.exists()
    assert write_run(RandomRanker(), tiny, out, asked)["sha256"] == whole["sha256"]


def test_two_processes_do_not_write_one_run(tiny: Benchmark, tmp_path: Path) -> None:
    out = tmp_path / "a.run"
    with FileLock(f"{out}.lock"), pytest.raises(RunFileError, match="another process"):
        write_run(RandomRanker(), tiny, out, Asked("train", load_settings()))
    assert write_run(RandomRanker(), tiny, out, Asked("train", load_settings()))["examples"]
