"""A time-out that does not count time in which the event loop was blocked."""

import asyncio
from types import TracebackType
from typing import Self

TICKS = 10


class TimeLimit:
    """Raise TimeoutError in a block that takes longer than ``seconds``, as ``asyncio.timeout`` does.

    While the event loop is blocked, an answer may have arrived that the program could not read. Loading libraries at
    the start blocks the loop for a second on a machine without a free core.
    """

    def __init__(self, seconds: float) -> None:
        # A late timer counts as one tick, however late it is. The next tick comes after received data is processed.
        self._tick_seconds = max(seconds, 0) / TICKS
        self._ticks_left = TICKS
        self._timeout = asyncio.timeout(None)

    async def __aenter__(self) -> Self:
        await self._timeout.__aenter__()
        self._loop = asyncio.get_running_loop()
        self._start_tick()
        return self

    @property
    def left(self) -> float:
        """The seconds until the end, without time in which the loop is blocked."""
        tick = min(max(self._tick_ends_at - self._loop.time(), 0), self._tick_seconds)
        return (self._ticks_left - 1) * self._tick_seconds + tick

    @property
    def used(self) -> float:
        """The seconds since the start, without time in which the loop was blocked; at most those of the limit."""
        return TICKS * self._tick_seconds - max(self.left, 0)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._timer.cancel()
        await self._timeout.__aexit__(kind, error, traceback)

    def _start_tick(self) -> None:
        # The handle cannot tell: uvloop's has no when() for a delay that rounds to 0 ms.
        self._tick_ends_at = self._loop.time() + self._tick_seconds
        self._timer = self._loop.call_later(self._tick_seconds, self._tick)

    def _tick(self) -> None:
        self._ticks_left -= 1
        if self._ticks_left:
            self._start_tick()
        else:
            self._timeout.reschedule(self._loop.time())
