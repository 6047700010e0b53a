from __future__ import annotations

import asyncio
import concurrent.futures
import threading

import pytest

from visuallens.models.server.loop import LoopThread, for_each


def test_results_keep_their_order_and_few_run_at_once() -> None:
    running, most = 0, 0

    async def work(number: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01 * (number % 3))
        running -= 1
        return number * number

    assert asyncio.run(for_each(range(10), work, at_once=4)) == [n * n for n in range(10)]
    assert most == 4
    assert asyncio.run(for_each([], work, at_once=4)) == []


def test_after_an_error_what_runs_is_finished_and_nothing_begun() -> None:
    finished = []

    async def work(number: int) -> None:
        await asyncio.sleep(0.05 if number == 0 else 0.01)
        if number == 1:
            raise ValueError("first")
        finished.append(number)

    with pytest.raises(ValueError, match="first"):
        asyncio.run(for_each(range(10), work, at_once=2))
    assert finished == [0]


def test_the_loop_closes_what_it_was_given_and_its_thread() -> None:
    closed = []

    async def close() -> None:
        closed.append(threading.current_thread().name)

    async def one() -> int:
        return 1

    loop = LoopThread()
    loop.at_the_end(close)
    assert loop.run(one()) == 1
    loop.close()
    loop.close()
    assert closed == ["visuallens-server"]
    assert not any(thread.name == "visuallens-server" for thread in threading.enumerate())


def test_errors_come_out_as_they_are() -> None:
    async def fail() -> None:
        raise KeyError("x")

    loop = LoopThread()
    with pytest.raises(KeyError):
        loop.run(fail())
    loop.close()


def test_an_interrupt_cancels_what_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    started, cancelled = threading.Event(), threading.Event()

    async def work() -> None:
        try:
            started.set()
            await asyncio.sleep(60)
        finally:
            cancelled.set()

    def interrupted(*_: object) -> None:
        started.wait(10)
        raise KeyboardInterrupt

    loop = LoopThread()
    monkeypatch.setattr(concurrent.futures.Future, "result", interrupted)
    with pytest.raises(KeyboardInterrupt):
        loop.run(work())
    monkeypatch.undo()
    loop.close()
    assert cancelled.is_set()
