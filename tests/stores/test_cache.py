"""What the cache tells, and when it asks: with a store and a tracker that do things on cue."""

import asyncio
import gc

import pytest

from service.errors import StoreUnavailable
from service.stores.cache import ALL, HASTE_SECONDS, CachedStore
from service.stores.memory import EmbeddedStore
from service.stores.store import NothingWritten
from service.stores.tracking import NO_SESSION, TrackingSession
from service.telemetry.metrics import CACHE_HITS, CACHE_INVALIDATIONS, CACHE_MISSES

KIND = "AwsAccount"
SIZE, TTL, STALE = 3, 60, 20


class SlowStore(EmbeddedStore):
    """Counts the reads; while it is held, an answer is what was there when it was asked, and comes on release."""

    def __init__(self):
        super().__init__()
        self.reads = 0
        self.away = self.hoping = self.closed = False
        self._open = asyncio.Event()
        self._open.set()

    def hold(self):
        self._open.clear()

    def release(self):
        self._open.set()

    async def get(self, kind, id, *, bypass_cache=False):
        self.reads += 1
        if self.away:
            await asyncio.sleep(3600 if self.hoping else 0)
            raise StoreUnavailable("away")
        found = await super().get(kind, id, bypass_cache=bypass_cache)
        await self._open.wait()
        if self.away:
            raise StoreUnavailable("away")
        return found

    async def all(self, kind, *, changed=()):
        self.reads += 1
        if self.away:
            raise StoreUnavailable("away")
        found = await super().all(kind, changed=changed)
        await self._open.wait()
        return found

    async def replace(self, kind, id, fields, *, expected, validated=False):
        if self.away:
            raise StoreUnavailable("away")
        stored = await super().replace(kind, id, fields, expected=expected, validated=validated)
        await self._open.wait()
        return stored

    async def check(self):
        if self.away:
            raise StoreUnavailable("away")

    async def close(self):
        self.closed = True

    def listen(self, listener):
        self.listener = listener

    def recheck_server(self):
        self.looked_anew = True


class CuedTracker:
    kinds = frozenset({KIND})
    degraded_reason = None
    session = NO_SESSION

    async def open(self, listener):
        self.listener = listener
        self.begin()

    async def close(self):
        self.end()

    def expect_server(self, run_id):
        self.expected = run_id

    def begin(self):
        self.session = TrackingSession(live=True, confirmed_at=now())

    def end(self):
        self.session.live = False


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
    return CuedTracker()


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
    """Somebody else's write, of which the tracker tells unless it is told not to."""

    async def write(text, id="a", *, told=True):
        fields = {"region": text}
        inner._kinds.setdefault(KIND, {}).pop(id, None)
        await EmbeddedStore.replace(inner, KIND, id, fields, expected=None)
        if told:
            tracker.listener.changed(KIND, id)

    return write


async def region(cache, id="a", **options):
    resource = await cache.get(KIND, id, **options)
    return resource and resource.fields["region"]


async def ids_of_all(cache):
    return "".join(resource.id for resource in await cache.all(KIND))


async def is_cached(cache, inner, id="a"):
    """Whether a read is answered without the inner store; it is cached afterwards."""
    before = inner.reads
    await (cache.all(KIND) if id == ALL else cache.get(KIND, id))
    return inner.reads == before


async def begun(call):
    task = asyncio.create_task(call)
    await asyncio.sleep(0.001)
    return task


async def test_what_was_read_is_not_asked_for_again(cache, inner, write):
    await write("one")
    first, second = await cache.get(KIND, "a"), await cache.get(KIND, "a")

    assert first is second
    assert inner.reads == 1


async def test_a_resource_is_cached_until_it_changes(cache, inner, write):
    await write("one")
    cached = [await is_cached(cache, inner) for _ in range(2)]
    await write("two")

    assert [*cached, await is_cached(cache, inner)] == [False, True, False]


@pytest.mark.parametrize("why", ["not told", "too old"])
async def test_an_entry_that_may_be_stale_is_read_again(cache, inner, tracker, write, monkeypatch, why):
    await write("one")
    await cache.get(KIND, "a")
    if why == "not told":
        tracker.end()
    else:
        monkeypatch.setattr(now, "seconds", now.seconds + TTL + 1)

    assert not await is_cached(cache, inner)


async def test_absence_is_remembered_and_told_of_too(cache, inner, write):
    before = [await region(cache), await region(cache)]
    reads = inner.reads
    await write("one")

    assert (before, reads) == ([None, None], 1)
    assert await region(cache) == "one"


async def test_absence_is_remembered_in_a_full_cache_too(cache, inner, write):
    for id_ in "abcd":
        await write("one", id_)
        await region(cache, id_)
    for _ in range(3):
        await region(cache, "x")

    assert inner.reads == len("abcdx")


async def test_of_what_does_not_exist_little_is_remembered(cache):
    for n in range(10):
        await cache.get(KIND, f"x{n}")

    assert len(cache._absences) == 1


async def test_in_an_outage_no_absence_is_told_of_what_has_been_there_since(cache, inner, tracker, write):
    absent = await region(cache)
    tracker.end()
    await write("one", told=False)
    await region(cache)
    tracker.begin()
    cache.changed(KIND, "a")
    inner.away = True

    assert absent is None
    with pytest.raises(StoreUnavailable):
        await region(cache)


@pytest.mark.parametrize("asked", ["abcxyz", "xyzabc", "abxyxc"])
async def test_what_does_not_exist_displaces_nothing_that_does(cache, inner, write, asked):
    for id_ in "abc":
        await write("one", id_)
    for id_ in asked:
        await cache.get(KIND, id_)

    assert [await is_cached(cache, inner, id_) for id_ in "abc"] == [True] * 3
    assert len(cache._entries) == SIZE


async def test_what_is_told_of_is_read_again(cache, write):
    await write("one")
    await region(cache)
    await write("two")

    assert await region(cache) == "two"


async def test_a_flush_forgets_all(cache, inner, write):
    for id_ in "ab":
        await region(cache, id_)
        await write("one", id_, told=False)
    cache.flushed()

    assert [await region(cache, id_) for id_ in "ab"] == ["one", "one"]


async def test_misses_at_the_same_time_are_one_read(cache, inner, write):
    await write("one")
    found = await asyncio.gather(*(region(cache) for _ in range(50)))

    assert found == ["one"] * 50
    assert inner.reads == 1


@pytest.mark.parametrize("how", ["changed", "flushed"])
async def test_a_read_that_a_change_has_overtaken_is_not_kept(cache, inner, write, how):
    await write("old")
    inner.hold()
    early = await begun(region(cache))
    await write("new", told=False)
    cache.changed(KIND, "a") if how == "changed" else cache.flushed()
    late = await begun(region(cache))
    inner.release()

    assert [await early, await late, await region(cache)] == ["old", "new", "new"]
    assert inner.reads == 2


async def test_an_overtaken_read_that_ends_last_does_not_take_the_place_of_a_later_one(cache, inner, write):
    await write("old")
    inner.hold()
    early = await begun(region(cache))
    slow, inner._open = inner._open, asyncio.Event()
    inner._open.set()
    await write("new")
    late = await region(cache)
    slow.set()

    assert [late, await early, await region(cache)] == ["new", "old", "new"]


async def test_a_change_of_one_leaves_the_others(cache, inner, write):
    await region(cache, "b")
    await write("one", "a")
    await region(cache, "b")

    assert inner.reads == 1


async def test_a_reader_that_goes_away_takes_nobody_along(cache, inner, write):
    await write("one")
    inner.hold()
    first, second, third, fourth = [await begun(region(cache)) for _ in range(4)]
    first.cancel()
    third.cancel()
    await asyncio.sleep(0)
    inner.release()

    assert [await second, await fourth] == ["one", "one"]
    # The one that went away was the one that had asked.
    assert inner.reads == 2


async def test_a_failure_is_told_to_all_who_wait(cache, inner):
    inner.hold()
    readers = [await begun(region(cache)) for _ in range(3)]
    readers[1].cancel()
    inner.away = True
    inner.release()

    outcomes = await asyncio.gather(*readers, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [StoreUnavailable, asyncio.CancelledError, StoreUnavailable]
    assert inner.reads == 1


@pytest.mark.filterwarnings("error")
async def test_a_read_that_fails_when_nobody_waits_is_no_complaint(cache, inner, tracker, write, caplog):
    await write("one")
    await region(cache)
    tracker.end()
    inner.hold()
    reader = await begun(region(cache))
    inner.away = True
    told = await reader
    inner.release()
    await asyncio.sleep(0.01)
    gc.collect()

    assert told == "one"
    assert caplog.text == ""


async def test_a_failure_is_not_remembered(cache, inner, write):
    await write("one")
    inner.away = True
    with pytest.raises(StoreUnavailable):
        await region(cache)
    inner.away = False

    assert await region(cache) == "one"


async def test_the_least_recently_used_goes_first(cache, inner, write):
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


async def test_nothing_is_kept_for_longer_than_its_time(cache, write, monkeypatch):
    await write("one")
    await region(cache)
    await write("two", told=False)
    monkeypatch.setattr(now, "seconds", now.seconds + TTL)
    within = await region(cache)
    monkeypatch.setattr(now, "seconds", now.seconds + 0.1)

    assert (within, await region(cache)) == ("one", "two")


async def test_while_changes_are_not_told_every_read_goes_through(cache, tracker, write):
    tracker.end()
    seen = []
    for text in ("one", "two", "three"):
        await write(text, told=False)
        seen.append(await region(cache))

    assert seen == ["one", "two", "three"]


async def test_while_changes_are_not_told_nobody_is_answered_with_an_earlier_read(cache, inner, tracker, write):
    tracker.end()
    await write("old", told=False)
    inner.hold()
    early = await begun(region(cache))
    await write("new", told=False)
    late = await begun(region(cache))
    inner.release()

    assert [await early, await late] == ["old", "new"]


async def test_what_was_read_before_the_connection_was_lost_is_read_again_after(cache, tracker, write):
    await write("one")
    await region(cache)
    tracker.end()
    await write("two", told=False)
    tracker.begin()

    assert await region(cache) == "two"


async def test_what_was_asked_before_a_connection_is_no_hit_on_it(cache, inner, tracker, write):
    tracker.end()
    await write("old", told=False)
    inner.hold()
    early = await begun(region(cache))
    await write("new", told=False)
    tracker.begin()
    late = await begun(region(cache))
    inner.release()

    assert [await early, await late, await region(cache)] == ["old", "new", "new"]


async def test_a_kind_that_is_not_tracked_is_read_each_time(cache, inner):
    for _ in range(3):
        await cache.get("Client", "c")

    assert inner.reads == 3


async def test_a_writer_sees_its_write_at_once(cache, inner):
    seen = await cache.get(KIND, "a")
    for text in ("one", "two"):
        seen = await cache.replace(KIND, "a", {"region": text}, expected=seen)
        assert await region(cache) == text
    await cache.remove(seen)

    assert await region(cache) is None


async def test_a_read_that_a_write_has_overtaken_is_not_kept(cache, inner, write):
    inner.hold()
    early = await begun(region(cache))
    writer = await begun(cache.replace(KIND, "a", {"region": "new"}, expected=None))
    inner.release()
    await writer

    assert [await early, await region(cache)] == [None, "new"]


async def test_a_write_that_may_have_landed_is_read_again(cache, inner, write, monkeypatch):
    async def land_and_fail(*_, **__):
        await write("two", told=False)
        raise StoreUnavailable("lost")

    await write("one")
    seen = await cache.get(KIND, "a")
    monkeypatch.setattr(inner, "replace", land_and_fail)
    with pytest.raises(StoreUnavailable):
        await cache.replace(KIND, "a", {}, expected=seen)

    assert await region(cache) == "two"


@pytest.mark.parametrize("call", ["replace", "remove", "put_with_ttl"])
async def test_a_write_that_has_changed_nothing_leaves_what_was_read(cache, inner, tracker, write, monkeypatch, call):
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
    tracker.end()
    inner.away = True

    assert await region(cache) == "one"


@pytest.mark.parametrize("call", ["remove", "put_with_ttl"])
async def test_any_write_that_may_have_landed_is_read_again(cache, inner, write, monkeypatch, call):
    async def land_and_fail(*_, **__):
        await write("two", told=False)
        raise StoreUnavailable("lost")

    await write("one")
    seen = await cache.get(KIND, "a")
    monkeypatch.setattr(inner, call, land_and_fail)
    with pytest.raises(StoreUnavailable):
        await (cache.remove(seen) if call == "remove" else cache.put_with_ttl(KIND, "a", {}, seconds=60))

    assert await region(cache) == "two"


async def test_after_a_deletion_that_nobody_told_of_an_outage_does_not_bring_it_back(cache, inner, tracker, write):
    await write("one")
    before = await region(cache)
    tracker.end()
    await EmbeddedStore.remove(inner, await EmbeddedStore.get(inner, KIND, "a"))
    absent = await region(cache)
    inner.away = True

    assert (before, absent, await region(cache)) == ("one", None, None)


async def test_in_an_outage_a_reader_that_goes_away_does_not_end_the_read_of_others(cache, inner, tracker, write):
    await write("one")
    await region(cache)
    tracker.end()
    tracker.begin()
    inner.hold()
    first, second = await begun(region(cache)), await begun(region(cache))
    # By now they wait for the read itself.
    await asyncio.sleep(2 * HASTE_SECONDS)
    first.cancel()
    await asyncio.sleep(0)
    inner.release()

    assert await second == "one"
    assert inner.reads == 2


async def test_the_tracker_follows_the_store_to_another_server(cache, inner, tracker):
    inner.listener.server_changed("run id")

    assert tracker.expected == "run id"


async def test_the_store_is_looked_for_anew_when_the_tracker_ends_elsewhere(cache, inner, tracker):
    tracker.listener.server_mismatched()

    assert inner.looked_anew


async def test_a_listing_that_an_index_has_repaired_is_read_again(cache, inner, write):
    await ids_of_all(cache)
    await write("one", told=False)
    inner.listener.listing_changed(KIND)

    assert await ids_of_all(cache) == "a"


async def test_a_listing_under_way_while_an_index_is_repaired_is_not_kept(cache, inner, write):
    inner.hold()
    early = await begun(ids_of_all(cache))
    await write("one", told=False)
    inner.listener.listing_changed(KIND)
    inner.release()

    assert (await early, await ids_of_all(cache)) == ("", "a")


async def test_what_a_change_is_decided_on_is_read_past_the_cache(cache, write):
    await write("one")
    await region(cache)
    await write("two", told=False)

    assert await region(cache, bypass_cache=True) == "two"


async def test_in_an_outage_what_was_read_lately_is_still_told(cache, inner, tracker, write, monkeypatch):
    await write("one")
    monkeypatch.setattr(now, "seconds", now.seconds + 5)
    known, unknown = await region(cache), await region(cache, "b")
    tracker.end()
    inner.away = True
    monkeypatch.setattr(now, "seconds", now.seconds + STALE)
    told = await region(cache), await region(cache, "b")
    monkeypatch.setattr(now, "seconds", now.seconds + 0.1)

    assert told == (known, unknown) == ("one", None)
    # Known to be away, it was not even asked.
    assert inner.reads == 2
    for id_ in "ab":
        with pytest.raises(StoreUnavailable):
            await region(cache, id_)


async def test_in_an_outage_the_time_counts_from_when_the_server_was_last_heard(
    cache, inner, tracker, write, monkeypatch
):
    await write("one")
    await region(cache)
    tracker.session.confirmed_at = now.seconds + 50
    tracker.end()
    inner.away = True
    monkeypatch.setattr(now, "seconds", now.seconds + 50 + STALE)
    told = await region(cache)
    monkeypatch.setattr(now, "seconds", now.seconds + 0.1)

    assert told == "one"
    with pytest.raises(StoreUnavailable):
        await region(cache)


async def test_what_a_later_connection_has_heard_confirms_nothing_from_before(
    cache, inner, tracker, write, monkeypatch
):
    await write("one")
    await region(cache)
    tracker.end()
    monkeypatch.setattr(now, "seconds", now.seconds + STALE + 0.1)
    tracker.begin()
    tracker.end()
    inner.away = True

    with pytest.raises(StoreUnavailable):
        await region(cache)


async def test_what_was_read_while_changes_were_not_told_serves_an_outage(cache, inner, tracker, write):
    tracker.end()
    await write("one")
    await region(cache)
    inner.away = True

    assert await region(cache) == "one"


async def test_in_an_outage_what_was_told_of_is_not_told(cache, inner, tracker, write):
    await write("one")
    await region(cache)
    await write("two")
    tracker.end()
    inner.away = True

    with pytest.raises(StoreUnavailable):
        await region(cache)


async def test_in_an_outage_nothing_new_is_told(cache, inner, tracker, write):
    await write("one")
    seen = await cache.get(KIND, "a")
    tracker.end()
    inner.away = True

    for call in (
        region(cache, "b"),
        region(cache, bypass_cache=True),
        cache.check(),
        cache.replace(KIND, "a", {}, expected=seen),
    ):
        with pytest.raises(StoreUnavailable):
            await call


async def test_without_a_time_for_it_an_outage_is_one_at_once(inner, tracker):
    cache = CachedStore(inner, tracker, size=SIZE, ttl=TTL, stale=0, clock=now)
    await cache.open()
    await cache.get(KIND, "a")
    tracker.end()
    inner.away = True

    with pytest.raises(StoreUnavailable):
        await cache.get(KIND, "a")
    await cache.close()


async def test_who_is_told_what_is_known_does_not_wait_for_a_store_that_hopes(cache, inner, tracker, write):
    await write("one")
    await region(cache)
    tracker.end()
    inner.hold()
    reader = await begun(region(cache))
    inner.away = inner.hoping = True
    async with asyncio.timeout(5):
        told = [await reader, await region(cache)]

    assert told == ["one", "one"]


async def test_a_slow_store_is_no_outage(cache, inner, tracker, write):
    await write("one")
    await region(cache)
    tracker.end()
    await write("two", told=False)
    inner.hold()
    reader = await begun(region(cache))
    await asyncio.sleep(0.2)
    waits = not reader.done()
    inner.release()

    assert waits
    assert await reader == "two"


async def test_a_cache_that_is_off_is_a_warning(cache, tracker):
    healthy = cache.warnings()
    tracker.degraded_reason = "Redis refuses"

    assert list(healthy) == []
    assert list(cache.warnings()) == ["The cache is off: Redis refuses"]


async def test_what_the_cache_does_is_counted(cache, write):
    def counts():
        return [metric._value.get() for metric in (CACHE_HITS, CACHE_MISSES, CACHE_INVALIDATIONS)]

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

    # The absence of a, and the listing; what was there and what was not at the flush.
    assert [after - old for old, after in zip(before, counts(), strict=True)] == [3, 4, 4]


async def test_a_cache_that_closes_lets_go_of_reads_that_go_on_for_the_next_time(inner, tracker, write):
    cache = CachedStore(inner, tracker, size=SIZE, ttl=TTL, stale=STALE, clock=now)
    await cache.open()
    await write("one")
    await cache.get(KIND, "a")
    tracker.end()
    inner.hold()
    reader = await begun(cache.get(KIND, "a"))
    await cache.close()

    assert inner.closed
    with pytest.raises(asyncio.CancelledError):
        await reader


async def test_a_listing_is_read_once(cache, inner, write):
    await write("one")
    listed = [await ids_of_all(cache) for _ in range(3)]

    assert (listed, inner.reads) == (["a"] * 3, 1)


@pytest.mark.parametrize("how", ["changed", "flushed"])
async def test_a_listing_ends_with_a_change_of_any_of_its_kind(cache, write, how):
    await write("one")
    told = [await ids_of_all(cache)]
    await write("two", "b", told=False)
    told.append(await ids_of_all(cache))
    cache.changed(KIND, "b") if how == "changed" else cache.flushed()

    assert [*told, await ids_of_all(cache)] == ["a", "a", "ab"]


async def test_a_listing_ends_with_a_write_of_ones_own(cache, write):
    await write("one")
    await ids_of_all(cache)
    await cache.replace(KIND, "b", {"region": "x"}, expected=None)
    told = [await ids_of_all(cache)]
    await cache.remove(await cache.get(KIND, "a", bypass_cache=True))

    assert [*told, await ids_of_all(cache)] == ["ab", "b"]


async def test_a_change_of_another_kind_leaves_a_listing(cache, inner, write):
    await write("one")
    await ids_of_all(cache)
    cache.changed("Client", "a")

    assert (await ids_of_all(cache), inner.reads) == ("a", 1)


@pytest.mark.parametrize("how", ["changed", "flushed"])
async def test_a_listing_that_a_change_has_overtaken_is_not_kept(cache, inner, write, how):
    await write("one")
    inner.hold()
    early = await begun(ids_of_all(cache))
    await write("two", "b", told=False)
    cache.changed(KIND, "b") if how == "changed" else cache.flushed()
    late = await begun(ids_of_all(cache))
    inner.release()

    assert [await early, await late, await ids_of_all(cache)] == ["a", "ab", "ab"]


async def test_a_listing_that_may_be_stale_is_read_again(cache, inner, tracker, write, monkeypatch):
    await write("one")
    await ids_of_all(cache)
    tracker.end()
    untracked = await is_cached(cache, inner, ALL)
    tracker.begin()
    await ids_of_all(cache)
    monkeypatch.setattr(now, "seconds", now.seconds + TTL + 1)

    assert (untracked, await is_cached(cache, inner, ALL)) == (False, False)


async def test_an_outage_leaves_a_listing_for_a_while(cache, inner, tracker, write, monkeypatch):
    await write("one")
    await ids_of_all(cache)
    inner.away = True
    tracker.end()
    within = await ids_of_all(cache)
    monkeypatch.setattr(now, "seconds", now.seconds + STALE + 1)

    assert within == "a"
    with pytest.raises(StoreUnavailable):
        await ids_of_all(cache)


async def test_what_is_kept_takes_the_place_of_its_absence(cache):
    before = await cache.get(KIND, "a")
    await cache.put_with_ttl(KIND, "a", {"region": "x"}, seconds=60)

    assert (before, await region(cache)) == (None, "x")


class LaggingStore(SlowStore):
    """Lists what it was told to look for, as an index that is mended by that alone."""

    def __init__(self):
        super().__init__()
        self.indexed = set()

    async def all(self, kind, *, changed=()):
        found = await super().all(kind, changed=changed)
        self.indexed.update((resource.id for resource in found) if changed is None else changed)
        return [resource for resource in found if resource.id in self.indexed]


class TestOfAnIndexThatLags:
    async def overtaken(self, cache, inner, write, *, by):
        """A listing that looks for a, and is about to end when a change of ``by`` is told."""
        await ids_of_all(cache)
        await write("one", "a")
        inner.hold()
        listing = await begun(ids_of_all(cache))
        await write("two", by)
        inner.release()
        return listing

    @pytest.fixture
    def inner(self):
        return LaggingStore()

    async def test_a_listing_has_each_that_was_told_of(self, cache, write):
        told = [await ids_of_all(cache)]
        for id_ in "ab":
            await write("one", id_)
        told.append(await ids_of_all(cache))

        assert told == ["", "ab"]

    async def test_a_listing_has_what_was_changed_while_nobody_watched(self, cache, tracker, write):
        told = [await ids_of_all(cache)]
        tracker.end()
        await write("one", told=False)
        tracker.begin()
        told.append(await ids_of_all(cache))

        assert told == ["", "a"]

    async def test_a_listing_has_what_was_told_to_one_that_is_on_its_way(self, cache, inner, write):
        early = await self.overtaken(cache, inner, write, by="b")

        assert await ids_of_all(cache) == "ab"
        assert await early == "a"

    async def test_what_is_told_again_during_a_listing_is_looked_for_again(self, cache, inner, write):
        early = await self.overtaken(cache, inner, write, by="a")
        await early
        inner.indexed.clear()

        assert await ids_of_all(cache) == "a"

    async def test_after_a_flush_anything_may_be_new(self, cache, write):
        await ids_of_all(cache)
        await write("one", told=False)
        cache.flushed()

        assert await ids_of_all(cache) == "a"

    async def test_what_was_told_of_in_an_outage_is_not_forgotten(self, cache, inner, write):
        await ids_of_all(cache)
        await write("one")
        inner.away = True
        with pytest.raises(StoreUnavailable):
            await cache.all(KIND)
        inner.away = False

        assert await ids_of_all(cache) == "a"

    async def test_nothing_is_noted_of_a_kind_that_nobody_lists(self, cache, write):
        for n in range(10):
            await write("one", f"a{n}")

        assert cache._listed == {}
