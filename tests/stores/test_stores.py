"""The contract of every store."""

import asyncio
import random
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from fakeredis import FakeAsyncRedis, FakeServer
from support.waiting import until

from service.errors import StoreUnavailable
from service.stores import memory, redis
from service.stores.cache import CachedStore
from service.stores.connection import ServerIdentity
from service.stores.health import HealthMonitor
from service.stores.memory import EmbeddedStore
from service.stores.redis import RedisStore
from service.stores.shard import Shard
from service.stores.store import Page
from service.stores.topology import Topology
from service.stores.tracking import Tracker


def fake_client(server):
    return FakeAsyncRedis(server=server, decode_responses=True, encoding_errors="surrogateescape", max_connections=200)


def fake_topology():
    server = FakeServer()
    client = fake_client(server)
    monitor = HealthMonitor(
        client.connection_pool, fake_client(server), name="fake", key="AwsAccount:", identity=ServerIdentity()
    )
    return Topology("fake", lambda _: Shard(client, monitor, lambda: fake_client(server)))


def cached_store(store):
    tracker = Tracker(store.topology, kinds=["AwsAccount", "Session"])
    return CachedStore(store, tracker, size=100, ttl=60, stale=60)


URLS = {"redis": "redis_url", "sentinel": "sentinel_url", "cluster": "cluster_url"}


@pytest.fixture(params=["embedded", "fakeredis", *URLS, *(f"{topology} cached" for topology in URLS)])
async def store(request):
    topology, _, cached = request.param.partition(" ")
    if topology == "embedded":
        store = EmbeddedStore()
    elif topology == "fakeredis":
        store = RedisStore(fake_topology())
    else:
        store = RedisStore.at(request.getfixturevalue(URLS[topology]))
    if cached:
        store = cached_store(store)
    await store.open()
    # The machine may have stood still while the store connected.
    await until(lambda: is_available(store))
    yield store
    await store.close()


async def is_available(store):
    with suppress(StoreUnavailable):
        await store.check()
        return True
    return False


async def fill(store, *ids, kind="AwsAccount"):
    return [await store.replace(kind, id_, {"id": id_, "region": "eu-west-1"}, expected=None) for id_ in ids]


async def test_each_resource_is_yielded_once_although_others_are_stored_and_deleted(store, monkeypatch):
    monkeypatch.setattr(redis, "PAGE_SIZE", 2)
    first, *_ = await fill(store, *"acegi")
    found = []
    async for resource in store.each("AwsAccount"):
        if not found:
            await store.remove(first)
            await fill(store, "0")
        found.append(resource.id)

    assert found == [*"acegi"]
    assert [it.id async for it in store.each("AwsAccount")] == [*"0cegi"]
    assert [it.id async for it in store.each("Session")] == []


async def listed(store, **page):
    return [resource.id for resource in (await store.page("AwsAccount", **page)).resources]


async def test_get_returns_the_stored_resource(store):
    stored = await store.replace("AwsAccount", "a", {"id": "a", "host": "s3.тест", "region": ""}, expected=None)

    assert await store.get("AwsAccount", "a") == await store.get("AwsAccount", "a", bypass_cache=True) == stored
    assert stored.fields == {"id": "a", "host": "s3.тест", "region": ""}


async def test_get_returns_none_for_an_unknown_resource(store):
    await fill(store, "a")

    assert await store.get("AwsAccount", "b") is None
    assert await store.get("Client", "a") is None


async def test_replace_replaces_every_field(store):
    (seen,) = await fill(store, "a")
    await store.replace("AwsAccount", "a", {"host": "minio:9000"}, expected=seen)

    assert (await store.get("AwsAccount", "a")).fields == {"host": "minio:9000"}


async def test_replace_keeps_the_creation_time_and_changes_the_update_time(store):
    (first,) = await fill(store, "a")
    second = await store.replace("AwsAccount", "a", {"id": "a"}, expected=first)

    assert second.meta.created_at == first.meta.created_at
    assert second.meta.last_updated > first.meta.last_updated


async def test_one_of_several_concurrent_creations_succeeds(store):
    outcomes = await asyncio.gather(
        *(store.replace("AwsAccount", "a", {"writer": str(n)}, expected=None) for n in range(10))
    )

    (winner,) = [outcome for outcome in outcomes if outcome]
    assert await store.get("AwsAccount", "a") == winner


async def test_one_of_several_concurrent_replacements_succeeds(store):
    (seen,) = await fill(store, "a")
    outcomes = await asyncio.gather(
        *(store.replace("AwsAccount", "a", {"writer": str(n)}, expected=seen) for n in range(10))
    )

    (winner,) = [outcome for outcome in outcomes if outcome]
    assert await store.get("AwsAccount", "a") == winner


async def test_rewrite_changes_the_fields_and_keeps_the_version(store):
    (seen,) = await fill(store, "a")
    rewritten = await store.rewrite(seen, {"id": "a", "host": "minio:9000"})
    found = await store.get("AwsAccount", "a")

    assert rewritten
    assert found.fields == {"id": "a", "host": "minio:9000"}
    assert found.meta == seen.meta
    assert found.verify_digest()


async def test_a_rewritten_resource_can_be_replaced_and_removed(store):
    (seen,) = await fill(store, "a")
    await store.rewrite(seen, {"id": "a", "region": "x"})
    found = await store.get("AwsAccount", "a", bypass_cache=True)
    replaced = await store.replace("AwsAccount", "a", {"id": "a"}, expected=found)

    assert replaced.version > seen.version
    assert await store.remove(replaced)


async def test_one_of_several_concurrent_rewrites_succeeds(store):
    (seen,) = await fill(store, "a")
    outcomes = await asyncio.gather(*(store.rewrite(seen, {"writer": str(n)}) for n in range(10)))

    assert sum(outcomes) == 1
    assert (await store.get("AwsAccount", "a")).fields == {"writer": str(outcomes.index(True))}


async def test_rewrite_refuses_a_changed_or_removed_resource(store):
    (seen,) = await fill(store, "a")
    changed = await store.replace("AwsAccount", "a", {"id": "a"}, expected=seen)
    after_change = await store.rewrite(seen, {"id": "b"})
    await store.remove(changed)

    assert not after_change
    assert not await store.rewrite(changed, {"id": "b"})
    assert await store.get("AwsAccount", "a", bypass_cache=True) is None


async def test_one_of_a_concurrent_replacement_and_removal_succeeds(store):
    (seen,) = await fill(store, "a")
    written, removed = await asyncio.gather(
        store.replace("AwsAccount", "a", {"region": "us-east-1"}, expected=seen), store.remove(seen)
    )

    assert bool(written) is not removed
    assert await store.get("AwsAccount", "a") == written


async def test_remove_refuses_a_changed_resource(store):
    (seen,) = await fill(store, "a")
    changed = await store.replace("AwsAccount", "a", {"id": "a"}, expected=seen)

    assert not await store.remove(seen)
    assert await store.get("AwsAccount", "a") == changed


async def test_a_removed_resource_is_neither_read_nor_listed(store):
    (seen,) = await fill(store, "a")

    assert await store.remove(seen)
    assert await store.get("AwsAccount", "a") is None
    assert await store.page("AwsAccount", offset=0, count=10) == Page(0, [])


async def test_remove_refuses_a_removed_resource(store):
    (seen,) = await fill(store, "a")
    await store.remove(seen)

    assert not await store.remove(seen)


async def test_replace_refuses_a_removed_resource(store):
    (seen,) = await fill(store, "a")
    await store.remove(seen)

    assert await store.replace("AwsAccount", "a", {"id": "a"}, expected=seen) is None
    assert await store.get("AwsAccount", "a") is None


async def test_versions_increase(store):
    (first,) = await fill(store, "a")
    second = await store.replace("AwsAccount", "a", {"id": "a"}, expected=first)

    assert 0 < first.version < second.version


async def test_versions_increase_across_a_deletion(store):
    (first,) = await fill(store, "a")
    await store.remove(first)
    (second,) = await fill(store, "a")

    assert second.version > first.version


async def test_the_embedded_store_does_not_reuse_versions_after_a_restart():
    before = [await EmbeddedStore().replace("AwsAccount", "a", {}, expected=None) for _ in range(3)]
    (after,) = await fill(EmbeddedStore(), "a")

    assert max(resource.version for resource in before) < after.version


async def test_versions_of_the_embedded_store_increase_if_its_clock_stops_or_goes_back():
    now = datetime(2026, 1, 1, tzinfo=UTC)
    store = EmbeddedStore(clock=lambda: now)
    (first, second) = await fill(store, "a", "b")
    now -= timedelta(hours=1)
    (third,) = await fill(store, "c")

    assert [first.version, second.version, third.version] == [1767225600000000 + n for n in range(3)]


@pytest.mark.slow
async def test_a_hundred_concurrent_writers_lose_no_update(store):
    chance = random.Random(0)  # noqa: S311 - no secret

    async def increment():
        while True:
            seen = await store.get("AwsAccount", "a")
            if await store.replace("AwsAccount", "a", {"n": str(int(seen.fields["n"]) + 1)}, expected=seen):
                return
            await asyncio.sleep(chance.uniform(0, 0.25))

    await store.replace("AwsAccount", "a", {"n": "0"}, expected=None)
    await asyncio.gather(*(increment() for _ in range(100)))

    assert (await store.get("AwsAccount", "a")).fields == {"n": "100"}


async def test_a_listing_is_ordered_by_the_bytes_of_the_ids(store):
    ids = ["b", "a", "B", "a.b", "a-b", "a_b", "10", "9", "Z" * 64, "a0"]
    await fill(store, *ids)

    assert await listed(store, offset=0, count=100) == sorted(ids)


async def test_a_page_is_a_slice_of_the_listing(store):
    await fill(store, *"abcdefg")

    assert await listed(store, offset=0, count=3) == ["a", "b", "c"]
    assert await listed(store, offset=3, count=3) == ["d", "e", "f"]
    assert await listed(store, offset=6, count=3) == ["g"]
    assert await listed(store, offset=9, count=3) == []


async def test_the_total_counts_all_pages(store):
    await fill(store, *"abc")

    assert (await store.page("AwsAccount", offset=0, count=0)).total == 3
    assert (await store.page("AwsAccount", offset=9, count=1)).total == 3


async def test_a_page_contains_complete_resources(store):
    stored = await fill(store, "a", "b")

    assert list((await store.page("AwsAccount", offset=0, count=10)).resources) == stored


async def test_a_listing_contains_one_kind(store):
    await fill(store, "a")
    await fill(store, "b", kind="Client")

    assert await listed(store, offset=0, count=10) == ["a"]


async def ids_of_all(store):
    return [resource.id for resource in await store.all("AwsAccount")]


async def test_all_returns_every_resource_of_a_kind_in_order(store):
    stored = await fill(store, "b", "a", "B", "10")
    await fill(store, "x", kind="Client")

    assert await ids_of_all(store) == ["10", "B", "a", "b"]
    assert sorted(stored, key=lambda resource: resource.id) == list(await store.all("AwsAccount"))


async def test_all_returns_an_empty_listing_for_an_empty_store(store):
    assert await ids_of_all(store) == []


async def test_all_contains_own_changes_immediately(store):
    listings = [await ids_of_all(store)]
    (seen,) = await fill(store, "a")
    listings.append(await ids_of_all(store))
    await fill(store, "b")
    listings.append(await ids_of_all(store))
    await store.replace("AwsAccount", "a", {"region": "x"}, expected=seen)
    regions = [resource.fields["region"] for resource in await store.all("AwsAccount")]
    await store.remove(await store.get("AwsAccount", "a"))
    listings.append(await ids_of_all(store))

    assert listings == [[], ["a"], ["a", "b"], ["b"]]
    assert regions == ["x", "eu-west-1"]


async def test_a_returned_listing_does_not_change(store):
    await fill(store, "a")
    listing = await store.all("AwsAccount")
    await fill(store, "b")

    assert [resource.id for resource in listing] == ["a"]


async def test_a_change_during_a_listing_leaves_no_stale_listing(store):
    await fill(store, "a")
    for n in range(20):
        await asyncio.gather(store.all("AwsAccount"), fill(store, f"b{n}"), store.all("AwsAccount"))
        assert f"b{n}" in await ids_of_all(store)


async def test_get_returns_a_resource_with_a_time_to_live(store):
    await store.put_with_ttl("Session", "a", {"client": "x", "ends": "1"}, seconds=60)
    found = await store.get("Session", "a")

    assert found.fields == {"client": "x", "ends": "1"}
    assert await store.get("Session", "b") is None


async def test_a_resource_with_a_time_to_live_can_be_removed(store):
    await store.put_with_ttl("Session", "a", {"client": "x"}, seconds=60)
    removed = await store.remove(await store.get("Session", "a"))

    assert removed
    assert await store.get("Session", "a") is None


async def test_put_with_ttl_replaces_a_cached_miss(store):
    before = await store.get("Session", "a")
    await store.put_with_ttl("Session", "a", {"client": "x"}, seconds=60)

    assert before is None
    assert (await store.get("Session", "a")).fields == {"client": "x"}


async def test_an_open_store_is_reachable(store):
    await store.check()

    assert await store.reached_within(0)
    # fakeredis does not implement INFO.
    assert [warning for warning in store.warnings() if "refuses INFO" not in warning] == []


async def test_redis_expires_a_resource_with_a_time_to_live_and_does_not_list_it(operator, redis_url):
    store = RedisStore.at(redis_url, prefix="x:")
    await store.open()
    await store.put_with_ttl("Session", "a", {"client": "x"}, seconds=60)
    left = await operator.pttl("x:Session:a")
    await store.close()

    assert 30_000 < left <= 60_000
    assert not [key for key in await operator.keys("*") if "index" in key]


async def test_a_session_deleted_in_redis_leaves_the_cache(operator, redis_url):
    store = cached_store(RedisStore.at(redis_url))
    await store.open()
    await store.put_with_ttl("Session", "a", {"client": "x"}, seconds=60)
    before = await store.get("Session", "a")
    await operator.delete("Session:a")
    for _ in range(500):
        if (after := await store.get("Session", "a")) is None:
            break
        await asyncio.sleep(0.01)
    await store.close()

    assert before
    assert after is None


async def test_the_embedded_store_deletes_expired_resources_on_the_next_write():
    now = datetime(2026, 1, 1, tzinfo=UTC)
    store = EmbeddedStore(clock=lambda: now)
    for n in range(100):
        await store.put_with_ttl("Session", f"a{n}", {}, seconds=60)
        now += timedelta(seconds=n == 49)
    now += timedelta(seconds=59)
    await store.put_with_ttl("Session", "b", {}, seconds=60)
    some = len(store._kinds["Session"])
    now += timedelta(seconds=1)
    await store.put_with_ttl("Session", "c", {}, seconds=60)

    assert (some, sorted(store._kinds["Session"])) == (51, ["b", "c"])


async def test_one_write_to_the_embedded_store_deletes_only_some_expired_resources(monkeypatch):
    monkeypatch.setattr(memory, "MAX_EXPIRED", 2)
    now = datetime(2026, 1, 1, tzinfo=UTC)
    store = EmbeddedStore(clock=lambda: now)
    for n in range(5):
        await store.put_with_ttl("Session", f"a{n}", {}, seconds=60)
    now += timedelta(seconds=60)
    kept = []
    for n in range(4):
        await store.put_with_ttl("Session", f"b{n}", {}, seconds=60)
        kept.append(sum(id_.startswith("a") for id_ in store._kinds["Session"]))

    assert kept == [3, 1, 0, 0]


async def test_the_embedded_store_keeps_no_expiry_of_removed_resources():
    store = EmbeddedStore()
    for n in range(100):
        await store.put_with_ttl("Session", f"a{n}", {}, seconds=60)
        await store.remove(await store.get("Session", f"a{n}"))

    assert not store._expiries
    assert not store._kinds["Session"]


async def test_the_embedded_store_adopts_all_changes_of_a_draft():
    store = EmbeddedStore()
    kept, changed, removed = await fill(store, "kept", "changed", "removed")
    draft = store.draft()
    await draft.replace("AwsAccount", "changed", {"region": "us-east-1"}, expected=changed)
    await draft.remove(removed)
    _, passing = await fill(draft, "new", "passing")
    await draft.remove(passing)
    read = [await draft.get("AwsAccount", id_) for id_ in ("kept", "removed", "passing")]
    untouched = await listed(store, offset=0, count=9)
    adopted = store.adopt(draft)

    assert read == [kept, None, None]

    assert untouched == ["changed", "kept", "removed"]
    assert (adopted, await listed(store, offset=0, count=9)) == (True, ["changed", "kept", "new"])
    assert await store.get("AwsAccount", "kept") is kept
    assert (await store.get("AwsAccount", "changed")).fields == {"region": "us-east-1"}
    assert (await store.replace("AwsAccount", "later", {}, expected=None)).version > changed.version


@pytest.mark.parametrize(("id_", "adopted"), [("a", False), ("b", True), ("new", False), ("other", True)])
async def test_the_embedded_store_refuses_changes_to_what_has_changed_since(id_, adopted):
    store = EmbeddedStore()
    first, _ = await fill(store, "a", "b")
    draft = store.draft()
    await draft.remove(first)
    await fill(draft, "new")
    expected = await store.get("AwsAccount", id_)
    written = await store.replace("AwsAccount", id_, {"region": "written"}, expected=expected)

    assert store.adopt(draft) is adopted
    assert await store.get("AwsAccount", id_) is written
    assert ("new" in await listed(store, offset=0, count=9)) is (adopted or id_ == "new")


async def test_a_draft_of_the_embedded_store_uses_no_version_twice():
    now = datetime(2020, 1, 1, tzinfo=UTC)
    store = EmbeddedStore(lambda: now)
    for _ in range(3):
        (stored,) = await fill(store, "a")
        await store.remove(stored)
    draft = store.draft()
    (again,) = await fill(draft, "a")
    store.adopt(draft)
    (later,) = await fill(store, "b")

    assert later.version > again.version > stored.version
