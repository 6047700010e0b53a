"""Who does the work of a long job: this process, processes of this machine, or a Ray cluster.

A worker opens what it needs once, such as a model, and then does one task after the other. Results
come back in the order of the tasks, so that who did the work makes no difference to what is
written.
"""

from __future__ import annotations

import logging
import os
import pickle
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from visuallens.errors import MissingPackageError, VisualLensError, WorkerError

logger = logging.getLogger(__name__)

Task = TypeVar("Task")
Result = TypeVar("Result")
Engine = Literal["local", "ray"]
Work = Callable[[Task], Result]
OpenWork = Callable[[], AbstractContextManager[Work[Task, Result]]]
"""Opens what a worker needs; importable by name, as the tasks and results, so that it travels."""

_AHEAD = 4
"""Tasks of each worker that are begun while an earlier one is waited for."""

_TRIES_AGAIN = 3
"""How often a worker of Ray that is lost is begun anew, and its task with it."""

_PATIENCE_S = 30.0
"""How long nothing is said while no worker of Ray has begun."""


@dataclass(frozen=True, slots=True)
class Workers:
    """Who does the work.

    Attributes:
        engine: "local", or "ray": the cluster that RAY_ADDRESS names, else one on this machine.
        count: tasks at a time; with 1 and "local", everything happens in this process.
        gpus: that Ray keeps for each worker; may be a fraction. Others are hidden from it.
    """

    engine: Engine = "local"
    count: int = 1
    gpus: float = 0.0

    @property
    def is_alone(self) -> bool:
        """Everything happens in this process."""
        return self.engine == "local" and self.count == 1


def in_order(
    open_work: OpenWork[Task, Result], tasks: Iterable[Task], workers: Workers
) -> Generator[Result]:
    """Do tasks, several at a time.

    Args:
        open_work: opens what a worker needs; called once in each, when its first task is there.
        tasks: one argument each, never None; only a few are taken ahead of the results.
        workers: who does them.

    Yields:
        One result for each task, in the order of the tasks. The first task that fails, in that
        order, raises its error here; no later result is given.

    Raises:
        MissingPackageError: Ray is asked for and not installed.
        WorkerError: Ray cannot be started; a worker was killed, cannot begin or work where it is,
            or failed with an error that cannot be sent.
    """
    if workers.is_alone:
        with open_work() as work:
            yield from map(work, tasks)
    elif workers.engine == "ray":
        yield from _on_ray(open_work, tasks, workers)
    else:
        yield from _in_processes(open_work, tasks, workers.count)


class _Worker(Generic[Task, Result]):
    """Works in the folder of the process that began it, so that relative paths mean the same."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._opened = ExitStack()
        self._work: Work[Task, Result] | None = None

    def ready(self) -> None:
        """Say that the worker is there."""

    def do(self, task: Task, opener: Callable[[], OpenWork[Task, Result]]) -> Result:
        """Do one task, and open what is needed before the first one."""
        try:
            if self._work is None:
                self._work = self._open(opener())
            return self._work(task)
        except VisualLensError:
            raise
        except Exception as error:
            if _can_travel(error):
                raise
            raise WorkerError(
                f"a worker failed ({type(error).__name__}: {error})",
                "Give the same command again without --engine and --workers: it goes on where it "
                "was, and shows where the error is from.",
            ) from error

    def _open(self, open_work: OpenWork[Task, Result]) -> Work[Task, Result]:
        try:
            os.chdir(self._folder)
        except OSError as error:
            raise WorkerError(
                f"a worker cannot work in {self._folder} ({error})",
                "Every node needs the same shared file system. Mount it, or start the command in a "
                "folder that all nodes have.",
            ) from error
        return self._opened.enter_context(open_work())


def _can_travel(error: Exception) -> bool:
    """Tell whether an error comes out of a pickle; one that does not would end the worker."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - its own bytes, made in the line itself
    except Exception:  # noqa: BLE001 - errors of others may raise anything here
        return False
    return True


def _in_processes(
    open_work: OpenWork[Task, Result], tasks: Iterable[Task], count: int
) -> Iterator[Result]:
    # Spawned, since a forked process would inherit the threads of models and of Arrow.
    begun: tuple[Any, ...] = (open_work, Path.cwd())  # Any: arguments of `_begin`
    pool = ProcessPoolExecutor(count, get_context("spawn"), _begin, begun)
    waiting: deque[Future[Result]] = deque()
    try:
        for task in tasks:
            waiting.append(pool.submit(_do, task))
            if len(waiting) >= _AHEAD * count:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BaseException as error:
        # Nobody will read what they are at, and a model may take minutes to answer.
        for process in list((pool._processes or {}).values()):  # noqa: SLF001 - public from 3.14 on
            process.terminate()
        if isinstance(error, BrokenProcessPool):
            raise _lost(error) from error
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_here: list[Work[Any, Any]] = []  # Any: tasks and results of all kinds
"""Does a task of the worker that this process is, where it is one."""


def _begin(open_work: OpenWork[Task, Result], folder: Path) -> None:
    prepare_process()
    _here.append(partial(_Worker[Task, Result](folder).do, opener=lambda: open_work))


# Any: as above.
def _do(task: Any) -> Any:  # noqa: ANN401
    return _here[0](task)


def _on_ray(
    open_work: OpenWork[Task, Result], tasks: Iterable[Task], workers: Workers
) -> Iterator[Result]:
    with session("ray", workers.count) as is_ours:
        ray = load_ray()
        if is_ours:
            _check_room(ray.cluster_resources().get("GPU", 0.0), workers.gpus)
        actors = _Actors(ray, open_work, workers)
        try:
            yield from actors.results(iter(tasks))
        except ray.exceptions.RayTaskError as error:
            raise error.cause from error
        except ray.exceptions.RayError as error:
            raise _lost(error) from error
        finally:
            actors.end()


def _check_room(present: float, wanted: float) -> None:
    """Refuse workers that a Ray of this process, which never grows, cannot place."""
    if wanted > present:
        raise WorkerError(
            f"each worker asks for {wanted:g} graphics cards, and Ray finds {present:g} here",
            "Give fewer --gpus, or set RAY_ADDRESS to a cluster that has them.",
        )


# Any, here and below: Ray is untyped.
class _Actors(Generic[Task, Result]):
    """Workers on a cluster, as actors of Ray.

    Choice: actors of our own rather than `map_batches` of Ray Data, which holds all tasks before
        the first result and keeps their order for the price of waiting.
    Choice: tasks go to actors that have answered a call, so one for which the cluster has no room
        yet keeps nothing waiting.
    Choice: what a worker opens is sent with every task, as a reference that the first one follows,
        since Ray may begin an actor anew whose constructor's arguments are gone.
    """

    def __init__(self, ray: Any, open_work: OpenWork[Task, Result], workers: Workers) -> None:  # noqa: ANN401
        self._ray, self._workers, self._ahead = ray, workers, _AHEAD * workers.count
        made = ray.remote(_Worker).options(
            num_cpus=1,
            num_gpus=workers.gpus,
            max_restarts=_TRIES_AGAIN,
            max_task_retries=_TRIES_AGAIN,
        )
        self._opener = partial(ray.get, ray.put(open_work))
        actors = [made.remote(Path.cwd()) for _ in range(workers.count)]
        self._idle: deque[Any] = deque()
        self._calls: dict[Any, tuple[Any, int | None]] = {
            actor.ready.remote(): (actor, None) for actor in actors
        }
        self._done: dict[int, Any] = {}
        self._patience_s: float | None = _PATIENCE_S

    def results(self, tasks: Iterator[Task]) -> Iterator[Result]:
        """Yield what the actors make of the tasks, in order."""
        begun = given = 0
        task = next(tasks, None)
        while task is not None or given < begun:
            while task is not None and self._idle and begun - given < self._ahead:
                actor = self._idle.popleft()
                self._calls[actor.do.remote(task, self._opener)] = (actor, begun)
                begun, task = begun + 1, next(tasks, None)
            if given in self._done:
                result: Result = self._ray.get(self._done.pop(given))
                yield result
                given += 1
            else:
                self._wait()

    def end(self) -> None:
        """Let the actors go; Ray ends those that nobody holds, once their calls are done."""
        for held in (self._idle, self._calls, self._done):
            held.clear()

    def _wait(self) -> None:
        """Wait until a call has ended, and let its actor do something else."""
        calls, patience_s = list(self._calls), self._patience_s
        ended, _ = self._ray.wait(calls, num_returns=1, timeout=patience_s)
        self._patience_s = None
        if not ended:
            logger.warning(
                "No worker has begun for %g s: each asks Ray for 1 processor and %g graphics "
                "cards. Ray has in all %s; ray status shows what is free.",
                patience_s,
                self._workers.gpus,
                self._ray.cluster_resources(),
            )
            ended, _ = self._ray.wait(calls, num_returns=1)
        (call,) = ended
        actor, number = self._calls.pop(call)
        self._idle.append(actor)
        if number is None:
            self._ray.get(call)
        else:
            self._done[number] = call


@contextmanager
def session(engine: Engine, count: int) -> Iterator[bool]:
    """Keep an engine running over several jobs, since Ray takes seconds to start.

    Args:
        engine: of the jobs.
        count: of their workers.

    Yields:
        Whether a Ray of this machine was started here, which has room for so many workers.

    Raises:
        MissingPackageError: Ray is asked for and not installed.
        WorkerError: Ray cannot be started, or not be reached.
    """
    if engine == "local":
        yield False
        return
    ray = load_ray()
    if ray.is_initialized():
        yield False
        return
    address = os.environ.get("RAY_ADDRESS")
    _start(ray, address, count)
    try:
        yield not address
    finally:
        ray.shutdown()


def _start(ray: Any, address: str | None, count: int) -> None:  # noqa: ANN401
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        if address:
            ray.init(**quiet)
        else:
            # Without "local", a node's own Ray would be joined, which takes no number.
            ray.init("local", num_cpus=count, include_dashboard=False, **quiet)
    # Ray raises a bare Exception where a node does not start in time, and others elsewhere.
    except Exception as error:
        if address:
            raise WorkerError(
                f"Ray cannot be reached at RAY_ADDRESS={address} ({error})",
                "Check with ray status that the cluster runs, or unset RAY_ADDRESS to use this "
                "machine.",
            ) from error
        raise WorkerError(
            f"Ray cannot be started on this machine ({error})",
            "Free memory and room in /tmp, or take --engine local, which needs no Ray.",
        ) from error


def load_ray() -> Any:  # noqa: ANN401
    """Import Ray, which is optional."""
    try:
        import ray
    except ImportError as error:
        raise MissingPackageError(
            "ray", "The engine 'ray'", "pip install 'visuallens[benchmark,scale]'"
        ) from error
    return ray


def prepare_process() -> None:
    """Leave Ctrl-C to the parent, and end when it is gone: nobody else would stop the worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)


def _lost(error: Exception) -> WorkerError:
    return WorkerError(
        f"a worker ended before its task ({type(error).__name__})",
        "It was killed, perhaps for want of memory. Give the same command again: it goes on where "
        "it was. If memory is short, with fewer --workers.",
    )
