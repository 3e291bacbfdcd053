"""The health of Redis: periodic probes find out whether it is available and which server its address leads to."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from math import inf
from time import monotonic

from redis.asyncio import ConnectionPool, Redis
from redis.exceptions import RedisError

from service.errors import StoreUnavailable
from service.stores.connection import ServerIdentity, close, reconnect
from service.stores.failures import reason, unreachable
from service.stores.pacing import take_turn
from service.stores.server import Server, UnusableReplica, inspect, why_silent
from service.stores.store import NothingWritten
from service.stores.tasks import end
from service.stores.time_limit import TimeLimit

LOGGER = logging.getLogger(__name__)

PROBE_SECONDS = 0.5
PROBE_INTERVAL_SECONDS, OUTAGE_PROBE_INTERVAL_SECONDS = 5.0, 0.5
FRESH_SECONDS = 1.0
RECONNECT_SECONDS = 1.0
# One failure alone may be a busy moment.
FAILED_LOOKS = 2


class HealthMonitor:
    """Decides by its own probes alone whether Redis is available.

    Failed calls only request a probe. So the state has one writer, and the log one line for each change. ``client`` has
    a connection of its own, because a busy pool is no outage. Probes read keys that begin with ``key``.

    ``identity`` observes the connections of ``pool`` and ``client``. When a new connection reaches another server, all
    connections are replaced. ``server_changed`` is called with "" before that, and with the new run id after it (None
    if the user may not read it).
    """

    def __init__(
        self,
        pool: ConnectionPool,
        client: Redis,
        *,
        name: str,
        key: str,
        identity: ServerIdentity,
        cluster: bool = False,
        wait_replicas: int = 0,
    ) -> None:
        self._pool = pool
        self._client = client
        self.name = name
        self._key = key
        self._identity = identity
        self._cluster = cluster
        self._wait_replicas = wait_replicas
        identity.on_change = self._on_identity_change
        self.server_changed: Callable[[str | None], None] = lambda _: None
        self.run_id: str | None = None
        """The server that all connections lead to; None while they lead to different ones, or if INFO is refused."""

        self._server: Server | None = None
        self._is_replica = False
        """Whether the last server that answered a probe is a replica, also if it is not in sync."""

        self._unavailable_since = inf
        self._probed_at = self._reconnected_at = -inf
        self.available_at = -inf
        """When the last probe succeeded."""

        self._failed_looks = 0
        self._failure_of_look = ""
        self._logged: Sequence[str] = ()
        """The warnings that the last probe has found."""

        self._probe_lock = asyncio.Lock()
        self._closed = False
        self._probe_requested = asyncio.Event()
        self._recheck = False
        self._task: asyncio.Task[None] | None = None

    @property
    def is_available(self) -> bool:
        return self._unavailable_since == inf

    @property
    def unavailable_seconds(self) -> float:
        """Duration of the current outage; negative if there is none."""
        return monotonic() - self._unavailable_since

    @property
    def takes_connections(self) -> bool:
        """Whether the server takes new connections, as far as the monitor has seen."""
        return self._failed_looks < FAILED_LOOKS

    async def check(self) -> None:
        """Raise ``StoreUnavailable`` unless a probe succeeded within the last second, or succeeds now.

        Callers share a probe. Fails immediately during an outage, in which Redis is probed twice a second.
        """
        if self._needs_probe():
            async with self._probe_lock:
                # The probe of another caller may have ended meanwhile.
                if self._needs_probe():
                    await self._probe_locked()
        if not self.is_available:
            raise unreachable()

    async def check_primary(self) -> None:
        """Raise ``NothingWritten`` if the last probe found a replica, which loses what is written to it.

        The last probe is of the last second, or of an outage.
        """
        if not self._is_replica:
            return
        try:
            await self.check()
        except StoreUnavailable as error:
            raise NothingWritten(*error.issues) from None
        if self._is_replica:
            raise NothingWritten("The account store is a replica, and its next sync would lose the change")

    async def reached_within(self, seconds: float) -> bool:
        """Return whether ``check`` succeeds, or a probe succeeded within the last ``seconds``."""
        with suppress(StoreUnavailable):
            await self.check()
            return True
        return monotonic() - self.available_at <= seconds

    def warnings(self) -> Sequence[str]:
        if self._server is None:
            return ()
        warnings = [*self._server.warnings]
        replicas = self._server.replicas
        if replicas is not None and replicas < self._wait_replicas:
            warnings.append(
                f"SIGNER_WAIT_REPLICAS is {self._wait_replicas}, but {self.name} has {replicas} connected replicas"
            )
        if not self.takes_connections:
            warnings.append(f"{self.name} serves open connections, but takes no new one: {self._failure_of_look}")
        return warnings

    def request_probe(self) -> None:
        self._probe_requested.set()

    def recheck_server(self) -> None:
        """Request a probe on a new connection, which finds the server that the address leads to."""
        self._recheck = True
        self.request_probe()

    async def reconnect(self) -> None:
        """Replace all connections, because the address may lead to another server by now; at most once a second."""
        if monotonic() - self._reconnected_at > RECONNECT_SECONDS:
            self._reconnected_at = monotonic()
            self.recheck_server()
            await reconnect(self._pool)

    async def open(self) -> None:
        # The task comes first, so that a close during the probe ends it.
        self._task = asyncio.create_task(self._run())
        await self._probe()

    async def close(self) -> None:
        if self._task:
            await end([self._task])
        # A probe of another task would leave a connection.
        async with self._probe_lock:
            self._closed = True
            await close(self._client)

    async def _run(self) -> None:
        looked_at = monotonic()
        while True:
            # In an outage, requests must not cause probes without a pause.
            due = self._probe_requested.wait() if self.is_available else asyncio.sleep(OUTAGE_PROBE_INTERVAL_SECONDS)
            with suppress(TimeoutError):
                async with asyncio.timeout(PROBE_INTERVAL_SECONDS):
                    await due
            # Also if failed calls request one probe after the other. In an outage, each probe opens a connection.
            if self.is_available and monotonic() - looked_at >= PROBE_INTERVAL_SECONDS:
                await self._look_at_address()
                looked_at = monotonic()
            self._probe_requested.clear()
            await self._probe()
            if self.is_available and self._is_replica:
                # Writes that a replica refuses must not cause probes without a pause either.
                await asyncio.sleep(OUTAGE_PROBE_INTERVAL_SECONDS)

    async def _look_at_address(self) -> None:
        """Open a connection for a moment, so that ``identity`` learns where the address leads now.

        Open connections stay with the old server, which takes changes as long as nobody demotes it.
        """
        await take_turn()
        connection = self._client.connection_pool.make_connection()  # type: ignore[no-untyped-call]
        try:
            async with TimeLimit(PROBE_SECONDS):
                await connection.connect()
        except Exception as error:  # noqa: BLE001 - none may end the monitor
            # It is no outage: open connections may work, for example if the server takes no more of them.
            self._failed_looks += 1
            self._failure_of_look = reason(error)
        else:
            self._failed_looks = 0
        finally:
            await connection.disconnect(nowait=True)

    def _needs_probe(self) -> bool:
        return self.is_available and monotonic() - self._probed_at > FRESH_SECONDS

    async def _probe(self) -> None:
        async with self._probe_lock:
            await self._probe_locked()

    async def _probe_locked(self) -> None:
        # The monitors of all primaries of a Cluster are due at once.
        await take_turn()
        if self._closed:
            return
        started = monotonic()
        try:
            async with TimeLimit(PROBE_SECONDS):
                server = await self._find_server()
        except Exception as error:  # noqa: BLE001 - any error ends the probe, and none may end the monitor
            self._is_replica |= isinstance(error, UnusableReplica)
            why = why_silent(self._client, error, answered=self.available_at > -inf)
            self._set_unavailable(why, since=started)
        else:
            self._set_available(server)
        self._probed_at = monotonic()

    async def _find_server(self) -> Server:
        """Return the server that the address leads to, after all connections lead to it."""
        recheck, self._recheck = self._recheck, False
        server = None if recheck else await self._inspect_current()
        if server is None:
            await reconnect(self._client.connection_pool)
            server = await inspect(self._client, self._key, cluster=self._cluster)
            self._failed_looks = 0
        elif server.run_id == self.run_id:
            return server
        if server.run_id is None or server.run_id != self.run_id:
            self.run_id = server.run_id
            await reconnect(self._pool)
            # Meanwhile, a new connection may have found another server.
            if self.run_id == server.run_id:
                self.server_changed(server.run_id)
        return server

    async def _inspect_current(self) -> Server | None:
        """Return the server of the existing connection; None if the address may lead to a better one."""
        with suppress(RedisError, OSError, RuntimeError):
            server = await inspect(self._client, self._key, cluster=self._cluster)
            if server.is_primary and server.run_id == self._identity.run_id:
                return server
        return None

    def _on_identity_change(self) -> None:
        # A new connection has found this server.
        self._failed_looks = 0
        self.request_probe()
        if self.run_id is not None:
            # Connections lead to different servers, so earlier reads may be out of date.
            self.run_id = None
            self.server_changed("")

    def _set_available(self, server: Server) -> None:
        self._server, self._is_replica = server, not server.is_primary
        if not self.is_available:
            # In an outage, each probe opens a connection.
            self._failed_looks = 0
        known, self._logged = self._logged, self.warnings()
        for warning in self._logged:
            if warning not in known:
                LOGGER.warning("The account store %s: %s", self.name, warning)
        self.available_at = monotonic()
        if not self.is_available:
            LOGGER.info("The account store %s is available again", self.name)
            self._unavailable_since = inf

    def _set_unavailable(self, why: str, *, since: float) -> None:
        if self.is_available:
            LOGGER.warning("The account store %s is unavailable: %s", self.name, why)
            self._unavailable_since = since
            # The probe of a check may have failed, while the next one of the monitor is due in five seconds.
            self.request_probe()
