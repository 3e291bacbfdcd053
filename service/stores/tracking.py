"""The invalidations of all primaries: sessions, in which every change is reported."""

import asyncio
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from math import inf

from service.stores.shard import Shard
from service.stores.topology import Topology
from service.stores.tracking_connection import Confirmed, InvalidationListener, TrackingConnection
from service.telemetry.metrics import CACHE_LIVE


@dataclass(slots=True, eq=False, kw_only=True)
class TrackingSession:
    """A time during which every primary is tracked without interruption. While it is ``live``, each change is reported.

    ``connections`` are the tracking connections of the session.
    """

    live: bool
    connections: Collection[Confirmed] = ()

    @property
    def confirmed_at(self) -> float:
        """The time, in monotonic seconds, since when a primary may have sent no message, or a change is unreported."""
        return min((connection.confirmed_at for connection in self.connections), default=-inf)

    def end(self) -> None:
        if self.live:
            # Its connections may go on in the next session, but changes in between are not reported.
            self.live, self.connections = False, [Confirmed(self.confirmed_at)]


NO_SESSION = TrackingSession(live=False)


class Tracker:
    """Reports every change to resources of ``kinds`` to a listener, while ``session`` is live.

    A value read during a live session is current until the listener is notified or the session ends.
    """

    def __init__(self, topology: Topology, *, kinds: Iterable[str], prefix: str = "") -> None:
        self.kinds = frozenset(kinds)
        self.session = NO_SESSION
        self._topology = topology
        self._prefix = prefix
        self._listener: InvalidationListener | None = None
        self._connections: dict[Shard, TrackingConnection] = {}
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def degraded_reason(self) -> str | None:
        """Why changes are not reported at the moment; None while the session is live."""
        if self.session.live:
            return None
        refusals = (connection.refusal for connection in self._connections.values())
        return next(filter(None, refusals), "Redis sends no invalidations at the moment")

    async def open(self, listener: InvalidationListener) -> None:
        """Start tracking, and wait until the first attempt with each primary succeeds or fails."""
        self._listener = listener
        self._topology.changed = self._follow
        self._follow()
        await asyncio.gather(*(connection.first_attempt.wait() for connection in self._connections.values()))

    async def close(self) -> None:
        self._topology.changed = lambda: None
        await asyncio.gather(*(connection.close() for connection in self._connections.values()), *self._closing)
        self._end_session()

    def _follow(self) -> None:
        """Track the current primaries. Values from a new primary are not current until all are tracked."""
        if self._listener is None:
            return
        self._end_session()
        shards = set(self._topology.shards.values())
        for shard in self._connections.keys() - shards:
            task = asyncio.create_task(self._connections.pop(shard).close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
        for shard in shards - self._connections.keys():
            self._connections[shard] = TrackingConnection(
                shard, self.kinds, self._prefix, self._listener, self._on_connection_change
            )
        self._on_connection_change()

    def _on_connection_change(self) -> None:
        connected = [connection.confirmed for connection in self._connections.values() if connection.confirmed]
        if len(connected) < len(self._connections) or not connected:
            self._end_session()
        elif not self.session.live:
            self.session = TrackingSession(live=True, connections=connected)
            CACHE_LIVE.set(1)

    def _end_session(self) -> None:
        self.session.end()
        CACHE_LIVE.set(0)
