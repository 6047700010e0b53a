from __future__ import annotations

import pickle
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.benchmark.films import write_films

from visuallens import registry
from visuallens.benchmark.base import Job, RawFile, Rules
from visuallens.benchmark.build import build
from visuallens.benchmark.engine import run
from visuallens.benchmark.reading import ReadTask, read_file, text_hash
from visuallens.benchmark.steps import Crew
from visuallens.config import BenchmarkSettings
from visuallens.errors import (
    BenchmarkFolderError,
    MissingPackageError,
    RawDataError,
    UnknownNameError,
    VisualLensError,
)

# Functions of the package are run here, since other processes import them by their names.

WORDS = ["a", "b", "", "é", "a"]
HASHES = list(enumerate(map(text_hash, WORDS)))


def missing(folder: Path) -> list[ReadTask]:
    rules = Rules.resolve(
        BenchmarkSettings(), registry.load("datasets", "google-review-v").defaults
    )
    job = Job("google-review-v", folder, rules, seed=0, memory_gb=1, workers=1)
    return [
        ReadTask(job, RawFile(folder / f"review-{number}.json", "reviews"), number, folder, 0)
        for number in range(2)
    ]


def malformed(folder: Path) -> list[ReadTask]:
    tasks = missing(folder)
    for task in tasks:
        task.raw.path.write_bytes(b'{"user_id": 5}\n')
    return tasks


@pytest.mark.parametrize("workers", [1, 2])
def test_every_task_gives_its_result(workers: int) -> None:
    assert sorted(run(text_hash, WORDS, workers=workers)) == HASHES
    assert list(run(text_hash, ["a"], workers=workers)) == [(0, text_hash("a"))]


@pytest.mark.parametrize(
    "workers",
    [
        1,
        2,
    ],
)
def test_no_tasks_give_no_results(workers: int) -> None:
    assert list(run(text_hash, [], workers=workers)) == []


def test_one_worker_does_the_tasks_one_by_one() -> None:
    done: list[int] = []
    results = run(partial(_note, done), [1, 2, 3])
    assert next(results) == (0, None)
    assert done == [1]
    assert list(results) == [(1, None), (2, None)]


def _note(done: list[int], task: int) -> None:
    done.append(task)


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_of_ours_keeps_its_type_and_its_facts(tmp_path: Path, workers: int) -> None:
    with pytest.raises(RawDataError) as caught:
        list(run(read_file, malformed(tmp_path), workers=workers))
    assert type(caught.value) is RawDataError
    assert str(caught.value).startswith(str(tmp_path / "review-"))
    assert "1 of 1 rows are malformed: 1 x wrong type of user_id" in str(caught.value)
    assert caught.value.line is None


def test_another_error_keeps_its_type() -> None:
    with pytest.raises(ValueError, match="invalid literal for int"):
        list(run(int, ["1", "one", "2"], workers=2))


@pytest.mark.parametrize(
    "error",
    [
        RawDataError("a.json", "it is broken", "Mend it.", line=7),
        RawDataError(Path("a.json"), "it is broken", "Mend it."),
        BenchmarkFolderError("out", "there is something", "Choose another."),
        UnknownNameError("dataset", "x", ["b", "a"]),
        MissingPackageError("ray", "The engine 'ray'", "pip install ray"),
    ],
)
def test_errors_travel_between_processes(error: VisualLensError) -> None:
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - made in the line itself
    assert type(again) is type(error)
    assert (str(again), vars(again)) == (str(error), vars(error))


# Any: what benchmark.json holds.
def built(films: Path, out: Path, crew: Crew) -> dict[str, Any]:
    settings = BenchmarkSettings(min_drawn=10, max_drawn=20)
    about = dict(build("movielens-v", films, out, settings, crew=crew))
    return {name: about[name] for name in ("checksum", "counts", "sources", "settings")}


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_films(tmp_path_factory.mktemp("films"), users=20, films=120)


@pytest.fixture(scope="module")
def alone(films: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What one process builds."""
    return built(films, tmp_path_factory.mktemp("alone") / "out", Crew())


@pytest.fixture
def small_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut the users of a small dump into several buckets."""
    monkeypatch.setattr("visuallens.benchmark.build._BUCKET_BYTES", 4096)


@pytest.mark.usefixtures("small_buckets")
@pytest.mark.parametrize("workers", [1, 2])
def test_buckets_and_processes_build_the_same_bytes(
    films: Path, tmp_path: Path, alone: dict[str, Any], workers: int
) -> None:
    assert built(films, tmp_path / "out", Crew(workers=workers)) == alone
    assert alone["counts"]["splits"]["train"]["examples"] > 50


# --- Ray --------------------------------------------------------------------------------------


def test_without_ray_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'visuallens\[benchmark,scale\]'"):
        list(run(text_hash, ["a"], engine="ray"))


def test_ray_is_started_and_stopped_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray", reason="the `scale` extra is not installed")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert sorted(run(text_hash, WORDS, engine="ray", workers=2)) == HASHES
    assert not ray.is_initialized()


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """Two workers of Ray; starting them takes seconds, so the tests share them."""
    ray = pytest.importorskip("ray", reason="the `scale` extra is not installed")
    ray.init(
        "local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR"
    )
    yield
    ray.shutdown()


@pytest.mark.usefixtures("cluster")
def test_a_running_cluster_is_used_and_left_alone() -> None:
    import ray

    assert sorted(run(text_hash, WORDS, engine="ray", workers=2)) == HASHES
    assert list(run(text_hash, [], engine="ray", workers=2)) == []
    assert ray.is_initialized()


@pytest.mark.usefixtures("cluster", "small_buckets")
def test_ray_builds_the_same_bytes(films: Path, tmp_path: Path, alone: dict[str, Any]) -> None:
    assert built(films, tmp_path / "out", Crew(engine="ray", workers=2)) == alone


@pytest.mark.usefixtures("cluster")
def test_an_error_of_ours_comes_back_from_ray(tmp_path: Path) -> None:
    with pytest.raises(RawDataError, match="1 of 1 rows are malformed: 1 x wrong type of user_id"):
        list(run(read_file, malformed(tmp_path), engine="ray", workers=2))


@pytest.mark.usefixtures("cluster")
def test_an_error_of_ours_comes_back_from_ray_as_it_was(tmp_path: Path) -> None:
    with pytest.raises(RawDataError) as caught:
        list(run(read_file, malformed(tmp_path), engine="ray", workers=2))
    assert type(caught.value) is RawDataError
    assert str(caught.value).startswith(str(tmp_path / "review-"))
    assert caught.value.line is None
