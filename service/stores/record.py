"""What a resource is: a kind, an id, and the flat record of text that every store keeps."""

import hashlib
import re
from collections.abc import Callable, ItemsView, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from json.encoder import encode_basestring_ascii as quoted
from typing import Any

ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""The syntax of the id of a resource."""

# The service's own fields of a record begin with an underscore; all others are a resource's, under their wire names.
VERSION, CREATED, UPDATED, DIGEST, WRITES = "_version", "_createdAt", "_lastUpdated", "_digest", "_writes"
# The version again. If the two differ, somebody has changed the version, which may have been used before.
VERSION_COPY = "_versionCopy"

# A writer whose answer was lost looks for its own write_id; this many later writers may have come between.
WRITES_REMEMBERED = 8

# In front of the digest of fields that a schema has found valid; to be raised when one becomes stricter.
VALIDATED = "2:"

# The largest whole number that Lua in Redis, and JSON in most clients, hold exactly: microseconds until the year 2255.
# Counting on from a larger one that an operator wrote would give the same version again and again.
LARGEST_VERSION = 2**53 - 1


@dataclass(frozen=True, slots=True)
class Meta:
    """``version_id`` grows and is never used twice for an id; instants are in UTC."""

    version_id: str
    created_at: datetime
    last_updated: datetime


class Record(Mapping[str, str]):
    """Text by name in less than half the space of a dict, for who keeps many that have the same names."""

    __slots__ = ("_names", "_texts")

    def __init__(self, record: Mapping[str, str]) -> None:
        self._names = _shared(tuple(record))
        self._texts = tuple(record.values())

    def __getitem__(self, name: str) -> str:
        try:
            return self._texts[self._names.index(name)]
        except ValueError:
            raise KeyError(name) from None

    def items(self) -> ItemsView[str, str]:
        return dict(zip(self._names, self._texts, strict=True)).items()

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


@lru_cache(maxsize=256)
def _shared(names: tuple[str, ...]) -> tuple[str, ...]:
    return names


@dataclass(slots=True)
class Resource:
    """A stored resource. ``record`` is exactly what the store holds, so that a writer can say what it has expected."""

    kind: str
    id: str
    record: Mapping[str, str] = field(repr=False)
    validated: bool = field(default=False, compare=False)
    """Whether the fields are known to be valid without another look."""

    model: Any = field(default=None, init=False, repr=False, compare=False)
    """What ``remember`` has made of it."""

    changed: tuple[str, ...] = field(default=(), init=False, repr=False, compare=False)
    """The names of the fields that changed, on what a write returns."""

    # Made anew each time: a cached resource is asked for them once, and would hold them as long as it lives.
    @property
    def fields(self) -> dict[str, str]:
        """The resource's own fields: wire name to text."""
        return {name: text for name, text in self.record.items() if name[:1] != "_"}

    @property
    def meta(self) -> Meta:
        return Meta(str(self.version), _instant(self.record.get(CREATED)), _instant(self.record.get(UPDATED)))

    def memoize(self, decode: Callable[["Resource"], Any]) -> Any:
        """Keep what ``decode`` makes of this resource, as a record never changes."""
        self.model = decode(self)
        return self.model

    @property
    def version(self) -> int:
        # An operator may have written anything here.
        text = self.record.get(VERSION, "")
        if len(text) > len(str(LARGEST_VERSION)) or not text.isascii() or not text.isdecimal():
            return 0
        version = int(text)
        return version if version < LARGEST_VERSION else 0

    def verify_digest(self) -> bool:
        """Whether the version and the fields are as the service wrote them, and so as valid as they were then.

        An operator's ``redis-cli HSET`` makes this false.
        """
        version = self.record.get(VERSION)
        if self.record.get(VERSION_COPY, version) != version:
            return False
        judged_by, colon, known = self.record.get(DIGEST, "").rpartition(":")
        if known != digest(self.fields):
            return False
        # Another version of the service may have found valid what this one does not.
        self.validated = judged_by + colon == VALIDATED
        return True


def compose(
    fields: Mapping[str, str],
    *,
    expected: Resource | None,
    version: int,
    now: datetime,
    write_id: str,
    validated: bool = False,
) -> dict[str, str]:
    """Return the record that replaces ``expected``; it holds ``write_id`` so that the writer can find its write."""
    instant = now.astimezone(UTC).isoformat(timespec="microseconds")
    created = expected.record.get(CREATED, instant) if expected else instant
    write_ids = [write_id, *(expected.record.get(WRITES, "").split() if expected else ())][:WRITES_REMEMBERED]
    return {
        **fields,
        VERSION: str(version),
        VERSION_COPY: str(version),
        CREATED: created,
        UPDATED: instant,
        DIGEST: f"{VALIDATED}{digest(fields)}" if validated else digest(fields),
        WRITES: " ".join(write_ids),
    }


def rewrite(expected: Resource, fields: Mapping[str, str]) -> dict[str, str]:
    """The record that replaces ``expected`` under the same version, with other text for fields that nobody can read."""
    validated = VALIDATED if expected.validated else ""
    own = {name: text for name, text in expected.record.items() if name[:1] == "_"}
    return {**fields, **own, DIGEST: f"{validated}{digest(fields)}"}


def digest(fields: Mapping[str, str]) -> str:
    # As JSON, which an encoder takes nearly twice as long to write.
    pairs = ",".join([f"[{quoted(name)},{quoted(text)}]" for name, text in sorted(fields.items())])
    return hashlib.sha256(f"[{pairs}]".encode()).hexdigest()[:32]


def _instant(text: str | None) -> datetime:
    # An operator may have written anything, or nothing, here.
    try:
        return datetime.fromisoformat(text or "").astimezone(UTC)
    except (ValueError, OverflowError):
        return datetime.fromtimestamp(0, UTC)
