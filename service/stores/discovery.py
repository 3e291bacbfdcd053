"""Finds the primaries: asks Sentinels, or the nodes of a Cluster.

Sources: https://redis.io/docs/latest/develop/reference/sentinel-clients/,
https://redis.io/docs/latest/commands/cluster-slots/
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol, cast

from redis.asyncio import Redis
from redis.crc import REDIS_CLUSTER_HASH_SLOTS
from redis.exceptions import ConnectionError, ResponseError  # noqa: A004 - as in failures

from service.stores.failures import LOST, reason
from service.stores.server import UnusableServer
from service.stores.url import Address, StoreUrl

# A hung Sentinel or node delays the question to the next one by this time.
SENTINEL_SECONDS = 0.2
NODE_SECONDS = 0.4


@dataclass(frozen=True, slots=True)
class Layout:
    """The primary of each range of slots: first slot, last slot, address. None is the only server of a URL."""

    ranges: tuple[tuple[int, int, Address | None], ...]

    @classmethod
    def of(cls, address: Address | None) -> "Layout":
        """Return the layout in which one primary has all keys."""
        return cls(((0, REDIS_CLUSTER_HASH_SLOTS - 1, address),))


class NoPrimary(ConnectionError):
    """Nobody names a working primary at the moment."""


class Discovery(Protocol):
    async def find(self) -> Layout:
        """Return the current layout.

        Raises:
            UnusableServer: the URL does not fit the servers; the message is a sentence.
            NoPrimary: nobody names a primary at the moment.
        """

    async def close(self) -> None:
        """Close all connections."""


class SentinelDiscovery:
    """Asks the Sentinels in turn, beginning with the last one that knew the primary."""

    def __init__(self, url: StoreUrl, connect_to: Callable[[str, float], Redis]) -> None:
        self._url = url
        self._sentinels = [(address, connect_to(url.sentinel_at(address), SENTINEL_SECONDS)) for address in url.servers]

    async def find(self) -> Layout:
        silent, services = [], set[str]()
        for number, (address, sentinel) in enumerate(self._sentinels):
            try:
                primaries = cast("dict[str, dict[str, Any]]", await sentinel.sentinel_masters())
            except LOST as error:
                silent.append(f"{address} ({reason(error)})")
                continue
            except ResponseError as error:
                raise self._refusal(address, error) from None
            services |= primaries.keys()
            state = primaries.get(self._url.service)
            if state and state["is_master"] and not (state["is_sdown"] or state["is_odown"]):
                self._sentinels.insert(0, self._sentinels.pop(number))
                return Layout.of(Address(state["ip"], state["port"]))
        if len(silent) < len(self._sentinels) and self._url.service not in services:
            known = ", ".join(sorted(services)) or "none"
            raise UnusableServer(f"no Sentinel knows the service {self._url.service}; they know: {known}")
        if silent:
            raise NoPrimary(f"these Sentinels do not answer: {', '.join(silent)}")
        raise NoPrimary("the Sentinels find no working primary at the moment")

    async def close(self) -> None:
        await _close(client for _, client in self._sentinels)

    def _refusal(self, address: Address, error: ResponseError) -> Exception:
        if "unknown command" in str(error).lower():
            return UnusableServer(f"{address} is no Sentinel; if it is the Redis, write {self._url.single(address)}")
        return UnusableServer(f"the Sentinel {address} refuses to name the primary: {reason(error)}")


class ClusterDiscovery:
    """Asks the nodes in turn, beginning with the last one that answered. Learns all nodes from the answers."""

    def __init__(self, url: StoreUrl, connect_to: Callable[[str, float], Redis]) -> None:
        self._url = url
        self._connect_to = connect_to
        self._nodes: dict[Address, Redis] = {}
        self._learn(url.servers)

    async def find(self) -> Layout:
        failures = []
        for address, node in list(self._nodes.items()):
            try:
                info = await node.execute_command("CLUSTER INFO")  # type: ignore[no-untyped-call]
                slots = await node.execute_command("CLUSTER SLOTS")  # type: ignore[no-untyped-call]
            except LOST as error:
                failures.append(f"{address} ({reason(error)})")
                continue
            except ResponseError as error:
                raise self._refusal(address, error) from None
            # A node that the others cannot reach names itself as a primary until it notices that.
            if info["cluster_state"] != "ok":
                failures.append(f"{address} (the Cluster is down)")
                continue
            ranges, nodes = _parse_slots(slots, asked=address)
            # The one that answered comes first, so that a hung one delays one check only.
            self._learn([address, *self._url.servers, *nodes])
            await _close(self._forget({address, *self._url.servers, *nodes}))
            return Layout(ranges)
        raise NoPrimary(f"no node of the Cluster is usable: {', '.join(failures)}")

    async def close(self) -> None:
        await _close(self._nodes.values())

    def _learn(self, addresses: Iterable[Address]) -> None:
        known = self._nodes
        new = dict.fromkeys(addresses)
        self._nodes = {a: known.get(a) or self._connect_to(self._url.at(a), NODE_SECONDS) for a in new} | {
            a: client for a, client in known.items() if a not in new
        }

    def _forget(self, kept: set[Address]) -> list[Redis]:
        return [self._nodes.pop(address) for address in list(self._nodes) if address not in kept]

    def _refusal(self, address: Address, error: ResponseError) -> Exception:
        if "cluster support disabled" in str(error):
            return UnusableServer(f"{address} is no node of a Cluster; write {self._url.single(address)}")
        return UnusableServer(f"the node {address} refuses CLUSTER INFO or CLUSTER SLOTS: {reason(error)}")


def _parse_slots(
    answer: list[Any], *, asked: Address
) -> tuple[tuple[tuple[int, int, Address | None], ...], list[Address]]:
    """Return the primary of each range, and all nodes."""

    def address(node: list[Any]) -> Address:
        # A node that does not know its own host leaves it out.
        return Address(node[0] or asked.host, int(node[1]))

    ranges = sorted((int(start), int(end), address(nodes[0])) for start, end, *nodes in answer)
    return tuple(ranges), [address(node) for _, _, *nodes in answer for node in nodes]


async def _close(clients: Iterable[Redis]) -> None:
    for client in clients:
        await client.aclose()
