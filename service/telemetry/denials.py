"""Counts repeated denials in bounded memory. The caller passes the current time."""

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from service.telemetry.lines import shorten

WINDOW_SECONDS: Final = 10.0
# A client may try any number of accounts.
MAX_WINDOWS: Final = 1000
MAX_KEYS: Final = 5
# MAX_KEYS keys of this length fit into a line.
MAX_KEY_CHARACTERS: Final = 500

# Fields that a summary lists, with the name of the list.
_LISTED = {"key": "keys", "resource": "resources"}


@dataclass(slots=True)
class _Window:
    """The repeats of one denial until ``ends``, in monotonic time."""

    ends: float
    repeats: int = 0
    since: str = ""
    common: dict[str, Any] = field(default_factory=dict)
    """Fields with the same value in all repeats."""

    listed: dict[str, dict[str, None]] = field(default_factory=dict)
    """The first MAX_KEYS distinct keys, and as many resources."""

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
    """Counts the repeats of each denial in windows of WINDOW_SECONDS. The first denial opens a window.

    An identity is dropped after a window without repeats, or when there are more than MAX_WINDOWS.
    """

    def __init__(self) -> None:
        self._windows: dict[Hashable, _Window] = {}
        """In the order of their ends. A TTLCache would drop the counts of a window that ends (ADR 19)."""

    def is_repeat(self, identity: Hashable, fields: Mapping[str, Any], *, time: str, now: float) -> bool:
        """Count a repeat and return True, or open a window for a first denial and return False.

        ``time`` is ``now`` in the format of the line.
        """
        window = self._windows.get(identity)
        if window is None:
            self._windows[identity] = _Window(now + WINDOW_SECONDS)
            return False
        window.count(fields, time)
        return True

    def next_end(self) -> float | None:
        """Return the time at which the next window ends, or None without windows."""
        return next(iter(self._windows.values())).ends if self._windows else None

    def summaries(self, now: float) -> Iterator[dict[str, Any]]:
        """Yield the fields of a line for each window with repeats that has ended or is above MAX_WINDOWS."""
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
