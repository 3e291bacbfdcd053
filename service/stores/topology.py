"""The primaries that keep the accounts: one Redis, the one that Sentinels name, or those of a Cluster."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from functools import partial
from math import inf
from time import monotonic
from typing import Any, Self

from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

from service.errors import StoreUnavailable
from service.stores.connection import connect
from service.stores.credentials import StoreCredentials
from service.stores.discovery import ClusterDiscovery, Discovery, Layout, SentinelDiscovery
from service.stores.failures import reason, unreachable
from service.stores.shard import Shard
from service.stores.tasks import end
from service.stores.url import Address, StoreUrl

LOGGER = logging.getLogger(__name__)

CHECK_SECONDS = 1.0
# Failures request a check at once, but not more often than this.
MIN_CHECK_SECONDS = 0.1
# After this time without an answer that names the primaries, others may have been promoted.
NAMED_SECONDS = 10.0
# An adopted shard without slots is kept this long after its last use.
ADOPTED_SECONDS = 5.0


class Topology:
    """Keeps an open shard for each primary, and knows which one has a key.

    With ``discovery``, it asks for the primaries every ``CHECK_SECONDS`` and after failures. After ``NAMED_SECONDS``
    without an answer, it has no shards until the next one. ``changed`` is called when ``shards`` has changed, before a
    call uses a new one.
    """

    def __init__(
        self,
        name: str,
        make_shard: Callable[[Address | None], Shard],
        discovery: Discovery | None = None,
    ) -> None:
        self.name = name
        self.shards: Mapping[Address | None, Shard] = {}
        self.changed: Callable[[], None] = lambda: None
        self._make_shard = make_shard
        self._discovery = discovery
        self._layout = Layout({})
        self._adopted: dict[Address, float] = {}
        """When a call last used a shard that had no slots at its first use."""

        self._owners: list[Shard | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        self._missing = 0
        """How many slots have no primary, although others have."""

        self._problem: str | None = None
        self._warnings: Sequence[str] = ()
        self._checked_at = self._reached_at = self._named_at = -inf
        """When a check has ended, when a former shard could be read, and when a check with an answer began."""

        self._check: asyncio.Task[None] | None = None
        self._check_requested = asyncio.Event()
        self._opened = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing: set[asyncio.Task[None]] = set()
        """The closes of former shards. Cancelled ones would leave connections open."""

        if discovery is None:
            self._follow(Layout.of(None))

    @classmethod
    def at(cls, text: str, *, key: str, credentials: StoreCredentials | None = None, wait_replicas: int = 0) -> Self:
        """Return the topology behind a store URL.

        Args:
            text: The URL.
            key: Probes read keys that begin with it.
            credentials: Replace those of the URL.
            wait_replicas: How many replicas each primary should have.
        """
        url = StoreUrl(text)
        logins = credentials or StoreCredentials(url)

        discovery: Discovery | None = None
        if url.kind == "sentinel":
            discovery = SentinelDiscovery(
                url, lambda at, seconds: connect(at, connections=1, seconds=seconds, credentials=logins.sentinel)
            )
        elif url.kind == "cluster":
            discovery = ClusterDiscovery(
                url, lambda at, seconds: connect(at, connections=1, seconds=seconds, credentials=logins.redis)
            )
        make_shard = partial(Shard.at, url, key=key, credentials=logins, wait_replicas=wait_replicas)
        return cls(url.description, make_shard, discovery)

    def owner(self, key: str) -> Shard | None:
        """Return the shard that has the key, or None if no primary is known."""
        return self._owners[key_slot(key.encode(errors="surrogateescape"))]

    def redirection(self, host: str, port: int, *, asked: Shard) -> Address | None:
        """Return the address that ``asked`` has named; None if that shard is closed by now, or if it names none.

        A node leaves out a host that it does not know. With "?", it prefers host names and the other one has none.
        Without a Cluster, it also returns None: the address of a single server or a Sentinel's primary leads to a node
        by mistake.
        """
        if self._discovery is None or not self._discovery.is_cluster:
            return None
        if host not in {"", "?"}:
            named = Address(host, port)
            return named if named.names_host else None
        known = {address: shard for address, shard in self.shards.items() if address}
        hosts = [address.host for address in known if address.port == port]
        if len(hosts) != 1:
            hosts = [address.host for address, shard in known.items() if shard is asked]
        # A node that has lost its identity has no port either.
        return Address(hosts[0], port) if hosts and port else None

    def adopt(self, address: Address) -> Shard:
        """Return the shard of a primary that has no slots yet, because the Cluster begins to move some to it."""
        shard = self.shards.get(address) or self._make_shard(address)
        if address not in self.shards or address in self._adopted:
            self._adopted[address] = monotonic()
        if address not in self.shards:
            self._replace({**self.shards, address: shard})
        return shard

    def request_check(self) -> None:
        """Ask for the primaries soon."""
        self._check_requested.set()

    async def check(self) -> None:
        """Ask for the primaries now, unless somebody has asked a moment ago or the topology is not open.

        Callers share a check. It goes on when a caller runs out of time, for the next one.
        """
        if self._discovery is None or not self._opened or monotonic() - self._checked_at < MIN_CHECK_SECONDS:
            return
        if self._check is None or self._check.done():
            self._check = self._start(self._find(self._discovery), self._tasks)
        await asyncio.shield(self._check)

    async def check_available(self, key: str | None = None) -> None:
        """Raise ``StoreUnavailable`` unless ``key`` can be read now; without a key, unless all keys can be."""
        shards = list(self.shards.values()) if key is None else [self.owner(key)]
        if not shards:
            raise StoreUnavailable(f"The account store has no primary: {self._problem}")
        if key is None and self._missing:
            raise StoreUnavailable(f"The account store has no primary for {self._missing} slots of the Cluster")
        for shard in shards:
            if shard is None:
                raise unreachable()
            await shard.monitor.check()

    async def reached_within(self, seconds: float) -> bool:
        """Return whether any shard can be read now, or could be read in the last ``seconds``."""
        answers = await asyncio.gather(*(shard.monitor.reached_within(seconds) for shard in self.shards.values()))
        return any(answers) or monotonic() - self._reached_at <= seconds

    def warnings(self) -> Sequence[str]:
        """Return sentences about what an operator should change, each once."""
        found = [f"A failover goes unnoticed: {self._problem}"] if self._problem and self.shards else []
        found += self._warnings
        for shard in self.shards.values():
            found += shard.monitor.warnings()
        return list(dict.fromkeys(found))

    async def open(self) -> None:
        self._opened = True
        await asyncio.gather(self.check(), *(shard.monitor.open() for shard in self.shards.values()))
        # Wait for the first probes of the shards that the check has found.
        if opening := set(self._tasks):
            await asyncio.wait(opening)
        if self._discovery:
            self._start(self._run(), self._tasks)

    async def close(self) -> None:
        self._opened = False
        await end(self._tasks)
        await asyncio.gather(*(shard.close() for shard in self.shards.values()), *self._closing)
        if self._discovery:
            await self._discovery.close()

    async def _run(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(CHECK_SECONDS):
                    await self._check_requested.wait()
            self._check_requested.clear()
            await self.check()
            await asyncio.sleep(MIN_CHECK_SECONDS)

    async def _find(self, discovery: Discovery) -> None:
        started = monotonic()
        try:
            self._follow(await discovery.find())
        except Exception as error:  # noqa: BLE001 - the last layout stays in use for a while after any error
            self._set_problem(reason(error))
            if self.shards and started - self._named_at > NAMED_SECONDS:
                LOGGER.warning("The account store %s uses no primary until one is named again", self.name)
                self._adopted.clear()
                self._follow(Layout({}))
        else:
            self._named_at = started
            self._set_problem(None)
            self._set_warnings(discovery.warnings)
        self._checked_at = monotonic()

    def _follow(self, layout: Layout) -> None:
        used_since = monotonic() - ADOPTED_SECONDS
        adopted = {address: used_at for address, used_at in self._adopted.items() if used_at > used_since}
        addresses = layout.slots.keys() | adopted.keys()
        # First, so that an error leaves the former layout whole.
        shards = {address: self.shards.get(address) or self._make_shard(address) for address in addresses}
        self._adopted = adopted
        if layout == self._layout and addresses == self.shards.keys():
            return
        self._layout = layout
        self._owners = [None] * REDIS_CLUSTER_HASH_SLOTS
        for address, slots in layout.slots.items():
            for slot in slots:
                self._owners[slot] = shards[address]
        known, self._missing = self._missing, self._owners.count(None) if layout.slots else 0
        if self._missing and self._missing != known:
            LOGGER.warning("The account store %s has no primary for %s slots of the Cluster", self.name, self._missing)
        self._replace(shards)

    def _replace(self, shards: Mapping[Address | None, Shard]) -> None:
        before, self.shards = self.shards, shards
        if before.keys() == shards.keys():
            return
        if self._opened:
            for address in shards.keys() - before.keys():
                LOGGER.info("The account store %s has the primary %s", self.name, address)
                self._start(shards[address].monitor.open(), self._tasks)
        for address in before.keys() - shards.keys():
            self._reached_at = max(self._reached_at, before[address].monitor.available_at)
            # Calls to the old primary fail now, and are repeated with the new one.
            self._start(before[address].close(), self._closing)
        self.changed()

    def _start(self, work: Coroutine[Any, Any, None], tasks: set[asyncio.Task[None]]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        return task

    def _set_problem(self, problem: str | None) -> None:
        if problem and problem != self._problem:
            LOGGER.warning("The account store %s does not find its primaries: %s", self.name, problem)
        self._problem = problem

    def _set_warnings(self, warnings: Sequence[str]) -> None:
        for warning in warnings:
            if warning not in self._warnings:
                LOGGER.warning("The account store %s: %s", self.name, warning)
        self._warnings = warnings
