"""Repeated denials: how many they were, and of what, in bounded memory. Pure: the caller says what time it is."""

from collections import OrderedDict
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from service.telemetry.lines import shorten

WINDOW_SECONDS: Final = 10.0
# A caller may try any number of accounts.
MAX_WINDOWS: Final = 1000
MAX_KEYS: Final = 5
# A line has room for five of them.
MAX_KEY_CHARACTERS: Final = 500

# One of these says which object or resource a denial is about, and a summary lists them.
_LISTED = {"key": "keys", "resource": "resources"}


@dataclass(slots=True)
class _Window:
    """The repeats of one denial, from the first of them to ``ends``."""

    ends: float
    repeats: int = 0
    since: str = ""
    common: dict[str, Any] = field(default_factory=dict)
    """The fields that all repeats share."""

    listed: dict[str, dict[str, None]] = field(default_factory=dict)
    """Up to MAX_KEYS different keys, and as many resources."""

    def count(self, fields: Mapping[str, Any], time: str) -> None:
        if self.repeats == 0:
            self.since, self.common = time, {name: value for name, value in fields.items() if name not in _LISTED}
        else:
            self.common = {name: value for name, value in self.common.items() if fields.get(name) == value}
        self.repeats += 1
        for name in _LISTED.keys() & fields.keys():
            texts = self.listed.setdefault(_LISTED[name], {})
            if len(texts) < MAX_KEYS:
                texts[shorten(fields[name], MAX_KEY_CHARACTERS)] = None

    def summary(self) -> dict[str, Any]:
        listed = {name: list(texts) for name, texts in self.listed.items()}
        return {**self.common, **listed, "repeats": self.repeats, "since": self.since}


class RepeatedDenials:
    """Tells the first denial of an identity from its repeats, which it counts for WINDOW_SECONDS at a time.

    An identity is forgotten when a window passes without a repeat, or when MAX_WINDOWS later ones need its place.
    """

    def __init__(self) -> None:
        self._windows: OrderedDict[Hashable, _Window] = OrderedDict()
        """The window that ends first is the first."""

    def is_repeat(self, identity: Hashable, fields: Mapping[str, Any], *, time: str, now: float) -> bool:
        """Count a repeat. A first denial is not counted; the caller writes a line for it.

        ``time`` is ``now`` as the line shows it.
        """
        window = self._windows.get(identity)
        if window is None:
            self._windows[identity] = _Window(now + WINDOW_SECONDS)
            return False
        window.count(fields, time)
        return True

    def next_end(self) -> float | None:
        """The instant at which the next window ends, None if there is none."""
        return next(iter(self._windows.values())).ends if self._windows else None

    def summaries(self, now: float) -> Iterator[dict[str, Any]]:
        """The fields of a line for each window with repeats that has ended, or lost its place."""
        while self._windows:
            identity, window = next(iter(self._windows.items()))
            ended = window.ends <= now
            if not ended and len(self._windows) <= MAX_WINDOWS:
                return
            del self._windows[identity]
            if window.repeats:
                if ended:
                    self._windows[identity] = _Window(now + WINDOW_SECONDS)
                yield window.summary()
