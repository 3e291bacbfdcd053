"""Invalidations from a real server, and the end of a session that hangs, breaks or is refused."""

import asyncio

import pytest
from redis.asyncio import Redis
from redis.exceptions import ResponseError
from support.metrics import value_of
from support.waiting import until

from service.stores import connection, tracking_connection
from service.stores.cache import CachedStore
from service.stores.redis import RedisStore
from service.stores.topology import Topology
from service.stores.tracking import Tracker
from service.telemetry.metrics import CACHE_LIVE

pytestmark = pytest.mark.slow

KIND = "AwsAccount"
PREFIX = "s3 *:"


class RecordingListener:
    """Records the invalidations that it receives."""

    def __init__(self):
        self.received = []

    def changed(self, kind, id):
        self.received.append((kind, id))

    def flushed(self):
        self.received.append("flush")


@pytest.fixture
def listener():
    return RecordingListener()


@pytest.fixture
async def make_tracker(listener):
    trackers = []

    async def make(url, **options):
        topology = Topology.at(url, key=KIND)
        tracker = Tracker(topology, kinds=[KIND, "Client"], **options)
        trackers.append(tracker)
        await tracker.open(listener)
        return tracker

    yield make
    for tracker in trackers:
        await tracker.close()
        await tracker._topology.close()
        assert not tracker.session.live
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.fixture
async def tracker(make_tracker, redis_url):
    return await make_tracker(redis_url, prefix=PREFIX)


async def disconnect_replica(admin):
    """Make the server a replica of an unavailable one, and return a function that undoes it."""
    await admin.config_set("replica-serve-stale-data", "no")
    await admin.replicaof("127.0.0.1", "1")

    async def undo():
        await admin.replicaof("NO", "ONE")

    return undo


async def run_endless_script(admin):
    await admin.config_set("lua-time-limit", 1)
    script = asyncio.create_task(admin.eval("while true do end", 0))

    async def undo():
        await admin.script_kill()
        with pytest.raises(ResponseError):
            await script

    return undo


def connection_of(tracker):
    (connection,) = tracker._connections.values()
    return connection


async def is_in_sync(replica):
    return (await replica.info("replication"))["master_link_status"] == "up"


async def run_id_of(client):
    return (await client.info("server"))["run_id"]


async def tracking_connections(admin):
    return [client["id"] for client in await admin.client_list() if "B" in client["flags"]]


KEY = f"{PREFIX}{KIND}:a"
CHANGES = {
    "HSET": ("HSET", KEY, "region", "eu-west-1"),
    "HDEL": ("HDEL", KEY, "host"),
    "DEL": ("DEL", KEY),
    "UNLINK": ("UNLINK", KEY),
    "RENAME away": ("RENAME", KEY, "elsewhere"),
    "RENAME here": ("RENAME", "another", KEY),
    "EVAL": ("EVAL", "return redis.call('HSET', KEYS[1], 'n', '1')", "1", KEY),
    "SET": ("SET", KEY, "text"),
    "PEXPIRE": ("PEXPIRE", KEY, "1"),
    "COPY": ("COPY", "another", KEY, "REPLACE"),
}


@pytest.mark.parametrize("command", CHANGES.values(), ids=CHANGES)
async def test_each_command_that_changes_a_key_is_reported(tracker, listener, operator, command):
    await operator.hset(KEY, mapping={"id": "a", "host": "minio"})
    await operator.hset("another", mapping={"id": "b"})
    await until(lambda: listener.received)
    listener.received.clear()
    await operator.execute_command(*command)

    await until(lambda: (KIND, "a") in listener.received)
    assert set(listener.received) == {(KIND, "a")}


async def test_changes_in_a_transaction_are_reported(tracker, listener, operator):
    async with operator.pipeline(transaction=True) as pipe:
        pipe.hset(KEY, "n", "1")
        pipe.hset(f"{PREFIX}Client:c.1_x-Y", "n", "1")
        await pipe.execute()

    await until(lambda: len(listener.received) >= 2)
    assert set(listener.received) == {(KIND, "a"), ("Client", "c.1_x-Y")}


@pytest.mark.parametrize("command", ["FLUSHALL", "FLUSHDB"])
async def test_a_flush_is_reported(tracker, listener, operator, command):
    await operator.execute_command(command)

    await until(lambda: listener.received == ["flush"])


async def test_very_many_changes_at_once_are_reported_as_a_flush(tracker, listener, operator, monkeypatch):
    monkeypatch.setattr(tracking_connection, "MAX_KEYS", 3)
    for numbers in (range(3), range(4)):
        async with operator.pipeline(transaction=True) as pipe:
            for number in numbers:
                pipe.hset(f"{PREFIX}{KIND}:{number}", "n", "1")
            await pipe.execute()

    await until(lambda: len(listener.received) == 4)
    assert (set(listener.received[:3]), listener.received[3]) == ({(KIND, str(number)) for number in range(3)}, "flush")


async def test_keys_outside_the_tracked_prefixes_are_not_reported(tracker, listener, operator):
    for key in (f"{KIND}:a", f"{PREFIX}{KIND}", f"{PREFIX}_index:{KIND}", f"{PREFIX}_sequence:{KIND}", "x", b"\xff"):
        await operator.set(key, "1")
    await operator.hset(KEY.encode() + b"\xff", "n", "1")

    await until(lambda: listener.received)
    assert listener.received == [(KIND, "a\udcff")]


@pytest.mark.slow
async def test_many_simultaneous_changes_are_all_reported(tracker, listener, operator):
    async with operator.pipeline(transaction=False) as pipe:
        for n in range(20_000):
            pipe.hset(f"{PREFIX}{KIND}:{n}", "n", "1")
        await pipe.execute()

    await until(lambda: len(listener.received) == 20_000)
    assert set(listener.received) == {(KIND, str(n)) for n in range(20_000)}


async def test_a_killed_connection_ends_the_session_and_a_new_one_starts(
    make_tracker, redis_url, listener, operator, monkeypatch
):
    # The end of the connection must be noticed without a heartbeat.
    monkeypatch.setattr(tracking_connection, "HEARTBEAT_SECONDS", 3600)
    tracker = await make_tracker(redis_url, prefix=PREFIX)
    session = tracker.session
    (id_,) = await tracking_connections(operator)
    await operator.client_kill_filter(_id=id_)
    await until(lambda: not session.live)
    await until(lambda: tracker.session.live)
    await operator.hset(KEY, "n", "1")
    await until(lambda: listener.received == [(KIND, "a")])

    assert tracker.session is not session
    assert len(await tracking_connections(operator)) == 1


async def test_heartbeats_confirm_an_idle_session(tracker):
    first = tracker.session.confirmed_at
    await until(lambda: tracker.session.confirmed_at > first)

    assert tracker.session.live


async def test_a_hung_server_ends_the_session(make_tracker, own_redis, monkeypatch):
    monkeypatch.setattr(tracking_connection, "HEARTBEAT_SECONDS", 0.2)
    tracker = await make_tracker(own_redis.url)
    session = tracker.session
    gauge = [value_of(CACHE_LIVE)]
    own_redis.hang()
    await until(lambda: not session.live)
    degraded_reason = tracker.degraded_reason
    gauge += [value_of(CACHE_LIVE)]
    own_redis.resume()
    await until(lambda: tracker.session.live)

    assert degraded_reason == "Redis sends no invalidations at the moment"
    assert tracker.degraded_reason is None
    assert [*gauge, value_of(CACHE_LIVE)] == [1, 0, 1]


async def test_a_hung_server_does_not_block_the_start(make_tracker, own_redis):
    own_redis.hang()
    async with asyncio.timeout(20):
        tracker = await make_tracker(own_redis.url)

    assert tracker.degraded_reason == "Redis sends no invalidations at the moment"
    own_redis.resume()


async def test_a_hung_server_ends_a_session_that_was_idle_for_long(make_tracker, own_redis, monkeypatch):
    # A health check of redis-py would wait for its PONG without a limit.
    monkeypatch.setattr(connection, "HEALTH_CHECK_SECONDS", 0.01)
    monkeypatch.setattr(tracking_connection, "HEARTBEAT_SECONDS", 0.05)
    tracker = await make_tracker(own_redis.url)
    session = tracker.session
    await asyncio.sleep(0.2)
    own_redis.hang()

    await until(lambda: not session.live)
    own_redis.resume()


async def test_a_restarted_server_is_tracked_again(make_tracker, listener, own_redis):
    tracker = await make_tracker(own_redis.url)
    own_redis.kill()
    await until(lambda: not tracker.session.live)
    await asyncio.sleep(0.3)
    await asyncio.to_thread(own_redis.start)

    await until(lambda: tracker.session.live)


async def test_an_unavailable_server_does_not_block_the_start(make_tracker, own_redis):
    own_redis.kill()
    async with asyncio.timeout(20):
        tracker = await make_tracker(own_redis.url)

    assert tracker.degraded_reason == "Redis sends no invalidations at the moment"


@pytest.mark.parametrize("rule", ["-client|tracking", "-client"])
async def test_a_refusal_is_logged_once_and_retried(make_tracker, own_redis, caplog, monkeypatch, rule):
    monkeypatch.setattr(tracking_connection, "REFUSED_SECONDS", 0.05)
    async with Redis.from_url(own_redis.url) as admin:
        await admin.execute_command("ACL", "SETUSER", "limited", "on", ">hush", "~*", "&*", "+@all", rule)
        tracker = await make_tracker(own_redis.url.replace("//", "//limited:hush@"))
        degraded_reason = tracker.degraded_reason
        await asyncio.sleep(0.3)
        warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
        await admin.execute_command("ACL", "SETUSER", "limited", "+@all")
        await until(lambda: tracker.session.live)
        # After a success, a lost connection is replaced soon, without the long pause of a refusal.
        monkeypatch.setattr(tracking_connection, "REFUSED_SECONDS", 60)
        session = tracker.session
        await admin.client_kill_filter(_id=(await tracking_connections(admin))[0])
        await until(lambda: tracker.session is not session)

    assert degraded_reason.startswith("Redis refuses client tracking: NoPermissionError")
    assert len(warnings) == 1
    assert "The cache is off, because Redis refuses client tracking: NoPermissionError" in warnings[0]
    assert "hush" not in caplog.text
    assert tracker.degraded_reason is None


async def test_a_session_ends_when_the_server_becomes_a_replica(make_tracker, own_redis, shared_redis, monkeypatch):
    """A demoted node of a Cluster keeps the connection open and sends no invalidations."""
    monkeypatch.setattr(tracking_connection, "HEARTBEAT_SECONDS", 0.05)
    tracker = await make_tracker(own_redis.url)
    session = tracker.session
    async with Redis.from_url(own_redis.url) as admin:
        await admin.replicaof("127.0.0.1", shared_redis.port)

    await until(lambda: not session.live)


async def test_a_replica_without_its_primary_ends_the_session(make_tracker, own_redis, caplog, monkeypatch):
    monkeypatch.setattr(tracking_connection, "HEARTBEAT_SECONDS", 0.05)
    tracker = await make_tracker(own_redis.url)
    before = tracker.session
    async with Redis.from_url(own_redis.url) as admin:
        undo = await disconnect_replica(admin)
        await until(lambda: not before.live)
        await undo()

    await until(lambda: tracker.session.live and tracker.session is not before)
    assert "refuses" not in caplog.text


async def test_a_replica_in_sync_is_tracked(make_tracker, own_redis, shared_redis, listener, monkeypatch):
    monkeypatch.setattr(tracking_connection, "HEARTBEAT_SECONDS", 0.05)
    async with Redis.from_url(own_redis.url) as admin:
        await admin.replicaof("127.0.0.1", shared_redis.port)
        tracker = await make_tracker(own_redis.url)
        await until(lambda: tracker.session.live)
        first = tracker.session.confirmed_at
        await until(lambda: tracker.session.confirmed_at > first + 0.2)
        session = tracker.session
        async with Redis.from_url(shared_redis.url) as primary:
            await primary.hset(f"{KIND}:a", "n", "1")
        await until(lambda: listener.received == [(KIND, "a")])
        live = session.live
        # It has lost its primary, and still answers reads.
        await admin.replicaof("127.0.0.1", 1)

        await until(lambda: not session.live)
        await asyncio.sleep(0.5)
        assert live
        assert not tracker.session.live


@pytest.mark.parametrize("takes_connections", [True, False])
async def test_keys_that_a_replica_drops_to_load_those_of_its_primary_are_no_flush(
    make_tracker, own_redis, shared_redis, listener, takes_connections
):
    tracker = await make_tracker(own_redis.url)
    async with Redis.from_url(shared_redis.url) as primary:
        await primary.mset({f"Other:{number}": number for number in range(2000)})
    async with Redis.from_url(own_redis.url) as admin:
        # A millisecond for each key.
        await admin.config_set("key-load-delay", 1000, "loading-process-events-interval-bytes", 1024)
        if not takes_connections:
            await admin.config_set("maxclients", 1)
        await admin.replicaof("127.0.0.1", shared_redis.port)
        await until(lambda: not tracker.session.live)
        await until(lambda: is_in_sync(admin))
        await until(lambda: tracker.session.live is takes_connections)

    assert listener.received == []


async def test_a_primary_of_sentinels_that_becomes_a_replica_is_not_tracked(make_tracker, own_sentinel, listener):
    tracker = await make_tracker(own_sentinel.url)
    await tracker._topology.open()
    await until(lambda: tracker.session.live)
    session, (replica,) = tracker.session, own_sentinel.replicas_of(own_sentinel.primary)
    primary = own_sentinel.primary
    # They would name the other server.
    for sentinel in own_sentinel.sentinels:
        sentinel.kill()
    replica.run("REPLICAOF", "NO", "ONE")
    # So that the sync has to be a full one.
    primary.run("SET", "Other", "1")
    primary.run("REPLICAOF", "127.0.0.1", replica.port)
    await until(lambda: not session.live)
    await until(lambda: primary.info()["master_link_status"] == "up")
    await asyncio.sleep(0.5)

    assert not tracker.session.live
    assert listener.received == []


async def test_a_flush_is_reported_although_the_server_does_not_answer_after_it(make_tracker, own_redis, listener):
    tracker = await make_tracker(own_redis.url)
    # It sends the push, and hangs before it gets the question for its role.
    connection_of(tracker)._on_change = own_redis.hang
    async with Redis.from_url(own_redis.url) as admin:
        flush = asyncio.create_task(admin.flushall())
        await until(lambda: listener.received == ["flush"])
        own_redis.resume()
        await flush


async def test_a_temporary_refusal_is_retried_soon(make_tracker, own_redis, caplog):
    async with Redis.from_url(own_redis.url) as admin:
        undo = await run_endless_script(admin)
        await until(lambda: is_busy(own_redis))
        tracker = await make_tracker(own_redis.url)
        refused = not tracker.session.live
        await undo()

    await until(lambda: tracker.session.live)
    assert refused
    assert "refuses" not in caplog.text


async def is_busy(server):
    async with Redis.from_url(server.url) as other:
        try:
            await other.ping()
        except ResponseError as error:
            return "BUSY" in str(error)
    return False


async def test_a_session_ends_if_the_store_uses_another_server(tracker, listener, operator, monkeypatch):
    monkeypatch.setattr(tracking_connection, "HEARTBEAT_SECONDS", 0.05)
    session, run_id = tracker.session, await run_id_of(operator)
    connection_of(tracker).expect_server("another")
    ended = not session.live
    await until(lambda: connection_of(tracker)._shard.monitor._recheck)
    connection_of(tracker).expect_server(run_id)
    await until(lambda: tracker.session.live)

    assert ended
    assert tracker.session is not session


async def test_a_session_continues_if_the_store_uses_the_same_server(tracker, operator):
    session = tracker.session
    connection_of(tracker).expect_server(await run_id_of(operator))
    connection_of(tracker).expect_server(None)

    assert session.live


async def test_connections_to_several_servers_turn_the_cache_off(tracker, monkeypatch, caplog):
    for constant in ("HEARTBEAT_SECONDS", "MIN_PAUSE_SECONDS", "MAX_PAUSE_SECONDS", "REFUSED_SECONDS"):
        monkeypatch.setattr(tracking_connection, constant, 0.01)
    connection_of(tracker).expect_server("another")
    await until(lambda: "several servers" in tracker.degraded_reason)
    await asyncio.sleep(0.1)

    assert caplog.text.count("several servers") == 1


@pytest.mark.parametrize(
    "answer", [b"-ERR unknown command 'HELLO', with args beginning with: '3' 'AUTH' 'hush'\r\n", b"+OK\r\n", b"?\r\n"]
)
async def test_a_server_without_resp3_is_reported_as_a_refusal(make_tracker, caplog, answer):
    attempts = []

    async def serve(reader, writer):
        attempts.append(reader)
        while await reader.read(65536):
            writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1")
    tracker = await make_tracker(f"redis://:hush@127.0.0.1:{server.sockets[0].getsockname()[1]}")
    await asyncio.sleep(0.5)
    server.close()

    assert len(attempts) == 1
    assert tracker.degraded_reason.startswith("Redis refuses client tracking")
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "hush" not in caplog.text


async def test_a_process_sees_the_writes_of_another_process(redis_url):
    inner = [RedisStore.at(redis_url) for _ in range(2)]
    stores = [CachedStore(store, Tracker(store.topology, kinds=[KIND]), size=10, ttl=60, stale=0) for store in inner]
    one, two = stores
    for store in stores:
        await store.open()
    seen = None
    for n in range(200):
        assert await two.get(KIND, "a") == seen or n
        seen = await one.replace(KIND, "a", {"n": str(n)}, expected=seen)
        assert (await one.get(KIND, "a")).fields == {"n": str(n)}
        # Well before the time to live of its entry.
        async with asyncio.timeout(20):
            while await two.get(KIND, "a") != seen:  # noqa: ASYNC110 - the store sets no event
                await asyncio.sleep(0)
    for store in stores:
        await store.close()
