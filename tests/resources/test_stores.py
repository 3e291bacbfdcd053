"""What every store promises, whichever it is."""

import asyncio
import random

import pytest
from fakeredis import FakeAsyncRedis, FakeServer

from service.resources.cache import CachedStore
from service.resources.redis import RedisStore
from service.resources.store import EmbeddedStore, Page
from service.resources.tracking import Tracker


def fake_client(server):
    return FakeAsyncRedis(server=server, decode_responses=True, encoding_errors="surrogateescape", max_connections=200)


@pytest.fixture(params=["embedded", "fakeredis", "redis", "cached"])
async def store(request):
    if request.param == "embedded":
        store = EmbeddedStore()
    elif request.param == "fakeredis":
        server = FakeServer()
        store = RedisStore(fake_client(server), fake_client(server))
    else:
        url = request.getfixturevalue("redis_url")
        store = RedisStore.at(url)
        if request.param == "cached":
            store = CachedStore(store, Tracker.at(url, kinds=["AwsAccount"]), size=100, ttl=60, stale=60)
    await store.open()
    yield store
    await store.close()


async def fill(store, *ids, kind="AwsAccount"):
    return [await store.replace(kind, id_, {"id": id_, "region": "eu-west-1"}, seen=None) for id_ in ids]


async def listed(store, **page):
    return [resource.id for resource in (await store.page("AwsAccount", **page)).resources]


async def test_what_is_stored_is_read_back(store):
    stored = await store.replace("AwsAccount", "a", {"id": "a", "host": "s3.тест", "region": ""}, seen=None)

    assert await store.get("AwsAccount", "a") == await store.get("AwsAccount", "a", fresh=True) == stored
    assert stored.fields == {"id": "a", "host": "s3.тест", "region": ""}


async def test_what_is_at_hand_is_what_is_stored(store):
    (stored,) = await fill(store, "a")
    await store.get("AwsAccount", "a")
    before = store.at_hand("AwsAccount", "a")
    changed = await store.replace("AwsAccount", "a", {"id": "a", "n": "2"}, seen=stored)

    assert before in (stored, None)
    assert store.at_hand("AwsAccount", "a") in (changed, None)
    assert store.at_hand("AwsAccount", "b") is None


async def test_what_was_never_stored_is_none(store):
    await fill(store, "a")

    assert await store.get("AwsAccount", "b") is None
    assert await store.get("Client", "a") is None


async def test_replacing_takes_the_place_of_every_field(store):
    (seen,) = await fill(store, "a")
    await store.replace("AwsAccount", "a", {"host": "minio:9000"}, seen=seen)

    assert (await store.get("AwsAccount", "a")).fields == {"host": "minio:9000"}


async def test_a_resource_keeps_its_creation_and_moves_its_update(store):
    (first,) = await fill(store, "a")
    second = await store.replace("AwsAccount", "a", {"id": "a"}, seen=first)

    assert second.meta.created_at == first.meta.created_at
    assert second.meta.last_updated > first.meta.last_updated


async def test_of_two_writers_who_saw_nothing_one_wins(store):
    outcomes = await asyncio.gather(
        *(store.replace("AwsAccount", "a", {"writer": str(n)}, seen=None) for n in range(10))
    )

    (winner,) = [outcome for outcome in outcomes if outcome]
    assert await store.get("AwsAccount", "a") == winner


async def test_of_two_writers_who_saw_the_same_one_wins(store):
    (seen,) = await fill(store, "a")
    outcomes = await asyncio.gather(
        *(store.replace("AwsAccount", "a", {"writer": str(n)}, seen=seen) for n in range(10))
    )

    (winner,) = [outcome for outcome in outcomes if outcome]
    assert await store.get("AwsAccount", "a") == winner


async def test_of_a_writer_and_a_remover_who_saw_the_same_one_wins(store):
    (seen,) = await fill(store, "a")
    written, removed = await asyncio.gather(
        store.replace("AwsAccount", "a", {"region": "us-east-1"}, seen=seen), store.remove(seen)
    )

    assert bool(written) is not removed
    assert await store.get("AwsAccount", "a") == written


async def test_what_has_changed_is_not_removed(store):
    (seen,) = await fill(store, "a")
    changed = await store.replace("AwsAccount", "a", {"id": "a"}, seen=seen)

    assert not await store.remove(seen)
    assert await store.get("AwsAccount", "a") == changed


async def test_what_is_removed_is_gone(store):
    (seen,) = await fill(store, "a")

    assert await store.remove(seen)
    assert await store.get("AwsAccount", "a") is None
    assert await store.page("AwsAccount", offset=0, count=10) == Page(0, [])


async def test_what_is_gone_is_not_removed_again(store):
    (seen,) = await fill(store, "a")
    await store.remove(seen)

    assert not await store.remove(seen)


async def test_what_is_gone_is_not_replaced(store):
    (seen,) = await fill(store, "a")
    await store.remove(seen)

    assert await store.replace("AwsAccount", "a", {"id": "a"}, seen=seen) is None
    assert await store.get("AwsAccount", "a") is None


async def test_versions_grow(store):
    (first,) = await fill(store, "a")
    second = await store.replace("AwsAccount", "a", {"id": "a"}, seen=first)

    assert 0 < first.version < second.version


async def test_versions_grow_beyond_a_deletion(store):
    (first,) = await fill(store, "a")
    await store.remove(first)
    (second,) = await fill(store, "a")

    assert second.version > first.version


async def test_a_hundred_racing_writers_lose_no_update(store):
    async def increment():
        while True:
            seen = await store.get("AwsAccount", "a")
            if await store.replace("AwsAccount", "a", {"n": str(int(seen.fields["n"]) + 1)}, seen=seen):
                return
            await asyncio.sleep(random.uniform(0, 0.05))  # noqa: S311 - no secret

    await store.replace("AwsAccount", "a", {"n": "0"}, seen=None)
    await asyncio.gather(*(increment() for _ in range(100)))

    assert (await store.get("AwsAccount", "a")).fields == {"n": "100"}


async def test_a_listing_is_ordered_by_the_bytes_of_the_ids(store):
    ids = ["b", "a", "B", "a.b", "a-b", "a_b", "10", "9", "Z" * 64, "a0"]
    await fill(store, *ids)

    assert await listed(store, offset=0, count=100) == sorted(ids)


async def test_a_page_is_a_part_of_the_listing(store):
    await fill(store, *"abcdefg")

    assert await listed(store, offset=0, count=3) == ["a", "b", "c"]
    assert await listed(store, offset=3, count=3) == ["d", "e", "f"]
    assert await listed(store, offset=6, count=3) == ["g"]
    assert await listed(store, offset=9, count=3) == []


async def test_the_total_counts_all_pages(store):
    await fill(store, *"abc")

    assert (await store.page("AwsAccount", offset=0, count=0)).total == 3
    assert (await store.page("AwsAccount", offset=9, count=1)).total == 3


async def test_a_page_holds_whole_resources(store):
    stored = await fill(store, "a", "b")

    assert list((await store.page("AwsAccount", offset=0, count=10)).resources) == stored


async def test_kinds_are_listed_apart(store):
    await fill(store, "a")
    await fill(store, "b", kind="Client")

    assert await listed(store, offset=0, count=10) == ["a"]


async def test_an_open_store_answers(store):
    await store.check()

    assert list(store.warnings()) == []
