"""The store embedded in the process: resources live in dicts and end with the process."""

import secrets
from bisect import bisect_left, insort
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import takewhile

from service.stores.pacing import paced
from service.stores.record import Resource, compose, rewrite
from service.stores.store import Clock, Page, utc_now


def microseconds(instant: datetime) -> int:
    """Return the microseconds since 1970, as Redis' TIME counts them."""
    return (instant - datetime.fromtimestamp(0, UTC)) // timedelta(microseconds=1)


Resources = Mapping[tuple[str, str], Resource]
"""Resources by kind and id."""


class EmbeddedStore:
    """Keeps resources in this process."""

    networked = False
    description = "memory"

    def __init__(self, clock: Clock = utc_now, *, version: int = 0) -> None:
        """Make each further version greater than ``version``."""
        self._clock = clock
        self._version = version
        self._kinds: dict[str, dict[str, Resource]] = {}
        self._expiries: dict[tuple[str, str], datetime] = {}
        """Expiry of resources with a time to live, by kind and id, in the order of their writes."""

        self._listings: dict[str, Sequence[Resource]] = {}
        self._ids: dict[str, list[str]] = {}
        """Ids in their order, for kinds that were paged. To sort 100,000 takes 30 to 100 ms, so it is done once."""

    async def get(self, kind: str, id: str, *, bypass_cache: bool = False) -> Resource | None:
        del bypass_cache
        return self._kinds.get(kind, {}).get(id)

    async def replace(
        self, kind: str, id: str, fields: Mapping[str, str], *, expected: Resource | None, validated: bool = False
    ) -> Resource | None:
        if self._kinds.get(kind, {}).get(id) is not expected:
            return None
        now = self._clock()
        # An earlier process may have used any version up to its last microsecond.
        self._version = max(self._version + 1, microseconds(now))
        write_id = secrets.token_hex(8)
        record = compose(
            fields, expected=expected, version=self._version, now=now, write_id=write_id, validated=validated
        )
        return self._put(Resource(kind, id, record, validated=validated))

    async def rewrite(self, expected: Resource, fields: Mapping[str, str]) -> bool:
        if not self._is_stored(expected):
            return False
        self._put(Resource(expected.kind, expected.id, rewrite(expected, fields), validated=expected.validated))
        return True

    async def all(self, kind: str, *, changed: Collection[str] | None = ()) -> Sequence[Resource]:
        del changed
        if kind not in self._listings:
            resources = self._kinds.get(kind, {})
            self._listings[kind] = tuple(resources[id_] for id_ in sorted(resources))
        return self._listings[kind]

    async def put_with_ttl(self, kind: str, id: str, fields: Mapping[str, str], *, seconds: int) -> None:
        now = self._clock()
        # A long time to live delays the removal of later entries. This is harmless, because readers check the expiry.
        for expired in [*takewhile(lambda key: self._expiries[key] <= now, self._expiries)]:
            del self._expiries[expired]
            self._delete(*expired)
        await self.replace(kind, id, fields, expected=None)
        self._expiries[kind, id] = now + timedelta(seconds=seconds)

    async def remove(self, expected: Resource) -> bool:
        if not self._is_stored(expected):
            return False
        self._delete(expected.kind, expected.id)
        self._expiries.pop((expected.kind, expected.id), None)
        return True

    async def confirm(self, kind: str, id: str, expected: Resource | None) -> bool:
        return self._kinds.get(kind, {}).get(id) is expected

    async def page(self, kind: str, *, offset: int, count: int) -> Page:
        resources = self._kinds.get(kind, {})
        if kind not in self._ids:
            self._ids[kind] = sorted(resources)
        ids = self._ids[kind]
        return Page(len(ids), [resources[id_] for id_ in ids[offset : offset + count]])

    async def each(self, kind: str) -> AsyncIterator[Resource]:
        async for id_ in paced(sorted(self._kinds.get(kind, {}))):
            if resource := self._kinds[kind].get(id_):
                yield resource

    async def complete_listing(self, kind: str) -> bool:
        del kind
        return True

    async def check(self, kind: str = "", id: str = "") -> None:
        """Do nothing: the store is always available."""
        del kind, id

    async def reached_within(self, seconds: float) -> bool:
        del seconds
        return True

    def warnings(self) -> Sequence[str]:
        return ()

    async def open(self) -> None:
        """Do nothing: the store has no connections."""

    async def close(self) -> None:
        """Do nothing: the store has no connections."""

    def resources(self, kinds: Iterable[str]) -> Resources:
        """Return the resources of these kinds, as they are now."""
        return {(kind, id_): stored for kind in kinds for id_, stored in self._kinds.get(kind, {}).items()}

    def copy(self, kinds: Iterable[str]) -> "EmbeddedStore":
        """Return a store with the resources of these kinds, which changes independently."""
        copy = EmbeddedStore(self._clock, version=self._version)
        copy.adopt(self.resources(kinds), before={})
        return copy

    def adopt(self, after: Resources, *, before: Resources) -> bool:
        """Make all changes from ``before`` to ``after`` in one step, which no reader sees half done.

        Return False, without a change, if this store does not hold a changed resource as it was before.
        """
        changed = [key for key in after.keys() | before.keys() if after.get(key) is not before.get(key)]
        if any(self._kinds.get(kind, {}).get(id_) is not before.get((kind, id_)) for kind, id_ in changed):
            return False
        for kind, id_ in changed:
            if stored := after.get((kind, id_)):
                self._put(stored)
                self._version = max(self._version, stored.version)
            else:
                self._delete(kind, id_)
        return True

    def _is_stored(self, expected: Resource) -> bool:
        return self._kinds.get(expected.kind, {}).get(expected.id) is expected

    def _delete(self, kind: str, id: str) -> None:
        del self._kinds[kind][id]
        if ids := self._ids.get(kind):
            del ids[bisect_left(ids, id)]
        self._listings.pop(kind, None)

    def _put(self, resource: Resource) -> Resource:
        resources = self._kinds.setdefault(resource.kind, {})
        if resource.kind in self._ids and resource.id not in resources:
            insort(self._ids[resource.kind], resource.id)
        resources[resource.id] = resource
        self._listings.pop(resource.kind, None)
        return resource
