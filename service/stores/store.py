"""The Store protocol, and the store that is embedded in the process."""

import secrets
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from types import MappingProxyType
from typing import Protocol

from service.errors import StoreUnavailable
from service.stores.record import Resource, compose, rewrite

Clock = Callable[[], datetime]

_NOTHING: Mapping[str, Resource] = MappingProxyType({})


def utc_now() -> datetime:
    return datetime.now(UTC)


def microseconds(instant: datetime) -> int:
    """Since 1970, as Redis' TIME counts them."""
    return (instant - datetime.fromtimestamp(0, UTC)) // timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Page:
    """A part of the resources of one kind, ordered by id; ``total`` counts all of them."""

    total: int
    resources: Sequence[Resource]


class NothingWritten(StoreUnavailable):
    """A write failed, and nothing of it has reached the store."""


class StoreListener(Protocol):
    """Receives what a store finds out about itself. No call may fail, or wait for anything."""

    def moved(self, run_id: str | None) -> None:
        """Every call goes to the server ``run_id`` from now on. "" while several are used, None where that is unknown.

        A run id names one process of a server. Source: https://redis.io/docs/latest/commands/info/
        """

    def relisted(self, kind: str) -> None:
        """Listings of ``kind`` may have missed a resource, or have had one too many, until now."""


class Store(Protocol):
    """Where resources are kept. Every call but ``close`` may raise ``StoreUnavailable``.

    A writer says what it has expected, and writes only if that still stands: whatever a change depends on (a version, a
    kept secret) is decided on the resource expected, and of two writers that saw the same, one wins.
    """

    networked: bool
    """Whether others than this process can reach what is stored."""

    description: str
    """What and where it is, without credentials, for the log."""

    async def get(self, kind: str, id: str, *, bypass_cache: bool = False) -> Resource | None:
        """The stored resource, or None; ``fresh`` for one that a change is to be decided on, past every cache."""

    async def replace(
        self, kind: str, id: str, fields: Mapping[str, str], *, expected: Resource | None, validated: bool = False
    ) -> Resource | None:
        """Store ``fields`` in place of ``expected`` (None: of nothing). None if another writer was first.

        ``validated`` says that a schema has found them valid.
        """

    async def rewrite(self, expected: Resource, fields: Mapping[str, str]) -> bool:
        """Store ``fields`` in place of ``expected``, under the same version. False if another writer was first."""

    async def all(self, kind: str, *, changed: Collection[str] | None = ()) -> Sequence[Resource]:
        """Every resource of a kind that has few, ordered by id.

        It may lag behind what others than the service write, but for those whose ids are in ``changed``; None for any.
        """

    async def put_with_ttl(self, kind: str, id: str, fields: Mapping[str, str], *, seconds: int) -> None:
        """Store what nobody lists or changes, for so long. Whoever reads it must know by itself when that is over."""

    async def remove(self, expected: Resource) -> bool:
        """Delete ``expected``. False if another writer was first."""

    async def page(self, kind: str, *, offset: int, count: int) -> Page:
        """At most ``count`` resources after the first ``offset``."""

    async def check(self) -> None:
        """Raise ``StoreUnavailable`` unless resources can be read now."""

    async def reached_within(self, seconds: float) -> bool:
        """Whether resources can be read now, or could be in the last ``seconds``."""

    def listen(self, listener: StoreListener) -> None:
        """Report to ``listener`` from now on."""

    def recheck_server(self) -> None:
        """Find out soon whether the store's address leads to another server than before."""

    def warnings(self) -> Sequence[str]:
        """What an operator should change, though resources can be read, in sentences."""

    async def open(self) -> None:
        """Begin to watch the store. Never raises because a store is away."""

    async def close(self) -> None:
        """Let go of what ``open`` took."""


class EmbeddedStore:
    """Keeps resources in this process alone, and forgets them when it ends."""

    networked = False
    description = "memory"

    def __init__(self, clock: Clock = utc_now) -> None:
        self._clock = clock
        self._version = 0
        self._kinds: dict[str, dict[str, Resource]] = {}
        self._kept: OrderedDict[tuple[str, str], datetime] = OrderedDict()
        """When what is kept for a time is over, by kind and id."""

        self._listings: dict[str, Sequence[Resource]] = {}

    async def get(self, kind: str, id: str, *, bypass_cache: bool = False) -> Resource | None:
        del bypass_cache
        return self._kinds.get(kind, _NOTHING).get(id)

    async def replace(
        self, kind: str, id: str, fields: Mapping[str, str], *, expected: Resource | None, validated: bool = False
    ) -> Resource | None:
        resources = self._kinds.setdefault(kind, {})
        if resources.get(id) is not expected:
            return None
        now = self._clock()
        # The process before this one may have given out any version up to its last instant.
        self._version = max(self._version + 1, microseconds(now))
        write_id = secrets.token_hex(8)
        record = compose(
            fields, expected=expected, version=self._version, now=now, write_id=write_id, validated=validated
        )
        resources[id] = Resource(kind, id, record, validated=validated)
        self._listings.pop(kind, None)
        return resources[id]

    async def rewrite(self, expected: Resource, fields: Mapping[str, str]) -> bool:
        resources = self._kinds.get(expected.kind, {})
        if resources.get(expected.id) is not expected:
            return False
        resources[expected.id] = Resource(
            expected.kind, expected.id, rewrite(expected, fields), validated=expected.validated
        )
        self._listings.pop(expected.kind, None)
        return True

    async def all(self, kind: str, *, changed: Collection[str] | None = ()) -> Sequence[Resource]:
        del changed
        if kind not in self._listings:
            resources = self._kinds.get(kind, _NOTHING)
            self._listings[kind] = tuple(resources[id_] for id_ in sorted(resources))
        return self._listings[kind]

    async def put_with_ttl(self, kind: str, id: str, fields: Mapping[str, str], *, seconds: int) -> None:
        now = self._clock()
        # One that is kept for longer than the next holds that one up, and there is no harm in that.
        for over in [*takewhile(lambda key: self._kept[key] <= now, self._kept)]:
            del self._kept[over], self._kinds[over[0]][over[1]]
        await self.replace(kind, id, fields, expected=None)
        self._kept[kind, id] = now + timedelta(seconds=seconds)

    async def remove(self, expected: Resource) -> bool:
        resources = self._kinds.get(expected.kind, {})
        if resources.get(expected.id) is not expected:
            return False
        del resources[expected.id]
        self._kept.pop((expected.kind, expected.id), None)
        self._listings.pop(expected.kind, None)
        return True

    async def page(self, kind: str, *, offset: int, count: int) -> Page:
        resources = self._kinds.get(kind, {})
        ids = sorted(resources)[offset : offset + count]
        return Page(len(resources), [resources[id_] for id_ in ids])

    async def check(self) -> None:
        """Always there."""

    async def reached_within(self, seconds: float) -> bool:
        del seconds
        return True

    def listen(self, listener: StoreListener) -> None:
        """Nothing happens to it."""

    def recheck_server(self) -> None:
        """It has no address."""

    def warnings(self) -> Sequence[str]:
        return ()

    async def open(self) -> None:
        """Nothing to watch."""

    async def close(self) -> None:
        """Nothing to let go of."""
