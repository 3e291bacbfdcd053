"""One thread for work that would block the event loop: large bodies and large listings."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

# Each additional thread that waits for the interpreter lock would block the event loop for 5 ms at a time.
_THREAD = ThreadPoolExecutor(1, "background")


async def in_background(function: Callable[[], T]) -> T:
    """Run ``function`` in the thread and return its result. Functions run one at a time, in the order of the calls."""
    return await asyncio.get_running_loop().run_in_executor(_THREAD, function)
