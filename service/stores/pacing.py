"""Iteration over many items that yields to the event loop in between."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from time import perf_counter
from typing import TypeVar

T = TypeVar("T")

MAX_BLOCK_SECONDS = 0.002


async def paced(items: Iterable[T]) -> AsyncIterator[T]:
    """Yield the items, and run the event loop whenever the caller has worked for ``MAX_BLOCK_SECONDS``."""
    started = perf_counter()
    for item in items:
        yield item
        if perf_counter() - started > MAX_BLOCK_SECONDS:
            await asyncio.sleep(0)
            started = perf_counter()
