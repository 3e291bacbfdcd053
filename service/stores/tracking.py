"""Invalidations from Redis: a dedicated connection on which the server pushes the names of changed keys.

Source: https://redis.io/docs/latest/develop/reference/client-side-caching/#broadcasting-mode
"""

import asyncio
import logging
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from time import monotonic
from typing import Any, Protocol

from redis.asyncio.connection import AbstractConnection, DefaultParser
from redis.exceptions import ConnectionError  # noqa: A004 - as in failures

from service.stores.failures import LOST, is_temporary, reason
from service.stores.time_limit import TimeLimit
from service.stores.topology import connect, read_run_id
from service.telemetry.metrics import CACHE_LIVE

LOGGER = logging.getLogger(__name__)

START_SECONDS = 1.0
HEARTBEAT_SECONDS = 1.0
MIN_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 0.1, 1.0
REFUSED_SECONDS = 60.0

# A few mismatches are normal while an address moves. More mean a proxy that spreads connections over several servers.
MAX_MISMATCHES = 10


@dataclass(slots=True, eq=False, kw_only=True)
class TrackingSession:
    """One uninterrupted tracking connection. While it is ``live``, Redis reports every change.

    ``confirmed_at`` is the time of the last message from the server, in monotonic seconds.
    """

    live: bool
    confirmed_at: float = -inf


NO_SESSION = TrackingSession(live=False)


class InvalidationListener(Protocol):
    """Receives invalidations. Its methods must not raise or block."""

    def changed(self, kind: str, id: str) -> None:
        """A client of Redis wrote, deleted or renamed a resource."""

    def flushed(self) -> None:
        """Any resource may have changed."""

    def server_mismatched(self) -> None:
        """The tracking connection leads to another server than the store's connections."""


class OtherServer(ConnectionError):
    """The tracking connection leads to another server than the store's connections."""


class Tracker:
    """Reports every change to resources of ``kinds`` to a listener, while ``session`` is live.

    A value read during a live session is current until the listener is notified or the session ends.
    """

    def __init__(self, url: str, *, kinds: Iterable[str], prefix: str = "") -> None:
        self.kinds = frozenset(kinds)
        self.session = NO_SESSION
        self._pool = connect(url, connections=1).connection_pool
        self._prefix = prefix
        self._listener: InvalidationListener | None = None
        self._refusal: str | None = None
        self._run_id: str | None = None
        self._expected_run_id: str | None = None
        self._mismatches = 0
        self._first_attempt = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def degraded_reason(self) -> str | None:
        """Why changes are not reported at the moment; None while the session is live."""
        if self.session.live:
            return None
        return self._refusal or "Redis sends no invalidations at the moment"

    def expect_server(self, run_id: str | None) -> None:
        """Track only the server ``run_id``; None allows any server, "" no server until the next call."""
        self._expected_run_id = run_id
        if self.session.live and not self._is_expected_server():
            self._end_session()

    async def open(self, listener: InvalidationListener) -> None:
        """Start tracking, and wait until the first attempt succeeds or fails."""
        self._listener = listener
        self._task = asyncio.create_task(self._run())
        await self._first_attempt.wait()

    async def close(self) -> None:
        if self._task:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        pause = MIN_PAUSE_SECONDS
        while True:
            connection = self._make_connection()
            try:
                await self._start_session(connection)
                pause = MIN_PAUSE_SECONDS
                await self._receive(connection)
            except OtherServer:
                self._on_mismatch()
            except Exception as error:  # noqa: BLE001 - old servers, ACLs and proxies refuse in different ways
                if isinstance(error, LOST) or is_temporary(error):
                    LOGGER.debug("The tracking connection is lost: %s", reason(error))
                else:
                    self._on_refusal(reason(error))
            finally:
                self._end_session()
                await connection.disconnect(nowait=True)
            self._first_attempt.set()
            await asyncio.sleep(REFUSED_SECONDS if self._refusal else pause)
            pause = min(2 * pause, MAX_PAUSE_SECONDS)

    def _make_connection(self) -> AbstractConnection:
        options: dict[str, Any] = {
            **self._pool.connection_kwargs,
            # Pushes need RESP3.
            "protocol": 3,
            # A health check of redis-py would read pushes in place of its PONG.
            "health_check_interval": 0,
            "parser_class": self._make_parser,
        }
        return self._pool.connection_class(**options)

    def _make_parser(self, **options: Any) -> Any:
        parser: Any = DefaultParser(**options)
        parser.set_invalidation_push_handler(self._on_push)
        return parser

    async def _start_session(self, connection: AbstractConnection) -> None:
        async with TimeLimit(START_SECONDS):
            await connection.connect()  # type: ignore[no-untyped-call]
            self._run_id = await read_run_id(connection)
            if not self._is_expected_server():
                raise OtherServer
            prefixes = [word for kind in sorted(self.kinds) for word in ("PREFIX", f"{self._prefix}{kind}:")]
            await connection.send_command("CLIENT", "TRACKING", "ON", "BCAST", *prefixes)
            await connection.read_response()
        # The expected server may have changed during the commands above.
        if not self._is_expected_server():
            raise OtherServer
        self._refusal, self._mismatches = None, 0
        self.session = TrackingSession(live=True, confirmed_at=monotonic())
        CACHE_LIVE.set(1)
        self._first_attempt.set()

    def _end_session(self) -> None:
        self.session.live = False
        CACHE_LIVE.set(0)

    async def _receive(self, connection: AbstractConnection) -> None:
        ping_sent = False
        while self.session.live:
            # None is a timeout. Any other response, a push or a PONG, shows that the server is alive.
            if await connection.read_response(timeout=HEARTBEAT_SECONDS, push_request=True) is not None:
                self.session.confirmed_at = monotonic()
                ping_sent = False
            elif ping_sent:
                raise ConnectionError("no answer to a PING")
            else:
                await connection.send_command("PING")
                ping_sent = True
        raise OtherServer

    async def _on_push(self, push: list[Any]) -> list[Any]:
        """Pass on ``["invalidate", keys]``; None stands for all keys. ``read_response`` returns the result."""
        if (listener := self._listener) is None:
            return push
        if push[1] is None:
            listener.flushed()
            return push
        for key in push[1]:
            # Redis sends only keys with the requested prefixes, and no kind contains a colon.
            kind, _, id_ = key[len(self._prefix) :].partition(":")
            listener.changed(kind, id_)
        return push

    def _is_expected_server(self) -> bool:
        return self._run_id is None or self._expected_run_id is None or self._run_id == self._expected_run_id

    def _on_mismatch(self) -> None:
        self._mismatches += 1
        if self._mismatches > MAX_MISMATCHES:
            self._on_refusal("connections to this address end at several servers")
        if self._listener:
            self._listener.server_mismatched()

    def _on_refusal(self, why: str) -> None:
        if self._refusal is None:
            LOGGER.warning("The cache is off, because Redis refuses client tracking: %s", why)
        self._refusal = f"Redis refuses client tracking: {why}"
