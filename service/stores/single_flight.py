"""Reads on their way: who misses a key first makes the read, and all who miss it meanwhile wait for it."""

import asyncio
from typing import Any

from service.stores.tracking import TrackingSession

# In place of an answer: who made the read has gone away, and one of those who wait makes it anew.
CANCELLED = object()


class InFlightRead:
    """A read of ``key`` that began under ``watch``."""

    __slots__ = ("key", "waiting", "watch")

    def __init__(self, key: str, watch: TrackingSession) -> None:
        self.key = key
        self.watch = watch
        self.waiting: list[asyncio.Future[Any]] = []

    async def answer(self) -> Any:
        """What it finds, or CANCELLED. Raises what it raises."""
        waiter: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.waiting.append(waiter)
        return await waiter


class SingleFlight:
    """Those on their way, one for each key: the last that began, unless a change was told since."""

    def __init__(self) -> None:
        self._under_way: dict[str, InFlightRead] = {}

    def under_way(self, key: str) -> InFlightRead | None:
        """One that whoever comes now may wait for."""
        reading = self._under_way.get(key)
        # Without a live watch, what it has expected may have been changed before.
        return reading if reading and reading.watch.live else None

    def begin(self, key: str, watch: TrackingSession) -> InFlightRead:
        reading = self._under_way[key] = InFlightRead(key, watch)
        return reading

    def end(self, reading: InFlightRead, found: Any = None, error: Exception | None = None) -> bool:
        """Tell those who wait. Whether no change was told since it began, so that what was found may be kept."""
        untold = self._under_way.get(reading.key) is reading
        if untold:
            del self._under_way[reading.key]
        for waiter in reading.waiting:
            if waiter.done():
                # Whoever waited has gone away.
                continue
            if error:
                waiter.set_exception(error)
            else:
                waiter.set_result(found)
        return untold

    def forget(self, key: str) -> None:
        """A change was told of the key: those who wait are answered, and nobody else is."""
        self._under_way.pop(key, None)

    def clear(self) -> None:
        """Any key may have changed."""
        self._under_way.clear()
