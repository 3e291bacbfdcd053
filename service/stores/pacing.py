"""Work on many items that yields to the event loop in between."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from time import perf_counter
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

MAX_BLOCK_SECONDS = 0.002
# Redis gets these reads in one pipeline, and parsing its answers takes about a millisecond.
CHUNK = 20


async def paced(items: Iterable[T]) -> AsyncIterator[T]:
    """Yield the items, and run the event loop whenever the caller has worked for ``MAX_BLOCK_SECONDS``."""
    started = perf_counter()
    for item in items:
        yield item
        if perf_counter() - started > MAX_BLOCK_SECONDS:
            await asyncio.sleep(0)
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
