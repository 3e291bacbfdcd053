"""Single flight: concurrent misses of one key share one read."""

import asyncio
from collections.abc import Awaitable
from typing import Any

from service.stores.tracking import TrackingSession


class SingleFlight:
    """Lets callers join the latest read of a key, which runs in the task of its first caller.

    A read is valid until its key is invalidated. A later read of the key does not invalidate it.
    """

    def __init__(self) -> None:
        self._valid: dict[str, dict[asyncio.Future[Any], TrackingSession]] = {}

    def joinable(self, key: str) -> asyncio.Future[Any] | None:
        """Return the future of the latest valid read, or None if there is none or its session has ended.

        If the session has ended, a change since the start of the read may be unreported. Callers must not cancel the
        future. It is cancelled if its first caller is.
        """
        if reads := self._valid.get(key):
            future, session = next(reversed(reads.items()))
            return future if session.live else None
        return None

    async def run(self, key: str, session: TrackingSession, read: Awaitable[Any]) -> tuple[Any, bool]:
        """Return the value of a read, and whether the read was valid at its end, so that the value can be cached."""
        # A task for each read would need no future, but takes 15 µs more, which is half of a read under load.
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._valid.setdefault(key, {})[future] = session
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
            reads = self._valid.get(key, {})
            is_valid = reads.pop(future, None) is not None
            if is_valid and not reads:
                del self._valid[key]
            # The future keeps the traceback of an error, and with it this frame: a cycle that waits for a collection.
            del future
        return value, is_valid

    def invalidate(self, key: str) -> None:
        self._valid.pop(key, None)

    def clear(self) -> None:
        """Invalidate all keys."""
        self._valid.clear()
