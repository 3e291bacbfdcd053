"""Outages of Redis: errors, log lines, retries and recovery."""

import asyncio
import logging
import time
from contextlib import suppress

import pytest
from redis.asyncio import Redis
from redis.backoff import ConstantBackoff
from redis.exceptions import MovedError, ReadOnlyError
from support.garbage import no_errors_in_cycles
from support.proxy import Proxy
from support.shards import client_of, monitor_of
from support.waiting import until

from service.errors import StoreUnavailable, drop_tracebacks
from service.stores import call_failures, compare_and_set, health, retry
from service.stores.cache import CachedStore
from service.stores.connection import reconnect
from service.stores.failures import reason
from service.stores.redis import RedisStore
from service.stores.retry import DEADLINE_SECONDS, OPEN_AFTER_SECONDS
from service.stores.shard import CONNECTIONS
from service.stores.store import NothingWritten
from service.stores.tracking import Tracker

pytestmark = pytest.mark.slow

HANG_SECONDS = 10

LOGGERS = ("service.stores.health", "service.stores.call_failures")


@pytest.fixture
async def store(own_redis):
    store = RedisStore.at(own_redis.url)
    await store.open()
    yield store
    await store.close()
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.fixture(autouse=True)
def log(caplog):
    for name in LOGGERS:
        caplog.set_level(logging.INFO, logger=name)
    return caplog


def messages(log):
    return [(record.levelname, record.getMessage()) for record in log.records if record.name in LOGGERS]


async def answers(store):
    try:
        await store.get("AwsAccount", "a")
    except StoreUnavailable:
        return False
    return True


def connections_in_use(store):
    _, (in_use, _) = client_of(store).connection_pool.get_connection_count()
    return in_use


async def fails(call):
    async with asyncio.timeout(HANG_SECONDS):
        with pytest.raises(StoreUnavailable):
            await call


async def fails_without_a_call(store, monkeypatch):
    def pipeline(**_):
        raise AssertionError("Redis was called")

    with monkeypatch.context() as patch:
        patch.setattr(client_of(store), "pipeline", pipeline)
        await fails(store.get("AwsAccount", "a"))


async def test_a_failed_read_leaves_nothing_to_the_garbage_collection(own_redis):
    store = RedisStore.at(own_redis.url)
    cached = CachedStore(store, Tracker(store.topology, kinds=["AwsAccount"]), size=10, ttl=60, stale=0)
    await cached.open()
    own_redis.kill()
    with no_errors_in_cycles():
        for _ in range(3):
            try:
                await cached.get("AwsAccount", "a")
            except StoreUnavailable as error:
                # As the outermost middleware does.
                drop_tracebacks(error)
    await cached.close()


@pytest.mark.parametrize("forgets_probe", [True, False])
async def test_open_connections_that_a_firewall_has_forgotten_fail_no_call(own_redis, forgets_probe):
    proxy = Proxy(own_redis.port)
    await proxy.start()
    store = RedisStore.at(f"redis://127.0.0.1:{proxy.port}/0")
    await store.open()
    spared = () if forgets_probe else set(proxy._links)
    # Each write takes a connection of its own.
    await asyncio.gather(*(store.replace("AwsAccount", f"b{n}", {"n": "1"}, expected=None) for n in range(20)))
    proxy.cut(lambda link: link not in spared)
    proxy.heal()

    for n in range(10):
        assert await store.get("AwsAccount", f"b{n}")
        assert await store.replace("AwsAccount", f"c{n}", {"n": "1"}, expected=None)
    await store.close()
    await proxy.stop()


async def test_a_server_that_is_unavailable_at_the_start_is_logged_once(own_redis, log, monkeypatch):
    own_redis.kill()
    store = RedisStore.at(own_redis.url)
    await store.open()
    first = messages(log)
    await fails(store.get("AwsAccount", "a"))
    await fails_without_a_call(store, monkeypatch)
    await fails(store.check())
    own_redis.start()
    await until(lambda: answers(store))
    await store.check()
    await store.close()

    assert first == messages(log)[:1]
    assert [level for level, _ in messages(log)] == ["WARNING", "INFO"]
    assert f"redis://127.0.0.1:{own_redis.port}/0 is unavailable: ConnectionError" in first[0][1]


async def test_the_log_has_a_line_for_the_start_and_the_end_of_an_outage(store, own_redis, log, monkeypatch):
    await asyncio.gather(*(store.get("AwsAccount", "a") for _ in range(50)))
    own_redis.kill()
    await asyncio.gather(*(fails(store.get("AwsAccount", "a")) for _ in range(100)))
    await fails_without_a_call(store, monkeypatch)
    await fails(store.check())
    own_redis.start()
    await until(lambda: answers(store))

    assert [level for level, _ in messages(log)] == ["WARNING", "INFO"]


async def test_a_check_detects_an_outage_without_calls(store, own_redis):
    own_redis.kill()
    await asyncio.sleep(1.01)

    await fails(store.check())


async def test_an_outage_that_a_check_detects_is_probed_until_its_end(store, own_redis):
    own_redis.hang()
    await asyncio.sleep(1.01)
    await fails(store.check())
    # Now calls fail at once, and request no probe.
    await asyncio.sleep(OPEN_AFTER_SECONDS)
    own_redis.resume()

    assert await until(lambda: answers(store)) < 2


async def test_calls_succeed_during_a_short_restart(store, own_redis, log):
    await asyncio.gather(*(store.get("AwsAccount", "a") for _ in range(60)))
    own_redis.kill()
    calls = [asyncio.create_task(store.replace("AwsAccount", f"a{n}", {}, expected=None)) for n in range(50)]
    await asyncio.to_thread(own_redis.start)

    assert all(await asyncio.gather(*calls))


async def test_idle_connections_are_replaced_after_a_restart(store, own_redis, log):
    await asyncio.gather(*(store.get("AwsAccount", "a") for _ in range(60)))
    own_redis.restart()
    await asyncio.gather(*(store.get("AwsAccount", "a") for _ in range(200)))

    assert messages(log) == []


@pytest.mark.heavy
async def test_a_hung_server_delays_no_caller_beyond_the_deadline(store, own_redis, log, monkeypatch):
    await store.get("AwsAccount", "a")
    own_redis.hang()
    calls = [store.get("AwsAccount", "a"), store.replace("AwsAccount", "a", {}, expected=None)]
    calls += [store.page("AwsAccount", offset=0, count=1)]
    await asyncio.gather(*(fails(call) for call in calls))
    await asyncio.sleep(OPEN_AFTER_SECONDS)
    await fails_without_a_call(store, monkeypatch)
    # Even long after the last probe, a check does not wait for an unavailable server.
    monitor_of(store)._probed_at = 0
    await fails(store.check())
    own_redis.resume()
    await until(lambda: answers(store))

    assert [level for level, _ in messages(log)] == ["WARNING", "INFO"]


async def test_a_store_opens_and_closes_in_time_on_a_hung_server(own_redis):
    own_redis.hang()
    store = RedisStore.at(own_redis.url)
    async with asyncio.timeout(HANG_SECONDS):
        await store.open()
        await store.close()
    own_redis.resume()

    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_close_ends_although_its_cancellation_is_lost(store, monkeypatch):
    started = asyncio.Event()

    async def inspect(*_, **__):
        started.set()
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(HANG_SECONDS)

    monkeypatch.setattr(health, "inspect", inspect)
    monitor_of(store).request_probe()
    await started.wait()
    await asyncio.wait({closing := asyncio.create_task(store.close())}, timeout=HANG_SECONDS / 2)

    assert closing.done()


async def test_a_busy_pool_is_not_an_outage(store, log):
    pool = client_of(store).connection_pool
    busy = [await pool.get_connection() for _ in range(CONNECTIONS)]
    await fails(store.get("AwsAccount", "a"))
    for connection in busy:
        await pool.release(connection)
    await store.check()

    assert await answers(store)
    assert ["does not complete hgetall" in message for _, message in messages(log)] == [True]


async def take_no_more_clients(admin):
    await admin.config_set("maxclients", len(await admin.client_list()))


async def change_the_password(admin):
    await admin.config_set("requirepass", "another")


@pytest.mark.parametrize("refuse_new_ones", [take_no_more_clients, change_the_password])
async def test_open_connections_serve_also_after_more_calls_than_there_are(store, own_redis, refuse_new_ones):
    async def put(number):
        try:
            return await store.replace("AwsAccount", f"{number}-{time.monotonic_ns()}", {}, expected=None)
        except StoreUnavailable:
            return None

    await asyncio.gather(*map(put, range(3)))
    async with Redis.from_url(own_redis.url) as admin:
        await refuse_new_ones(admin)
        await asyncio.gather(*map(put, range(40)))

        assert all([await put(number) for number in range(5)])


async def test_callers_are_served_in_order(store):
    async def greedy():
        for _ in range(20):
            await store.get("AwsAccount", "a")
            served.append(False)

    async def modest():
        await store.get("AwsAccount", "a")
        served.append(True)

    served = []
    await asyncio.gather(*(greedy() for _ in range(CONNECTIONS)), modest())

    assert served.index(True) < 3 * CONNECTIONS


async def test_a_restart_under_load_causes_no_lost_write_and_no_false_conflict(store, own_redis):
    ids = [f"a{n}" for n in range(100)]
    acknowledged, unknown, over = dict.fromkeys(ids, 0), dict.fromkeys(ids, 0), asyncio.Event()
    await asyncio.gather(*(store.replace("AwsAccount", id_, {"n": "0"}, expected=None) for id_ in ids))

    async def write(id_):
        pending = 0
        while not over.is_set():
            try:
                seen = await store.get("AwsAccount", id_)
                if await store.replace("AwsAccount", id_, {"n": str(int(seen.fields["n"]) + 1)}, expected=seen):
                    acknowledged[id_] += 1
                    continue
                # Redis may execute a write that has failed with a 503 even later.
                assert pending, f"{id_} has one writer, but a conflict"
                pending -= 1
            except StoreUnavailable as error:
                unknown[id_] += 1
                pending += not isinstance(error, NothingWritten)
                await asyncio.sleep(0.05)

    async def read(id_):
        while not over.is_set():
            await answers(store)
            await asyncio.sleep(0.01)

    async def wrote_more_than(before):
        if load.done():
            # A task failed, and says why.
            load.result()
        return all(acknowledged[id_] > before[id_] for id_ in ids)

    load = asyncio.gather(*(write(id_) for id_ in ids), *(read(id_) for id_ in ids))
    await until(lambda: wrote_more_than(dict.fromkeys(ids, 0)))
    await asyncio.to_thread(own_redis.restart)
    before = acknowledged.copy()
    await until(lambda: wrote_more_than(before))
    over.set()
    await load
    written = {id_: int((await store.get("AwsAccount", id_)).fields["n"]) for id_ in ids}

    assert all(acknowledged[id_] <= written[id_] <= acknowledged[id_] + unknown[id_] for id_ in ids)
    assert connections_in_use(store) == 0


async def test_a_reconnection_that_takes_too_long_returns_all_connections(store, monkeypatch):
    await asyncio.gather(*(store.replace("AwsAccount", f"a{n}", {"n": "1"}, expected=None) for n in range(5)))
    pool = client_of(store).connection_pool
    release = pool.release

    async def release_slowly(connection):
        await asyncio.sleep(0.01)
        await release(connection)

    monkeypatch.setattr(pool, "release", release_slowly)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.005):
            await reconnect(pool)

    async def all_are_returned():
        return connections_in_use(store) == 0

    await until(all_are_returned)


async def test_a_write_that_is_cancelled_at_its_end_returns_its_connection(store, monkeypatch):
    run_script = compare_and_set._run_script

    async def run_and_cancel(*arguments):
        version = await run_script(*arguments)
        # At the next pause of the task, which is that of the client's end.
        writing.cancel()
        return version

    monkeypatch.setattr(compare_and_set, "_run_script", run_and_cancel)
    for write in (
        store.replace("AwsAccount", "a", {"n": "1"}, expected=None),
        store.put_with_ttl("Session", "a", {"n": "1"}, seconds=60),
    ):
        writing = asyncio.create_task(write)
        await asyncio.wait({writing})

    assert connections_in_use(store) == 0


@pytest.mark.parametrize("rounds", [0, *(pytest.param(rounds, marks=pytest.mark.heavy) for rounds in (1, 2)), 3])
async def test_a_blocked_event_loop_is_no_outage(store, log, monkeypatch, rounds):
    """Loading libraries at the start took half a second and more on a busy machine."""
    monkeypatch.setattr(health, "FRESH_SECONDS", 0)
    for _ in range(2):
        check = asyncio.create_task(store.check())
        calls = [asyncio.create_task(store.get("AwsAccount", str(number))) for number in range(3)]
        for _ in range(rounds):
            await asyncio.sleep(0)
        time.sleep(DEADLINE_SECONDS + 0.2)  # noqa: ASYNC251 - blocks the loop
        await check

        assert await asyncio.gather(*calls) == [None] * 3
    assert messages(log) == []


@pytest.mark.parametrize("blocks", ["before", "after"])
async def test_a_creation_succeeds_although_the_event_loop_is_blocked(store, monkeypatch, blocks):
    """The creation is limited by the time of Redis, which does not stop while this process does."""
    ask = Redis.time

    async def ask_and_block(client):
        if blocks == "before":
            time.sleep(DEADLINE_SECONDS + 0.2)  # noqa: ASYNC251 - blocks the loop
        answer = await ask(client)
        if blocks == "after":
            time.sleep(DEADLINE_SECONDS + 0.2)  # noqa: ASYNC251 - blocks the loop
        return answer

    monkeypatch.setattr(Redis, "time", ask_and_block)

    assert await store.replace("AwsAccount", "a", {"n": "1"}, expected=None)
    await store.put_with_ttl("Session", "a", {"n": "1"}, seconds=60)


async def test_a_creation_succeeds_although_the_event_loop_is_blocked_before_redis_gets_its_script(store, monkeypatch):
    """Redis refuses the attempt as too late, which must leave time for another one."""
    evaluate, blocked = Redis.eval, []

    async def block_and_evaluate(client, script, *arguments):
        if script not in blocked:
            blocked.append(script)
            time.sleep(DEADLINE_SECONDS + 0.2)  # noqa: ASYNC251 - blocks the loop
        return await evaluate(client, script, *arguments)

    monkeypatch.setattr(Redis, "eval", block_and_evaluate)

    assert await store.replace("AwsAccount", "a", {"n": "1"}, expected=None)
    await store.put_with_ttl("Session", "a", {"n": "1"}, seconds=60)
    assert len(blocked) == 2


@pytest.mark.parametrize("error", [ConnectionError, ReadOnlyError("READONLY"), MovedError("0 127.0.0.1:1")])
@pytest.mark.parametrize("seconds", [0, 0.005], ids=["attempt", "pause"])
async def test_a_call_is_repeated_although_the_event_loop_is_blocked(store, monkeypatch, error, seconds):
    """The loop is blocked at the end of an attempt, or in the pause behind it."""
    monkeypatch.setattr(retry, "BACKOFF", ConstantBackoff(0.02))
    errors = [error]

    def block():
        time.sleep(DEADLINE_SECONDS + 0.2)

    async def command(_):
        if errors:
            if seconds:
                asyncio.get_running_loop().call_later(seconds, block)
            else:
                block()
            raise errors.pop()
        await asyncio.sleep(0.01)
        return "done"

    assert await store._breaker.call("get", "AwsAccount:a", command) == "done"


async def test_a_refused_command_is_no_outage_and_is_logged_once(store, own_redis, log):
    async with Redis.from_url(own_redis.url) as admin:
        await admin.config_set("maxmemory", "1")
        for n in range(3):
            with pytest.raises(StoreUnavailable):
                await store.replace("AwsAccount", f"a{n}", {}, expected=None)
    await store.check()

    ((level, message),) = messages(log)
    assert level == "WARNING"
    assert "refuses commands: OutOfMemoryError" in message


async def test_a_command_that_hangs_while_probes_succeed_is_logged_once_and_is_a_warning(store, own_redis, log):
    async with Redis.from_url(own_redis.url) as admin:
        await admin.execute_command("CLIENT", "PAUSE", 60_000, "WRITE")
        for _ in range(2):
            await fails(store.put_with_ttl("Session", "a", {"n": "1"}, seconds=60))
        await store.check()
        during = list(store.warnings())
        await admin.execute_command("CLIENT", "UNPAUSE")
    await store.put_with_ttl("Session", "a", {"n": "1"}, seconds=60)
    why = "answers probes, but does not complete keep of Session:*: TimeoutError"

    assert during == [f"Redis {why}"]
    assert store.warnings() == []
    assert messages(log) == [("WARNING", f"The account store {store.description} {why}")]


async def test_a_reply_that_ends_its_connection_is_logged(store, own_redis, log):
    async with Redis.from_url(own_redis.url) as admin:
        await admin.hset("AwsAccount:a", mapping={str(number): "x" * 1000 for number in range(100)})
        await admin.config_set("client-output-buffer-limit", "normal 10kb 0 0")
    await fails(store.get("AwsAccount", "a"))

    ((_, message),) = messages(log)
    assert "answers probes, but does not complete hgetall: ConnectionError" in message


async def test_a_warning_of_a_refused_command_ends_although_the_command_is_not_repeated(store, own_redis, monkeypatch):
    async with Redis.from_url(own_redis.url) as admin:
        await admin.config_set("maxmemory", "1")
        with pytest.raises(StoreUnavailable):
            await store.replace("AwsAccount", "a", {}, expected=None)
    fresh = list(store.warnings())
    monkeypatch.setattr(call_failures, "SHOWN_SECONDS", 0)

    assert any(warning.startswith("Redis refuses ") for warning in fresh)
    assert not any(warning.startswith("Redis refuses ") for warning in store.warnings())


async def test_a_wrong_password_is_logged_without_the_password(own_redis, log):
    store = RedisStore.at(own_redis.url.replace("//", "//alice:hush@"))
    await store.open()
    with pytest.raises(StoreUnavailable) as refusal:
        await store.get("AwsAccount", "a")
    await store.close()

    assert "AuthenticationError" in log.text
    assert "hush" not in log.text + str(refusal.value) + str(refusal.value.__cause__)


def test_a_reason_does_not_contain_the_sent_arguments():
    assert reason(Exception("unknown command 'HELLO', with args beginning with: '3' 'AUTH' 'hush'")) == (
        "Exception: unknown command 'HELLO'"
    )


async def test_a_closed_store_has_no_connections(own_redis):
    store = RedisStore.at(own_redis.url)
    await store.open()
    await asyncio.gather(*(store.get("AwsAccount", "a") for _ in range(50)))
    await store.close()
    async with Redis.from_url(own_redis.url) as admin:
        await until(lambda: only_one(admin))


async def only_one(admin):
    return len(await admin.client_list()) == 1


@pytest.mark.parametrize("turns", range(1, 6))
async def test_a_probe_during_the_close_of_a_primary_leaves_no_connection(own_redis, turns):
    store = RedisStore.at(own_redis.url)
    (shard,) = store.topology.shards.values()
    opening = asyncio.create_task(shard.monitor.open())
    for _ in range(turns):
        await asyncio.sleep(0)
    await shard.close()
    await opening
    async with Redis.from_url(own_redis.url) as admin:
        (own,) = await admin.client_list()

    assert own["cmd"] == "client|list"
