"""Waits for a condition, with a limit that only a broken program reaches."""

import asyncio
import inspect
import time

SECONDS = 20
POLL_SECONDS = 0.01


def eventually(condition, *, seconds=SECONDS):
    """Return whether the condition becomes true in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(POLL_SECONDS)
    return True


async def until(condition, *, seconds=SECONDS):
    """Return the seconds until the condition, a function or a coroutine function, is true.

    Raises:
        TimeoutError: it does not become true in time.
    """
    began = time.monotonic()
    async with asyncio.timeout(seconds):
        while not await _value(condition):  # noqa: ASYNC110 - the condition sets no event
            await asyncio.sleep(POLL_SECONDS)
    return time.monotonic() - began


async def _value(condition):
    value = condition()
    return await value if inspect.isawaitable(value) else value
