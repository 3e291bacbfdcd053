"""Accounts behind Sentinels: discovery, failover, and addresses that are wrong."""

import asyncio
from contextlib import suppress

import pytest
from plugins.redis_server import free_port
from plugins.redis_topologies import SERVICE, SentinelGroup
from processes import ServiceProcess
from redis.exceptions import ResponseError
from support.waiting import until
from support.writes import KIND, put, reads

from service.errors import StoreUnavailable
from service.stores import discovery, topology

GET_ADDRESS = "+sentinel|get-master-addr-by-name"

pytestmark = pytest.mark.heavy


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


async def test_writes_move_at_once_while_the_sentinels_wait_for_another_replica(redis_binary, tmp_path, open_store):
    group = SentinelGroup(redis_binary, tmp_path, hasty=False, replicas=2)
    group.start()
    try:
        old, *replicas = group.nodes
        leader, *_ = group.sentinels
        store = await open_store(f"redis+sentinel://127.0.0.1:{leader.port}/{SERVICE}")
        for replica in replicas:
            # The other replica cannot follow the new primary, so the failover does not end.
            replica.run("ACL", "SETUSER", "default", "-psync", "-sync")
        leader.run("SENTINEL", "SET", SERVICE, "failover-timeout", 180_000)
        leader.run("SENTINEL", "FAILOVER", SERVICE)
        await until(lambda: any(replica.info()["role"] == "master" for replica in replicas))
        (new,) = (replica for replica in replicas if replica.info()["role"] == "master")

        async def is_written_to_the_new_primary():
            return await put(store, "a", "new") and new.run("EXISTS", f"{KIND}:a")

        await until(is_written_to_the_new_primary, seconds=5)
        state = leader.run("SENTINEL MASTER", SERVICE)
    finally:
        group.stop()

    assert "failover_in_progress" in state["flags"]
    assert state["port"] == old.port


async def test_a_sentinel_that_does_not_know_the_last_promotion_is_not_followed(redis_binary, tmp_path, open_store):
    group = SentinelGroup(redis_binary, tmp_path, hasty=False)
    group.start()
    try:
        old, new = group.nodes
        cut_off, *others = group.sentinels
        cut_off.kill()
        # A Sentinel gives up if the replica does not answer in time.
        while port_of_primary(others[0]) != new.port:
            with suppress(ResponseError):
                others[0].run("SENTINEL", "FAILOVER", SERVICE)
            with suppress(TimeoutError):
                await until(lambda: port_of_primary(others[0]) == new.port, seconds=5)
        await until(lambda: port_of_primary(others[1]) == new.port, seconds=60)
        for other in others:
            other.run("SENTINEL", "DEBUG", "publish-period", 3_600_000)
        await asyncio.to_thread(cut_off.start)
        store = await open_store(group.url)
        written = await put(store, "a", "one"), new.run("EXISTS", f"{KIND}:a")
        named = port_of_primary(cut_off)
    finally:
        group.stop()

    assert named == old.port
    assert written == (True, 1)


def port_of_primary(sentinel):
    return sentinel.run("SENTINEL GET-MASTER-ADDR-BY-NAME", SERVICE)[1]


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


async def test_reads_and_writes_continue_while_no_sentinel_answers_for_a_moment(own_sentinel, open_store):
    store = await open_store(own_sentinel.url, cached=False)
    for sentinel in own_sentinel.sentinels:
        sentinel.kill()
    await until(lambda: any("failover goes unnoticed" in warning for warning in store.warnings()))

    assert await put(store, "a", "one")
    await store.check()


async def test_a_primary_that_no_sentinel_names_for_long_is_not_used(own_sentinel, open_store, monkeypatch, caplog):
    monkeypatch.setattr(topology, "NAMED_SECONDS", 1.5)
    store = await open_store(own_sentinel.url)
    assert await put(store, "a", "one")
    assert await reads(store, "a", "one")
    primary = own_sentinel.primary
    for sentinel in own_sentinel.sentinels:
        sentinel.hang()

    async def is_unused():
        return not await reads(store, "a", "one")

    await until(is_unused)
    written = await put(store, "b", "two")
    ready = [await store.reached_within(seconds) for seconds in (0, 60)]
    with pytest.raises(StoreUnavailable, match="has no primary: NoPrimary: these Sentinels do not answer"):
        await store.check()
    for sentinel in own_sentinel.sentinels:
        sentinel.resume()

    await until(lambda: reads(store, "a", "one"))
    await until(lambda: not store.warnings())
    assert not written
    assert primary.run("EXISTS", f"{KIND}:b") == 0
    assert ready == [False, True]
    assert caplog.text.count("uses no primary until one is named again") == 1


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


@pytest.mark.parametrize(
    ("command", "fault"),
    [
        ("ACL SETUSER default -sentinel|masters", "refuses to name the primary: NoPermissionError"),
        (f"SENTINEL REMOVE {SERVICE}", f"does not know the service {SERVICE}"),
    ],
)
async def test_a_sentinel_that_cannot_name_the_primary_is_warned_of(own_sentinel, open_store, caplog, command, fault):
    bad, *_ = own_sentinel.sentinels
    bad.run(*command.split())
    store = await open_store(own_sentinel.url)
    (warning,) = store.warnings()

    assert warning.startswith(f"the Sentinel 127.0.0.1:{bad.port} {fault}")
    assert caplog.text.count(warning) == 1


async def test_a_sentinel_of_another_group_is_warned_of(
    own_sentinel, redis_binary, tmp_path_factory, open_store, caplog, monkeypatch
):
    monkeypatch.setattr(discovery, "DISSENT_SECONDS", 1.5)
    another = SentinelGroup(redis_binary, tmp_path_factory.mktemp("another"))
    try:
        another.start()
        # So its Sentinels seem to know of the newest promotion.
        await asyncio.to_thread(another.fail_over)
        url = own_sentinel.url.replace("://", f"://127.0.0.1:{another.sentinels[0].port},")
        store = await open_store(url)
        at_first = store.warnings()
        await until(store.warnings)
        (warning,) = store.warnings()
        used, named = another.primary.port, own_sentinel.primary.port
    finally:
        another.stop()

    assert at_first == []
    assert f"127.0.0.1:{used} is used" in warning
    assert all(f"127.0.0.1:{other.port} names 127.0.0.1:{named}" in warning for other in own_sentinel.sentinels)
    assert caplog.text.count("name different primaries") == 1


async def test_a_sentinel_that_names_the_host_of_the_primary_does_not_differ(own_sentinel, open_store, monkeypatch):
    monkeypatch.setattr(discovery, "DISSENT_SECONDS", 0.5)
    other, port = own_sentinel.sentinels[0], own_sentinel.primary.port
    other.run("SENTINEL", "CONFIG", "SET", "resolve-hostnames", "yes")
    other.run("SENTINEL", "CONFIG", "SET", "announce-hostnames", "yes")
    other.run("SENTINEL", "REMOVE", SERVICE)
    other.run("SENTINEL", "MONITOR", SERVICE, "localhost", port, 2)
    await until(lambda: other.run("SENTINEL MASTER", SERVICE)["runid"])
    store = await open_store(own_sentinel.url)
    await asyncio.sleep(2.5)

    assert other.run("SENTINEL GET-MASTER-ADDR-BY-NAME", SERVICE)[0] == "localhost"
    assert store.warnings() == []


async def test_sentinels_that_differ_for_a_moment_after_a_promotion_are_not_warned_of(own_sentinel, open_store, caplog):
    store = await open_store(own_sentinel.url)
    await asyncio.to_thread(own_sentinel.fail_over)

    async def has_moved():
        return await put(store, "a", "one") and own_sentinel.primary.run("EXISTS", f"{KIND}:a")

    await until(has_moved)

    assert "name different primaries" not in caplog.text


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

        assert f"is no Sentinel; write redis://127.0.0.1:{shared_redis.port}" in problem

    async def test_a_redis_in_place_of_a_cluster_is_named(self, shared_redis, open_store, caplog):
        problem = await self.problem(f"redis+cluster://127.0.0.1:{shared_redis.port}", open_store, caplog)

        assert f"is no node of a Cluster; write redis://127.0.0.1:{shared_redis.port}" in problem

    @pytest.mark.parametrize("start", ["redis://", "redis://:hush@", "redis://user:hush@", "redis+cluster://:hush@"])
    @pytest.mark.parametrize("database", ["", "/1"])
    async def test_a_sentinel_is_named_also_if_it_refuses_login_and_database(
        self, shared_sentinel, open_store, caplog, start, database
    ):
        at = f"127.0.0.1:{shared_sentinel.sentinels[0].port}"
        problem = await self.problem(f"{start}{at}{database if '+' not in start else ''}", open_store, caplog)

        assert problem.endswith(f"write redis+sentinel://{at}/service, with the name of the service that it monitors")

    @pytest.mark.parametrize("start", ["redis://", "redis://:hush@", "redis+sentinel://"])
    @pytest.mark.parametrize("path", ["/0", "/1"])
    async def test_a_node_of_a_cluster_is_named_also_if_it_refuses_login_and_database(
        self, shared_cluster, open_store, caplog, start, path
    ):
        at = f"127.0.0.1:{shared_cluster.nodes[0].port}"
        problem = await self.problem(f"{start}{at}{path}", open_store, caplog)

        assert problem.endswith(f"write redis+cluster://{at}")

    @pytest.mark.parametrize("kind", ["", "+sentinel", "+cluster"])
    async def test_a_port_without_tls_is_supposed(self, shared_redis, open_store, caplog, kind):
        url = f"rediss{kind}://127.0.0.1:{shared_redis.port}{'/x' if kind == '+sentinel' else ''}"

        assert "does the port use TLS?" in await self.problem(url, open_store, caplog)

    @pytest.mark.parametrize("kind", ["sentinel", "cluster"])
    def test_the_service_logs_one_line_before_it_listens(self, request, kind):
        group = request.getfixturevalue(f"shared_{kind}")
        node = group.nodes[0] if kind == "cluster" else group.sentinels[0]
        process = ServiceProcess(measured=False, SIGNER_STORE_URL=f"redis://:hush@127.0.0.1:{node.port}/0")
        started = process.messages
        process.stop()

        assert [message for message in started if "account store" in message] == started[:1]
        assert f"write redis+{kind}://127.0.0.1:{node.port}" in started[0]
        assert "hush" not in "".join(started)

    async def test_a_wrong_or_refusing_server_is_passed_over_with_a_warning(
        self, shared_redis, own_sentinel, open_store
    ):
        own_sentinel.sentinels[0].run("ACL", "SETUSER", "default", "-sentinel|masters")
        url = own_sentinel.url.replace("://", f"://127.0.0.1:{shared_redis.port},")
        store = await open_store(url)

        assert await put(store, "a", "one")
        not_a_sentinel, refusing = store.warnings()
        assert not_a_sentinel.startswith(f"127.0.0.1:{shared_redis.port} is no Sentinel")
        assert "refuses to name the primary" in refusing

    async def test_a_refusing_node_of_a_cluster_is_passed_over(self, shared_redis, own_cluster, open_store):
        own_cluster.nodes[0].run("ACL", "SETUSER", "default", "-cluster|slots")
        url = own_cluster.url.replace("://", f"://127.0.0.1:{shared_redis.port},")
        store = await open_store(url)

        assert await put(store, "a", "one")
        assert store.warnings() == []

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
            sentinel.run("ACL", "SETUSER", "watcher", "on", ">watch-password", "+sentinel|masters", GET_ADDRESS)
            sentinel.run("ACL", "SETUSER", "default", "-sentinel|masters")
        url = group.url.replace("://", "://:data-password@")
        store = await open_store(f"{url}?sentinel-username=watcher&sentinel-password=watch-password")
        written = await put(store, "a", "one")
    finally:
        group.stop()

    assert written
    assert store.warnings() == []
