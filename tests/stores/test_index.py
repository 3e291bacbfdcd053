"""The listing index: agreement with the hashes after writes by the service and by operators."""

import asyncio
import random

import pytest
from redis.exceptions import NoPermissionError
from support.shards import client_of
from support.waiting import until

from service.errors import StoreUnavailable
from service.stores import index
from service.stores.cache import CachedStore
from service.stores.index import escape_glob
from service.stores.redis import RedisStore
from service.stores.tracking import Tracker

pytestmark = pytest.mark.slow

HANG_SECONDS = 10


@pytest.fixture
async def store(redis_url, monkeypatch):
    """A store that repairs its index completely before each listing, even on a busy machine."""
    monkeypatch.setattr(index, "PAUSE_PER_REPAIR", 0)
    monkeypatch.setattr(index, "WAIT_SECONDS", HANG_SECONDS)
    store = RedisStore.at(redis_url)
    await store.open()
    yield store
    await store.close()


async def listed(store, kind="AwsAccount"):
    page = await store.page(kind, offset=0, count=1000)
    assert page.total == len(page.resources)
    return [resource.id for resource in page.resources]


async def is_listed(store, id):
    return id in {resource.id for resource in await store.all("AwsAccount")}


async def fill(store, *ids):
    return [await store.replace("AwsAccount", id_, {"id": id_}, expected=None) for id_ in ids]


async def test_a_hash_created_by_an_operator_is_listed(store, operator):
    await fill(store, "a", "c")
    await operator.hset("AwsAccount:b", "id", "b")

    assert await listed(store) == ["a", "b", "c"]


@pytest.mark.parametrize("command", ["HSET", "DEL"])
async def test_a_completed_listing_contains_what_other_programs_did_before(store, operator, monkeypatch, command):
    await fill(store, "a", "b")
    await listed(store)
    monkeypatch.setattr(index, "WAIT_SECONDS", 0)
    await operator.execute_command(
        *("HSET", "AwsAccount:c", "id", "c") if command == "HSET" else ("DEL", "AwsAccount:b")
    )

    assert await store.complete_listing("AwsAccount")
    assert await listed(store) == (["a", "b", "c"] if command == "HSET" else ["a"])


async def test_a_listing_is_completed_although_an_earlier_scan_runs(store, operator, monkeypatch):
    monkeypatch.setattr(index, "WAIT_SECONDS", 0)
    await fill(store, "a")
    await store.page("AwsAccount", offset=0, count=1)
    await operator.hset("AwsAccount:b", "id", "b")

    assert await store.complete_listing("AwsAccount")
    assert await listed(store) == ["a", "b"]


async def test_a_hash_deleted_by_an_operator_is_not_listed(store, operator):
    await fill(store, "a", "b", "c")
    await operator.delete("AwsAccount:b")

    assert await listed(store) == ["a", "c"]


@pytest.mark.parametrize("listed_before", [False, True])
@pytest.mark.parametrize("command", [("set", "x"), ("rpush", "x"), ("hset", "x", "x")], ids=lambda command: command[0])
async def test_a_key_that_is_no_index_is_named_until_it_is_deleted(store, operator, caplog, listed_before, command):
    await fill(store, "a")
    if listed_before:
        await listed(store)
    name, *arguments = command
    await operator.delete("_index:AwsAccount")
    await getattr(operator, name)("_index:AwsAccount", *arguments)
    problem = "_index:AwsAccount is no sorted set in Redis; delete this key"

    for _ in range(2):
        with pytest.raises(StoreUnavailable, match=problem):
            await store.page("AwsAccount", offset=0, count=10)
    warnings, logged = list(store.warnings()), caplog.text
    await operator.delete("_index:AwsAccount")

    assert [problem in warning for warning in warnings] == [True]
    assert logged.count(problem) == 1
    assert await listed(store) == ["a"]
    assert list(store.warnings()) == []


async def test_a_listing_after_a_flush_is_empty(store, operator):
    await fill(store, "a")
    await operator.flushall()

    assert await listed(store) == []


async def test_a_deleted_index_is_rebuilt(store, operator):
    ids = sorted(f"a{n}" for n in range(index.CHUNK + 7))
    await fill(store, *ids)
    await operator.delete("_index:AwsAccount")

    assert (await store.page("AwsAccount", offset=200, count=3)).total == len(ids)
    assert await listed(store) == ids


async def test_all_of_many_ids_without_a_hash_are_removed(store, operator):
    await fill(store, "a")
    await operator.zadd("_index:AwsAccount", dict.fromkeys((f"gone{n}" for n in range(index.CHUNK * 2 + 7)), 0))

    assert await listed(store) == ["a"]


async def test_a_key_that_is_no_hash_is_not_listed(store, operator):
    await fill(store, "a", "b")
    await operator.set("AwsAccount:a", "surprise")
    await operator.set("AwsAccount:c", "surprise")

    assert await listed(store) == ["b"]


async def test_a_key_that_becomes_no_hash_after_the_repair_is_not_listed(store, operator, monkeypatch):
    await fill(store, "a", "b")
    await listed(store)
    monkeypatch.setattr(index.Index, "_repair", lambda *_: asyncio.sleep(0))
    await operator.set("AwsAccount:a", "surprise")
    page = await store.page("AwsAccount", offset=0, count=10)

    assert [resource.id for resource in page.resources] == ["b"]


@pytest.mark.parametrize("id_", ["a:b", "a b", "-a", "a\n", "a" * 65, "", "ä"])
async def test_a_key_with_an_invalid_id_is_not_listed(store, operator, id_):
    await operator.hset(f"AwsAccount:{id_}", "id", "a")

    assert await listed(store) == []


@pytest.mark.parametrize("prefix", ["*", "a?c:", "[ab]:", "back\\slash:", "^-:", "{tag}:"])
async def test_a_prefix_is_no_glob_pattern(redis_url, operator, prefix):
    store = RedisStore.at(redis_url, prefix=prefix)
    await operator.hset(f"{prefix}AwsAccount:mine", "id", "mine")
    for other in ("anything", "abc:", "a:", "b:", "backslash:", ""):
        await operator.hset(f"{other}AwsAccount:others", "id", "others")
    found = await listed(store)
    await store.close()

    assert found == ["mine"]


def test_a_prefix_is_escaped_for_a_glob():
    assert escape_glob(r"a*b?[c]\d") == r"a\*b\?\[c\]\\d"


async def test_the_pause_after_a_repair_is_proportional_to_its_duration(redis_url, operator, monkeypatch):
    now = 0.0
    monkeypatch.setattr(index, "monotonic", lambda: now)
    store = RedisStore.at(redis_url)
    scan = client_of(store).scan

    async def slow_scan(*args, **options):
        nonlocal now
        now += 0.01
        return await scan(*args, **options)

    monkeypatch.setattr(client_of(store), "scan", slow_scan)
    found = [await listed(store)]
    await operator.hset("AwsAccount:a", "id", "a")
    now += 0.19
    found.append(await listed(store))
    now += 0.02
    found.append(await listed(store))
    await store.close()

    assert found == [[], [], ["a"]]


async def test_concurrent_listings_share_a_repair(store, monkeypatch):
    scans = 0
    scan = client_of(store).scan

    async def counted(*args, **options):
        nonlocal scans
        scans += 1
        return await scan(*args, **options)

    monkeypatch.setattr(client_of(store), "scan", counted)
    monkeypatch.setattr(index, "PAUSE_PER_REPAIR", 1000)
    await asyncio.gather(*(listed(store) for _ in range(20)))

    assert scans == 1


async def test_an_id_added_during_a_removal_is_not_lost(store, operator, redis_url, monkeypatch):
    (seen,) = await fill(store, "a")
    other, zrem = RedisStore.at(redis_url), client_of(store).zrem

    async def late_zrem(*args):
        await fill(other, "a")
        return await zrem(*args)

    monkeypatch.setattr(client_of(store), "zrem", late_zrem)
    await store.remove(seen)
    await other.close()

    assert await operator.zrange("_index:AwsAccount", 0, -1) == ["a"]


async def test_the_index_contains_an_id_before_its_hash_exists(store, operator, monkeypatch):
    swap, entries = store._swap, []

    async def swap_and_read(*args, **options):
        outcome = await swap(*args, **options)
        entries.extend(await operator.zrange("_index:AwsAccount", 0, -1))
        return outcome

    monkeypatch.setattr(store, "_swap", swap_and_read)
    await fill(store, "a")

    assert entries == ["a"]


async def test_an_id_that_a_repair_removes_before_its_hash_exists_is_not_lost(store, operator, monkeypatch):
    swap, entries = store._swap, []

    async def late_swap(*args, **options):
        await listed(store)
        entries.extend(await operator.zrange("_index:AwsAccount", 0, -1))
        return await swap(*args, **options)

    monkeypatch.setattr(store, "_swap", late_swap)
    await fill(store, "a")

    assert entries == [index.COMPLETE]
    assert await operator.zrange("_index:AwsAccount", 0, -1) == [index.COMPLETE, "a"]


async def test_a_repair_asks_for_no_single_hash_that_still_exists(store, operator):
    await operator.hset("AwsAccount:a", "region", "eu-west-1")
    await operator.config_resetstat()

    assert await listed(store) == ["a"]
    assert "cmdstat_type" not in await operator.info("commandstats")


async def test_a_hash_deleted_during_a_repair_is_not_listed(store, operator, monkeypatch):
    await operator.hset("AwsAccount:a", "id", "a")
    scan = client_of(store).scan

    async def early_scan(*args, **options):
        found = await scan(*args, **options)
        await operator.delete("AwsAccount:a")
        return found

    monkeypatch.setattr(client_of(store), "scan", early_scan)

    assert await listed(store) == []


@pytest.mark.parametrize("seed", range(3))
async def test_concurrent_writes_and_removals_lose_no_id(store, operator, seed):
    rng = random.Random(seed)  # noqa: S311 - no secret

    async def churn():
        for _ in range(30):
            id_ = rng.choice("abc")
            seen = await store.get("AwsAccount", id_)
            await (store.remove(seen) if seen else store.replace("AwsAccount", id_, {"id": id_}, expected=None))

    await asyncio.gather(*(churn() for _ in range(20)))
    existing = {key.removeprefix("AwsAccount:") for key in await operator.keys("AwsAccount:*")}
    entries = set(await operator.zrange("_index:AwsAccount", 0, -1))

    assert existing <= entries
    assert await listed(store) == sorted(existing)


class TestBetweenRepairs:
    """Listings before the next repair is due."""

    @pytest.fixture
    async def store(self, store, monkeypatch):
        monkeypatch.setattr(index, "PAUSE_PER_REPAIR", 1e6)
        await fill(store, "a")
        await listed(store)
        return store

    @pytest.fixture
    def no_wait(self, store, monkeypatch):  # noqa: ARG002 - store sets it first
        """Listings do not wait for a repair."""
        monkeypatch.setattr(index, "WAIT_SECONDS", 0.02)

    @pytest.fixture
    def held_scan(self, store, monkeypatch):
        """Set the event to continue scans."""
        held = asyncio.Event()
        monkeypatch.setattr(client_of(store), "scan", delayed_until_set(client_of(store).scan, held))
        return held

    async def ids(self, store, changed):
        return [resource.id for resource in await store.all("AwsAccount", changed=changed)]

    @pytest.mark.parametrize("changed", [{"a", "b", "gone", "no id", "none\udcff"}, None])
    async def test_a_renamed_hash_is_listed_if_its_id_is_passed_as_changed(self, store, operator, changed):
        await operator.rename("AwsAccount:a", "AwsAccount:b")
        unreported = await self.ids(store, ())

        assert (unreported, await self.ids(store, changed)) == ([], ["b"])
        assert await self.ids(store, ()) == ["b"]

    async def test_many_changed_ids_are_checked_in_chunks(self, store, operator, monkeypatch):
        monkeypatch.setattr(index, "INCLUDED", 3)
        ids = [f"b{number}" for number in range(8)]
        for id_ in ids:
            await operator.hset(f"AwsAccount:{id_}", "id", id_)
        await operator.config_resetstat()

        assert await self.ids(store, [*ids, "gone"]) == ["a", *ids]
        # With a read of the index by the listing.
        assert (await operator.info("commandstats"))["cmdstat_zmscore"]["calls"] == 3 + 1

    async def test_a_changed_key_that_is_no_hash_is_not_listed(self, store, operator):
        await operator.set("AwsAccount:b", "surprise")

        assert await self.ids(store, {"b"}) == ["a"]
        assert await operator.zscore("_index:AwsAccount", "b") is None

    async def test_a_change_during_a_repair_causes_another_repair(self, store, operator, monkeypatch):
        scan = client_of(store).scan

        async def passing(*args, **options):
            answer = await scan(*args, **options)
            if not held.is_set():
                begun.set()
                await held.wait()
            return answer

        begun, held = asyncio.Event(), asyncio.Event()
        monkeypatch.setattr(client_of(store), "scan", passing)
        early = asyncio.create_task(self.ids(store, None))
        await begun.wait()
        await operator.hset("AwsAccount:b", "id", "b")
        late = asyncio.create_task(self.ids(store, None))
        await asyncio.sleep(0)
        held.set()
        await early

        assert await late == ["a", "b"]

    @pytest.mark.parametrize("command", ["scan", "zmscore", "zadd"])
    @pytest.mark.usefixtures("no_wait")
    @pytest.mark.slow
    async def test_a_failed_repair_delays_no_listing_and_is_repeated(self, store, operator, monkeypatch, command):
        await operator.hset("AwsAccount:b", "id", "b")
        with monkeypatch.context() as patch:
            patch.setattr(client_of(store), command, unreachable)
            listings = [asyncio.create_task(self.ids(store, None)) for _ in range(5)]
            meanwhile = await asyncio.gather(*listings)
            await asyncio.wait({store._index._repairs["AwsAccount"].task})
        monkeypatch.setattr(index, "WAIT_SECONDS", HANG_SECONDS)

        assert meanwhile == [["a"]] * 5
        assert await self.ids(store, ()) == ["a", "b"]

    @pytest.mark.parametrize("command", ["scan", "zadd"])
    @pytest.mark.usefixtures("no_wait")
    async def test_a_failed_repair_invalidates_cached_listings(self, store, operator, monkeypatch, command):
        notified = []
        store._index.listing_changed = notified.append
        await operator.hset("AwsAccount:b", "id", "b")
        monkeypatch.setattr(client_of(store), command, unreachable)
        await self.ids(store, None)
        await asyncio.wait({store._index._repairs["AwsAccount"].task})

        assert notified == ["AwsAccount"]

    async def test_the_next_listing_is_correct_after_an_id_could_not_be_added(self, store, monkeypatch):
        with monkeypatch.context() as patch:
            patch.setattr(client_of(store), "zadd", unreachable)
            await fill(store, "b")

        assert await listed(store) == ["a", "b"]

    async def test_the_next_listing_is_correct_after_an_id_could_not_be_removed(self, store, monkeypatch):
        with monkeypatch.context() as patch:
            patch.setattr(client_of(store), "zrem", unreachable)
            await store.remove(await store.get("AwsAccount", "a"))

        assert await listed(store) == []

    @pytest.mark.usefixtures("no_wait")
    async def test_a_listing_does_not_wait_for_a_long_scan_and_is_correct_after_it(self, store, operator, held_scan):
        notified = []
        store._index.listing_changed = notified.append
        await operator.rename("AwsAccount:a", "AwsAccount:b")
        async with asyncio.timeout(HANG_SECONDS):
            known = [await self.ids(store, changed) for changed in (None, (), {"b"})]
        before = list(notified)
        held_scan.set()
        await asyncio.wait({store._index._repairs["AwsAccount"].task})

        assert known == [[], [], ["b"]]
        assert before == []
        assert notified == ["AwsAccount"]
        assert await listed(store) == ["b"]

    @pytest.mark.usefixtures("no_wait", "store")
    async def test_a_first_listing_uses_the_index_of_other_processes(self, redis_url, monkeypatch):
        other = RedisStore.at(redis_url)
        held = asyncio.Event()
        monkeypatch.setattr(client_of(other), "scan", delayed_until_set(client_of(other).scan, held))
        async with asyncio.timeout(HANG_SECONDS):
            known = await listed(other)
        await other.close()

        assert known == ["a"]

    @pytest.mark.parametrize("lost_by", ["delete", "flush", "delete and write", "flush and write", "older release"])
    @pytest.mark.usefixtures("no_wait")
    async def test_a_listing_waits_for_a_scan_if_no_scan_has_completed_the_index(
        self, store, operator, redis_url, monkeypatch, lost_by
    ):
        await lose_index(lost_by, store, operator)
        other = RedisStore.at(redis_url)
        held = asyncio.Event()
        monkeypatch.setattr(client_of(other), "scan", delayed_until_set(client_of(other).scan, held))
        listing = asyncio.create_task(listed(other))
        await asyncio.sleep(4 * index.WAIT_SECONDS)
        waits = not listing.done()
        held.set()

        assert waits
        assert {"a", "imported"} <= {*await listing}
        await other.close()

    @pytest.mark.parametrize("lost_by", ["delete", "flush", "delete and write", "flush and write", "older release"])
    @pytest.mark.usefixtures("no_wait")
    async def test_an_index_lost_after_a_listing_is_built_again_before_the_next_one(self, store, operator, lost_by):
        await lose_index(lost_by, store, operator)

        assert {"a", "imported"} <= {*await listed(store)}

    @pytest.mark.usefixtures("no_wait", "held_scan")
    async def test_a_listing_fails_while_a_long_scan_builds_the_index(self, store, operator, monkeypatch, held_scan):
        await lose_index("delete and write", store, operator)
        monkeypatch.setattr(index, "BUILD_SECONDS", 0.05)
        for call in (store.page("AwsAccount", offset=0, count=1), store.all("AwsAccount"), listed(store, "Client")):
            with pytest.raises(StoreUnavailable, match=r"The index of (AwsAccount|Client) is being built; try again"):
                await call
        monkeypatch.setattr(index, "BUILD_SECONDS", HANG_SECONDS)
        held_scan.set()

        assert await listed(store) == ["a", "imported", "written"]

    @pytest.mark.usefixtures("no_wait")
    async def test_a_known_listing_is_used_while_a_long_scan_builds_the_index(self, store, operator, held_scan):
        cache = CachedStore(store, Tracker(store.topology, kinds=["AwsAccount"]), size=10, ttl=0, stale=60)
        await cache.open()
        known = await cache.all("AwsAccount")
        await operator.delete("_index:AwsAccount")
        async with asyncio.timeout(HANG_SECONDS):
            during = [await cache.all("AwsAccount") for _ in range(3)]
            with pytest.raises(StoreUnavailable, match="is being built"):
                await cache.check("AwsAccount")
        await cache.check()
        held_scan.set()
        await operator.hset("AwsAccount:imported", "id", "imported")
        await until(lambda: is_listed(cache, "imported"))
        await cache.close()

        assert [resource.id for resource in known] == ["a"]
        assert during == [known] * 3

    @pytest.mark.usefixtures("no_wait", "held_scan")
    async def test_a_listing_succeeds_when_another_process_has_built_the_index(
        self, store, operator, redis_url, monkeypatch
    ):
        await lose_index("delete", store, operator)
        monkeypatch.setattr(index, "BUILD_SECONDS", 0.5)
        listing = asyncio.create_task(listed(store))
        other = RedisStore.at(redis_url)
        await other.page("AwsAccount", offset=0, count=1)
        await other.close()

        assert await listing == ["a", "imported"]

    async def test_an_index_is_complete_after_its_last_id_is_removed(self, store, operator, monkeypatch):
        await store.remove(await store.get("AwsAccount", "a"))
        monkeypatch.setattr(client_of(store), "scan", unreachable)

        assert await listed(store) == []
        assert await operator.zrange("_index:AwsAccount", 0, -1) == [index.COMPLETE]

    async def test_an_incomplete_index_is_listed_if_redis_refuses_scans(self, store, operator, monkeypatch):
        await lose_index("delete and write", store, operator)
        monkeypatch.setattr(client_of(store), "scan", refused)

        assert [await listed(store) for _ in range(2)] == [["written"]] * 2

    async def test_an_index_is_built_after_a_key_that_was_no_index_is_deleted(self, store, operator):
        await operator.set("_index:AwsAccount", "surprise")
        with pytest.raises(StoreUnavailable, match="is no sorted set"):
            await self.ids(store, None)
        await operator.delete("_index:AwsAccount")

        assert await listed(store) == ["a"]

    @pytest.mark.usefixtures("no_wait", "held_scan")
    async def test_a_closed_store_cancels_its_scan(self, store):
        await self.ids(store, None)
        await store.close()

        assert asyncio.all_tasks() == {asyncio.current_task()}

    async def test_listings_use_the_index_as_it_is_if_redis_refuses_writes(self, store, operator, monkeypatch):
        await operator.hset("AwsAccount:b", "id", "b")
        monkeypatch.setattr(client_of(store), "zadd", refused)

        assert [await self.ids(store, changed) for changed in ({"b"}, None)] == [["a"], ["a"]]


async def lose_index(lost_by, store, operator):
    """Lose the index, or the knowledge that it is complete. Hashes have the ids "a" and "imported" then."""
    if lost_by == "older release":
        await operator.zrem("_index:AwsAccount", index.COMPLETE)
    elif "flush" in lost_by:
        await operator.flushall()
    else:
        await operator.delete("_index:AwsAccount")
    for id_ in ("a", "imported"):
        await operator.hset(f"AwsAccount:{id_}", "id", id_)
    if "write" in lost_by:
        await fill(store, "written")


async def unreachable(*_args, **_options):
    raise ConnectionError


async def refused(*_args, **_options):
    raise NoPermissionError


def delayed_until_set(call, event):
    async def wait_and_call(*args, **options):
        await event.wait()
        return await call(*args, **options)

    return wait_and_call
