"""A store in front of a store: keeps what it has read in this process, for as long as it is known to be true."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from time import monotonic
from typing import Any

from service.errors import StoreUnavailable
from service.stores.record import Resource
from service.stores.single_flight import CANCELLED, SingleFlight
from service.stores.store import NothingWritten, Page, Store, StoreListener
from service.stores.tracking import NO_SESSION, Tracker, TrackingSession
from service.telemetry.metrics import CACHE_HITS, CACHE_INVALIDATIONS, CACHE_MISSES

# A store that has just gone away is hoped for as long as a restart takes; who has something to show need not wait.
HASTE_SECONDS = 0.05
# Reads that begin within so long share the time of the first, for the same reason as they share an era.
TOGETHER_SECONDS = 0.05

# Their own, as they say nothing to most who ask.
ENTRIES_PER_ABSENCE = 10

# In place of an id, which is never empty.
ALL = ""


class Entry:
    """What a read has found: a resource, its absence, or all of a kind; asked for at ``read_at``, under ``watch``."""

    __slots__ = ("era", "found", "read_at", "watch")

    def __init__(self, found: Any, read_at: float, watch: TrackingSession) -> None:
        self.found = found
        self.read_at = read_at
        self.watch = watch
        self.era = 0
        """The cache's, when this was last moved to the end of what it keeps."""

    @property
    def confirmed_at(self) -> float:
        """The last instant at which this was known to be what the store holds."""
        return max(self.read_at, self.watch.confirmed_at)


class Listed:
    """What is known of a kind for its next listing, under ``watch``.

    Since the last that was ``whole``, a change was ``told`` of these ids; each has a mark that tells it from the next.
    """

    __slots__ = ("told", "watch", "whole")

    def __init__(self, watch: TrackingSession) -> None:
        self.watch = watch
        self.told: dict[str, object] = {}
        self.whole = False


class CachedStore:
    """Remembers ``size`` resources of ``inner`` and forgets each that ``tracker`` tells of.

    Those remembered are the most recently used, give or take a quarter of them. That there is no such resource is
    remembered beside them, of a tenth as many: whoever asks for what does not exist displaces nothing that does.

    While changes are not told, every call goes through. While ``inner`` is away, what was confirmed within the last
    ``stale`` seconds is still told; nothing is kept longer than ``ttl`` seconds without a look. A clock counts
    seconds from anywhere.

    A change that is told while a read is on its way is a race that the read may have lost: its answer goes to those who
    asked before, and is not kept.
    """

    def __init__(
        self,
        inner: Store,
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
        self._kept = 0
        self._era = 0
        """How often a quarter of ``size`` was kept. Entries share the number: one of its own each would be far away."""

        self._read_at = clock()
        self._entries: OrderedDict[str, Entry] = OrderedDict()
        self._absences: OrderedDict[str, Entry] = OrderedDict()
        self._readings = SingleFlight()
        self._listed: dict[str, Listed] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    async def get(self, kind: str, id: str, *, bypass_cache: bool = False) -> Resource | None:
        if bypass_cache:
            return await self._inner.get(kind, id, bypass_cache=True)
        key = _key(kind, id)
        resource: Resource | None
        if entry := self._true_entry(key):
            CACHE_HITS.inc()
            resource = entry.found
        else:
            resource = await self._find(key)
        return resource

    async def replace(
        self, kind: str, id: str, fields: Mapping[str, str], *, expected: Resource | None, validated: bool = False
    ) -> Resource | None:
        with self._forgetting(kind, id):
            return await self._inner.replace(kind, id, fields, expected=expected, validated=validated)

    async def rewrite(self, expected: Resource, fields: Mapping[str, str]) -> bool:
        with self._forgetting(expected.kind, expected.id):
            return await self._inner.rewrite(expected, fields)

    async def all(self, kind: str, *, changed: Collection[str] | None = ()) -> Sequence[Resource]:
        del changed
        key = _key(kind, ALL)
        found: Sequence[Resource]
        if entry := self._true_entry(key):
            CACHE_HITS.inc()
            found = entry.found
        else:
            found = await self._find(key)
        return found

    async def put_with_ttl(self, kind: str, id: str, fields: Mapping[str, str], *, seconds: int) -> None:
        with self._forgetting(kind, id):
            await self._inner.put_with_ttl(kind, id, fields, seconds=seconds)

    async def remove(self, expected: Resource) -> bool:
        with self._forgetting(expected.kind, expected.id):
            return await self._inner.remove(expected)

    async def page(self, kind: str, *, offset: int, count: int) -> Page:
        return await self._inner.page(kind, offset=offset, count=count)

    async def check(self) -> None:
        await self._inner.check()

    async def reached_within(self, seconds: float) -> bool:
        return await self._inner.reached_within(seconds)

    def listen(self, listener: StoreListener) -> None:
        self._inner.listen(listener)

    def recheck_server(self) -> None:
        self._inner.recheck_server()

    def warnings(self) -> Sequence[str]:
        reason = self._tracker.degraded_reason
        return [*self._inner.warnings(), *([f"The cache is off: {reason}"] if reason else [])]

    async def open(self) -> None:
        self._inner.listen(self)
        await asyncio.gather(self._inner.open(), self._tracker.open(self))

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._tracker.close()
        await self._inner.close()

    def changed(self, kind: str, id: str) -> None:
        if kind in self._listed:
            self._listed[kind].told[id] = object()
        self._forget(kind, id)

    def flushed(self) -> None:
        CACHE_INVALIDATIONS.inc(len(self._entries) + len(self._absences))
        self._entries.clear()
        self._absences.clear()
        self._listed.clear()
        self._readings.clear()

    def server_changed(self, run_id: str | None) -> None:
        self._tracker.expect_server(run_id)

    def server_mismatched(self) -> None:
        self._inner.recheck_server()

    def listing_changed(self, kind: str) -> None:
        self._drop(_key(kind, ALL))

    async def _find(self, key: str) -> Any:
        """Read what is not cached, or tell a stale entry while the store is away."""
        CACHE_MISSES.inc()
        try:
            return await self._ask(key)
        except StoreUnavailable:
            spare = self._spare(key)
            if spare is None:
                raise
            return spare.found

    def _true_entry(self, key: str) -> Entry | None:
        entry = self._entries.get(key) or self._absences.get(key)
        if entry is None or not entry.watch.live or self._clock() - entry.read_at > self._ttl:
            return None
        if entry.era != self._era and entry.found is not None:
            # To move it at each use would touch its neighbours, which in a large cache are far away.
            entry.era = self._era
            self._entries.move_to_end(key)
        return entry

    async def _ask(self, key: str) -> Any:
        if not self._spare(key):
            return await self._read_once(key)
        # Known to be away, it need not be asked.
        await self._inner.check()
        task = asyncio.create_task(self._read_once(key))
        self._tasks.add(task)
        task.add_done_callback(self._done)
        await asyncio.wait({task}, timeout=HASTE_SECONDS)
        if not task.done():
            await self._inner.check()
        # It may go on for others, or for the next time.
        return await asyncio.shield(task)

    async def _read_once(self, key: str) -> Any:
        while reading := self._readings.under_way(key):
            found = await reading.answer()
            if found is not CANCELLED:
                return found
            if entry := self._true_entry(key):
                return entry.found
        return await self._read(key)

    async def _read(self, key: str) -> Any:
        kind, _, id_ = key.partition(":")
        watch = self._tracker.session if kind in self._tracker.kinds else NO_SESSION
        now = self._clock()
        if now - self._read_at > TOGETHER_SECONDS:
            self._read_at = now
        read_at = self._read_at
        reading = self._readings.begin(key, watch)
        try:
            found = await (self._list(kind, watch) if id_ == ALL else self._inner.get(kind, id_))
        except Exception as error:
            self._readings.end(reading, error=error)
            raise
        except asyncio.CancelledError:
            # Who made it has gone away.
            self._readings.end(reading, CANCELLED)
            raise
        if self._readings.end(reading, found):
            self._keep(key, Entry(found, read_at, watch))
        return found

    async def _list(self, kind: str, watch: TrackingSession) -> Sequence[Resource]:
        """All of a kind, with those that an operator has just written, which an index need not have yet."""
        listed = self._listed.get(kind)
        if listed is None or listed.watch is not watch:
            # What was changed while nobody watched was told to nobody.
            listed = self._listed[kind] = Listed(watch)
        told = listed.told.copy()
        found = await self._inner.all(kind, changed=told.keys() if listed.whole else None)
        listed.whole = True
        for id_, write_id in told.items():
            if listed.told.get(id_) is write_id:
                del listed.told[id_]
        return found

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            # Those who waited may all have gone away, and asyncio would complain that nobody asked.
            task.exception()

    def _keep(self, key: str, entry: Entry) -> None:
        if entry.found is None:
            self._entries.pop(key, None)
            self._absences[key] = entry
            if len(self._absences) > max(1, self._size // ENTRIES_PER_ABSENCE):
                self._absences.popitem(last=False)
            return
        self._kept += 1
        if self._kept > self._size // 4:
            self._kept = 0
            self._era += 1
        entry.era = self._era
        self._absences.pop(key, None)
        self._entries[key] = entry
        self._entries.move_to_end(key)
        if len(self._entries) > self._size:
            self._entries.popitem(last=False)

    @contextmanager
    def _forgetting(self, kind: str, id: str) -> Iterator[None]:
        """Forget a resource that is written, unless the write fails and changes nothing."""
        try:
            yield
        except NothingWritten:
            raise
        except BaseException:
            self._forget(kind, id)
            raise
        # A read under way may have seen an older one. What was written is not put here either: by now another may have
        # written, and been told of.
        self._forget(kind, id)

    def _forget(self, kind: str, id: str) -> None:
        """Drop the resource, the listing of its kind, and reads of both that are under way."""
        self._drop(_key(kind, id))
        self._drop(_key(kind, ALL))

    def _drop(self, key: str) -> None:
        self._readings.forget(key)
        if self._entries.pop(key, None) or self._absences.pop(key, None):
            CACHE_INVALIDATIONS.inc()

    def _spare(self, key: str) -> Entry | None:
        """What may be told of the key while the store is away."""
        entry = self._entries.get(key) or self._absences.get(key)
        if entry is None or not self._stale or self._clock() - entry.confirmed_at > self._stale:
            return None
        return entry


def _key(kind: str, id: str) -> str:
    # One text rather than a pair of them, which would be a further object to look at. No kind has a colon in it.
    return f"{kind}:{id}"
