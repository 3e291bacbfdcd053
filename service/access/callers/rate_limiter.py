"""A rate limiter for failed logins, which counts for this process alone."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, inf
from time import monotonic

from cachetools import FIFOCache, TLRUCache

from service.addresses import network
from service.errors import Throttled
from service.telemetry import metrics

WINDOW_SECONDS = 60.0
KNOWN_SECONDS = 86_400.0
# Failures in a window: of one client from one address; from one address, which may be a gateway's; of one client.
MAX_OF_PAIR, MAX_OF_ADDRESS, MAX_OF_CLIENT = 10, 100, 1000
MAX_COUNTERS = 10_000
# Known addresses are bounded for each client, so that no client evicts those of another.
MAX_KNOWN_CLIENTS, MAX_KNOWN_ADDRESSES = 2000, 100
MAX_ID_LENGTH = 64

Key = tuple[str, str, str]


@dataclass(slots=True)
class Window:
    """The number of failures until ``ends_at``."""

    ends_at: float
    failures: int = 0


Attempt = Sequence[tuple[Key, int, Window]]
"""The windows in which an attempt counts as a failure, with their keys and limits."""


class LoginRateLimiter:
    """Counts failed logins in fixed windows of a minute, in bounded memory.

    A few failures of a client from one address block that pair alone. If a client has logged in from an address within
    a day, only this limit applies to it there. Failures of other clients, and failures from other addresses, do not
    lock it out. A refused attempt changes nothing.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._counting = _windows(MAX_COUNTERS, clock)
        """The windows below their limit."""

        self._full = _windows(inf, clock)
        """The windows at their limit. They are never evicted. Each took ten hashes within a minute, so they are few."""

        self._known: FIFOCache[str, FIFOCache[str, float]] = FIFOCache(MAX_KNOWN_CLIENTS)
        """When a client last logged in from an address. A TTLCache would add 3 us to each request with Basic."""

    def acquire(self, client: str, address: str) -> Attempt:
        """Count an attempt as a failure until it is refunded, so that concurrent attempts are limited too.

        Raises:
            Throttled: after too many failures.
        """
        client, address, now = client[: MAX_ID_LENGTH + 1], network(address), self._clock()
        limits = _limits(client, address)
        for key, _ in limits[:1] if self._is_known(client, address, now) else limits:
            if window := self._full.get(key):
                metrics.LOGINS_THROTTLED.inc()
                raise Throttled("Too many failed logins", ceil(window.ends_at - now))
        return [(key, limit, self._count(key, limit, now)) for key, limit in limits]

    def refund(self, attempt: Attempt) -> None:
        """Take back what ``acquire`` has counted."""
        for key, limit, window in attempt:
            window.failures -= 1
            if self._full.get(key) is window and window.failures < limit:
                # The window may have ended since the line above, so the entry may be missing.
                self._full.pop(key, None)
                self._counting[key] = window
            if self._counting.get(key) is window and not window.failures:
                self._counting.pop(key, None)

    def remember(self, client: str, address: str) -> None:
        """Note a successful login of a client from an address."""
        client = client[: MAX_ID_LENGTH + 1]
        addresses = self._known.get(client)
        if addresses is None:
            addresses = FIFOCache(MAX_KNOWN_ADDRESSES)
        self._known[client] = addresses
        addresses[network(address)] = self._clock()

    def _is_known(self, client: str, address: str, now: float) -> bool:
        addresses = self._known.get(client)
        last = addresses.get(address) if addresses else None
        return last is not None and now - last < KNOWN_SECONDS

    def _count(self, key: Key, limit: int, now: float) -> Window:
        window = self._full.pop(key, None) or self._counting.pop(key, None) or Window(now + WINDOW_SECONDS)
        window.failures += 1
        (self._full if window.failures >= limit else self._counting)[key] = window
        return window


def _windows(maxsize: float, clock: Callable[[], float]) -> TLRUCache[Key, Window]:
    return TLRUCache(maxsize, lambda _, window, __: window.ends_at, timer=clock)


def _limits(client: str, address: str) -> list[tuple[Key, int]]:
    return [
        (("pair", client, address), MAX_OF_PAIR),
        (("address", "", address), MAX_OF_ADDRESS),
        (("client", client, ""), MAX_OF_CLIENT),
    ]
