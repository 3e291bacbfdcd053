"""Addresses that move to another server, and servers that cannot be used."""

import asyncio
import logging
from contextlib import suppress

import pytest
from plugins.redis_server import RedisServer, free_port
from redis.asyncio import Redis
from support.metrics import value_of
from support.shards import monitor_of

from benchmarks import reckoning
from service.errors import StoreUnavailable
from service.stores import health
from service.stores.cache import CachedStore
from service.stores.connection import connect
from service.stores.redis import RedisStore
from service.stores.server import UnusableServer, inspect
from service.stores.store import NothingWritten
from service.stores.tracking import Tracker
from service.telemetry.metrics import CACHE_HITS

pytestmark = pytest.mark.slow

HANG_SECONDS = 10
KIND = "AwsAccount"


class Switch:
    """A TCP proxy in front of several servers. An open connection stays with its server."""

    def __init__(self, *servers):
        self._ports = [server.port for server in servers]
        self._target = self._ports[0]
        self._tasks = set()
        self._ends = {}

    async def __aenter__(self):
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1")
        self.url = f"redis://127.0.0.1:{self._listener.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_):
        self._listener.close()
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._listener.wait_closed()

    def turn_to(self, server):
        """Connect new clients to ``server``; open connections stay."""
        self._target = server.port

    def cut(self, *, but=()):
        """Close every connection, except those that have sent one of the words ``but``."""
        for writer, sent in list(self._ends.items()):
            if not any(word in sent for word in but):
                writer.transport.abort()

    async def _serve(self, reader, writer):
        self._tasks.add(asyncio.current_task())
        from_redis, to_redis = await asyncio.open_connection("127.0.0.1", self._target)
        self._ends[writer] = bytearray()
        answers = asyncio.create_task(self._copy(from_redis, writer))
        with suppress(ConnectionError):
            while request := await reader.read(65536):
                self._ends[writer] += request
                to_redis.write(request)
        answers.cancel()
        del self._ends[writer]
        to_redis.close()
        writer.close()

    async def _copy(self, reader, writer):
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
        writer.close()


@pytest.fixture
async def pair(redis_binary, tmp_path):
    """A primary and its replica in sync."""
    servers = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        servers.append(RedisServer(redis_binary, tmp_path / name))
        servers[-1].start()
    one, two = servers
    await follow(two, one)
    yield one, two
    for server in servers:
        server.kill()


@pytest.fixture
async def switch(pair):
    async with Switch(*pair) as switch:
        yield switch


@pytest.fixture
async def store(switch):
    store = RedisStore.at(switch.url)
    await store.open()
    yield store
    await store.close()


@pytest.fixture
async def cache(switch):
    store = RedisStore.at(switch.url)
    cache = CachedStore(store, Tracker(store.topology, kinds=[KIND]), size=10, ttl=3600, stale=3600)
    await cache.open()
    yield cache
    await cache.close()


@pytest.fixture
def often(store, monkeypatch):
    """Opens a new connection to the address all the time, instead of every five seconds."""
    monkeypatch.setattr(health, "PROBE_INTERVAL_SECONDS", 0.01)
    monitor_of(store).request_probe()


def admin(server):
    return Redis.from_url(server.url, decode_responses=True)


async def follow(server, primary):
    """Make ``server`` a replica of ``primary``, and wait until they are in sync."""
    async with admin(server) as client:
        await client.replicaof("127.0.0.1", primary.port)
        async with asyncio.timeout(HANG_SECONDS):
            while (await client.info("replication"))["master_link_status"] != "up":  # noqa: ASYNC110
                await asyncio.sleep(0.02)


async def catch_up(replica, primary):
    """Wait until ``replica`` has what ``primary`` has acknowledged."""
    async with admin(replica) as client, admin(primary) as other:
        written = (await other.info("replication"))["master_repl_offset"]
        async with asyncio.timeout(HANG_SECONDS):
            while (await client.info("replication"))["slave_repl_offset"] < written:  # noqa: ASYNC110
                await asyncio.sleep(0.01)


async def promote(server, demoted):
    await catch_up(server, demoted)
    async with admin(server) as client:
        await client.replicaof("NO", "ONE")
    await follow(demoted, server)


async def lost_primary(client):
    return (await client.info("replication"))["master_link_status"] == "down"


async def is_refused(store):
    try:
        await store.get(KIND, "a")
    except StoreUnavailable:
        return True
    return False


async def is_unavailable(store):
    return not monitor_of(store).is_available


async def until(condition):
    async with asyncio.timeout(HANG_SECONDS):
        while not await condition():  # noqa: ASYNC110 - the server sets no event
            await asyncio.sleep(0.01)


async def put(store, text, id="a"):
    seen = await store.get(KIND, id, bypass_cache=True)
    return await store.replace(KIND, id, {"region": text}, expected=seen)


async def takes_changes(store):
    with suppress(NothingWritten):
        return await put(store, "new")


async def region(store, id="a"):
    found = await store.get(KIND, id)
    return found and found.fields["region"]


@pytest.mark.heavy
class TestMovedAddress:
    async def test_writes_follow_the_address_although_old_connections_are_open(self, store, switch, pair):
        one, two = pair
        await asyncio.gather(*(put(store, "old", f"a{n}") for n in range(20)))
        switch.turn_to(two)
        await promote(two, demoted=one)
        written = await asyncio.gather(*(put(store, "new", f"a{n}") for n in range(20)))
        async with admin(two) as client:
            stored = await client.hget("AwsAccount:a7", "region")

        assert all(written)
        assert stored == "new"

    async def test_a_write_with_a_time_to_live_follows_the_address(self, store, switch, pair):
        one, two = pair
        await put(store, "old")
        switch.turn_to(two)
        await promote(two, demoted=one)
        await store.put_with_ttl("Session", "s", {"client": "x"}, seconds=60)

        assert (await store.get("Session", "s")).fields == {"client": "x"}

    async def test_reads_follow_the_address_if_the_old_server_refuses_them(self, store, switch, pair):
        one, two = pair
        await asyncio.gather(*(put(store, "old", f"a{n}") for n in range(20)))
        await catch_up(two, one)
        switch.turn_to(two)
        async with admin(one) as client:
            await client.config_set("replica-serve-stale-data", "no")
            await client.replicaof("127.0.0.1", 1)
        async with admin(two) as client:
            await client.replicaof("NO", "ONE")

        assert await asyncio.gather(*(region(store, f"a{n}") for n in range(20))) == ["old"] * 20

    async def test_a_write_leaves_a_primary_without_replicas(self, store, switch, pair):
        one, two = pair
        await put(store, "old")
        await catch_up(two, one)
        switch.turn_to(two)
        async with admin(two) as client:
            await client.replicaof("NO", "ONE")
        async with admin(one) as client:
            await client.config_set("min-replicas-to-write", 1)
            await client.config_set("min-replicas-max-lag", 1)
            await until(lambda: refuses_writes(client))

        assert await put(store, "new")

    @pytest.mark.usefixtures("often")
    async def test_writes_leave_a_primary_that_nobody_demotes(self, store, switch, pair):
        _, two = pair
        await put(store, "old")
        switch.turn_to(two)
        async with admin(two) as client:
            await client.replicaof("NO", "ONE")

            async def is_written_there():
                await put(store, "new", "b")
                return await client.exists("AwsAccount:b")

            # Every call and every probe succeeds on the open connections.
            await until(is_written_there)

    @pytest.mark.usefixtures("often")
    async def test_open_connections_serve_while_the_server_takes_no_new_one(self, store, pair):
        await put(store, "old")
        async with admin(pair[0]) as client:
            await client.config_set("maxclients", 1)
            refused = (await client.info("stats"))["rejected_connections"]

            async def has_refused():
                return (await client.info("stats"))["rejected_connections"] > refused + 1

            await until(has_refused)

        assert monitor_of(store).is_available
        assert await put(store, "new")

    async def test_a_server_that_takes_no_new_connection_is_a_warning_until_it_does(
        self, store, pair, caplog, monkeypatch
    ):
        async def is_warned():
            return any("takes no new one: Auth" in warning for warning in store.warnings())

        async def is_quiet():
            return not await is_warned()

        monkeypatch.setattr(health, "PROBE_INTERVAL_SECONDS", 0.1)
        monitor_of(store).request_probe()
        async with admin(pair[0]) as client:
            # As after the change of a password that the service does not know.
            await client.config_set("requirepass", "another")
            await until(is_warned)
            await asyncio.sleep(0.3)

            assert caplog.text.count("serves open connections, but takes no new one") == 1
            await client.config_set("requirepass", "")
        await until(is_quiet)

    async def test_failed_calls_do_not_hide_that_the_address_has_moved(self, store, switch, pair, monkeypatch):
        _, two = pair
        monkeypatch.setattr(health, "PROBE_INTERVAL_SECONDS", 0.2)
        async with admin(two) as client:
            await client.replicaof("NO", "ONE")
            run_id = (await client.info("server"))["run_id"]
        switch.turn_to(two)

        async def has_moved():
            # As each failed call does.
            monitor_of(store).request_probe()
            return monitor_of(store).run_id == run_id

        await until(has_moved)

    @pytest.mark.slow
    async def test_a_check_detects_a_demotion_without_calls(self, store, switch, pair):
        one, two = pair
        switch.turn_to(two)
        await promote(two, demoted=one)
        await asyncio.sleep(1.01)
        await store.check()

        assert list(store.warnings()) == []

    async def test_a_write_fails_soon_if_every_server_refuses_it(self, store, pair):
        one, two = pair
        await put(store, "old")
        await promote(two, demoted=one)
        async with asyncio.timeout(HANG_SECONDS):
            for _ in range(5):
                with pytest.raises(StoreUnavailable):
                    await put(store, "new")
        await until(lambda: warns(store, "is a replica"))

        assert await region(store) == "old"
        assert await store.reached_within(0)

    async def test_a_writable_replica_takes_no_change_and_serves_reads(self, pair):
        one, two = pair
        async with admin(one) as client:
            await client.hset("AwsAccount:a", "region", "old")
            await client.wait(1, HANG_SECONDS * 1000)
        async with admin(two) as client:
            await client.config_set("replica-read-only", "no")
        store = RedisStore.at(two.url)
        await store.open()
        seen = await store.get(KIND, "a")
        writes = (
            lambda: store.replace(KIND, "b", {"region": "new"}, expected=None),
            lambda: store.replace(KIND, "a", {"region": "new"}, expected=seen),
            lambda: store.rewrite(seen, {"region": "new"}),
            lambda: store.remove(seen),
            lambda: store.put_with_ttl("Session", "s", {"client": "x"}, seconds=60),
        )
        for write in writes:
            with pytest.raises(NothingWritten, match="is a replica"):
                await write()
        async with admin(two) as client:
            keys = await client.keys()

        assert keys == ["AwsAccount:a"]
        assert await region(store) == "old"
        async with admin(two) as client:
            await client.replicaof("NO", "ONE")
        await until(lambda: takes_changes(store))
        await store.close()

    async def test_a_writable_replica_without_its_primary_takes_no_change(self, pair):
        one, two = pair
        async with admin(two) as client:
            await client.config_set("replica-read-only", "no")
        store = RedisStore.at(two.url)
        await store.open()
        one.kill()
        async with admin(two) as client:
            await until(lambda: lost_primary(client))
            with pytest.raises(NothingWritten):
                await put(store, "a probe may have seen it or not")
            monitor_of(store).request_probe()
            await until(lambda: is_unavailable(store))
            with pytest.raises(NothingWritten, match="cannot be reached"):
                await put(store, "a probe has seen it")
            assert await client.keys() == []
            await client.replicaof("NO", "ONE")
        await until(lambda: takes_changes(store))
        await store.close()

    async def test_a_replica_without_its_primary_serves_known_accounts_for_the_time_of_an_outage(self, pair):
        one, two = pair
        async with admin(one) as client:
            await client.hset("AwsAccount:a", "region", "old")
        await catch_up(two, one)
        store = RedisStore.at(two.url)
        cache = CachedStore(store, Tracker(store.topology, kinds=[KIND]), size=10, ttl=3600, stale=2)
        await cache.open()
        await until(lambda: is_cached(cache))
        one.kill()
        async with admin(two) as client:
            await until(lambda: lost_primary(client))
        known = await region(cache)

        await until(lambda: is_refused(cache))
        assert known == "old"
        await cache.close()

    async def test_a_primary_that_became_a_replica_out_of_sync_takes_no_change(self, pair):
        one, _ = pair
        store = RedisStore.at(one.url)
        await store.open()
        async with admin(one) as client:
            await client.config_set("replica-read-only", "no")
            await client.replicaof("127.0.0.1", 1)
            monitor_of(store).request_probe()
            await until(lambda: is_unavailable(store))
            with pytest.raises(NothingWritten):
                await put(store, "new")
            assert await client.keys() == []
        await store.close()

    @pytest.mark.parametrize("hangs", [False, True])
    async def test_checks_at_the_same_time_share_a_probe(self, store, monkeypatch, hangs):
        await put(store, "old")
        probes, inspect = 0, health.inspect

        async def counted(*args, **options):
            nonlocal probes
            probes += 1
            return await (asyncio.Event().wait() if hangs else inspect(*args, **options))

        monkeypatch.setattr(health, "inspect", counted)
        monkeypatch.setattr(monitor_of(store), "_probed_at", float("-inf"))
        outcomes = await asyncio.gather(*(store.check() for _ in range(20)), return_exceptions=True)

        assert [isinstance(outcome, StoreUnavailable) for outcome in outcomes] == [hangs] * 20
        assert probes <= 2

    async def test_a_listener_is_notified_when_the_move_starts_and_ends(self, store, switch, pair):
        _, two = pair
        run_ids = []
        monitor_of(store).server_changed = run_ids.append
        switch.turn_to(two)
        async with admin(two) as client:
            await client.replicaof("NO", "ONE")
            run_id = (await client.info("server"))["run_id"]
        switch.cut()
        await store.get(KIND, "a")

        async def has_moved():
            return run_ids[-1:] == [run_id]

        await until(has_moved)
        assert run_ids == ["", run_id]

    @pytest.mark.slow
    async def test_the_cache_does_not_serve_data_of_the_old_server(self, cache, switch, pair):
        _, two = pair
        await put(cache, "old")
        await until(lambda: is_cached(cache))
        switch.turn_to(two)
        async with admin(two) as client:
            await client.replicaof("NO", "ONE")
            await client.hset("AwsAccount:a", "region", "new")
        # Only the tracking connection stays with the old server.
        switch.cut(but=[b"TRACKING"])
        await cache.get(KIND, "unknown")
        await until(lambda: reads(cache, "new"))
        await until(lambda: is_cached(cache))
        async with admin(two) as client:
            await client.hset("AwsAccount:a", "region", "newer")

        await until(lambda: reads(cache, "newer"))

    async def test_the_cache_works_again_after_one_connection_to_another_server(self, cache, switch, pair):
        one, two = pair
        await put(cache, "old")
        await until(lambda: is_cached(cache))
        session = cache._tracker.session
        switch.turn_to(two)
        await monitor_of(cache._inner)._look_at_address()
        switch.turn_to(one)

        assert not session.live
        await until(lambda: is_cached(cache))
        assert not cache.warnings()

    async def test_other_connections_follow_the_tracking_connection(self, cache, switch, pair):
        _, two = pair
        await put(cache, "old")
        await until(lambda: is_cached(cache))
        switch.turn_to(two)
        async with admin(two) as client:
            await client.replicaof("NO", "ONE")
            await client.hset("AwsAccount:a", "region", "new")
            for tracking in [entry for entry in await cache_connections(pair[0]) if "B" in entry["flags"]]:
                async with admin(pair[0]) as old:
                    await old.client_kill_filter(_id=tracking["id"])

        await until(lambda: reads(cache, "new"))
        await until(lambda: is_cached(cache))


async def test_after_swapdb_a_cached_account_is_read_again_within_its_time_to_live(own_redis):
    """Redis sends no invalidation for SWAPDB."""
    store = RedisStore.at(own_redis.url)
    cache = CachedStore(store, Tracker(store.topology, kinds=[KIND]), size=9, ttl=0.3, stale=60)
    await cache.open()
    await put(cache, "old")
    await until(lambda: is_cached(cache))
    async with Redis.from_url(own_redis.url.removesuffix("/0") + "/1") as client:
        await client.hset("AwsAccount:a", "region", "new")
        # This write alone is an invalidation, because invalidations name no database.
        await asyncio.sleep(0.1)
        await until(lambda: is_cached(cache))
        await client.execute_command("SWAPDB", 0, 1)

    await until(lambda: reads(cache, "new"))
    await cache.close()


async def refuses_writes(client):
    with suppress(Exception):
        await client.set("x", "y")
        return False
    return True


async def warns(store, text):
    with suppress(StoreUnavailable):
        await store.check()
    return any(text in warning for warning in store.warnings())


async def is_cached(cache):
    await cache.get(KIND, "a")
    before = value_of(CACHE_HITS)
    await cache.get(KIND, "a")
    return value_of(CACHE_HITS) > before


async def reads(cache, text):
    return await region(cache) == text


async def cache_connections(server):
    async with admin(server) as client:
        return await client.client_list()


async def unusable(url, prefix=""):
    client = connect(url, connections=1)
    with pytest.raises(UnusableServer) as refusal:
        await inspect(client, f"{prefix}AwsAccount:")
    await client.aclose()
    return str(refusal.value)


@pytest.fixture
async def cluster_node(redis_binary, tmp_path):
    """One of two nodes, each with half of the slots."""
    nodes = []
    for slots in (("0", "8000"), ("8001", "16383")):
        directory = tmp_path / slots[0]
        directory.mkdir()
        bus = str(free_port())
        node = RedisServer(redis_binary, directory, "--cluster-enabled", "yes", "--cluster-port", bus)
        node.start()
        nodes.append((node, bus))
        async with admin(node) as client:
            await client.execute_command("CLUSTER", "ADDSLOTSRANGE", *slots)
    (first, _), (second, bus) = nodes
    async with admin(first) as client:
        await client.execute_command("CLUSTER", "MEET", "127.0.0.1", second.port, bus)
        await until(lambda: is_whole(client))
    yield first
    for node, _ in nodes:
        node.kill()


async def is_whole(client):
    return "cluster_state:ok" in str(await client.execute_command("CLUSTER", "INFO"))


@pytest.fixture
async def own_admin(own_redis):
    async with admin(own_redis) as client:
        yield client


class TestInspect:
    async def test_a_primary_is_usable(self, own_redis):
        client = connect(own_redis.url, connections=1)
        server = await inspect(client, "AwsAccount:")
        await client.aclose()

        assert server.is_primary
        assert len(server.run_id) == 40
        assert server.warnings == []

    @pytest.mark.parametrize(
        ("rights", "problem"),
        [
            (["+@all", "-hgetall", "~*"], "may not read the keys x:AwsAccount:* with HGETALL"),
            (["+@all", "~Other:*"], "may not read the keys x:AwsAccount:* with HGETALL"),
            (["+ping", "~*"], "may not read the keys x:AwsAccount:* with HGETALL"),
        ],
    )
    async def test_a_server_whose_user_may_not_read_accounts_is_refused(self, own_redis, own_admin, rights, problem):
        await own_admin.execute_command("ACL", "SETUSER", "limited", "on", ">hush", *rights)

        assert problem in await unusable(own_redis.url.replace("//", "//limited:hush@"), prefix="x:")

    async def test_the_role_is_known_to_a_user_with_read_access_alone(self, own_redis, own_admin):
        await own_admin.execute_command("ACL", "SETUSER", "limited", "on", ">hush", "~AwsAccount:*", "+hgetall")
        client = connect(own_redis.url.replace("//", "//limited:hush@"), connections=1)
        server = await inspect(client, "AwsAccount:")
        await client.aclose()

        assert (server.is_primary, server.run_id) == (True, None)
        assert ["allow it with ACL SETUSER … +info" in warning for warning in server.warnings] == [True]

    async def test_a_node_of_a_cluster_is_refused(self, cluster_node):
        problem = await unusable(cluster_node.url)

        assert problem.endswith(f"a part of the keys; write redis+cluster://127.0.0.1:{cluster_node.port}")

    async def test_a_store_on_a_node_of_a_cluster_is_unavailable(self, cluster_node):
        store = RedisStore.at(cluster_node.url)
        await store.open()
        ready = await store.reached_within(3600)
        await store.close()

        assert not ready

    async def test_a_sentinel_is_refused(self, redis_binary, tmp_path):
        (tmp_path / "sentinel.conf").write_text("")
        server = RedisServer(redis_binary, tmp_path, "--sentinel", config=tmp_path / "sentinel.conf")
        server.start()
        problem = await unusable(server.url)
        server.kill()

        assert f"write redis+sentinel://127.0.0.1:{server.port}/service" in problem

    async def test_that_is_a_replica_before_its_first_sync_is_no_store(self, own_redis, own_admin):
        await own_admin.replicaof("127.0.0.1", 1)

        assert "not in sync with its primary (link down)" in await unusable(own_redis.url)

    async def test_a_replica_is_usable_with_a_warning(self, pair):
        _, two = pair
        client = connect(two.url, connections=1)
        server = await inspect(client, "AwsAccount:")
        await client.aclose()

        assert not server.is_primary
        assert "is a replica" in server.warnings[0]

    async def test_a_replica_that_hides_its_sync_state_is_refused(self, pair):
        _, two = pair
        async with admin(two) as client:
            await client.execute_command("ACL", "SETUSER", "limited", "on", ">hush", "~*", "+hgetall")

        assert "allow it with +info" in await unusable(two.url.replace("//", "//limited:hush@"))

    async def test_a_server_that_hides_its_role_is_refused(self):
        async def serve(reader, writer):
            while request := await reader.read(65536):
                writer.write(b"".join(answer(command) for command in request.split(b"*")[1:]))
            writer.close()

        def answer(command):
            if b"HGETALL" in command:
                return b"*0\r\n"
            return b"+PONG\r\n" if b"PING" in command else b"-ERR unknown command\r\n"

        async with await asyncio.start_server(serve, "127.0.0.1") as server:
            problem = await unusable(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}")

        assert "hides its role" in problem

    async def test_a_probed_key_of_another_type_is_ignored(self, own_redis, own_admin):
        await own_admin.set("AwsAccount:-0", "surprise")
        client = connect(own_redis.url, connections=1)
        server = await inspect(client, "AwsAccount:")
        await client.aclose()

        assert server.is_primary


class TestEviction:
    @pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-lfu", "allkeys-random"])
    async def test_eviction_of_all_keys_is_a_warning_until_the_policy_changes(
        self, own_redis, own_admin, caplog, policy
    ):
        await own_admin.config_set("maxmemory-policy", policy)
        store = RedisStore.at(own_redis.url)
        await store.open()
        before = list(store.warnings())
        log = [(record.levelno, record.getMessage()) for record in caplog.records]
        await own_admin.config_set("maxmemory-policy", "noeviction")
        monitor_of(store).recheck_server()
        await until(lambda: has_no_warnings(store))
        await store.close()

        assert [f"maxmemory-policy {policy}" in warning for warning in before] == [True]
        assert log == [(logging.WARNING, f"The account store {store.description}: {before[0]}")]

    @pytest.mark.parametrize("policy", ["noeviction", "volatile-lru", "volatile-ttl"])
    async def test_eviction_of_volatile_keys_is_no_warning(self, own_redis, own_admin, policy):
        await own_admin.config_set("maxmemory-policy", policy)
        store = RedisStore.at(own_redis.url)
        await store.open()
        warnings = list(store.warnings())
        await store.close()

        assert warnings == []


async def has_no_warnings(store):
    return not store.warnings()


class TestReadiness:
    async def test_readiness_begins_with_the_first_successful_probe(self, own_redis):
        own_redis.kill()
        store = RedisStore.at(own_redis.url)
        await store.open()
        before = await store.reached_within(3600)
        await asyncio.to_thread(own_redis.start)
        await until(lambda: store.reached_within(0))
        await store.close()

        assert not before

    async def test_readiness_lasts_for_the_given_time_in_an_outage(self, own_redis):
        store = RedisStore.at(own_redis.url)
        await store.open()
        own_redis.kill()
        await asyncio.sleep(1.01)
        ready = [await store.reached_within(seconds) for seconds in (3600, 0)]
        with pytest.raises(StoreUnavailable):
            await store.check()
        await store.close()

        assert ready == [True, False]


@pytest.mark.parametrize(("kind", "most"), [("redis", 66), ("sentinel", 66), ("cluster", 67)])
async def test_a_process_has_no_more_connections_to_a_primary_than_reckoned(request, open_store, kind, most):
    url = request.getfixturevalue(f"{kind}_url")
    shared = request.getfixturevalue(f"shared_{kind}")
    primaries = getattr(shared, "primaries", [shared])
    store = await open_store(f"{url}?client_name=counted")
    ids = [f"a{number}" for number in range(400)]
    calls = asyncio.gather(
        *(put(store, "new", id_) for id_ in ids), *(store.get(KIND, id_) for id_ in ids), return_exceptions=True
    )
    counts = [await connections(primaries, "counted")]
    while not calls.done():
        counts.append(await connections(primaries, "counted"))

    assert most // 2 < max(counts) <= most
    assert most - reckoning.CONNECTIONS - reckoning.MORE_CONNECTIONS == (kind == "cluster")


async def connections(servers, name):
    """Return how many connections with this name a server has, of the one that has most."""
    found = []
    for server in servers:
        async with admin(server) as client:
            found.append([entry["name"] for entry in await client.client_list()].count(name))
    return max(found)
