"""How long another program may take to answer, in time during which this one could have noticed."""

import asyncio
from types import TracebackType

TICKS = 10


class TimeLimit:
    """Raise TimeoutError in a block that takes longer than ``seconds``, as ``asyncio.timeout`` does.

    Time during which the event loop was held up does not count: the answer may have come, and nobody could look.
    A start that loads libraries, on a machine without a free core, holds it up for a second.
    """

    def __init__(self, seconds: float) -> None:
        # A timer that is late counts as one tick, however late it is. The next one comes after what has arrived.
        self._tick_seconds = max(seconds, 0) / TICKS
        self._ticks_left = TICKS
        self._timeout = asyncio.timeout(None)

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(self._tick_seconds, self._tick)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._timer.cancel()
        await self._timeout.__aexit__(kind, error, traceback)

    def _tick(self) -> None:
        self._ticks_left -= 1
        if self._ticks_left:
            self._timer = self._loop.call_later(self._tick_seconds, self._tick)
        else:
            self._timeout.reschedule(self._loop.time())
