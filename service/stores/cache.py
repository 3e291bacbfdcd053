"""A cache in front of a store: resources in memory, invalidated by the server's tracking."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Any, TypeVar

from cachetools import FIFOCache

from service.errors import StoreUnavailable
from service.stores.listing import ListingReader
from service.stores.pacing import repeat
from service.stores.record import IncompleteListing, Resource
from service.stores.single_flight import SingleFlight
from service.stores.store import NothingWritten, Page, RemoteStore
from service.stores.tracking import NO_SESSION, Tracker, TrackingSession
from service.telemetry.metrics import CACHE_HITS, CACHE_INVALIDATIONS, CACHE_MISSES, CACHE_STALE_HITS

T = TypeVar("T")

# If there is a stale entry, a read waits this long for a store that may have become unavailable.
STALE_WAIT_SECONDS = 0.05

# The cache has one negative entry for this many resources, because few requests need negative entries.
SIZE_PER_NEGATIVE_ENTRY = 10

# The id in the key of a listing. Ids of resources are never empty.
ALL = ""


@dataclass(slots=True, eq=False)
class Entry:
    """The result of a read that started at ``read_at`` during ``session``: a resource, None, or a listing.

    A listing without ``is_current`` has to be read again, because some of its resources have changed. The session goes
    on to confirm the others.
    """

    value: Any
    read_at: float
    session: TrackingSession
    is_current: bool = True

    @property
    def confirmed_at(self) -> float:
        """The last time at which the value was known to equal the stored one."""
        return max(self.read_at, self.session.confirmed_at)


class CachedStore:
    """Caches up to ``size`` resources and listings of ``inner``, least recently used first out.

    Negative entries, for ids without a resource, have a table of their own. So requests for unknown ids displace no
    resource.

    An entry is live for at most ``ttl`` seconds, until ``tracker`` reports a change or its session ends. Then reads go
    to ``inner``. While ``inner`` is unavailable, entries confirmed within the last ``stale`` seconds are returned.
    ``clock`` returns seconds.

    A change during a read may be missing from its result. Callers that wait for the read get this result, but it is not
    cached, and later callers start another read.
    """

    def __init__(
        self,
        inner: RemoteStore,
        tracker: Tracker,
        *,
        size: int,
        ttl: float,
        stale: float,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.networked = inner.networked
        self.description = inner.description
        self._inner = inner
        self._tracker = tracker
        self._size = size
        self._ttl = ttl
        self._stale = stale
        self._clock = clock
        # No cachetools.LRUCache: a lookup among 10,000 entries takes 0.4 µs there and 0.1 here; see ADR 12.
        self._entries: OrderedDict[str, Entry] = OrderedDict()
        self._negative_entries = self._new_negative_entries()
        self._withheld: dict[str, set[str]] = {}
        """By the key of a listing, the ids that have changed since, and that a stale listing must not contain."""

        self._reads = SingleFlight()
        self._listings = ListingReader(inner)
        self._tasks: set[asyncio.Task[Any]] = set()

    async def get(self, kind: str, id: str, *, bypass_cache: bool = False) -> Resource | None:
        if bypass_cache:
            return await self._inner.get(kind, id, bypass_cache=True)
        key = _key(kind, id)
        entry = self._live_entry(key)
        resource: Resource | None = entry.value if entry else await self._load(key)
        return resource

    async def all(self, kind: str, *, changed: Collection[str] | None = ()) -> Sequence[Resource]:
        del changed
        key = _key(kind, ALL)
        entry = self._live_entry(key)
        resources: Sequence[Resource] = entry.value if entry else await self._load(key)
        return resources

    async def replace(
        self, kind: str, id: str, fields: Mapping[str, str], *, expected: Resource | None, validated: bool = False
    ) -> Resource | None:
        with self._invalidating(kind, id):
            return await self._inner.replace(kind, id, fields, expected=expected, validated=validated)

    async def rewrite(self, expected: Resource, fields: Mapping[str, str]) -> bool:
        with self._invalidating(expected.kind, expected.id):
            return await self._inner.rewrite(expected, fields)

    async def put_with_ttl(self, kind: str, id: str, fields: Mapping[str, str], *, seconds: int) -> None:
        with self._invalidating(kind, id):
            await self._inner.put_with_ttl(kind, id, fields, seconds=seconds)

    async def remove(self, expected: Resource) -> bool:
        with self._invalidating(expected.kind, expected.id):
            return await self._inner.remove(expected)

    async def confirm(self, kind: str, id: str, expected: Resource | None) -> bool:
        return await self._inner.confirm(kind, id, expected)

    async def page(self, kind: str, *, offset: int, count: int) -> Page:
        return await self._inner.page(kind, offset=offset, count=count)

    def each(self, kind: str) -> AsyncIterator[Resource]:
        return self._inner.each(kind)

    async def complete_listing(self, kind: str) -> bool:
        return await self._inner.complete_listing(kind)

    async def check(self, kind: str = "", id: str = "") -> None:
        await self._inner.check(kind, id)

    async def reached_within(self, seconds: float) -> bool:
        return await self._inner.reached_within(seconds)

    def warnings(self) -> Sequence[str]:
        reason = self._tracker.degraded_reason
        return [*self._inner.warnings(), *([f"The cache is off: {reason}"] if reason else [])]

    async def open(self) -> None:
        self._inner.listen(self)
        await self._inner.open()
        await self._tracker.open(self)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._tracker.close()
        await self._inner.close()

    # The cache is the InvalidationListener of its tracker.

    def changed(self, kind: str, id: str) -> None:
        self._listings.changed(kind, id)
        self._invalidate(kind, id)

    def flushed(self) -> None:
        dropped = (self._entries, self._negative_entries)
        self._entries, self._negative_entries = OrderedDict(), self._new_negative_entries()
        self._withheld.clear()
        for entries in dropped:
            CACHE_INVALIDATIONS.inc(len(entries))
            # Freeing 60,000 entries at once would block requests for 80 ms.
            self._start(repeat(entries.popitem, len(entries)))
        self._listings.flushed()
        self._reads.clear()

    # The cache is the StoreListener of its inner store.

    def listing_changed(self, kind: str) -> None:
        """Have the listing read again. In an outage, in which each repair fails, the known one may still be used."""
        key = _key(kind, ALL)
        self._reads.invalidate(key)
        entry = self._entries.get(key)
        if entry and entry.is_current and entry.session.live:
            entry.is_current = False
            CACHE_INVALIDATIONS.inc()

    def _new_negative_entries(self) -> FIFOCache[str, Entry]:
        return FIFOCache(max(1, self._size // SIZE_PER_NEGATIVE_ENTRY))

    def _known_entry(self, key: str) -> Entry | None:
        return self._entries.get(key) or self._negative_entries.get(key)

    def _live_entry(self, key: str) -> Entry | None:
        entry = self._known_entry(key)
        if entry is None or not (entry.is_current and entry.session.live) or self._clock() - entry.read_at > self._ttl:
            return None
        CACHE_HITS.inc()
        self._on_use(key, entry)
        return entry

    def _on_use(self, key: str, entry: Entry) -> None:
        if entry.value is not None:
            self._entries.move_to_end(key)

    def _stale_entry(self, key: str) -> Entry | None:
        """Return the entry that may be used while the store is unavailable."""
        entry = self._known_entry(key)
        if entry is None or not self._stale or self._clock() - entry.confirmed_at > self._stale:
            return None
        if withheld := self._withheld.pop(key, None):
            entry.value = IncompleteListing(resource for resource in entry.value if resource.id not in withheld)
        return entry

    async def _load(self, key: str) -> Any:
        """Return the stored value, or that of the stale entry if the store is unavailable."""
        CACHE_MISSES.inc()
        try:
            return await (self._read_or_fail_fast(key) if self._stale_entry(key) else self._read(key))
        except StoreUnavailable:
            # Look again, because the entry may have changed during the read.
            if entry := self._stale_entry(key):
                CACHE_STALE_HITS.inc()
                self._on_use(key, entry)
                return entry.value
            raise

    async def _read_or_fail_fast(self, key: str) -> Any:
        kind, _, id_ = key.partition(":")
        # In a known outage, start no read.
        await self._inner.check(kind, id_)
        task = self._start(self._read(key))
        await asyncio.wait({task}, timeout=STALE_WAIT_SECONDS)
        if not task.done():
            await self._inner.check(kind, id_)
        # A read continues after a failed check or a cancellation, because other callers may have joined it.
        return await asyncio.shield(task)

    def _start(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._on_done)
        return task

    def _on_done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            # asyncio would log an exception that no caller retrieves.
            task.exception()

    async def _read(self, key: str) -> Any:
        """Join the current read of the key, or run one."""
        while read := self._reads.joinable(key):
            await asyncio.wait({read})
            if not read.cancelled():
                return read.result()
            # The first caller was cancelled. Another one may have read the value since.
            if entry := self._live_entry(key):
                return entry.value
        kind, _, id_ = key.partition(":")
        session = self._tracker.session if kind in self._tracker.kinds else NO_SESSION
        read_at = self._clock()
        inner_read = self._listings.read(kind, session) if id_ == ALL else self._inner.get(kind, id_)
        value, is_valid = await self._reads.run(key, session, inner_read)
        if is_valid:
            self._keep(key, Entry(value, read_at, session))
        return value

    def _keep(self, key: str, entry: Entry) -> None:
        known = self._known_entry(key)
        # Without a session, reads of one key overlap, and the first to start may be the last to end.
        if known is not None and known.read_at > entry.read_at:
            return
        if entry.value is None:
            self._entries.pop(key, None)
            self._negative_entries[key] = entry
            return
        self._negative_entries.pop(key, None)
        self._withheld.pop(key, None)
        self._entries[key] = entry
        self._entries.move_to_end(key)
        if len(self._entries) > self._size:
            self._entries.popitem(last=False)

    @contextmanager
    def _invalidating(self, kind: str, id: str) -> Iterator[None]:
        """Invalidate a resource after a write, unless the write certainly changed nothing."""
        try:
            yield
        except NothingWritten:
            raise
        except BaseException:
            self._invalidate(kind, id)
            raise
        # The written resource is not cached, because another writer may have replaced it already.
        self._invalidate(kind, id)

    def _invalidate(self, kind: str, id: str) -> None:
        """Drop the resource, have the listing of its kind read again, and keep current reads of both from being cached.

        In an outage, the listing may still be used without the resource: other policies must still grant.
        """
        key, listing = _key(kind, id), _key(kind, ALL)
        self._reads.invalidate(key)
        if self._entries.pop(key, None) or self._negative_entries.pop(key, None):
            CACHE_INVALIDATIONS.inc()
        if listing in self._entries:
            self._withheld.setdefault(listing, set()).add(id)
        self.listing_changed(kind)


def _key(kind: str, id: str) -> str:
    # A str instead of a tuple: one object less for each entry. No kind contains a colon.
    return f"{kind}:{id}"
