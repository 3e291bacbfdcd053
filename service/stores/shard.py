"""One primary that keeps accounts: its connections and its health."""

import asyncio
from collections.abc import Callable
from math import inf
from time import monotonic
from typing import Self

from redis.asyncio import Redis
from redis.exceptions import TimeoutError as RedisTimeoutError

from service.stores.asking import AskingRedis
from service.stores.connection import ServerIdentity, close, close_idle, connect, offer_open_ones
from service.stores.credentials import StoreCredentials
from service.stores.health import HealthMonitor
from service.stores.url import Address, StoreUrl

CONNECTIONS = 64
OFFER_SECONDS = 0.1
# To open many connections takes time, and a slow server lets many calls time out.
CLOSE_SECONDS = 1.0


class Shard:
    """One primary: a client for calls, and a monitor of its health. ``connect`` makes more clients of it."""

    def __init__(self, client: Redis, monitor: HealthMonitor, connect: Callable[[], Redis]) -> None:
        self.client = client
        self.monitor = monitor
        self.connect = connect
        # redis-py's blocking pool does not serve callers in order: under load a call waited there for seconds.
        self.connections = asyncio.Semaphore(CONNECTIONS)
        # Writes that wait for a hung replica leave connections to reads.
        self.writes = asyncio.Semaphore(CONNECTIONS // 2)
        self._offered_at = self._closed_at = -inf

    @classmethod
    def at(
        cls, url: StoreUrl, address: Address | None, *, key: str, credentials: StoreCredentials, wait_replicas: int
    ) -> Self:
        """Return the primary at ``address``, or without one at the address of ``url``. See ``Topology.at``."""
        identity = ServerIdentity(primary=address is not None)

        def connect_to(connections: int, identity: ServerIdentity) -> Redis:
            return connect(url.at(address), connections=connections, identity=identity, credentials=credentials.redis)

        client = connect_to(CONNECTIONS, identity)
        monitor = HealthMonitor(
            client.connection_pool,
            connect_to(1, identity),
            name=StoreUrl(url.at(address)).description,
            key=key,
            identity=identity,
            cluster=url.kind == "cluster",
            wait_replicas=wait_replicas,
        )
        # The monitor does not observe connections of other clients.
        return cls(client, monitor, lambda: connect_to(1, ServerIdentity(primary=address is not None)))

    @property
    def asking(self) -> Redis:
        """A client with the same connections, for keys that a Cluster is moving to this primary."""
        return AskingRedis(connection_pool=self.client.connection_pool)

    async def repair_pool(self, error: Exception) -> None:
        """Let the next calls take connections that work, after a call has lost its connection.

        After a timeout, those are new ones: a firewall may have forgotten all open ones. After another error, those are
        open ones: the server may have too many clients, or another password by now. Does nothing if it was done a
        moment ago, because many calls fail together.
        """
        if isinstance(error, TimeoutError | RedisTimeoutError) and self.monitor.takes_connections:
            if monotonic() - self._closed_at > CLOSE_SECONDS:
                self._closed_at = monotonic()
                await close_idle(self.client.connection_pool)
        elif monotonic() - self._offered_at > OFFER_SECONDS:
            self._offered_at = monotonic()
            await offer_open_ones(self.client.connection_pool)

    async def close(self) -> None:
        await self.monitor.close()
        await close(self.client)
