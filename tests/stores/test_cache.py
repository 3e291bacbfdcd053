"""Hits, misses, invalidations and outages of the cache, with a controlled store and tracker."""

import asyncio
import gc

import pytest
from support.garbage import Frees
from support.metrics import value_of
from support.waiting import until

from service.errors import StoreUnavailable
from service.stores import listing, pacing
from service.stores.cache import ALL, STALE_WAIT_SECONDS, CachedStore
from service.stores.memory import EmbeddedStore
from service.stores.record import IncompleteListing
from service.stores.store import NothingWritten
from service.stores.tracking import NO_SESSION, TrackingSession
from service.stores.tracking_connection import Confirmed
from service.telemetry.metrics import CACHE_HITS, CACHE_INVALIDATIONS, CACHE_MISSES, CACHE_STALE_HITS

KIND = "AwsAccount"
SIZE, TTL, STALE = 3, 60, 20


class SlowStore(EmbeddedStore):
    """Counts reads. While it is held, reads get the value of their start and end at the release."""

    def __init__(self):
        super().__init__()
        self.reads = 0
        self.unavailable = self.hangs = self.closed = False
        self._open = asyncio.Event()
        self._open.set()

    def hold(self):
        self._open.clear()

    def release(self):
        self._open.set()

    async def get(self, kind, id, *, bypass_cache=False):
        self.reads += 1
        if self.unavailable:
            await asyncio.sleep(3600 if self.hangs else 0)
            raise StoreUnavailable("unavailable")
        found = await super().get(kind, id, bypass_cache=bypass_cache)
        await self._open.wait()
        if self.unavailable:
            raise StoreUnavailable("unavailable")
        return found

    async def all(self, kind, *, changed=()):
        self.reads += 1
        if self.unavailable:
            raise StoreUnavailable("unavailable")
        found = await super().all(kind, changed=changed)
        await self._open.wait()
        return found

    async def replace(self, kind, id, fields, *, expected, validated=False):
        if self.unavailable:
            raise StoreUnavailable("unavailable")
        stored = await super().replace(kind, id, fields, expected=expected, validated=validated)
        await self._open.wait()
        return stored

    async def check(self, kind="", id=""):
        del kind, id
        if self.unavailable:
            raise StoreUnavailable("unavailable")

    async def close(self):
        self.closed = True

    def listen(self, listener):
        self.listener = listener


class FakeTracker:
    kinds = frozenset({KIND})
    degraded_reason = None
    session = NO_SESSION

    async def open(self, listener):
        self.listener = listener
        self.start_session()

    async def close(self):
        self.end_session()

    def start_session(self):
        self.session = TrackingSession(live=True, connections=[Confirmed(now())])

    def end_session(self):
        self.session.end()


class Clock:
    seconds = 1000.0

    def __call__(self):
        return self.seconds


now = Clock()


@pytest.fixture
def inner():
    return SlowStore()


@pytest.fixture
def tracker():
    return FakeTracker()


@pytest.fixture
async def cache(inner, tracker):
    cache = CachedStore(inner, tracker, size=SIZE, ttl=TTL, stale=STALE, clock=now)
    await cache.open()
    yield cache
    inner.release()
    await cache.close()
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.fixture
async def write(inner, tracker):
    """A write by another program, which the tracker reports by default."""

    async def write(text, id="a", *, reported=True):
        fields = {"region": text}
        if stored := inner.current(KIND, id):
            await EmbeddedStore.remove(inner, stored)
        await EmbeddedStore.replace(inner, KIND, id, fields, expected=None)
        if reported:
            tracker.listener.changed(KIND, id)

    return write


async def region(cache, id="a", **options):
    resource = await cache.get(KIND, id, **options)
    return resource and resource.fields["region"]


async def ids_of_all(cache):
    return "".join(resource.id for resource in await cache.all(KIND))


async def is_cached(cache, inner, id="a"):
    """Return whether a read does not reach the inner store. Afterwards the resource is cached."""
    before = inner.reads
    await (cache.all(KIND) if id == ALL else cache.get(KIND, id))
    return inner.reads == before


async def started(call):
    task = asyncio.create_task(call)
    await asyncio.sleep(0.001)
    return task


async def test_a_cached_resource_is_not_read_again(cache, inner, write):
    await write("one")
    first, second = await cache.get(KIND, "a"), await cache.get(KIND, "a")

    assert first is second
    assert inner.reads == 1


async def test_a_resource_is_cached_until_it_changes(cache, inner, write):
    await write("one")
    cached = [await is_cached(cache, inner) for _ in range(2)]
    await write("two")

    assert [*cached, await is_cached(cache, inner)] == [False, True, False]


@pytest.mark.parametrize("why", ["no session", "too old"])
async def test_an_entry_that_may_be_stale_is_read_again(cache, inner, tracker, write, monkeypatch, why):
    await write("one")
    await cache.get(KIND, "a")
    if why == "no session":
        tracker.end_session()
    else:
        monkeypatch.setattr(now, "seconds", now.seconds + TTL + 1)

    assert not await is_cached(cache, inner)


async def test_a_negative_entry_is_cached_until_the_resource_is_created(cache, inner, write):
    before = [await region(cache), await region(cache)]
    reads = inner.reads
    await write("one")

    assert (before, reads) == ([None, None], 1)
    assert await region(cache) == "one"


async def test_a_full_cache_has_room_for_negative_entries(cache, inner, write):
    for id_ in "abcd":
        await write("one", id_)
        await region(cache, id_)
    for _ in range(3):
        await region(cache, "x")

    assert inner.reads == len("abcdx")


async def test_the_number_of_negative_entries_is_bounded(cache):
    for n in range(10):
        await cache.get(KIND, f"x{n}")

    assert len(cache._negative_entries) == 1


async def test_a_read_resource_replaces_its_negative_entry(cache, inner, tracker, write):
    before = await region(cache)
    tracker.end_session()
    await write("one", reported=False)
    await region(cache)
    tracker.start_session()
    cache.changed(KIND, "a")
    inner.unavailable = True

    assert before is None
    with pytest.raises(StoreUnavailable):
        await region(cache)


@pytest.mark.parametrize("ids", ["abcxyz", "xyzabc", "abxyxc"])
async def test_negative_entries_displace_no_resource(cache, inner, write, ids):
    for id_ in "abc":
        await write("one", id_)
    for id_ in ids:
        await cache.get(KIND, id_)

    assert [await is_cached(cache, inner, id_) for id_ in "abc"] == [True] * 3
    assert len(cache._entries) == SIZE


async def test_a_changed_resource_is_read_again(cache, write):
    await write("one")
    await region(cache)
    await write("two")

    assert await region(cache) == "two"


async def test_a_flush_invalidates_all_entries(cache, inner, write):
    for id_ in "ab":
        await region(cache, id_)
        await write("one", id_, reported=False)
    cache.flushed()

    assert [await region(cache, id_) for id_ in "ab"] == ["one", "one"]


async def test_a_flush_frees_many_entries_without_holding_the_event_loop(inner, tracker, monkeypatch):
    cache = CachedStore(inner, tracker, size=50, ttl=TTL, stale=STALE, clock=now)
    await cache.open()
    frees = Frees()
    for number in range(50):
        await inner.replace(KIND, f"a{number}", {"region": "x"}, expected=None)
        model = (await cache.get(KIND, f"a{number}")).memoize(lambda _: Clock())
        frees.watch([model])
    del model
    for number in range(50):
        await inner.remove(await inner.get(KIND, f"a{number}"))
    monkeypatch.setattr(pacing, "MAX_BLOCK_SECONDS", 0)
    cache.flushed()
    await frees.during(until(lambda: frees.total == 50))
    await cache.close()

    assert frees.most <= 2


async def test_concurrent_misses_share_one_read(cache, inner, write):
    await write("one")
    found = await asyncio.gather(*(region(cache) for _ in range(50)))

    assert found == ["one"] * 50
    assert inner.reads == 1


@pytest.mark.parametrize("how", ["changed", "flushed"])
async def test_a_read_overlapping_a_change_is_not_cached(cache, inner, write, how):
    await write("old")
    inner.hold()
    early = await started(region(cache))
    await write("new", reported=False)
    cache.changed(KIND, "a") if how == "changed" else cache.flushed()
    late = await started(region(cache))
    inner.release()

    assert [await early, await late, await region(cache)] == ["old", "new", "new"]
    assert inner.reads == 2


async def test_an_invalidated_read_that_ends_last_does_not_replace_a_later_one(cache, inner, write):
    await write("old")
    inner.hold()
    early = await started(region(cache))
    slow, inner._open = inner._open, asyncio.Event()
    inner._open.set()
    await write("new")
    late = await region(cache)
    slow.set()

    assert [late, await early, await region(cache)] == ["new", "old", "new"]


async def test_a_change_invalidates_no_other_resource(cache, inner, write):
    await region(cache, "b")
    await write("one", "a")
    await region(cache, "b")

    assert inner.reads == 1


async def test_a_cancelled_reader_does_not_cancel_others(cache, inner, write):
    await write("one")
    inner.hold()
    first, second, third, fourth = [await started(region(cache)) for _ in range(4)]
    first.cancel()
    third.cancel()
    await asyncio.sleep(0)
    inner.release()

    assert [await second, await fourth] == ["one", "one"]
    # The first reader was cancelled during its read, so the second reads again.
    assert inner.reads == 2


async def test_a_failure_is_raised_in_every_waiting_reader(cache, inner):
    inner.hold()
    readers = [await started(region(cache)) for _ in range(3)]
    readers[1].cancel()
    inner.unavailable = True
    inner.release()

    outcomes = await asyncio.gather(*readers, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [StoreUnavailable, asyncio.CancelledError, StoreUnavailable]
    assert inner.reads == 1


@pytest.mark.filterwarnings("error")
async def test_a_failed_read_without_waiting_readers_logs_nothing(cache, inner, tracker, write, caplog):
    await write("one")
    await region(cache)
    tracker.end_session()
    inner.hold()
    reader = await started(region(cache))
    inner.unavailable = True
    served = await reader
    inner.release()
    await asyncio.sleep(0.01)
    gc.collect()

    assert served == "one"
    assert caplog.text == ""


async def test_a_failure_is_not_cached(cache, inner, write):
    await write("one")
    inner.unavailable = True
    with pytest.raises(StoreUnavailable):
        await region(cache)
    inner.unavailable = False

    assert await region(cache) == "one"


async def test_the_least_recently_used_entry_is_evicted_first(cache, inner, write):
    for id_ in "abcd":
        await write("one", id_)
    for id_ in "abcad":
        await region(cache, id_)
    reads = inner.reads
    for id_ in "acd":
        await region(cache, id_)
    kept = inner.reads == reads
    await region(cache, "b")

    assert kept
    assert inner.reads == reads + 1
    assert len(cache._entries) == SIZE


async def test_an_entry_expires_after_its_time_to_live(cache, write, monkeypatch):
    await write("one")
    await region(cache)
    await write("two", reported=False)
    monkeypatch.setattr(now, "seconds", now.seconds + TTL)
    within = await region(cache)
    monkeypatch.setattr(now, "seconds", now.seconds + 0.1)

    assert (within, await region(cache)) == ("one", "two")


async def test_every_read_reaches_the_store_without_a_session(cache, tracker, write):
    tracker.end_session()
    seen = []
    for text in ("one", "two", "three"):
        await write(text, reported=False)
        seen.append(await region(cache))

    assert seen == ["one", "two", "three"]


async def test_reads_are_not_shared_without_a_session(cache, inner, tracker, write):
    tracker.end_session()
    await write("old", reported=False)
    inner.hold()
    early = await started(region(cache))
    await write("new", reported=False)
    late = await started(region(cache))
    inner.release()

    assert [await early, await late] == ["old", "new"]


async def test_entries_of_an_earlier_session_are_read_again(cache, tracker, write):
    await write("one")
    await region(cache)
    tracker.end_session()
    await write("two", reported=False)
    tracker.start_session()

    assert await region(cache) == "two"


async def test_a_read_that_started_before_a_session_is_no_hit_in_it(cache, inner, tracker, write):
    tracker.end_session()
    await write("old", reported=False)
    inner.hold()
    early = await started(region(cache))
    await write("new", reported=False)
    tracker.start_session()
    late = await started(region(cache))
    inner.release()

    assert [await early, await late, await region(cache)] == ["old", "new", "new"]


async def test_an_untracked_kind_is_not_cached(cache, inner):
    for _ in range(3):
        await cache.get("Client", "c")

    assert inner.reads == 3


async def test_a_writer_reads_its_own_write(cache, inner):
    seen = await cache.get(KIND, "a")
    for text in ("one", "two"):
        seen = await cache.replace(KIND, "a", {"region": text}, expected=seen)
        assert await region(cache) == text
    await cache.remove(seen)

    assert await region(cache) is None


async def test_a_read_overlapping_an_own_write_is_not_cached(cache, inner, write):
    inner.hold()
    early = await started(region(cache))
    writer = await started(cache.replace(KIND, "a", {"region": "new"}, expected=None))
    inner.release()
    await writer

    assert [await early, await region(cache)] == [None, "new"]


async def test_a_write_that_may_have_been_executed_invalidates_the_entry(cache, inner, write, monkeypatch):
    async def write_and_fail(*_, **__):
        await write("two", reported=False)
        raise StoreUnavailable("lost")

    await write("one")
    seen = await cache.get(KIND, "a")
    monkeypatch.setattr(inner, "replace", write_and_fail)
    with pytest.raises(StoreUnavailable):
        await cache.replace(KIND, "a", {}, expected=seen)

    assert await region(cache) == "two"


@pytest.mark.parametrize("call", ["replace", "remove", "put_with_ttl"])
async def test_a_write_that_changed_nothing_keeps_the_entry(cache, inner, tracker, write, monkeypatch, call):
    async def fail(*_, **__):
        raise NothingWritten("refused")

    await write("one")
    seen = await cache.get(KIND, "a")
    monkeypatch.setattr(inner, call, fail)
    with pytest.raises(StoreUnavailable):
        await (
            cache.replace(KIND, "a", {}, expected=seen)
            if call == "replace"
            else cache.remove(seen)
            if call == "remove"
            else cache.put_with_ttl(KIND, "a", {}, seconds=60)
        )
    tracker.end_session()
    inner.unavailable = True

    assert await region(cache) == "one"


@pytest.mark.parametrize("call", ["remove", "put_with_ttl"])
async def test_any_write_that_may_have_been_executed_invalidates_the_entry(cache, inner, write, monkeypatch, call):
    async def write_and_fail(*_, **__):
        await write("two", reported=False)
        raise StoreUnavailable("lost")

    await write("one")
    seen = await cache.get(KIND, "a")
    monkeypatch.setattr(inner, call, write_and_fail)
    with pytest.raises(StoreUnavailable):
        await (cache.remove(seen) if call == "remove" else cache.put_with_ttl(KIND, "a", {}, seconds=60))

    assert await region(cache) == "two"


async def test_an_outage_does_not_bring_back_a_resource_read_as_deleted(cache, inner, tracker, write):
    await write("one")
    before = await region(cache)
    tracker.end_session()
    await EmbeddedStore.remove(inner, await EmbeddedStore.get(inner, KIND, "a"))
    absent = await region(cache)
    inner.unavailable = True

    assert (before, absent, await region(cache)) == ("one", None, None)


async def test_a_cancelled_reader_with_a_stale_entry_does_not_cancel_others(cache, inner, tracker, write):
    await write("one")
    await region(cache)
    tracker.end_session()
    tracker.start_session()
    inner.hold()
    first, second = await started(region(cache)), await started(region(cache))
    # After this time both wait for the read.
    await asyncio.sleep(2 * STALE_WAIT_SECONDS)
    first.cancel()
    await asyncio.sleep(0)
    inner.release()

    assert await second == "one"
    assert inner.reads == 2


async def test_a_listing_is_read_again_after_a_repair_of_the_index(cache, inner, write):
    await ids_of_all(cache)
    await write("one", reported=False)
    inner.listener.listing_changed(KIND)

    assert await ids_of_all(cache) == "a"


async def test_a_listing_overlapping_a_repair_of_the_index_is_not_cached(cache, inner, write):
    inner.hold()
    early = await started(ids_of_all(cache))
    await write("one", reported=False)
    inner.listener.listing_changed(KIND)
    inner.release()

    assert (await early, await ids_of_all(cache)) == ("", "a")


async def test_an_outage_serves_the_listing_that_was_known_before_a_repair_of_the_index_failed(
    cache, inner, tracker, write
):
    await write("one")
    known = await ids_of_all(cache)
    tracker.end_session()
    inner.unavailable = True
    inner.listener.listing_changed(KIND)

    assert (known, await ids_of_all(cache)) == ("a", "a")


async def test_a_read_can_bypass_the_cache(cache, write):
    await write("one")
    await region(cache)
    await write("two", reported=False)

    assert await region(cache, bypass_cache=True) == "two"


async def test_an_outage_serves_stale_entries_for_a_while(cache, inner, tracker, write, monkeypatch):
    await write("one")
    monkeypatch.setattr(now, "seconds", now.seconds + 5)
    known, unknown = await region(cache), await region(cache, "b")
    counted = value_of(CACHE_STALE_HITS)
    tracker.end_session()
    inner.unavailable = True
    monkeypatch.setattr(now, "seconds", now.seconds + STALE)
    served = await region(cache), await region(cache, "b")
    monkeypatch.setattr(now, "seconds", now.seconds + 0.1)

    assert served == (known, unknown) == ("one", None)
    # Reads in a known outage do not reach the store.
    assert inner.reads == 2
    for id_ in "ab":
        with pytest.raises(StoreUnavailable):
            await region(cache, id_)
    assert value_of(CACHE_STALE_HITS) == counted + 2


async def test_the_stale_time_starts_with_the_end_of_the_session_if_its_connections_go_on(
    cache, inner, tracker, write, monkeypatch
):
    """A primary is added to a Cluster, and changes there are not yet reported."""
    for id_ in "ab":
        await write("one", id_)
    connection = tracker.session.connections[0]
    await cache.get(KIND, "a")
    tracker.end_session()
    await cache.get(KIND, "b")
    for _ in range(2):
        monkeypatch.setattr(now, "seconds", now.seconds + STALE / 2 + 1)
        connection.confirmed_at = now()
    inner.unavailable = True

    for id_ in "ab":
        with pytest.raises(StoreUnavailable):
            await cache.get(KIND, id_)


async def test_the_stale_time_starts_with_the_last_message_of_the_server(cache, inner, tracker, write, monkeypatch):
    await write("one")
    await region(cache)
    tracker.session.connections[0].confirmed_at = now.seconds + 50
    tracker.end_session()
    inner.unavailable = True
    monkeypatch.setattr(now, "seconds", now.seconds + 50 + STALE)
    served = await region(cache)
    monkeypatch.setattr(now, "seconds", now.seconds + 0.1)

    assert served == "one"
    with pytest.raises(StoreUnavailable):
        await region(cache)


async def test_a_later_session_does_not_confirm_earlier_entries(cache, inner, tracker, write, monkeypatch):
    await write("one")
    await region(cache)
    tracker.end_session()
    monkeypatch.setattr(now, "seconds", now.seconds + STALE + 0.1)
    tracker.start_session()
    tracker.end_session()
    inner.unavailable = True

    with pytest.raises(StoreUnavailable):
        await region(cache)


async def test_an_outage_serves_entries_read_without_a_session(cache, inner, tracker, write):
    tracker.end_session()
    await write("one")
    await region(cache)
    inner.unavailable = True

    assert await region(cache) == "one"


async def test_an_outage_serves_an_entry_that_was_read_in_the_meantime(cache, inner, tracker, write):
    tracker.end_session()
    await write("one")
    inner.hold()
    early = await started(region(cache))
    slow, inner._open = inner._open, asyncio.Event()
    inner._open.set()
    late = await region(cache)
    inner.unavailable = True
    slow.set()

    assert (late, await early) == ("one", "one")


@pytest.mark.parametrize("cached", [None, "old"])
async def test_an_outage_brings_back_no_value_older_than_one_that_was_returned(cache, inner, tracker, write, cached):
    if cached:
        await write(cached)
    before = await region(cache)
    tracker.end_session()
    await write("new", reported=False)
    inner.hold()
    early = await started(region(cache))
    quick, inner._open = inner._open, asyncio.Event()
    late = await started(region(cache))
    quick.set()
    returned = await early
    inner.unavailable = True
    inner.release()

    assert (before, returned, await late, await region(cache)) == (cached, "new", "new", "new")


async def test_an_overlapping_read_that_ends_last_replaces_no_later_one(cache, inner, tracker, write, monkeypatch):
    tracker.end_session()
    await write("old")
    inner.hold()
    early = await started(region(cache))
    slow, inner._open = inner._open, asyncio.Event()
    inner._open.set()
    await write("new", reported=False)
    monkeypatch.setattr(now, "seconds", now.seconds + 1)
    late = await region(cache)
    slow.set()
    overtaken = await early
    inner.unavailable = True

    assert (overtaken, late, await region(cache)) == ("old", "new", "new")


async def test_an_outage_serves_no_invalidated_entry(cache, inner, tracker, write):
    await write("one")
    await region(cache)
    await write("two")
    tracker.end_session()
    inner.unavailable = True

    with pytest.raises(StoreUnavailable):
        await region(cache)


async def test_calls_that_need_the_store_fail_in_an_outage(cache, inner, tracker, write):
    await write("one")
    seen = await cache.get(KIND, "a")
    tracker.end_session()
    inner.unavailable = True

    for call in (
        region(cache, "b"),
        region(cache, bypass_cache=True),
        cache.check(),
        cache.replace(KIND, "a", {}, expected=seen),
    ):
        with pytest.raises(StoreUnavailable):
            await call


async def test_an_outage_serves_nothing_if_the_stale_time_is_zero(inner, tracker):
    cache = CachedStore(inner, tracker, size=SIZE, ttl=TTL, stale=0, clock=now)
    await cache.open()
    await cache.get(KIND, "a")
    tracker.end_session()
    inner.unavailable = True

    with pytest.raises(StoreUnavailable):
        await cache.get(KIND, "a")
    await cache.close()


async def test_a_reader_with_a_stale_entry_does_not_wait_for_a_hanging_store(cache, inner, tracker, write):
    await write("one")
    await region(cache)
    tracker.end_session()
    inner.hold()
    reader = await started(region(cache))
    inner.unavailable = inner.hangs = True
    async with asyncio.timeout(5):
        served = [await reader, await region(cache)]

    assert served == ["one", "one"]


async def test_a_reader_with_a_stale_entry_waits_for_a_slow_store(cache, inner, tracker, write):
    await write("one")
    await region(cache)
    tracker.end_session()
    await write("two", reported=False)
    inner.hold()
    reader = await started(region(cache))
    await asyncio.sleep(0.2)
    waits = not reader.done()
    inner.release()

    assert waits
    assert await reader == "two"


async def test_a_degraded_tracker_is_a_warning(cache, tracker):
    healthy = cache.warnings()
    tracker.degraded_reason = "Redis refuses"

    assert list(healthy) == []
    assert list(cache.warnings()) == ["The cache is off: Redis refuses"]


async def test_hits_misses_and_invalidations_are_counted(cache, write):
    def counts():
        return [value_of(metric) for metric in (CACHE_HITS, CACHE_MISSES, CACHE_INVALIDATIONS)]

    before = counts()
    for _ in range(3):
        await region(cache)
    await write("one", "a")
    await write("two", "never read")
    await cache.all(KIND)
    await region(cache)
    await region(cache, "b")
    await cache.all(KIND)
    await write("three", "c")
    cache.flushed()

    # Invalidated: the negative entry of a, the listing; at the flush a, the negative entry of b, and the listing again.
    assert [after - old for old, after in zip(before, counts(), strict=True)] == [3, 4, 5]


async def test_closing_the_cache_cancels_its_reads(inner, tracker, write):
    cache = CachedStore(inner, tracker, size=SIZE, ttl=TTL, stale=STALE, clock=now)
    await cache.open()
    await write("one")
    await cache.get(KIND, "a")
    tracker.end_session()
    inner.hold()
    reader = await started(cache.get(KIND, "a"))
    await cache.close()

    assert inner.closed
    with pytest.raises(asyncio.CancelledError):
        await reader


async def test_a_listing_is_cached(cache, inner, write):
    await write("one")
    listed = [await ids_of_all(cache) for _ in range(3)]

    assert (listed, inner.reads) == (["a"] * 3, 1)


@pytest.mark.parametrize("how", ["changed", "flushed"])
async def test_a_change_invalidates_the_listing_of_its_kind(cache, write, how):
    await write("one")
    served = [await ids_of_all(cache)]
    await write("two", "b", reported=False)
    served.append(await ids_of_all(cache))
    cache.changed(KIND, "b") if how == "changed" else cache.flushed()

    assert [*served, await ids_of_all(cache)] == ["a", "a", "ab"]


async def test_an_own_write_invalidates_the_listing(cache, write):
    await write("one")
    await ids_of_all(cache)
    await cache.replace(KIND, "b", {"region": "x"}, expected=None)
    served = [await ids_of_all(cache)]
    await cache.remove(await cache.get(KIND, "a", bypass_cache=True))

    assert [*served, await ids_of_all(cache)] == ["ab", "b"]


async def test_a_change_of_another_kind_keeps_the_listing(cache, inner, write):
    await write("one")
    await ids_of_all(cache)
    cache.changed("Client", "a")

    assert (await ids_of_all(cache), inner.reads) == ("a", 1)


@pytest.mark.parametrize("how", ["changed", "flushed"])
async def test_a_listing_overlapping_a_change_is_not_cached(cache, inner, write, how):
    await write("one")
    inner.hold()
    early = await started(ids_of_all(cache))
    await write("two", "b", reported=False)
    cache.changed(KIND, "b") if how == "changed" else cache.flushed()
    late = await started(ids_of_all(cache))
    inner.release()

    assert [await early, await late, await ids_of_all(cache)] == ["a", "ab", "ab"]


@pytest.mark.parametrize("change", ["reported", "repaired"])
async def test_the_stale_time_of_a_changed_listing_starts_with_the_outage(
    cache, inner, tracker, write, monkeypatch, change
):
    for id_ in "ab":
        await write("one", id_)
    await ids_of_all(cache)
    await write("two", "b")
    if change == "repaired":
        inner.listener.listing_changed(KIND)
    # No request reads policies for a long time, in which changes are reported.
    monkeypatch.setattr(now, "seconds", now.seconds + 10 * STALE)
    await write("three", "b")
    tracker.session.connections[0].confirmed_at = now()
    inner.unavailable = True
    tracker.end_session()
    monkeypatch.setattr(now, "seconds", now.seconds + STALE)
    assert await ids_of_all(cache) == "a"
    monkeypatch.setattr(now, "seconds", now.seconds + 1)

    with pytest.raises(StoreUnavailable):
        await cache.all(KIND)


@pytest.mark.parametrize("change", ["in doubt", "own", "reported", "deleted"])
async def test_an_outage_serves_a_stale_listing_without_what_has_changed(cache, inner, tracker, write, change):
    for id_ in "abc":
        await write("one", id_)
    assert await ids_of_all(cache) == "abc"
    if change == "in doubt":
        inner.unavailable = True
        with pytest.raises(StoreUnavailable):
            await cache.replace(KIND, "b", {"region": "two"}, expected=None)
    elif change == "own":
        await cache.replace(KIND, "b", {"region": "two"}, expected=await inner.get(KIND, "b"))
    elif change == "deleted":
        await cache.remove(await inner.get(KIND, "b"))
    else:
        await write("two", "b")
    inner.unavailable = True
    tracker.end_session()
    served = [await cache.all(KIND) for _ in range(2)]
    assert ["".join(resource.id for resource in listing) for listing in served] == ["ac"] * 2
    # Policies are compiled again for another list.
    assert served[0] is served[1]
    assert isinstance(served[0], IncompleteListing)
    inner.unavailable = False

    assert await ids_of_all(cache) == ("ac" if change == "deleted" else "abc")


async def test_a_listing_that_may_be_stale_is_read_again(cache, inner, tracker, write, monkeypatch):
    await write("one")
    await ids_of_all(cache)
    tracker.end_session()
    untracked = await is_cached(cache, inner, ALL)
    tracker.start_session()
    await ids_of_all(cache)
    monkeypatch.setattr(now, "seconds", now.seconds + TTL + 1)

    assert (untracked, await is_cached(cache, inner, ALL)) == (False, False)


async def test_an_outage_serves_a_stale_listing_for_a_while(cache, inner, tracker, write, monkeypatch):
    await write("one")
    await ids_of_all(cache)
    inner.unavailable = True
    tracker.end_session()
    within = await ids_of_all(cache)
    monkeypatch.setattr(now, "seconds", now.seconds + STALE + 1)

    assert within == "a"
    with pytest.raises(StoreUnavailable):
        await ids_of_all(cache)


async def test_a_stale_listing_in_use_stays_while_other_resources_are_read(cache, inner, tracker, write):
    """One primary of a Cluster is unavailable, and with it the listing of all."""
    await write("one")
    await ids_of_all(cache)
    for number in range(3 * SIZE):
        inner.unavailable = True
        assert await ids_of_all(cache) == "a"
        inner.unavailable = False
        await cache.get(KIND, "a")
        await write("one", f"b{number}")
        await cache.get(KIND, f"b{number}")
    inner.unavailable = True

    with pytest.raises(StoreUnavailable):
        await cache.get(KIND, "b0")
    assert await ids_of_all(cache) == "a"


async def test_put_with_ttl_invalidates_the_negative_entry(cache):
    before = await cache.get(KIND, "a")
    await cache.put_with_ttl(KIND, "a", {"region": "x"}, seconds=60)

    assert (before, await region(cache)) == (None, "x")


class LaggingStore(SlowStore):
    """A store whose index receives only the ids that listings pass as changed."""

    def __init__(self):
        super().__init__()
        self.indexed = set()

    async def all(self, kind, *, changed=()):
        found = await super().all(kind, changed=changed)
        self.indexed.update((resource.id for resource in found) if changed is None else changed)
        return [resource for resource in found if resource.id in self.indexed]


class TestLaggingIndex:
    async def listing_overlapping_a_change(self, cache, inner, write, *, of):
        """Start a listing that checks a, and report a change of ``of`` before it ends."""
        await ids_of_all(cache)
        await write("one", "a")
        inner.hold()
        listing = await started(ids_of_all(cache))
        await write("two", of)
        inner.release()
        return listing

    @pytest.fixture
    def inner(self):
        return LaggingStore()

    async def test_a_listing_contains_each_reported_id(self, cache, write):
        served = [await ids_of_all(cache)]
        for id_ in "ab":
            await write("one", id_)
        served.append(await ids_of_all(cache))

        assert served == ["", "ab"]

    async def test_a_listing_checks_all_ids_after_more_changes_than_are_remembered(self, cache, write, monkeypatch):
        await ids_of_all(cache)
        monkeypatch.setattr(listing, "MAX_KEYS", 3)
        await write("one", "unreported", reported=False)
        for id_ in "abcd":
            await write("one", id_)
        checked = await ids_of_all(cache)
        await write("one", "e")

        assert (checked, await ids_of_all(cache)) == ("abcdunreported", "abcdeunreported")

    async def test_a_listing_contains_changes_between_sessions(self, cache, tracker, write):
        served = [await ids_of_all(cache)]
        tracker.end_session()
        await write("one", reported=False)
        tracker.start_session()
        served.append(await ids_of_all(cache))

        assert served == ["", "a"]

    async def test_a_listing_contains_changes_reported_during_the_previous_listing(self, cache, inner, write):
        early = await self.listing_overlapping_a_change(cache, inner, write, of="b")

        assert await ids_of_all(cache) == "ab"
        assert await early == "a"

    async def test_an_id_reported_again_during_a_listing_is_checked_again(self, cache, inner, write):
        early = await self.listing_overlapping_a_change(cache, inner, write, of="a")
        await early
        inner.indexed.clear()

        assert await ids_of_all(cache) == "a"

    async def test_a_listing_after_a_flush_checks_all_ids(self, cache, write):
        await ids_of_all(cache)
        await write("one", reported=False)
        cache.flushed()

        assert await ids_of_all(cache) == "a"

    async def test_a_failed_listing_keeps_the_reported_ids(self, cache, inner, write):
        await ids_of_all(cache)
        await write("one")
        inner.unavailable = True
        assert await ids_of_all(cache) == ""
        inner.unavailable = False

        assert await ids_of_all(cache) == "a"

    async def test_reported_ids_of_unlisted_kinds_are_not_stored(self, cache, write):
        for n in range(10):
            await write("one", f"a{n}")

        assert cache._listings._dirty == {}
