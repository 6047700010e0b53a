"""Where tasks run: in this process, in processes of this machine, or on a Ray cluster.

A task is a function of a module and one picklable argument; it reads and writes files of a folder
that all workers see. So an engine decides how fast a benchmark is built, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from typing import TypeVar

from visuallens.workers import Engine, load_ray, prepare_process, session

Task = TypeVar("Task")
Result = TypeVar("Result")


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
        with ProcessPoolExecutor(count, get_context("spawn"), prepare_process) as pool:
            futures = {pool.submit(function, task): number for number, task in enumerate(tasks)}
            try:
                for future in as_completed(futures):
                    yield futures[future], future.result()
            finally:
                pool.shutdown(wait=True, cancel_futures=True)


def _on_ray(
    function: Callable[[Task], Result], tasks: Sequence[Task], workers: int
) -> Iterator[tuple[int, Result]]:
    with session("ray", workers):
        ray = load_ray()
        remote = ray.remote(function)
        waiting = {remote.remote(task): number for number, task in enumerate(tasks)}
        while waiting:
            (done,), _ = ray.wait(list(waiting), num_returns=1)
            try:
                result = ray.get(done)
            except ray.exceptions.RayTaskError as error:
                raise error.cause from error
            yield waiting.pop(done), result
