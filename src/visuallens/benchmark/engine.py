"""Where tasks run: in this process, in processes of this machine, or on a Ray cluster.

A task is a function of a module and one picklable argument; it reads and writes files of a folder
that all workers see. So an engine decides how fast a benchmark is built, and nothing else.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from typing import Any, Literal, TypeVar

from visuallens.errors import MissingPackageError

Task = TypeVar("Task")
Result = TypeVar("Result")
Engine = Literal["local", "ray"]


def run(
    function: Callable[[Task], Result],
    tasks: Sequence[Task],
    *,
    engine: Engine = "local",
    workers: int = 1,
) -> Iterator[tuple[int, Result]]:
    """Run a function on many tasks.

    Args:
        function: importable by name.
        tasks: one argument each.
        engine: "local", or "ray": the cluster that RAY_ADDRESS names, else one on this machine.
        workers: processes; with 1 and "local", everything happens in this one.

    Yields:
        The number of a task and its result, in the order in which they end.

    Raises:
        MissingPackageError: Ray is asked for and not installed.
    """
    if not tasks:
        return
    if engine == "ray":
        yield from _on_ray(function, tasks, workers)
    elif workers == 1 or len(tasks) == 1:
        yield from enumerate(map(function, tasks))
    else:
        # Spawned, since a forked process would inherit the threads of DuckDB and Arrow.
        count = min(workers, len(tasks))
        with ProcessPoolExecutor(count, get_context("spawn"), _prepare_worker) as pool:
            futures = {pool.submit(function, task): number for number, task in enumerate(tasks)}
            try:
                for future in as_completed(futures):
                    yield futures[future], future.result()
            finally:
                pool.shutdown(wait=True, cancel_futures=True)


def _prepare_worker() -> None:
    """Leave Ctrl-C to the parent, and end when it is gone: nobody else would stop the worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)


@contextmanager
def session(engine: Engine, workers: int) -> Iterator[None]:
    """Keep an engine running over several calls of `run`, since Ray takes seconds to start.

    Args:
        engine: of the calls.
        workers: of the calls.

    Raises:
        MissingPackageError: Ray is asked for and not installed.
    """
    if engine == "local":
        yield
        return
    ray = _ray()
    if ray.is_initialized():
        yield
        return
    if os.environ.get("RAY_ADDRESS"):
        ray.init(log_to_driver=False, logging_level="ERROR")
    else:
        ray.init(
            num_cpus=workers, include_dashboard=False, log_to_driver=False, logging_level="ERROR"
        )
    try:
        yield
    finally:
        ray.shutdown()


def _on_ray(
    function: Callable[[Task], Result], tasks: Sequence[Task], workers: int
) -> Iterator[tuple[int, Result]]:
    with session("ray", workers):
        ray = _ray()
        remote = ray.remote(function)
        waiting = {remote.remote(task): number for number, task in enumerate(tasks)}
        while waiting:
            (done,), _ = ray.wait(list(waiting), num_returns=1)
            try:
                result = ray.get(done)
            except ray.exceptions.RayTaskError as error:
                raise error.cause from error
            yield waiting.pop(done), result


def _ray() -> Any:  # noqa: ANN401 - the module, which is optional
    try:
        import ray
    except ImportError as error:
        raise MissingPackageError(
            "ray", "The engine 'ray'", "pip install 'visuallens[benchmark,scale]'"
        ) from error
    return ray
