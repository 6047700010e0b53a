"""One private event loop in a thread, so that asynchronous requests serve ordinary calls.

Choice: a thread of its own, because the caller may already be inside a running event loop, as in
    a notebook or a web service, where another one cannot be started.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

T = TypeVar("T")
Item = TypeVar("Item")


class LoopThread:
    """An event loop that runs in a thread until it is closed."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._at_the_end: list[Callable[[], Awaitable[None]]] = []
        self._thread = threading.Thread(target=self._serve, name="visuallens-server", daemon=True)
        self._thread.start()

    # Any: what a coroutine yields and is sent never leaves it
    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end and return its result; an interrupt cancels it.

        Args:
            work: the coroutine.

        Returns:
            Its result.
        """
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def at_the_end(self, close: Callable[[], Awaitable[None]]) -> None:
        """Add what must be awaited in the loop before it closes."""
        self._at_the_end.append(close)

    def close(self) -> None:
        """Cancel what still runs, close everything and end the thread; may be called again."""
        if self._loop.is_closed():
            return
        self._loop.call_soon_threadsafe(self._loop.stop)
        # the garbage collector may call this from the loop's own thread, which cannot await itself
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            self._loop.run_until_complete(self._wind_up())
            self._loop.close()

    async def _wind_up(self) -> None:
        rest = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)
        for close in self._at_the_end:
            await close()


async def for_each(
    items: Sequence[Item], do: Callable[[Item], Awaitable[T]], *, at_once: int
) -> list[T]:
    """Apply a coroutine function to items, some at a time.

    Args:
        items: in order.
        do: is awaited with each.
        at_once: most items under way at any moment.

    Returns:
        The results, in the order of the items.

    Choice: after an error nothing new is begun, but what is under way is finished, since its
        answer is paid for and is kept in the cache; then the first error is raised.
    """
    results: dict[int, T] = {}
    errors: list[Exception] = []
    waiting = iter(enumerate(items))

    async def work() -> None:
        for index, item in waiting:
            if errors:
                return
            try:
                results[index] = await do(item)
            except Exception as error:  # noqa: BLE001 - raised below, once the others are done
                errors.append(error)

    await asyncio.gather(*(work() for _ in range(min(at_once, len(items)))))
    if errors:
        raise errors[0]
    return [results[index] for index in range(len(items))]
