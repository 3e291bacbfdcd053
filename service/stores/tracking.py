"""What Redis tells of changes: a connection of its own, on which the server pushes the keys that were written.

Source: https://redis.io/docs/latest/develop/reference/client-side-caching/#broadcasting-mode
"""

import asyncio
import logging
from collections.abc import Iterable
from contextlib import suppress
from math import inf
from time import monotonic
from typing import Any, Protocol, Self

from redis.asyncio import ConnectionPool
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError  # noqa: A004 - as in reachability

from service.stores.retry import LOST, reason
from service.stores.time_limit import TimeLimit
from service.stores.topology import connect, is_passing, run_id_of
from service.telemetry.metrics import CACHE_LIVE

LOGGER = logging.getLogger(__name__)

BEGIN_SECONDS = 1.0
HEARTBEAT_SECONDS = 1.0
SHORTEST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 1.0
REFUSED_SECONDS = 60.0

# The store and the tracker reach different servers for a moment when an address moves, and for good behind a proxy that
# spreads connections over several servers.
MOST_MISMATCHES = 10


class Watch:
    """One unbroken stay with the server: while it is ``live``, every change is told.

    ``confirmed_at`` is the last instant at which the server was heard, in monotonic seconds.
    """

    __slots__ = ("confirmed_at", "live")

    def __init__(self, *, live: bool, confirmed_at: float = -inf) -> None:
        self.live = live
        self.confirmed_at = confirmed_at


OFF = Watch(live=False)


class Listener(Protocol):
    """Receives changes. No call may fail, or wait for anything."""

    def changed(self, kind: str, id: str) -> None:
        """A resource was written, deleted or renamed, by whomever."""

    def flushed(self) -> None:
        """Any of them may have been."""

    def mismatched(self) -> None:
        """The tracking connection ends at another server than the store's."""


class OtherServer(ConnectionError):
    """The tracking connection ends at another server than the store's."""


class Tracker:
    """Tells of every change to resources of ``kinds``, and by ``watch`` whether it does so at this instant.

    It keeps nothing. What was read under a live ``watch`` and not told of since is what the server holds.
    """

    def __init__(self, pool: ConnectionPool, *, kinds: Iterable[str], prefix: str = "") -> None:
        self.kinds = frozenset(kinds)
        self.watch = OFF
        self._pool = pool
        self._prefix = prefix
        self._listener: Listener | None = None
        self._refusal: str | None = None
        self._run_id: str | None = None
        self._expected: str | None = None
        self._mismatches = 0
        self._tried = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @classmethod
    def at(cls, url: str, *, kinds: Iterable[str], prefix: str = "") -> Self:
        return cls(connect(url, connections=1).connection_pool, kinds=kinds, prefix=prefix)

    @property
    def trouble(self) -> str | None:
        """Why changes are not told now, in a sentence; None if they are."""
        if self.watch.live:
            return None
        return self._refusal or "Redis does not tell of changes at the moment"

    def expect(self, run_id: str | None) -> None:
        """Track no other server than ``run_id``; None for any, "" for none at all until the next call."""
        self._expected = run_id
        if self.watch.live and not self._is_expected():
            self._end_watch()

    async def open(self, listener: Listener) -> None:
        """Begin, and wait for the end of the first try, good or bad."""
        self._listener = listener
        self._task = asyncio.create_task(self._run())
        await self._tried.wait()

    async def close(self) -> None:
        if self._task:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        pause = SHORTEST_PAUSE_SECONDS
        while True:
            connection = self._make_connection()
            try:
                await self._begin(connection)
                pause = SHORTEST_PAUSE_SECONDS
                await self._listen(connection)
            except OtherServer:
                self._on_mismatch()
            except Exception as error:  # noqa: BLE001 - an old server, an ACL, a proxy: each says no in its own way
                if isinstance(error, LOST) or is_passing(error):
                    LOGGER.debug("Redis does not tell of changes: %s", reason(error))
                else:
                    self._note_refusal(reason(error))
            finally:
                self._end_watch()
                await connection.disconnect(nowait=True)
            self._tried.set()
            await asyncio.sleep(REFUSED_SECONDS if self._refusal else pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    def _end_watch(self) -> None:
        self.watch.live = False
        CACHE_LIVE.set(0)

    def _is_expected(self) -> bool:
        return self._run_id is None or self._expected is None or self._run_id == self._expected

    def _on_mismatch(self) -> None:
        self._mismatches += 1
        if self._mismatches > MOST_MISMATCHES:
            self._note_refusal("connections to this address end at several servers")
        if self._listener:
            self._listener.mismatched()

    def _make_connection(self) -> AbstractConnection:
        # Pushes need RESP3. A health check of redis-py's own would take their place in the stream.
        options: dict[str, Any] = {**self._pool.connection_kwargs, "protocol": 3, "health_check_interval": 0}
        return self._pool.connection_class(**options)

    async def _begin(self, connection: AbstractConnection) -> None:
        async with TimeLimit(BEGIN_SECONDS):
            await connection.connect()  # type: ignore[no-untyped-call]
            self._run_id = await run_id_of(connection)
            if not self._is_expected():
                raise OtherServer
            # redis-py has no public way in.
            parser: Any = connection._parser  # noqa: SLF001
            parser.set_invalidation_push_handler(self._told)
            prefixes = [word for kind in sorted(self.kinds) for word in ("PREFIX", f"{self._prefix}{kind}:")]
            await connection.send_command("CLIENT", "TRACKING", "ON", "BCAST", *prefixes)
            await connection.read_response()
        if not self._is_expected():
            raise OtherServer
        self._refusal, self._mismatches = None, 0
        self.watch = Watch(live=True, confirmed_at=monotonic())
        CACHE_LIVE.set(1)
        self._tried.set()

    async def _listen(self, connection: AbstractConnection) -> None:
        silent = False
        while self.watch.live:
            # None is a time-out; everything else, a push or a PONG, is a sign of life.
            if await connection.read_response(timeout=HEARTBEAT_SECONDS, push_request=True) is not None:
                self.watch.confirmed_at = monotonic()
                silent = False
            elif silent:
                raise ConnectionError("no answer to a PING")
            else:
                await connection.send_command("PING")
                silent = True
        raise OtherServer

    async def _told(self, push: list[Any]) -> list[Any]:
        """Take ``["invalidate", keys]``, where None for the keys means all; what it returns, a reader sees."""
        if (listener := self._listener) is None:
            return push
        if push[1] is None:
            listener.flushed()
            return push
        for key in push[1]:
            # Each begins with a prefix that was asked for, and no kind has a colon in it.
            kind, _, id_ = key[len(self._prefix) :].partition(":")
            listener.changed(kind, id_)
        return push

    def _note_refusal(self, why: str) -> None:
        if self._refusal is None:
            LOGGER.warning("There is no cache, as Redis refuses to tell of changes: %s", why)
        self._refusal = f"Redis refuses to tell of changes: {why}"
