from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import HERE, ROOT, TWO_ON_RAY, TWO_PROCESSES, two_workers
from visuallens.cli.main import exit_code
from visuallens.errors import MissingPackageError, RunFileError, WorkerError
from visuallens.workers import Workers, _Worker, in_order


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    with two_workers():
        yield


@pytest.fixture(params=[HERE, TWO_PROCESSES, TWO_ON_RAY], ids=["here", "processes", "ray"])
def workers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Workers:
    chosen: Workers = request.param
    if chosen.engine == "ray":
        request.getfixturevalue("cluster")
    monkeypatch.syspath_prepend(ROOT)
    return chosen


# What workers open is of this module, since they import it by name.


@contextmanager
def squares(folder: Path) -> Iterator[Callable[[int], tuple[int, int]]]:
    """Square numbers, the first one slowly; leave one file for each time that this was opened."""
    (folder / f"{os.getpid()}-{time.monotonic_ns()}").touch()

    def square(number: int) -> tuple[int, int]:
        time.sleep(0.4 if number == 0 else 0.0)
        return number * number, os.getpid()

    yield square


@contextmanager
def refusing() -> Iterator[Callable[[int], int]]:
    def refuse(number: int) -> int:
        if number >= 3:
            raise RunFileError("a.run", f"{number} is too many", "Take fewer.", line=number)
        return number

    yield refuse


def unopened() -> AbstractContextManager[Callable[[int], int]]:
    raise RunFileError("a.run", "it is not there", "Make it.")


@contextmanager
def dying(folder: Path, times: int) -> Iterator[Callable[[int], int]]:
    """Answer, but be killed at number 2, so many times."""

    def answer(number: int) -> int:
        died = len(list(folder.iterdir()))
        if number == 2 and died < times:
            (folder / str(died)).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return -number

    yield answer


class OddError(Exception):
    """Cannot be made again from its message, as a pickle would."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} and {second}")


@contextmanager
def failing(odd: bool) -> Iterator[Callable[[int], int]]:
    def fail(number: int) -> int:
        if number == 2:
            raise OddError("this", "that") if odd else KeyError("this")
        return number

    yield fail


@contextmanager
def lasting(folder: Path) -> Iterator[Callable[[int], None]]:
    """Take a minute for each task; leave a file that is named as the process."""

    def last(_: int) -> None:
        (folder / str(os.getpid())).touch()
        time.sleep(60)

    yield last


@contextmanager
def looking(what: str) -> Iterator[Callable[[int], str]]:
    """Tell where a worker is, or which graphics cards it sees."""
    yield lambda _: str(Path.cwd()) if what == "folder" else os.environ["CUDA_VISIBLE_DEVICES"]


# The first tests start a Ray of their own, the others share one.


def test_workers_that_have_no_room_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray", reason="the `scale` extra is not installed")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(WorkerError, match=r"asks for 64 graphics cards, and Ray finds .* --gpus"):
        list(in_order(refusing, range(3), Workers("ray", count=1, gpus=64)))


def test_a_cluster_that_cannot_be_reached_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray", reason="the `scale` extra is not installed")
    monkeypatch.setenv("RAY_ADDRESS", "here")
    with pytest.raises(WorkerError, match=r"RAY_ADDRESS=here .* unset RAY_ADDRESS"):
        list(in_order(refusing, range(3), TWO_ON_RAY))


def test_results_come_in_the_order_of_the_tasks(workers: Workers, tmp_path: Path) -> None:
    found = list(in_order(partial(squares, tmp_path), range(12), workers))
    # 0, 1, 4, 9, ... although the first task takes longest.
    assert [result for result, _ in found] == [
        0, 1, 4, 9, 16, 25, 36, 49, 64, 81, 100, 121,
    ]  # fmt: skip
    processes = {process for _, process in found}
    assert len(processes) == workers.count
    assert (os.getpid() in processes) is workers.is_alone
    # Each worker opened what it needs once.
    assert len(list(tmp_path.iterdir())) == workers.count


def test_no_tasks_give_no_results(workers: Workers, tmp_path: Path) -> None:
    assert list(in_order(partial(squares, tmp_path), [], workers)) == []


def test_few_tasks_are_taken_ahead(workers: Workers, tmp_path: Path) -> None:
    taken = []

    def tasks() -> Iterator[int]:
        for number in range(1000):
            taken.append(number)
            yield number

    results = in_order(partial(squares, tmp_path), tasks(), workers)
    assert [result for result, _ in islice(results, 20)] == [n * n for n in range(20)]
    results.close()
    assert 20 <= len(taken) <= 20 + 4 * workers.count + 1


def test_an_error_comes_where_its_task_is(workers: Workers) -> None:
    given: list[int] = []
    with pytest.raises(RunFileError, match=r"line 3: 3 is too many\. Take fewer") as caught:
        given.extend(in_order(refusing, range(8), workers))
    assert given == [0, 1, 2]
    assert (caught.value.line, caught.value.path) == (3, "a.run")


def test_what_cannot_be_opened_is_said_as_here(workers: Workers) -> None:
    with pytest.raises(RunFileError, match=r"a\.run: it is not there\. Make it"):
        list(in_order(unopened, range(3), workers))


def test_an_error_of_others_comes_back(workers: Workers) -> None:
    with pytest.raises(KeyError, match="this"):
        list(in_order(partial(failing, False), range(4), workers))


def test_an_error_that_cannot_be_sent_is_told(workers: Workers) -> None:
    here = workers.is_alone
    message = "this and that" if here else r"a worker failed \(OddError: this and that\)\. Give"
    with pytest.raises(OddError if here else WorkerError, match=message):
        list(in_order(partial(failing, True), range(4), workers))


def test_an_interrupt_ends_processes_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(ROOT)
    start = 0.0

    def tasks() -> Iterator[int]:
        nonlocal start
        yield from range(2)
        while len(list(tmp_path.iterdir())) < 2:
            time.sleep(0.02)
        start = time.monotonic()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(in_order(partial(lasting, tmp_path), tasks(), TWO_PROCESSES))
    # Their tasks would have taken a minute.
    assert time.monotonic() - start < 10
    for process in tmp_path.iterdir():
        with pytest.raises(ProcessLookupError):
            os.kill(int(process.name), 0)


def test_relative_paths_mean_the_same(
    workers: Workers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert set(in_order(partial(looking, "folder"), range(4), workers)) == {str(tmp_path)}


def test_a_killed_process_ends_the_job_and_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(ROOT)
    with pytest.raises(WorkerError, match="fewer --workers") as caught:
        list(in_order(partial(dying, tmp_path, 1), range(8), TWO_PROCESSES))
    assert exit_code(caught.value) == 1


@pytest.mark.usefixtures("cluster")
def test_ray_begins_a_killed_worker_anew(tmp_path: Path) -> None:
    found = list(in_order(partial(dying, tmp_path, 1), range(8), TWO_ON_RAY))
    assert found == [0, -1, -2, -3, -4, -5, -6, -7]
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.usefixtures("cluster")
def test_ray_gives_up_a_task_that_kills_every_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("visuallens.workers._TRIES_AGAIN", 0)
    with pytest.raises(WorkerError, match="a worker ended before its task"):
        list(in_order(partial(dying, tmp_path, 100), range(8), TWO_ON_RAY))
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.usefixtures("cluster")
def test_workers_for_which_the_cluster_has_no_room_keep_nothing_waiting(tmp_path: Path) -> None:
    found = list(in_order(partial(squares, tmp_path), range(40), Workers("ray", count=5)))
    assert [result for result, _ in found] == [number * number for number in range(40)]
    assert len({process for _, process in found}) <= 2


@pytest.mark.usefixtures("cluster")
def test_workers_that_wait_for_room_are_told_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import ray

    monkeypatch.setattr("visuallens.workers._PATIENCE_S", 0.5)
    made: Any = ray.remote(_Worker)  # Any: Ray is untyped
    occupant = made.options(num_cpus=2).remote(Path.cwd())
    ray.get(occupant.ready.remote())
    leaving = threading.Timer(2.0, ray.kill, (occupant,))
    leaving.start()
    assert list(in_order(refusing, range(3), Workers("ray", count=2, gpus=0.5))) == [0, 1, 2]
    leaving.join()
    (warning,) = caplog.messages
    assert "each asks Ray for 1 processor and 0.5 graphics cards" in warning
    assert "'GPU': 2.0" in warning


@pytest.mark.usefixtures("cluster")
def test_ray_has_nothing_to_warn_of(capfd: pytest.CaptureFixture[str]) -> None:
    assert list(in_order(refusing, range(3), TWO_ON_RAY)) == [0, 1, 2]
    assert capfd.readouterr() == ("", "")


@pytest.mark.usefixtures("cluster")
def test_each_worker_sees_its_own_graphics_card() -> None:
    crew = Workers("ray", count=2, gpus=1)
    found = set(in_order(partial(looking, "cards"), range(6), crew))
    assert found
    assert found <= {"0", "1"}


# Any: no ray is there to be used.
def test_without_ray_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing: Any = None
    monkeypatch.setitem(sys.modules, "ray", nothing)
    with pytest.raises(MissingPackageError, match=r"pip install 'visuallens\[benchmark,scale\]'"):
        list(in_order(refusing, range(3), TWO_ON_RAY))
