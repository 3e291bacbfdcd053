"""Accounts behind Sentinels: discovery, failover, and addresses that are wrong."""

import asyncio

import pytest
from plugins.redis_server import free_port
from plugins.redis_topologies import SERVICE, SentinelGroup
from support.waiting import until
from support.writes import KIND, put, reads

from service.errors import StoreUnavailable

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("end", ["kill", "hang"])
async def test_writes_and_the_cache_move_to_the_new_primary(own_sentinel, open_store, end):
    store = await open_store(own_sentinel.url)
    old, new = own_sentinel.primary, own_sentinel.replica
    assert await put(store, "a", "old")
    await until(lambda: new.run("EXISTS", f"{KIND}:a"))
    await asyncio.to_thread(getattr(old, end))
    await until(lambda: put(store, "a", "new"))
    await until(lambda: not store.warnings())
    assert await reads(store, "a", "new")
    new.run("HSET", f"{KIND}:a", "region", "newer")

    await until(lambda: reads(store, "a", "newer"))


async def test_a_hung_sentinel_delays_no_failover(own_sentinel, open_store):
    own_sentinel.sentinels[0].hang()
    store = await open_store(own_sentinel.url)
    own_sentinel.primary.kill()

    await until(lambda: put(store, "a", "new"))


async def test_a_returned_primary_takes_no_writes_after_the_next_check(redis_binary, tmp_path, open_store):
    group = SentinelGroup(redis_binary, tmp_path, hasty=False)
    group.start()
    try:
        store = await open_store(group.url)
        old, new = group.primary, group.replica
        old.hang()
        await until(lambda: put(store, "a", "one"))
        old.resume()
        for number in range(20):
            assert await put(store, f"b{number}", "two")
        on_new = [new.run("EXISTS", f"{KIND}:b{number}") for number in range(20)]
    finally:
        group.stop()

    assert on_new == [1] * 20


async def test_a_demotion_ends_the_session_of_the_cache(own_sentinel, open_store):
    store = await open_store(own_sentinel.url)
    assert await put(store, "a", "old")
    assert await reads(store, "a", "old")
    await asyncio.to_thread(own_sentinel.fail_over)
    own_sentinel.primary.run("HSET", f"{KIND}:a", "region", "new")

    await until(lambda: reads(store, "a", "new"))


async def test_reads_continue_while_no_sentinel_answers(own_sentinel, open_store):
    store = await open_store(own_sentinel.url, cached=False)
    for sentinel in own_sentinel.sentinels:
        sentinel.kill()
    await until(lambda: any("failover goes unnoticed" in warning for warning in store.warnings()))

    assert await put(store, "a", "one")
    await store.check()


async def test_a_store_that_starts_before_its_sentinels_finds_them_later(redis_binary, tmp_path, open_store, caplog):
    group = SentinelGroup(redis_binary, tmp_path)
    store = await open_store(group.url)
    with pytest.raises(StoreUnavailable):
        await store.check()
    ready = await store.reached_within(3600)
    try:
        await asyncio.to_thread(group.start)
        await until(lambda: put(store, "a", "one"))
    finally:
        group.stop()

    assert not ready
    assert caplog.text.count("does not find its primaries") == 1


class TestWrongUrls:
    async def problem(self, url, open_store, caplog):
        store = await open_store(url, cached=False)
        with pytest.raises(StoreUnavailable):
            await store.get(KIND, "a")
        (record,) = [record for record in caplog.records if record.levelname == "WARNING"]
        assert "hush" not in record.getMessage()
        return record.getMessage()

    async def test_a_service_that_no_sentinel_knows_is_named(self, sentinel_url, open_store, caplog):
        problem = await self.problem(sentinel_url.replace(SERVICE, "other"), open_store, caplog)

        assert f"no Sentinel knows the service other; they know: {SERVICE}" in problem

    async def test_a_redis_in_place_of_a_sentinel_is_named(self, shared_redis, open_store, caplog):
        problem = await self.problem(f"redis+sentinel://127.0.0.1:{shared_redis.port}/x", open_store, caplog)

        assert f"is no Sentinel; if it is the Redis, write redis://127.0.0.1:{shared_redis.port}" in problem

    async def test_a_redis_in_place_of_a_cluster_is_named(self, shared_redis, open_store, caplog):
        problem = await self.problem(f"redis+cluster://127.0.0.1:{shared_redis.port}", open_store, caplog)

        assert f"is no node of a Cluster; write redis://127.0.0.1:{shared_redis.port}" in problem

    async def test_sentinels_that_do_not_answer_are_named(self, open_store, caplog):
        port = free_port()
        problem = await self.problem(f"redis+sentinel://u:hush@127.0.0.1:{port}/x", open_store, caplog)

        assert f"these Sentinels do not answer: 127.0.0.1:{port} (ConnectionError" in problem


async def test_sentinels_have_credentials_of_their_own(redis_binary, tmp_path, open_store):
    lines = (f"sentinel auth-user {SERVICE} default", f"sentinel auth-pass {SERVICE} data-password")
    group = SentinelGroup(
        redis_binary, tmp_path, "--requirepass", "data-password", "--masterauth", "data-password", lines=lines
    )
    for node in group.nodes:
        node.password = "data-password"
    try:
        group.start()
        for sentinel in group.sentinels:
            sentinel.run("ACL", "SETUSER", "watcher", "on", ">watch-password", "+sentinel|masters")
            sentinel.run("ACL", "SETUSER", "default", "-sentinel|masters")
        url = group.url.replace("://", "://:data-password@")
        store = await open_store(f"{url}?sentinel-username=watcher&sentinel-password=watch-password")
        written = await put(store, "a", "one")
    finally:
        group.stop()

    assert written
    assert store.warnings() == []
