"""One thread for work that would hold the event loop for too long: large bodies and large listings."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

# Each further thread that waits for the interpreter's lock would keep the event loop from it for 5 ms at a time.
_THREAD = ThreadPoolExecutor(1, "background")


async def in_background(function: Callable[[], T]) -> T:
    """Return what ``function`` returns. Functions run one after another, in the order of the calls."""
    return await asyncio.get_running_loop().run_in_executor(_THREAD, function)
