"""A resource: a kind, an id, and the flat record of text fields that every store keeps."""

import hashlib
import re
from collections.abc import Callable, Collection, ItemsView, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from json.encoder import encode_basestring_ascii as quoted
from typing import Any

ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""The syntax of the id of a resource."""

# Fields of the service begin with an underscore. All others belong to the resource, under their wire names.
VERSION, CREATED, UPDATED, DIGEST, WRITES = "_version", "_createdAt", "_lastUpdated", "_digest", "_writes"
# A copy of the version. If the two differ, another program has changed the version, perhaps to one used before.
VERSION_COPY = "_versionCopy"

# A writer whose answer was lost looks for its write id, which survives this many later writes.
RECENT_WRITES = 8

# Prefix of the digest of fields that a schema has accepted. Increase it when a schema becomes stricter.
VALIDATED = "8:"

# The largest whole number that Lua in Redis, and JSON in most clients, hold exactly: microseconds until the year 2255.
# Adding one to a larger version, written by an operator, would yield the same version again.
LARGEST_VERSION = 2**53 - 1


@dataclass(frozen=True, slots=True)
class Meta:
    """``version_id`` increases with each write and is never reused for an id. Times are in UTC."""

    version_id: str
    created_at: datetime
    last_updated: datetime


class Record(Mapping[str, str]):
    """A mapping in less than half the memory of a dict, if many records share their field names."""

    __slots__ = ("_names", "_texts")

    def __init__(self, record: Mapping[str, str]) -> None:
        self._names = _intern(tuple(record))
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
def _intern(names: tuple[str, ...]) -> tuple[str, ...]:
    return names


@dataclass(slots=True)
class Resource:
    """A stored resource. ``record`` equals the stored fields, so that a writer can pass it as expected."""

    kind: str
    id: str
    record: Mapping[str, str] = field(repr=False)
    validated: bool = field(default=False, compare=False)
    """Whether a schema is known to accept the fields."""

    edited: bool = field(default=False, compare=False)
    """Whether another program has changed the fields, and the store could not give them a version of their own."""

    model: Any = field(default=None, init=False, repr=False, compare=False)
    """The result of ``memoize``."""

    changed: tuple[str, ...] = field(default=(), init=False, repr=False, compare=False)
    """The names of the fields that a write changed, on the resource that the write returns."""

    # Not memoized: a cached resource needs its fields once, and would keep them in memory.
    @property
    def fields(self) -> dict[str, str]:
        """Texts by wire name, without the fields of the service."""
        return {name: text for name, text in self.record.items() if name[:1] != "_"}

    @property
    def meta(self) -> Meta:
        return Meta(str(self.version), _parse_time(self.record.get(CREATED)), _parse_time(self.record.get(UPDATED)))

    def memoize(self, decode: Callable[["Resource"], Any]) -> Any:
        """Return and keep the result of ``decode``. It stays correct, because a record never changes."""
        self.model = decode(self)
        return self.model

    @property
    def version(self) -> int:
        # An operator may have written any text.
        text = self.record.get(VERSION, "")
        if len(text) > len(str(LARGEST_VERSION)) or not text.isascii() or not text.isdecimal():
            return 0
        version = int(text)
        return version if version < LARGEST_VERSION else 0

    def has_version(self, ids: Collection[str]) -> bool:
        """Return whether its version is one of ``ids``. An edited resource has the version of other fields, so none."""
        return not self.edited and str(self.version) in ids

    @property
    def write_ids(self) -> list[str]:
        """The ids of the last writes, newest first."""
        return self.record.get(WRITES, "").split()

    def verify_digest(self) -> bool:
        """Return whether the service wrote the version and the fields. Sets ``validated`` if it accepted them, too.

        An edit with ``redis-cli HSET`` makes this false.
        """
        version = self.record.get(VERSION)
        if not self.version or self.record.get(VERSION_COPY, version) != version:
            return False
        validated_by, colon, expected = self.record.get(DIGEST, "").rpartition(":")
        if expected != digest(self.fields):
            return False
        # Another version of the service may have accepted fields that this version rejects.
        self.validated = validated_by + colon == VALIDATED
        return True


class IncompleteListing(list[Resource]):
    """A listing of a time before an outage, without the resources that have changed since."""


def compose(
    fields: Mapping[str, str],
    *,
    expected: Resource | None,
    version: int,
    now: datetime,
    write_id: str,
    validated: bool = False,
) -> dict[str, str]:
    """Return the record that replaces ``expected``. It contains ``write_id``, so that the writer can find its write."""
    timestamp = now.astimezone(UTC).isoformat(timespec="microseconds")
    created = expected.record.get(CREATED, timestamp) if expected else timestamp
    write_ids = [write_id, *(expected.write_ids if expected else ())][:RECENT_WRITES]
    return {
        **fields,
        VERSION: str(version),
        VERSION_COPY: str(version),
        CREATED: created,
        UPDATED: timestamp,
        DIGEST: f"{VALIDATED}{digest(fields)}" if validated else digest(fields),
        WRITES: " ".join(write_ids),
    }


def rewrite(expected: Resource, fields: Mapping[str, str]) -> dict[str, str]:
    """Return the record that replaces ``expected`` under the same version."""
    validated = VALIDATED if expected.validated else ""
    own = {name: text for name, text in expected.record.items() if name[:1] == "_"}
    return {**fields, **own, DIGEST: f"{validated}{digest(fields)}"}


def digest(fields: Mapping[str, str]) -> str:
    # This is JSON. A JSON encoder takes nearly twice as long.
    pairs = ",".join([f"[{quoted(name)},{quoted(text)}]" for name, text in sorted(fields.items())])
    return hashlib.sha256(f"[{pairs}]".encode()).hexdigest()[:32]


def _parse_time(text: str | None) -> datetime:
    # An operator may have written any text, or deleted the field.
    try:
        return datetime.fromisoformat(text or "").astimezone(UTC)
    except (ValueError, OverflowError):
        return datetime.fromtimestamp(0, UTC)
