"""The Store protocol, and the store that is embedded in the process."""

import secrets
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count, takewhile
from types import MappingProxyType
from typing import Protocol

from service.resources.resource import Resource, compose

Clock = Callable[[], datetime]

_NOTHING: Mapping[str, Resource] = MappingProxyType({})


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Page:
    """A part of the resources of one kind, ordered by id; ``total`` counts all of them."""

    total: int
    resources: Sequence[Resource]


class Store(Protocol):
    """Where resources are kept. Every call but ``close`` may raise ``StoreUnavailable``.

    A writer says what it has seen, and writes only if that still stands: whatever a change depends on (a version, a
    kept secret) is decided on the resource seen, and of two writers that saw the same, one wins.
    """

    networked: bool
    """Whether others than this process can reach what is stored."""

    description: str
    """What and where it is, without credentials, for the log."""

    def at_hand(self, kind: str, id: str) -> Resource | None:
        """The stored resource if it is known without a wait; None says nothing."""

    async def get(self, kind: str, id: str, *, fresh: bool = False) -> Resource | None:
        """The stored resource, or None; ``fresh`` for one that a change is to be decided on, past every cache."""

    async def replace(
        self, kind: str, id: str, fields: Mapping[str, str], *, seen: Resource | None, judged: bool = False
    ) -> Resource | None:
        """Store ``fields`` in place of ``seen`` (None: of nothing). None if another writer was first.

        ``judged`` says that a schema has found them valid.
        """

    def all_at_hand(self, kind: str) -> Sequence[Resource] | None:
        """What ``all`` would tell, if that is known without a wait; None says nothing."""

    async def all(self, kind: str, *, changed: Collection[str] | None = ()) -> Sequence[Resource]:
        """Every resource of a kind that has few, ordered by id.

        It may lag behind what others than the service write, but for those whose ids are in ``changed``; None for any.
        """

    async def keep(self, kind: str, id: str, fields: Mapping[str, str], *, seconds: int) -> None:
        """Store what nobody lists or changes, for so long. Whoever reads it must know by itself when that is over."""

    async def remove(self, seen: Resource) -> bool:
        """Delete ``seen``. False if another writer was first."""

    async def page(self, kind: str, *, offset: int, count: int) -> Page:
        """At most ``count`` resources after the first ``offset``."""

    async def check(self) -> None:
        """Raise ``StoreUnavailable`` unless the store answers now."""

    def warnings(self) -> Sequence[str]:
        """What does not work as it should, though the store answers, in sentences."""

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
        self._versions = count(1)
        self._kinds: dict[str, dict[str, Resource]] = {}
        self._kept: OrderedDict[tuple[str, str], datetime] = OrderedDict()
        """When what is kept for a time is over, by kind and id."""

        self._listings: dict[str, Sequence[Resource]] = {}

    def at_hand(self, kind: str, id: str) -> Resource | None:
        return self._kinds.get(kind, _NOTHING).get(id)

    async def get(self, kind: str, id: str, *, fresh: bool = False) -> Resource | None:
        del fresh
        return self.at_hand(kind, id)

    async def replace(
        self, kind: str, id: str, fields: Mapping[str, str], *, seen: Resource | None, judged: bool = False
    ) -> Resource | None:
        resources = self._kinds.setdefault(kind, {})
        if resources.get(id) is not seen:
            return None
        version, mark = next(self._versions), secrets.token_hex(8)
        record = compose(fields, seen=seen, version=version, now=self._clock(), mark=mark, judged=judged)
        resources[id] = Resource(kind, id, record, judged=judged)
        self._listings.pop(kind, None)
        return resources[id]

    def all_at_hand(self, kind: str) -> Sequence[Resource]:
        if kind not in self._listings:
            resources = self._kinds.get(kind, _NOTHING)
            self._listings[kind] = tuple(resources[id_] for id_ in sorted(resources))
        return self._listings[kind]

    async def all(self, kind: str, *, changed: Collection[str] | None = ()) -> Sequence[Resource]:
        del changed
        return self.all_at_hand(kind)

    async def keep(self, kind: str, id: str, fields: Mapping[str, str], *, seconds: int) -> None:
        now = self._clock()
        # One that is kept for longer than the next holds that one up, and there is no harm in that.
        for over in [*takewhile(lambda key: self._kept[key] <= now, self._kept)]:
            del self._kept[over], self._kinds[over[0]][over[1]]
        await self.replace(kind, id, fields, seen=None)
        self._kept[kind, id] = now + timedelta(seconds=seconds)

    async def remove(self, seen: Resource) -> bool:
        resources = self._kinds.get(seen.kind, {})
        if resources.get(seen.id) is not seen:
            return False
        del resources[seen.id]
        self._kept.pop((seen.kind, seen.id), None)
        self._listings.pop(seen.kind, None)
        return True

    async def page(self, kind: str, *, offset: int, count: int) -> Page:
        resources = self._kinds.get(kind, {})
        ids = sorted(resources)[offset : offset + count]
        return Page(len(resources), [resources[id_] for id_ in ids])

    async def check(self) -> None:
        """Always there."""

    def warnings(self) -> Sequence[str]:
        return ()

    async def open(self) -> None:
        """Nothing to watch."""

    async def close(self) -> None:
        """Nothing to let go of."""
