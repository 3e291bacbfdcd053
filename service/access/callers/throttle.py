"""A rate limiter for failed logins: of a client from one address, from one address, and of one client.

It counts for this process alone.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil
from time import monotonic
from typing import TypeVar

from service.addresses import network
from service.errors import Throttled

WINDOW_SECONDS = 60.0
KNOWN_SECONDS = 86_400.0
# Of one client from one address; from one address, which may be a gateway's; of one client from anywhere.
MOST_OF_PAIR, MOST_OF_ADDRESS, MOST_OF_CLIENT = 10, 100, 1000
MAX_COUNTED = 10_000
# Clients that have logged in within a day, and addresses of each: no client takes the place of another's addresses.
MAX_KNOWN_CLIENTS, MAX_KNOWN_ADDRESSES = 2000, 100
LONGEST_ID = 64

Key = tuple[str, str, str]
_T = TypeVar("_T")


@dataclass(slots=True)
class Window:
    """The failures since ``began``."""

    began: float
    failures: int = 0

    def is_over(self, now: float) -> bool:
        return now - self.began >= WINDOW_SECONDS


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt to log in, and the windows in which it counts as a failure."""

    client: str
    address: str
    windows: Sequence[tuple[Key, int, Window]]


class Throttle:
    """Counts failures within a window of a minute, in bounded memory.

    A few failures of a client from one address hold up that pair alone. A client that has logged in from an address
    within a day has only that limit there: guesses at others, and from elsewhere, do not lock it out. A refused attempt
    changes nothing.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._windows: OrderedDict[Key, Window] = OrderedDict()
        """The windows below their limit; the one counted last is the last."""

        self._full: OrderedDict[Key, Window] = OrderedDict()
        """Those at their limit. They are never evicted, and few, as each has taken ten hashes within a minute."""

        self._known: OrderedDict[str, OrderedDict[str, float]] = OrderedDict()
        """When a client last logged in from an address; the latest client, and its latest address, is the last."""

    def acquire(self, client: str, address: str) -> Attempt:
        """Count an attempt as a failure until it is refunded, so that concurrent attempts are limited too.

        Raises:
            Throttled: after too many failures.
        """
        client, address, now = client[: LONGEST_ID + 1], network(address), self._clock()
        limits = _limits(client, address)
        for key, _ in limits[:1] if self._is_known(client, address, now) else limits:
            window = self._full.get(key)
            if window and not window.is_over(now):
                raise Throttled("Too many failed logins", ceil(WINDOW_SECONDS - (now - window.began)))
        attempt = Attempt(client, address, [(key, limit, self._count(key, limit, now)) for key, limit in limits])
        self._evict(now)
        return attempt

    def refund(self, attempt: Attempt) -> None:
        """Take back what ``acquire`` has counted."""
        for key, limit, window in attempt.windows:
            window.failures -= 1
            if self._full.get(key) is window and window.failures < limit:
                del self._full[key]
                self._windows[key] = window
            if self._windows.get(key) is window and not window.failures:
                del self._windows[key]

    def remember(self, client: str, address: str) -> None:
        """Note that a client has logged in from an address."""
        client, address = client[: LONGEST_ID + 1], network(address)
        addresses = self._known.get(client, OrderedDict())
        _put_last(self._known, client, addresses, most=MAX_KNOWN_CLIENTS)
        _put_last(addresses, address, self._clock(), most=MAX_KNOWN_ADDRESSES)

    def _is_known(self, client: str, address: str, now: float) -> bool:
        addresses = self._known.get(client)
        last = addresses.get(address) if addresses else None
        return last is not None and now - last < KNOWN_SECONDS

    def _count(self, key: Key, limit: int, now: float) -> Window:
        window = self._full.pop(key, None) or self._windows.pop(key, None)
        if window is None or window.is_over(now):
            window = Window(now)
        window.failures += 1
        (self._full if window.failures >= limit else self._windows)[key] = window
        return window

    def _evict(self, now: float) -> None:
        while self._full and next(iter(self._full.values())).is_over(now):
            self._full.popitem(last=False)
        while len(self._windows) > MAX_COUNTED:
            self._windows.popitem(last=False)


def _put_last(table: OrderedDict[str, _T], key: str, value: _T, *, most: int) -> None:
    table[key] = value
    table.move_to_end(key)
    if len(table) > most:
        table.popitem(last=False)


def _limits(client: str, address: str) -> list[tuple[Key, int]]:
    return [
        (("pair", client, address), MOST_OF_PAIR),
        (("address", "", address), MOST_OF_ADDRESS),
        (("client", client, ""), MOST_OF_CLIENT),
    ]
