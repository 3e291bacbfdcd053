"""Work on many items that lets the event loop serve others in between."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from time import perf_counter
from typing import TypeVar

T = TypeVar("T")

HOLD_SECONDS = 0.002


async def paced(items: Iterable[T]) -> AsyncIterator[T]:
    """Yield the items, and let the loop run whenever the caller has worked on them for ``HOLD_SECONDS``."""
    began = perf_counter()
    for item in items:
        yield item
        if perf_counter() - began > HOLD_SECONDS:
            await asyncio.sleep(0)
            began = perf_counter()
