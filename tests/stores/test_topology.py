"""The address leads to another server, or to one that cannot serve: what is noticed, and what callers see of it."""

import asyncio
import logging
from contextlib import suppress

import pytest
from plugins.redis_server import RedisServer, free_port
from redis.asyncio import Redis

from service.errors import StoreUnavailable
from service.stores.cache import CachedStore
from service.stores.redis import RedisStore
from service.stores.topology import UnusableServer, connect, inspect
from service.stores.tracking import Tracker
from service.telemetry.metrics import CACHE_HITS

pytestmark = pytest.mark.slow

HANG_SECONDS = 10
KIND = "AwsAccount"


class Switch:
    """A TCP proxy in front of several servers. Connections stay with the server that they were made to."""

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
        """Lead new connections to ``server``, and leave those that are open where they are."""
        self._target = server.port

    def cut(self, *, but=()):
        """End every connection, but those that have sent one of the words ``but``."""
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
    tracker = Tracker.at(switch.url, kinds=[KIND])
    cache = CachedStore(RedisStore.at(switch.url), tracker, size=10, ttl=3600, stale=3600)
    await cache.open()
    yield cache
    await cache.close()


def admin(server):
    return Redis.from_url(server.url, decode_responses=True)


async def follow(server, primary):
    """Make ``server`` a replica of ``primary``, and wait until it has what that has."""
    async with admin(server) as client:
        await client.replicaof("127.0.0.1", primary.port)
        async with asyncio.timeout(HANG_SECONDS):
            while (await client.info("replication"))["master_link_status"] != "up":  # noqa: ASYNC110
                await asyncio.sleep(0.02)


async def promote(server, demoted):
    async with admin(server) as client:
        await client.replicaof("NO", "ONE")
    await follow(demoted, server)


async def until(condition):
    async with asyncio.timeout(HANG_SECONDS):
        while not await condition():  # noqa: ASYNC110 - it is the server that is waited for
            await asyncio.sleep(0.01)


async def put(store, text, id="a"):
    seen = await store.get(KIND, id, bypass_cache=True)
    return await store.replace(KIND, id, {"region": text}, expected=seen)


async def region(store, id="a"):
    found = await store.get(KIND, id)
    return found and found.fields["region"]


class TestAnAddressThatMoves:
    async def test_a_write_goes_to_the_new_primary_though_old_connections_are_open(self, store, switch, pair):
        one, two = pair
        await asyncio.gather(*(put(store, "old", f"a{n}") for n in range(20)))
        switch.turn_to(two)
        await promote(two, demoted=one)
        written = await asyncio.gather(*(put(store, "new", f"a{n}") for n in range(20)))
        async with admin(two) as client:
            stored = await client.hget("AwsAccount:a7", "region")

        assert all(written)
        assert stored == "new"

    async def test_a_session_goes_to_the_new_primary_too(self, store, switch, pair):
        one, two = pair
        await put(store, "old")
        switch.turn_to(two)
        await promote(two, demoted=one)
        await store.put_with_ttl("Session", "s", {"client": "x"}, seconds=60)

        assert (await store.get("Session", "s")).fields == {"client": "x"}

    async def test_a_read_goes_to_the_new_primary_though_the_old_one_serves_nothing(self, store, switch, pair):
        one, two = pair
        await asyncio.gather(*(put(store, "old", f"a{n}") for n in range(20)))
        switch.turn_to(two)
        async with admin(one) as client:
            await client.config_set("replica-serve-stale-data", "no")
            await client.replicaof("127.0.0.1", 1)
        async with admin(two) as client:
            await client.replicaof("NO", "ONE")

        assert await asyncio.gather(*(region(store, f"a{n}") for n in range(20))) == ["old"] * 20

    async def test_a_primary_that_has_lost_its_replicas_is_left(self, store, switch, pair):
        one, two = pair
        await put(store, "old")
        switch.turn_to(two)
        async with admin(two) as client:
            await client.replicaof("NO", "ONE")
        async with admin(one) as client:
            await client.config_set("min-replicas-to-write", 1)
            await client.config_set("min-replicas-max-lag", 1)
            await until(lambda: refuses_writes(client))

        assert await put(store, "new")

    @pytest.mark.slow
    async def test_a_demotion_that_no_caller_meets_is_seen_by_a_check(self, store, switch, pair):
        one, two = pair
        switch.turn_to(two)
        await promote(two, demoted=one)
        await asyncio.sleep(1.01)
        await store.check()

        assert list(store.warnings()) == []

    async def test_a_write_that_is_refused_everywhere_is_refused_soon(self, store, pair):
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

    async def test_the_change_is_reported_at_once_and_again_when_every_connection_has_followed(
        self, store, switch, pair
    ):
        _, two = pair
        reports = Reports()
        store.listen(reports)
        switch.turn_to(two)
        async with admin(two) as client:
            await client.replicaof("NO", "ONE")
            run_id = (await client.info("server"))["run_id"]
        switch.cut()
        await store.get(KIND, "a")

        await until(lambda: reports.end_with(run_id))
        assert reports.moves == ["", run_id]

    @pytest.mark.slow
    async def test_what_the_old_server_held_is_not_served_from_the_cache(self, cache, switch, pair):
        _, two = pair
        await put(cache, "old")
        await until(lambda: is_cached(cache))
        switch.turn_to(two)
        async with admin(two) as client:
            await client.replicaof("NO", "ONE")
            await client.hset("AwsAccount:a", "region", "new")
        # Only the tracking connection stays where it was.
        switch.cut(but=[b"TRACKING"])
        await cache.get(KIND, "unknown")
        await until(lambda: reads(cache, "new"))
        await until(lambda: is_cached(cache))
        async with admin(two) as client:
            await client.hset("AwsAccount:a", "region", "newer")

        await until(lambda: reads(cache, "newer"))

    async def test_a_tracking_connection_that_moves_first_takes_the_others_along(self, cache, switch, pair):
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


class Reports:
    """A listener that notes where a store has moved to."""

    def __init__(self):
        self.moves = []

    def server_changed(self, run_id):
        self.moves.append(run_id)

    def listing_changed(self, kind):
        """Of no interest."""

    async def end_with(self, run_id):
        return self.moves[-1:] == [run_id]


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
    before = CACHE_HITS._value.get()
    await cache.get(KIND, "a")
    return CACHE_HITS._value.get() > before


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
    """One of two nodes, each with some of the slots."""
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


class TestAServer:
    async def test_that_is_a_primary_can_be_used(self, own_redis):
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
    async def test_whose_user_may_not_read_accounts_is_no_store(self, own_redis, own_admin, rights, problem):
        await own_admin.execute_command("ACL", "SETUSER", "limited", "on", ">hush", *rights)

        assert problem in await unusable(own_redis.url.replace("//", "//limited:hush@"), prefix="x:")

    async def test_tells_its_role_to_a_user_who_may_read_accounts_and_nothing_else(self, own_redis, own_admin):
        await own_admin.execute_command("ACL", "SETUSER", "limited", "on", ">hush", "~AwsAccount:*", "+hgetall")
        client = connect(own_redis.url.replace("//", "//limited:hush@"), connections=1)
        server = await inspect(client, "AwsAccount:")
        await client.aclose()

        assert (server.is_primary, server.run_id) == (True, None)
        assert ["allow it with ACL SETUSER … +info" in warning for warning in server.warnings] == [True]

    async def test_that_is_one_node_of_a_cluster_is_no_store(self, cluster_node):
        assert "one node of a Cluster" in await unusable(cluster_node.url)

    async def test_that_is_one_node_of_a_cluster_is_not_reached(self, cluster_node):
        store = RedisStore.at(cluster_node.url)
        await store.open()
        ready = await store.reached_within(3600)
        await store.close()

        assert not ready

    async def test_that_is_a_sentinel_is_no_store(self, redis_binary, tmp_path):
        (tmp_path / "sentinel.conf").write_text("")
        server = RedisServer(redis_binary, tmp_path, "--sentinel", config=tmp_path / "sentinel.conf")
        server.start()
        problem = await unusable(server.url)
        server.kill()

        assert problem.startswith("this is a Sentinel")

    async def test_that_is_a_replica_before_its_first_sync_is_no_store(self, own_redis, own_admin):
        await own_admin.replicaof("127.0.0.1", 1)

        assert "not in sync with its primary (link down)" in await unusable(own_redis.url)

    async def test_that_is_a_replica_can_be_read_and_warns(self, pair):
        _, two = pair
        client = connect(two.url, connections=1)
        server = await inspect(client, "AwsAccount:")
        await client.aclose()

        assert not server.is_primary
        assert "is a replica" in server.warnings[0]

    async def test_that_is_a_replica_must_tell_if_it_is_in_sync(self, pair):
        _, two = pair
        async with admin(two) as client:
            await client.execute_command("ACL", "SETUSER", "limited", "on", ">hush", "~*", "+hgetall")

        assert "allow it with +info" in await unusable(two.url.replace("//", "//limited:hush@"))

    async def test_that_tells_no_role_is_no_store(self):
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

    async def test_a_key_of_another_type_is_no_hindrance(self, own_redis, own_admin):
        await own_admin.set("AwsAccount:-0", "surprise")
        client = connect(own_redis.url, connections=1)
        server = await inspect(client, "AwsAccount:")
        await client.aclose()

        assert server.is_primary


class TestEviction:
    @pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-lfu", "allkeys-random"])
    async def test_of_any_key_is_a_warning_at_the_start_and_until_it_is_changed(
        self, own_redis, own_admin, caplog, policy
    ):
        await own_admin.config_set("maxmemory-policy", policy)
        store = RedisStore.at(own_redis.url)
        await store.open()
        before = list(store.warnings())
        log = [(record.levelno, record.getMessage()) for record in caplog.records]
        await own_admin.config_set("maxmemory-policy", "noeviction")
        store.recheck_server()
        await until(lambda: is_calm(store))
        await store.close()

        assert [f"maxmemory-policy {policy}" in warning for warning in before] == [True]
        assert log == [(logging.WARNING, f"The account store {store.description}: {before[0]}")]

    @pytest.mark.parametrize("policy", ["noeviction", "volatile-lru", "volatile-ttl"])
    async def test_of_sessions_alone_is_none(self, own_redis, own_admin, policy):
        await own_admin.config_set("maxmemory-policy", policy)
        store = RedisStore.at(own_redis.url)
        await store.open()
        warnings = list(store.warnings())
        await store.close()

        assert warnings == []


async def is_calm(store):
    return not store.warnings()


class TestReadiness:
    async def test_begins_when_the_store_is_reached_first(self, own_redis):
        own_redis.kill()
        store = RedisStore.at(own_redis.url)
        await store.open()
        before = await store.reached_within(3600)
        await asyncio.to_thread(own_redis.start)
        await until(lambda: store.reached_within(0))
        await store.close()

        assert not before

    async def test_lasts_for_a_while_in_an_outage(self, own_redis):
        store = RedisStore.at(own_redis.url)
        await store.open()
        own_redis.kill()
        await asyncio.sleep(1.01)
        ready = [await store.reached_within(seconds) for seconds in (3600, 0)]
        with pytest.raises(StoreUnavailable):
            await store.check()
        await store.close()

        assert ready == [True, False]
