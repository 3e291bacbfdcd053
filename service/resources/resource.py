"""What a resource is: a kind, an id, and the flat record of text that every store keeps."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

# The service's own fields of a record begin with an underscore; all others are a resource's, under their wire names.
VERSION, CREATED, UPDATED, DIGEST, WRITES = "_version", "_createdAt", "_lastUpdated", "_digest", "_writes"

# A writer whose answer was lost looks for its own mark; this many later writers may have come between.
WRITES_REMEMBERED = 8

# No sequence gives a longer one; counting on from what an operator wrote there would overflow it for good.
LONGEST_VERSION = 15


@dataclass(frozen=True, slots=True)
class Meta:
    """``version_id`` grows and is never used twice for an id; instants are in UTC."""

    version_id: str
    created_at: datetime
    last_updated: datetime


@dataclass(frozen=True)
class Resource:
    """A stored resource. ``record`` is exactly what the store holds, so that a writer can say what it has seen."""

    kind: str
    id: str
    record: Mapping[str, str] = field(repr=False)

    @cached_property
    def fields(self) -> Mapping[str, str]:
        """The resource's own fields: wire name to text."""
        return {name: text for name, text in self.record.items() if not name.startswith("_")}

    @cached_property
    def meta(self) -> Meta:
        return Meta(str(self.version), _instant(self.record.get(CREATED)), _instant(self.record.get(UPDATED)))

    def remembered(self, decode: Callable[["Resource"], Any]) -> Any:
        """What ``decode`` made of this resource; it is asked once, as a record never changes."""
        if "decoded" not in self.__dict__:
            self.__dict__["decoded"] = decode(self)
        return self.__dict__["decoded"]

    @property
    def version(self) -> int:
        # An operator may have written anything here.
        text = self.record.get(VERSION, "")
        return int(text) if len(text) <= LONGEST_VERSION and text.isascii() and text.isdecimal() else 0

    @property
    def is_adopted(self) -> bool:
        """Whether the fields are as the service wrote them; an operator's ``redis-cli HSET`` makes this false."""
        return self.record.get(DIGEST) == digest(self.fields)


def compose(
    fields: Mapping[str, str], *, seen: Resource | None, version: int, now: datetime, mark: str
) -> dict[str, str]:
    """The record that replaces ``seen``; ``mark`` is the writer's own and tells it later that its write has landed."""
    instant = now.astimezone(UTC).isoformat(timespec="microseconds")
    created = seen.record.get(CREATED, instant) if seen else instant
    marks = [mark, *(seen.record.get(WRITES, "").split() if seen else ())][:WRITES_REMEMBERED]
    return {
        **fields,
        VERSION: str(version),
        CREATED: created,
        UPDATED: instant,
        DIGEST: digest(fields),
        WRITES: " ".join(marks),
    }


def digest(fields: Mapping[str, str]) -> str:
    canonical = json.dumps(sorted(fields.items()), separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:32]


def _instant(text: str | None) -> datetime:
    # An operator may have written anything, or nothing, here.
    try:
        return datetime.fromisoformat(text or "").astimezone(UTC)
    except (ValueError, OverflowError):
        return datetime.fromtimestamp(0, UTC)
