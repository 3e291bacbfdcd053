"""A connection to one primary, which pushes the names of changed keys.

Source: https://redis.io/docs/latest/develop/reference/client-side-caching/#broadcasting-mode
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Protocol

from redis.asyncio.connection import AbstractConnection, DefaultParser
from redis.exceptions import ConnectionError, RedisError  # noqa: A004 - as in failures

from service.stores.connection import PRIMARY, is_in_sync, read_in_sync, read_role, read_run_id
from service.stores.failures import LOST, is_temporary, reason
from service.stores.shard import Shard
from service.stores.tasks import end
from service.stores.time_limit import TimeLimit

LOGGER = logging.getLogger(__name__)

# One script or transaction can change 100,000 keys. To invalidate each would hold the event loop for 90 ms.
MAX_KEYS = 10_000
START_SECONDS = 1.0
HEARTBEAT_SECONDS = 1.0
MIN_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 0.1, 1.0
REFUSED_SECONDS = 60.0

# A few mismatches are normal while an address moves. More mean a proxy that spreads connections over several servers.
MAX_MISMATCHES = 10


@dataclass(slots=True, eq=False)
class Confirmed:
    """The time of the last message on one tracking connection, in monotonic seconds."""

    confirmed_at: float = field(default_factory=monotonic)


class InvalidationListener(Protocol):
    """Receives invalidations. Its methods must not raise or block."""

    def changed(self, kind: str, id: str) -> None:
        """A client of Redis wrote, deleted or renamed a resource."""

    def flushed(self) -> None:
        """Any resource may have changed."""


class OtherServer(ConnectionError):
    """The tracking connection leads to another server than the store's connections, or its role has changed."""


class OutOfSync(ConnectionError):
    """The server is a replica that receives no changes from its primary, or not all of them."""


class TrackingConnection:
    """Tracks one primary: connects again after each loss, and reports changes to ``listener``.

    ``confirmed`` is None while the primary is not tracked. ``on_change`` is called when that has changed.
    """

    def __init__(
        self,
        shard: Shard,
        kinds: Collection[str],
        prefix: str,
        listener: InvalidationListener,
        on_change: Callable[[], None],
    ) -> None:
        self.confirmed: Confirmed | None = None
        self.refusal: str | None = None
        self.first_attempt = asyncio.Event()
        self._shard = shard
        self._pool = shard.connect().connection_pool
        self._kinds = kinds
        self._prefix = prefix
        self._listener = listener
        self._on_change = on_change
        self._role: str | None = None
        self._run_id: str | None = None
        self._expected_run_id = shard.monitor.run_id
        self._mismatches = 0
        self._emptied = False
        """Whether the server has dropped all keys."""

        shard.monitor.server_changed = self.expect_server
        self._task = asyncio.create_task(self._run())

    def expect_server(self, run_id: str | None) -> None:
        """Track only the server ``run_id``; None allows any server, "" no server until the next call."""
        self._expected_run_id = run_id
        if not self._is_expected_server():
            self._set_confirmed(None)

    async def close(self) -> None:
        await end([self._task])

    async def _run(self) -> None:
        pause = MIN_PAUSE_SECONDS
        while True:
            connection = self._make_connection()
            try:
                confirmed = await self._start(connection)
                pause = MIN_PAUSE_SECONDS
                await self._receive(connection, confirmed)
            except OtherServer:
                self._on_mismatch()
            except Exception as error:  # noqa: BLE001 - old servers, ACLs and proxies refuse in different ways
                if isinstance(error, LOST) or is_temporary(error):
                    LOGGER.debug("The tracking connection is lost: %s", reason(error))
                else:
                    self._on_refusal(reason(error))
            finally:
                self._set_confirmed(None)
                await connection.disconnect(nowait=True)
            self.first_attempt.set()
            await asyncio.sleep(REFUSED_SECONDS if self.refusal else pause)
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

    async def _start(self, connection: AbstractConnection) -> Confirmed:
        async with TimeLimit(START_SECONDS):
            await connection.connect()  # type: ignore[no-untyped-call]
            self._run_id = await read_run_id(connection)
            self._role = await read_role(connection)
            if not self._is_expected_server():
                raise OtherServer
            if self._role != PRIMARY and not await read_in_sync(connection):
                raise OutOfSync("a replica is not in sync with its primary")
            prefixes = [word for kind in sorted(self._kinds) for word in ("PREFIX", f"{self._prefix}{kind}:")]
            await connection.send_command("CLIENT", "TRACKING", "ON", "BCAST", *prefixes)
            await connection.read_response()
        # The expected server may have changed during the commands above.
        if not self._is_expected_server():
            raise OtherServer
        self.refusal, self._mismatches = None, 0
        if self._emptied:
            self._emptied = False
            self._listener.flushed()
        confirmed = Confirmed()
        self._set_confirmed(confirmed)
        self.first_attempt.set()
        return confirmed

    def _set_confirmed(self, confirmed: Confirmed | None) -> None:
        if confirmed is not self.confirmed:
            self.confirmed = confirmed
            self._on_change()

    async def _receive(self, connection: AbstractConnection, confirmed: Confirmed) -> None:
        """Pass on pushes until the server is silent, changes its role, loses its primary, or drops all keys.

        A demoted server of a Cluster keeps its connections open, and sends no invalidations.
        """
        # HELLO needs no right, but does not show whether a replica is in sync.
        heartbeat = ("HELLO",) if self._role == PRIMARY else ("INFO", "replication")
        asked_at, heartbeat_sent = monotonic(), False
        while self.confirmed is confirmed:
            pause = max(asked_at + HEARTBEAT_SECONDS - monotonic(), 0)
            # None is a timeout. Any other response, a push or an answer, shows that the server is alive.
            answer = await connection.read_response(timeout=pause, push_request=True)
            if self._emptied:
                self._emptied = False
                if await self._is_flush(connection, () if heartbeat_sent else heartbeat):
                    self._listener.flushed()
                return
            # A push is a list.
            if isinstance(answer, dict | str):
                heartbeat_sent = False
                self._check_role(answer)
            if answer is not None:
                confirmed.confirmed_at = monotonic()
            if monotonic() - asked_at < HEARTBEAT_SECONDS:
                continue
            if heartbeat_sent and answer is None:
                raise ConnectionError(f"no answer to {heartbeat[0]}")
            asked_at = monotonic()
            if not heartbeat_sent:
                await connection.send_command(*heartbeat)
                heartbeat_sent = True
        raise OtherServer

    def _check_role(self, answer: Any) -> None:
        """Raise an error if the answer to a heartbeat is not that of a primary as before, or of a replica in sync."""
        if isinstance(answer, dict) and answer.get("role") != self._role:
            raise OtherServer
        if isinstance(answer, str) and not is_in_sync(answer):
            raise OutOfSync("a replica is not in sync with its primary any more")

    async def _is_flush(self, connection: AbstractConnection, question: Sequence[str]) -> bool:
        """Return whether somebody has deleted all keys; also if the server does not say so.

        Nobody has if the server is a new replica, which drops its keys before it loads those of its primary. An answer
        to an earlier ``question`` will do, because it comes after the push.
        """
        try:
            async with TimeLimit(START_SECONDS):
                if question:
                    await connection.send_command(*question)
                self._check_role(await connection.read_response())
        except (OtherServer, OutOfSync):
            return False
        except (*LOST, RedisError):
            return True
        return True

    async def _on_push(self, push: list[Any]) -> list[Any]:
        """Pass on ``["invalidate", keys]``; None stands for all keys. ``read_response`` returns the result."""
        if push[1] is None:
            self._emptied = True
            self._set_confirmed(None)
            return push
        if len(push[1]) > MAX_KEYS:
            self._listener.flushed()
            return push
        for key in push[1]:
            # Redis sends only keys with the requested prefixes, and no kind contains a colon.
            kind, _, id_ = key[len(self._prefix) :].partition(":")
            self._listener.changed(kind, id_)
        return push

    def _is_expected_server(self) -> bool:
        return self._run_id is None or self._expected_run_id is None or self._run_id == self._expected_run_id

    def _on_mismatch(self) -> None:
        self._mismatches += 1
        if self._mismatches > MAX_MISMATCHES:
            self._on_refusal("connections to this address end at several servers")
        self._shard.monitor.recheck_server()

    def _on_refusal(self, why: str) -> None:
        if self.refusal is None:
            LOGGER.warning("The cache is off, because Redis refuses client tracking: %s", why)
        self.refusal = f"Redis refuses client tracking: {why}"
