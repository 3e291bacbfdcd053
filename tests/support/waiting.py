"""Waits for a condition, with a limit that a working program does not reach."""

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
    """Return the seconds until the condition, a function or coroutine function, returns true.

    Raises:
        TimeoutError: it does not become true in time.
    """
    started = time.monotonic()
    async with asyncio.timeout(seconds):
        while not await _value(condition):  # noqa: ASYNC110 - the condition sets no event
            await asyncio.sleep(POLL_SECONDS)
    return time.monotonic() - started


async def _value(condition):
    value = condition()
    return await value if inspect.isawaitable(value) else value


async def turns_during(awaitable):
    """Return how often another task ran meanwhile."""
    turns = 0

    async def count():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counter = asyncio.create_task(count())
    await awaitable
    counter.cancel()
    return turns


class PerTurn:
    """Counts events, in all and at most in one turn of the event loop."""

    def __init__(self):
        self.total = self.most = self._in_turn = 0

    def count(self):
        self._in_turn += 1
        self.total += 1

    async def during(self, awaitable):
        watcher = asyncio.create_task(self._watch())
        await awaitable
        # What happens at the very end counts, too.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        watcher.cancel()

    async def _watch(self):
        while True:
            self.most, self._in_turn = max(self.most, self._in_turn), 0
            await asyncio.sleep(0)
