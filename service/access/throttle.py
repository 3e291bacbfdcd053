"""How often somebody may fail to log in: guessing a secret is limited for each client and for each address."""

from collections import OrderedDict
from collections.abc import Callable
from math import ceil
from time import monotonic

from service.errors import Throttled

WINDOW_SECONDS = 60.0
# Of one client from one address; from one address, which may be a gateway's; of one client from anywhere.
MOST_OF_PAIR, MOST_OF_ADDRESS, MOST_OF_CLIENT = 10, 100, 1000
MAX_COUNTED = 10_000
LONGEST_ID = 64

Key = tuple[str, str, str]


class Throttle:
    """Counts failures within a window of a minute, in bounded memory.

    A few failures of a client from one address hold up that pair alone: nobody locks out another's client from
    elsewhere.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._failures: OrderedDict[Key, tuple[float, int]] = OrderedDict()
        """When a window began and the failures in it; the one counted last is the last."""

    def begin(self, client: str, address: str) -> None:
        """Count a try as a failure until it has ``succeeded``, so that many at once are no way around.

        Raises Throttled after too many.
        """
        now = self._clock()
        limits = _limits(client, address)
        for key, most in limits:
            began, failures = self._window(key, now)
            if failures >= most:
                raise Throttled("Too many failed logins", ceil(WINDOW_SECONDS - (now - began)))
        for key, _ in limits:
            began, failures = self._window(key, now)
            self._failures[key] = (began, failures + 1)
            self._failures.move_to_end(key)
        while len(self._failures) > MAX_COUNTED:
            self._failures.popitem(last=False)

    def succeeded(self, client: str, address: str) -> None:
        """Take back what ``begin`` has counted."""
        for key, _ in _limits(client, address):
            if window := self._failures.get(key):
                began, failures = window
                self._failures[key] = (began, max(0, failures - 1))

    def _window(self, key: Key, now: float) -> tuple[float, int]:
        began, failures = self._failures.get(key, (now, 0))
        return (began, failures) if now - began < WINDOW_SECONDS else (now, 0)


def _limits(client: str, address: str) -> list[tuple[Key, int]]:
    # What a client claims to be takes no more memory than an id could.
    client = client[: LONGEST_ID + 1]
    return [
        (("pair", client, address), MOST_OF_PAIR),
        (("address", "", address), MOST_OF_ADDRESS),
        (("client", client, ""), MOST_OF_CLIENT),
    ]
