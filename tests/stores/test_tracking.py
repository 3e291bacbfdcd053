"""A real server tells of changes: which, how soon, and what happens when it falls silent or refuses."""

import asyncio

import pytest
from redis.asyncio import Redis
from redis.exceptions import ResponseError
from support.waiting import until

from service.stores import topology, tracking
from service.stores.cache import CachedStore
from service.stores.redis import RedisStore
from service.stores.tracking import Tracker
from service.telemetry.metrics import CACHE_LIVE

pytestmark = pytest.mark.slow

KIND = "AwsAccount"
PREFIX = "s3 *:"


class Notes:
    """A listener that writes down what it is told."""

    def __init__(self):
        self.told = []

    def changed(self, kind, id):
        self.told.append((kind, id))

    def flushed(self):
        self.told.append("flush")

    def mismatched(self):
        self.told.append("mismatch")


@pytest.fixture
def notes():
    return Notes()


@pytest.fixture
async def make_tracker(notes):
    trackers = []

    async def make(url, **options):
        tracker = Tracker.at(url, kinds=[KIND, "Client"], **options)
        trackers.append(tracker)
        await tracker.open(notes)
        return tracker

    yield make
    for tracker in trackers:
        await tracker.close()
        assert not tracker.watch.live
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.fixture
async def tracker(make_tracker, redis_url):
    return await make_tracker(redis_url, prefix=PREFIX)


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
async def test_whatever_changes_a_key_is_told(tracker, notes, operator, command):
    await operator.hset(KEY, mapping={"id": "a", "host": "minio"})
    await operator.hset("another", mapping={"id": "b"})
    await until(lambda: notes.told)
    notes.told.clear()
    await operator.execute_command(*command)

    await until(lambda: (KIND, "a") in notes.told)
    assert set(notes.told) == {(KIND, "a")}


async def test_a_transaction_is_told(tracker, notes, operator):
    async with operator.pipeline(transaction=True) as pipe:
        pipe.hset(KEY, "n", "1")
        pipe.hset(f"{PREFIX}Client:c.1_x-Y", "n", "1")
        await pipe.execute()

    await until(lambda: len(notes.told) >= 2)
    assert set(notes.told) == {(KIND, "a"), ("Client", "c.1_x-Y")}


@pytest.mark.parametrize("command", ["FLUSHALL", "FLUSHDB"])
async def test_a_flush_is_told(tracker, notes, operator, command):
    await operator.execute_command(command)

    await until(lambda: notes.told == ["flush"])


async def test_what_is_nobodys_account_is_not_told(tracker, notes, operator):
    for key in (f"{KIND}:a", f"{PREFIX}{KIND}", f"{PREFIX}_index:{KIND}", f"{PREFIX}_sequence:{KIND}", "x", b"\xff"):
        await operator.set(key, "1")
    await operator.hset(KEY.encode() + b"\xff", "n", "1")

    await until(lambda: notes.told)
    assert notes.told == [(KIND, "a\udcff")]


@pytest.mark.slow
async def test_many_changes_at_once_are_all_told(tracker, notes, operator):
    async with operator.pipeline(transaction=False) as pipe:
        for n in range(20_000):
            pipe.hset(f"{PREFIX}{KIND}:{n}", "n", "1")
        await pipe.execute()

    await until(lambda: len(notes.told) == 20_000)
    assert set(notes.told) == {(KIND, str(n)) for n in range(20_000)}


async def test_a_killed_connection_ends_the_watch_and_another_begins(
    make_tracker, redis_url, notes, operator, monkeypatch
):
    # Its end is what tells of it, not the silence after it.
    monkeypatch.setattr(tracking, "HEARTBEAT_SECONDS", 3600)
    tracker = await make_tracker(redis_url, prefix=PREFIX)
    watch = tracker.watch
    (id_,) = await tracking_connections(operator)
    await operator.client_kill_filter(_id=id_)
    await until(lambda: not watch.live)
    await until(lambda: tracker.watch.live)
    await operator.hset(KEY, "n", "1")
    await until(lambda: notes.told == [(KIND, "a")])

    assert tracker.watch is not watch
    assert len(await tracking_connections(operator)) == 1


async def test_a_watch_that_hears_nothing_else_hears_heartbeats(tracker, monkeypatch):
    first = tracker.watch.confirmed_at
    await until(lambda: tracker.watch.confirmed_at > first)

    assert tracker.watch.live


async def test_a_hung_server_ends_the_watch(make_tracker, own_redis, monkeypatch):
    monkeypatch.setattr(tracking, "HEARTBEAT_SECONDS", 0.2)
    tracker = await make_tracker(own_redis.url)
    watch = tracker.watch
    gauge = [CACHE_LIVE._value.get()]
    own_redis.hang()
    await until(lambda: not watch.live)
    trouble = tracker.trouble
    gauge += [CACHE_LIVE._value.get()]
    own_redis.resume()
    await until(lambda: tracker.watch.live)

    assert trouble == "Redis does not tell of changes at the moment"
    assert tracker.trouble is None
    assert [*gauge, CACHE_LIVE._value.get()] == [1, 0, 1]


async def test_a_hung_server_does_not_hold_the_start(make_tracker, own_redis):
    own_redis.hang()
    async with asyncio.timeout(20):
        tracker = await make_tracker(own_redis.url)

    assert tracker.trouble == "Redis does not tell of changes at the moment"
    own_redis.resume()


async def test_a_hung_server_ends_the_watch_of_a_connection_that_was_silent_for_long(
    make_tracker, own_redis, monkeypatch
):
    # redis-py would then wait for the answer to a PING of its own, without an end.
    monkeypatch.setattr(topology, "HEALTH_CHECK_SECONDS", 0.01)
    monkeypatch.setattr(tracking, "HEARTBEAT_SECONDS", 0.05)
    tracker = await make_tracker(own_redis.url)
    watch = tracker.watch
    await asyncio.sleep(0.2)
    own_redis.hang()

    await until(lambda: not watch.live)
    own_redis.resume()


async def test_a_restarted_server_is_watched_again(make_tracker, notes, own_redis):
    tracker = await make_tracker(own_redis.url)
    own_redis.kill()
    await until(lambda: not tracker.watch.live)
    await asyncio.sleep(0.3)
    await asyncio.to_thread(own_redis.start)

    await until(lambda: tracker.watch.live)


async def test_an_absent_server_does_not_stop_the_start(make_tracker, own_redis):
    own_redis.kill()
    async with asyncio.timeout(20):
        tracker = await make_tracker(own_redis.url)

    assert tracker.trouble == "Redis does not tell of changes at the moment"


@pytest.mark.parametrize("rule", ["-client|tracking", "-client"])
async def test_who_is_refused_is_told_once_and_asks_again(make_tracker, own_redis, caplog, monkeypatch, rule):
    monkeypatch.setattr(tracking, "REFUSED_SECONDS", 0.05)
    async with Redis.from_url(own_redis.url) as admin:
        await admin.execute_command("ACL", "SETUSER", "limited", "on", ">hush", "~*", "&*", "+@all", rule)
        tracker = await make_tracker(own_redis.url.replace("//", "//limited:hush@"))
        trouble = tracker.trouble
        await asyncio.sleep(0.3)
        warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
        await admin.execute_command("ACL", "SETUSER", "limited", "+@all")
        await until(lambda: tracker.watch.live)
        # It is refused no longer: what it loses now, it takes up again soon.
        monkeypatch.setattr(tracking, "REFUSED_SECONDS", 60)
        watch = tracker.watch
        await admin.client_kill_filter(_id=(await tracking_connections(admin))[0])
        await until(lambda: tracker.watch is not watch)

    assert trouble.startswith("Redis refuses to tell of changes: NoPermissionError")
    assert len(warnings) == 1
    assert "There is no cache, as Redis refuses to tell of changes: NoPermissionError" in warnings[0]
    assert "hush" not in caplog.text
    assert tracker.trouble is None


async def cut_off_replica(admin):
    """Make the server a replica of one that is not there, and return what undoes it."""
    await admin.config_set("replica-serve-stale-data", "no")
    await admin.replicaof("127.0.0.1", "1")

    async def undo():
        await admin.replicaof("NO", "ONE")

    return undo


async def held_up_by_a_script(admin):
    await admin.config_set("lua-time-limit", 1)
    script = asyncio.create_task(admin.eval("while true do end", 0))

    async def undo():
        await admin.script_kill()
        with pytest.raises(ResponseError):
            await script

    return undo


@pytest.mark.parametrize("disturb", [cut_off_replica, held_up_by_a_script])
async def test_a_server_that_refuses_for_now_is_watched_again_soon(
    make_tracker, own_redis, caplog, monkeypatch, disturb
):
    monkeypatch.setattr(tracking, "HEARTBEAT_SECONDS", 0.05)
    tracker = await make_tracker(own_redis.url)
    before = tracker.watch
    async with Redis.from_url(own_redis.url) as admin:
        undo = await disturb(admin)
        await until(lambda: not before.live)
        await undo()

    await until(lambda: tracker.watch.live and tracker.watch is not before)
    assert "refuses" not in caplog.text


async def test_a_watch_ends_when_calls_go_to_another_server(tracker, notes, monkeypatch):
    monkeypatch.setattr(tracking, "HEARTBEAT_SECONDS", 0.05)
    watch, run_id = tracker.watch, tracker._run_id
    tracker.expect("another")
    ended = not watch.live
    await until(lambda: notes.told)
    tracker.expect(run_id)
    await until(lambda: tracker.watch.live)

    assert ended
    assert set(notes.told) == {"mismatch"}
    assert tracker.watch is not watch


async def test_a_watch_goes_on_when_calls_go_to_the_same_server(tracker):
    watch = tracker.watch
    tracker.expect(tracker._run_id)
    tracker.expect(None)

    assert watch.live


async def test_where_connections_end_at_several_servers_there_is_no_cache(tracker, monkeypatch, caplog):
    for constant in ("HEARTBEAT_SECONDS", "SHORTEST_PAUSE_SECONDS", "LONGEST_PAUSE_SECONDS", "REFUSED_SECONDS"):
        monkeypatch.setattr(tracking, constant, 0.01)
    tracker.expect("another")
    await until(lambda: "several servers" in tracker.trouble)
    await asyncio.sleep(0.1)

    assert caplog.text.count("several servers") == 1


@pytest.mark.parametrize(
    "answer", [b"-ERR unknown command 'HELLO', with args beginning with: '3' 'AUTH' 'hush'\r\n", b"+OK\r\n", b"?\r\n"]
)
async def test_a_server_that_knows_no_resp3_refuses(make_tracker, caplog, answer):
    tries = []

    async def old(reader, writer):
        tries.append(reader)
        while await reader.read(65536):
            writer.write(answer)
        writer.close()

    server = await asyncio.start_server(old, "127.0.0.1")
    tracker = await make_tracker(f"redis://:hush@127.0.0.1:{server.sockets[0].getsockname()[1]}")
    await asyncio.sleep(0.5)
    server.close()

    assert len(tries) == 1
    assert tracker.trouble.startswith("Redis refuses to tell of changes")
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "hush" not in caplog.text


async def test_a_process_sees_what_another_has_written(redis_url):
    stores = [
        CachedStore(RedisStore.at(redis_url), Tracker.at(redis_url, kinds=[KIND]), size=10, ttl=60, stale=0)
        for _ in range(2)
    ]
    one, two = stores
    for store in stores:
        await store.open()
    seen = None
    for n in range(200):
        assert await two.get(KIND, "a") == seen or n
        seen = await one.replace(KIND, "a", {"n": str(n)}, expected=seen)
        assert (await one.get(KIND, "a")).fields == {"n": str(n)}
        # Long before its entry would be too old.
        async with asyncio.timeout(20):
            while await two.get(KIND, "a") != seen:  # noqa: ASYNC110 - the store sets no event
                await asyncio.sleep(0)
    for store in stores:
        await store.close()
