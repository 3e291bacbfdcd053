"""Finds the primaries: asks Sentinels, or the nodes of a Cluster.

Sources: https://redis.io/docs/latest/develop/reference/sentinel-clients/,
https://redis.io/docs/latest/commands/cluster-slots/
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from time import monotonic
from typing import Any, Protocol, cast

from redis.asyncio import Redis
from redis.crc import REDIS_CLUSTER_HASH_SLOTS
from redis.exceptions import AuthenticationError, ConnectionError, ResponseError  # noqa: A004 - as in failures

from service.stores.connection import close
from service.stores.failures import LOST, reason
from service.stores.pacing import paced
from service.stores.server import UnusableServer, advice, read_mode, why_silent
from service.stores.url import Address, StoreUrl

# A hung Sentinel delays each check by this time, a hung node one check.
SENTINEL_SECONDS = 0.2
NODE_SECONDS = 0.4
# The other Sentinels learn of a promotion within a few seconds.
DISSENT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Layout:
    """The slots of each primary. None is the only server of a URL."""

    # Not its ranges: there can be as many as slots, and to compare and free them takes milliseconds.
    slots: Mapping[Address | None, Sequence[int]]

    @classmethod
    def of(cls, address: Address | None) -> "Layout":
        """Return the layout in which one primary has all keys."""
        return cls({address: range(REDIS_CLUSTER_HASH_SLOTS)})


class NoPrimary(ConnectionError):
    """Nobody names a primary at the moment."""


class Discovery(Protocol):
    is_cluster: bool
    """Whether the primaries share the slots, and move some to each other."""

    warnings: Sequence[str]
    """Faults of servers that another one has made up for at the last ``find``. It would be missed in a failover."""

    async def find(self) -> Layout:
        """Return the current layout.

        Raises:
            UnusableServer: the URL does not fit the servers; the message is a sentence.
            NoPrimary: nobody names a primary at the moment.
        """

    async def close(self) -> None:
        """Close all connections."""


@dataclass(frozen=True, slots=True)
class _View:
    """What one Sentinel knows: the names of all services, and the primary of ours with the epoch of its promotion."""

    services: Iterable[str]
    epoch: int = -1
    primary: Address | None = None
    run_id: str = ""

    def agrees_with(self, other: "_View") -> bool:
        """Return whether both name the same server. One may name its host, and another one its address."""
        return self.primary == other.primary or (bool(self.run_id) and self.run_id == other.run_id)


class SentinelDiscovery:
    """Asks all Sentinels at once, and follows the one that knows of the newest promotion.

    A Sentinel that is cut off from the others still names the primary before that. One of another group may name a
    server with other accounts, and its promotions are counted apart, so it may seem to know of the newest one.
    """

    is_cluster = False

    def __init__(self, url: StoreUrl, connect_to: Callable[[str, float], Redis]) -> None:
        self.warnings: Sequence[str] = ()
        self._url = url
        self._found = False
        self._agreed_at = inf
        """When those that answered last named the same primary, or when one was first found."""

        self._sentinels = {address: connect_to(url.sentinel_at(address), SENTINEL_SECONDS) for address in url.servers}

    async def find(self) -> Layout:
        answers = await asyncio.gather(*map(self._ask, self._sentinels), return_exceptions=True)
        views = [answer for answer in answers if isinstance(answer, _View)]
        newest = max(views, key=lambda view: view.epoch, default=None)
        if newest and newest.primary:
            if not newest.primary.names_host:
                raise UnusableServer(f"the Sentinels name the primary {newest.primary.host!r}, which is no host")
            self._found = True
            faults = [text for text in map(self._fault, self._sentinels, answers) if text]
            self.warnings = [*faults, *self._dissent(newest, answers)]
            return Layout.of(newest.primary)
        silent = []
        for (address, sentinel), answer in zip(self._sentinels.items(), answers, strict=True):
            if isinstance(answer, LOST):
                silent.append(f"{address} ({why_silent(sentinel, answer, answered=self._found)})")
            elif isinstance(answer, BaseException) and not views:
                raise answer
        if views:
            known = ", ".join(sorted({name for view in views for name in view.services})) or "none"
            raise UnusableServer(f"no Sentinel knows the service {self._url.service}; they know: {known}")
        raise NoPrimary(f"these Sentinels do not answer: {', '.join(silent)}")

    async def close(self) -> None:
        await close(*self._sentinels.values())

    def _fault(self, address: Address, answer: _View | BaseException) -> str | None:
        """Return why a Sentinel cannot name the primary. None for one that does not answer, as it may come back."""
        if isinstance(answer, _View):
            return None if answer.primary else f"the Sentinel {address} does not know the service {self._url.service}"
        return str(answer) if isinstance(answer, UnusableServer) else None

    def _dissent(self, followed: _View, answers: Iterable[_View | BaseException]) -> list[str]:
        """Return a warning if some Sentinels have named another primary for a while."""
        others = [
            f"{address} names {answer.primary}"
            for address, answer in zip(self._sentinels, answers, strict=True)
            if isinstance(answer, _View) and answer.primary and not answer.agrees_with(followed)
        ]
        now = monotonic()
        self._agreed_at = min(self._agreed_at, now) if others else now
        if now - self._agreed_at < DISSENT_SECONDS:
            return []
        cause = "some are cut off from the others, or belong to another group"
        return [f"the Sentinels name different primaries, {cause}: {followed.primary} is used, but {', '.join(others)}"]

    async def _ask(self, address: Address) -> _View:
        sentinel, service = self._sentinels[address], self._url.service
        try:
            states = cast("dict[str, dict[str, Any]]", await sentinel.sentinel_masters())
            named = await sentinel.execute_command("SENTINEL GET-MASTER-ADDR-BY-NAME", service)  # type: ignore[no-untyped-call]
        except (ResponseError, AuthenticationError) as error:
            mode = await read_mode(sentinel)
            if mode and mode != "sentinel":
                raise UnusableServer(f"{address} is no Sentinel; {advice(sentinel, mode)}") from None
            raise UnusableServer(f"the Sentinel {address} refuses to name the primary: {reason(error)}") from None
        if service not in states or not named:
            return _View(states)
        # During a failover, the state is still that of the old primary, and the name already that of the new one. The
        # name counts also while the new one does not answer, or a returned old one would take writes.
        state = states[service]
        return _View(states, state["config-epoch"], Address(*named), state.get("runid", ""))


class ClusterDiscovery:
    """Asks the nodes in turn, beginning with the last one that answered. Learns all nodes from the answers."""

    is_cluster = True

    def __init__(self, url: StoreUrl, connect_to: Callable[[str, float], Redis]) -> None:
        self.warnings: Sequence[str] = ()
        self._url = url
        self._connect_to = connect_to
        self._found = False
        self._nodes = url.servers
        self._clients: dict[Address, Redis] = {}
        """Clients of the nodes that were asked, and of the first one. To make those of 90 nodes takes 30 ms."""

        # A wrong URL fails here.
        self._client_of(self._nodes[0])

    async def find(self) -> Layout:
        failures, refusals = [], []
        for address in self._nodes:
            node = self._client_of(address)
            try:
                info = await node.execute_command("CLUSTER INFO")  # type: ignore[no-untyped-call]
                slots = await node.execute_command("CLUSTER SLOTS")  # type: ignore[no-untyped-call]
            except (ResponseError, AuthenticationError) as error:
                refusals.append(await _refusal(address, node, error))
                continue
            except LOST as error:
                failures.append(f"{address} ({why_silent(node, error, answered=self._found)})")
                continue
            # A node that the others cannot reach names itself as a primary until it notices that.
            if info["cluster_state"] != "ok":
                failures.append(f"{address} (the Cluster is down)")
                continue
            layout, nodes, misnamed = await _parse_slots(slots, asked=address)
            self._found = True
            self.warnings = [f"the node {address} names the primary {host!r}, which is no host" for host in misnamed]
            # The one that answered comes first, so that a hung one delays one check only.
            self._nodes = list(dict.fromkeys([address, *self._url.servers, *nodes]))
            await close(*(self._clients.pop(former) for former in self._clients.keys() - self._nodes))
            return layout
        if not failures:
            raise refusals[0]
        raise NoPrimary(f"no node of the Cluster is usable: {', '.join([*failures, *map(str, refusals)])}")

    async def close(self) -> None:
        await close(*self._clients.values())

    def _client_of(self, address: Address) -> Redis:
        if address not in self._clients:
            self._clients[address] = self._connect_to(self._url.at(address), NODE_SECONDS)
        return self._clients[address]


async def _refusal(address: Address, node: Redis, error: Exception) -> UnusableServer:
    mode = await read_mode(node)
    if mode and mode != "cluster":
        return UnusableServer(f"{address} is no node of a Cluster; {advice(node, mode)}")
    return UnusableServer(f"the node {address} refuses CLUSTER INFO or CLUSTER SLOTS: {reason(error)}")


async def _parse_slots(answer: list[Any], *, asked: Address) -> tuple[Layout, Iterable[Address], Iterable[str]]:
    """Return the slots of each primary, all nodes, and what primaries announce in place of a host. Empties ``answer``.

    A node that has lost its identity, such as a new pod without the old volume, keeps its slots and has no address.
    """

    def address(node: list[Any]) -> Address | None:
        # A node that does not know its own host leaves it out. With "?", a node prefers host names and has none.
        host, port, _, *more = node
        if host == "?":
            host = dict(zip(more[0][::2], more[0][1::2], strict=True)).get("ip") if more else None
        return Address(host or asked.host, int(port)) if int(port) > 0 else None

    slots: dict[Address | None, list[int]] = {}
    known: dict[Address, None] = {}
    misnamed: dict[str, None] = {}
    # A Cluster can have as many ranges as slots. To free all of them at once holds the event loop for 7 ms.
    answer.reverse()
    async for _ in paced(range(len(answer))):
        start, end, *nodes = answer.pop()
        primary, *replicas = map(address, nodes)
        if primary and primary.names_host:
            slots.setdefault(primary, []).extend(range(int(start), int(end) + 1))
        elif primary:
            misnamed[primary.host] = None
        known |= dict.fromkeys(found for found in (primary, *replicas) if found and found.names_host)
    return Layout(slots), known, misnamed
