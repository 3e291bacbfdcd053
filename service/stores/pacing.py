"""Long work in turns of the event loop, so that requests go on in between."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from time import perf_counter
from typing import TypeVar
from weakref import WeakKeyDictionary

T = TypeVar("T")
R = TypeVar("R")

MAX_BLOCK_SECONDS = 0.001
# Redis gets these reads in one pipeline, and parsing its answers takes about a millisecond.
CHUNK = 20


class _Turns:
    """The turns of one event loop. Those who wait for one get it in the order of their calls."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._ended = asyncio.Event()
        self._started: float | None = None
        """When long work began in this turn."""

    async def take(self) -> None:
        if self._lock.locked() or self._is_used_up():
            async with self._lock:
                if self._is_used_up():
                    await self._ended.wait()
                self._start()
        else:
            self._start()

    def _is_used_up(self) -> bool:
        return self._started is not None and perf_counter() - self._started > MAX_BLOCK_SECONDS

    def _start(self) -> None:
        if self._started is None:
            self._started = perf_counter()
            self._ended.clear()
            asyncio.get_running_loop().call_soon(self._end)

    def _end(self) -> None:
        self._started = None
        self._ended.set()


_turns = WeakKeyDictionary[asyncio.AbstractEventLoop, _Turns]()


async def take_turn() -> None:
    """Wait until long work may go on: all of it together gets about ``MAX_BLOCK_SECONDS`` in a turn of the event loop.

    Without that, each of ten requests would work for some milliseconds in the same turn, and all others would wait.
    """
    loop = asyncio.get_running_loop()
    if (turns := _turns.get(loop)) is None:
        turns = _turns[loop] = _Turns()
    await turns.take()


async def paced(items: Iterable[T]) -> AsyncIterator[T]:
    """Yield the items, and run the event loop whenever the caller has worked for ``MAX_BLOCK_SECONDS``."""
    await take_turn()
    started = perf_counter()
    for item in items:
        yield item
        if perf_counter() - started > MAX_BLOCK_SECONDS:
            await asyncio.sleep(0)
            await take_turn()
            started = perf_counter()


async def repeat(action: Callable[[], object], times: int) -> None:
    """Call ``action`` so many times, and run the event loop in between as ``paced`` does."""
    async for _ in paced(range(times)):
        action()


async def in_chunks(read: Callable[[T], Awaitable[R]], items: Sequence[T]) -> list[R]:
    """Return the result of ``read`` for each item. ``CHUNK`` reads run at the same time."""
    results: list[R] = []
    for start in range(0, len(items), CHUNK):
        results += await asyncio.gather(*map(read, items[start : start + CHUNK]))
    return results
