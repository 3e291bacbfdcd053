"""Single flight: concurrent misses of one key share one read."""

import asyncio
from collections.abc import Awaitable
from typing import Any

from service.stores.tracking import TrackingSession


class SingleFlight:
    """Lets callers join the current read of a key, which runs in the task of the first caller.

    A read is current until it ends, its key is invalidated or another read of the key starts.
    """

    def __init__(self) -> None:
        self._current: dict[str, tuple[TrackingSession, asyncio.Future[Any]]] = {}

    def joinable(self, key: str) -> asyncio.Future[Any] | None:
        """Return the future of the current read, or None if no read is current or its session has ended.

        If the session has ended, a change since the start of the read may be unreported. Callers must not cancel the
        future. It is cancelled if its first caller is.
        """
        session, future = self._current.get(key, (None, None))
        return future if session and session.live else None

    async def run(self, key: str, session: TrackingSession, read: Awaitable[Any]) -> tuple[Any, bool]:
        """Return the value of a read, and whether the read was current at its end, so that the value can be cached."""
        # A task for each read would need no future, but takes 15 µs more, which is half of a read under load.
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._current[key] = session, future
        try:
            value = await read
        except Exception as error:
            future.set_exception(error)
            # asyncio would log an exception that no other caller retrieves.
            future.exception()
            raise
        except BaseException:
            future.cancel()
            raise
        else:
            future.set_result(value)
        finally:
            is_current = self._current.get(key, (None, None))[1] is future
            if is_current:
                del self._current[key]
        return value, is_current

    def invalidate(self, key: str) -> None:
        self._current.pop(key, None)

    def clear(self) -> None:
        """Invalidate all keys."""
        self._current.clear()
