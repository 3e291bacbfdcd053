"""Redis comes and goes: what callers are told, what the log says, and how soon it mends."""

import asyncio
import logging
import time
from contextlib import suppress

import pytest
from redis.asyncio import Redis
from support.waiting import until

from service.errors import StoreUnavailable
from service.stores import retry
from service.stores.redis import RedisStore
from service.stores.retry import CONNECTIONS, DEADLINE_SECONDS, PATIENCE_SECONDS, reason

pytestmark = pytest.mark.slow

HANG_SECONDS = 10

LOG = "service.stores.retry"


@pytest.fixture
async def store(own_redis):
    store = RedisStore.at(own_redis.url)
    await store.open()
    yield store
    await store.close()
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.fixture(autouse=True)
def log(caplog):
    caplog.set_level(logging.INFO, logger=LOG)
    return caplog


def told(log):
    return [(record.levelname, record.getMessage()) for record in log.records if record.name == LOG]


async def answers(store):
    try:
        await store.get("AwsAccount", "a")
    except StoreUnavailable:
        return False
    return True


async def fails(call):
    async with asyncio.timeout(HANG_SECONDS):
        with pytest.raises(StoreUnavailable):
            await call


async def fails_at_once(store, monkeypatch):
    """Without as much as asking Redis."""

    async def hgetall(_):
        raise AssertionError("Redis was asked")

    with monkeypatch.context() as patch:
        patch.setattr(store._client, "hgetall", hgetall)
        await fails(store.get("AwsAccount", "a"))


async def test_a_server_that_is_absent_at_the_start_is_told_once(own_redis, log, monkeypatch):
    own_redis.kill()
    store = RedisStore.at(own_redis.url)
    await store.open()
    first = told(log)
    await fails(store.get("AwsAccount", "a"))
    await fails_at_once(store, monkeypatch)
    await fails(store.check())
    own_redis.start()
    await until(lambda: answers(store))
    await store.check()
    await store.close()

    assert first == told(log)[:1]
    assert [level for level, _ in told(log)] == ["WARNING", "INFO"]
    assert f"redis://127.0.0.1:{own_redis.port}/0 is away: ConnectionError" in first[0][1]


async def test_an_outage_is_one_line_and_its_end_another(store, own_redis, log, monkeypatch):
    await asyncio.gather(*(store.get("AwsAccount", "a") for _ in range(50)))
    own_redis.kill()
    await asyncio.gather(*(fails(store.get("AwsAccount", "a")) for _ in range(100)))
    await fails_at_once(store, monkeypatch)
    await fails(store.check())
    own_redis.start()
    await until(lambda: answers(store))

    assert [level for level, _ in told(log)] == ["WARNING", "INFO"]


async def test_an_outage_that_nobody_met_is_seen_by_a_check(store, own_redis):
    own_redis.kill()
    await asyncio.sleep(1.01)

    await fails(store.check())


async def test_a_short_restart_is_not_noticed_by_a_caller(store, own_redis, log):
    await asyncio.gather(*(store.get("AwsAccount", "a") for _ in range(60)))
    own_redis.kill()
    calls = [asyncio.create_task(store.replace("AwsAccount", f"a{n}", {}, expected=None)) for n in range(50)]
    await asyncio.to_thread(own_redis.start)

    assert all(await asyncio.gather(*calls))


async def test_idle_connections_from_before_a_restart_are_replaced(store, own_redis, log):
    await asyncio.gather(*(store.get("AwsAccount", "a") for _ in range(60)))
    own_redis.restart()
    await asyncio.gather(*(store.get("AwsAccount", "a") for _ in range(200)))

    assert told(log) == []


@pytest.mark.heavy
async def test_a_hung_server_holds_nobody_for_long(store, own_redis, log, monkeypatch):
    await store.get("AwsAccount", "a")
    own_redis.hang()
    calls = [store.get("AwsAccount", "a"), store.replace("AwsAccount", "a", {}, expected=None)]
    calls += [store.page("AwsAccount", offset=0, count=1)]
    await asyncio.gather(*(fails(call) for call in calls))
    await asyncio.sleep(PATIENCE_SECONDS)
    await fails_at_once(store, monkeypatch)
    # However long ago its last PING was, what is known to be away is not waited for.
    store._reach._probed_at = 0
    await fails(store.check())
    own_redis.resume()
    await until(lambda: answers(store))

    assert [level for level, _ in told(log)] == ["WARNING", "INFO"]


async def test_a_store_on_a_hung_server_opens_and_closes_in_time(own_redis):
    own_redis.hang()
    store = RedisStore.at(own_redis.url)
    async with asyncio.timeout(HANG_SECONDS):
        await store.open()
        await store.close()
    own_redis.resume()

    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_close_whose_cancellation_is_lost_ends_all_the_same(store, monkeypatch):
    asked = asyncio.Event()

    async def inspect(*_):
        asked.set()
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(HANG_SECONDS)

    monkeypatch.setattr(retry, "inspect", inspect)
    store._reach._suspicion.set()
    await asked.wait()
    await asyncio.wait({closing := asyncio.create_task(store.close())}, timeout=HANG_SECONDS / 2)

    assert closing.done()


async def test_a_busy_pool_is_not_an_outage(store, log):
    pool = store._client.connection_pool
    busy = [await pool.get_connection() for _ in range(CONNECTIONS)]
    await fails(store.get("AwsAccount", "a"))
    for connection in busy:
        await pool.release(connection)
    await store.check()

    assert await answers(store)
    assert told(log) == []


async def test_who_comes_first_is_served_first(store):
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


async def test_a_restart_under_load_loses_no_write_and_makes_no_false_conflict(store, own_redis):
    ids = [f"a{n}" for n in range(100)]
    acknowledged, unknown, over = dict.fromkeys(ids, 0), dict.fromkeys(ids, 0), asyncio.Event()
    await asyncio.gather(*(store.replace("AwsAccount", id_, {"n": "0"}, expected=None) for id_ in ids))

    async def write(id_):
        while not over.is_set():
            try:
                seen = await store.get("AwsAccount", id_)
                assert await store.replace("AwsAccount", id_, {"n": str(int(seen.fields["n"]) + 1)}, expected=seen)
                acknowledged[id_] += 1
            except StoreUnavailable:
                unknown[id_] += 1
                await asyncio.sleep(0.05)

    async def read(id_):
        while not over.is_set():
            await answers(store)
            await asyncio.sleep(0.01)

    async def wrote_more_than(before):
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
    assert not store._client.connection_pool._in_use_connections


@pytest.mark.parametrize("rounds", [0, *(pytest.param(rounds, marks=pytest.mark.heavy) for rounds in (1, 2)), 3])
async def test_a_loop_that_is_held_up_is_no_outage(store, log, monkeypatch, rounds):
    """As by libraries that are loaded at the start on a busy machine, which took half a second and more."""
    monkeypatch.setattr(retry, "FRESH_SECONDS", 0)
    for _ in range(2):
        look = asyncio.create_task(store.check())
        calls = [asyncio.create_task(store.get("AwsAccount", str(number))) for number in range(3)]
        for _ in range(rounds):
            await asyncio.sleep(0)
        time.sleep(DEADLINE_SECONDS + 0.2)  # noqa: ASYNC251 - that is the fault
        await look

        assert await asyncio.gather(*calls) == [None] * 3
    assert told(log) == []


async def test_what_redis_refuses_is_no_outage_and_told_once(store, own_redis, log):
    async with Redis.from_url(own_redis.url) as admin:
        await admin.config_set("maxmemory", "1")
        for n in range(3):
            with pytest.raises(StoreUnavailable):
                await store.replace("AwsAccount", f"a{n}", {}, expected=None)
    await store.check()

    ((level, message),) = told(log)
    assert level == "WARNING"
    assert "refuses commands: OutOfMemoryError" in message


async def test_a_wrong_password_is_told_but_not_which(own_redis, log):
    store = RedisStore.at(own_redis.url.replace("//", "//alice:hush@"))
    await store.open()
    with pytest.raises(StoreUnavailable) as refusal:
        await store.get("AwsAccount", "a")
    await store.close()

    assert "AuthenticationError" in log.text
    assert "hush" not in log.text + str(refusal.value) + str(refusal.value.__cause__)


def test_a_reason_does_not_repeat_what_was_sent():
    assert reason(Exception("unknown command 'HELLO', with args beginning with: '3' 'AUTH' 'hush'")) == (
        "Exception: unknown command 'HELLO'"
    )


async def test_a_closed_store_has_let_go_of_every_connection(own_redis):
    store = RedisStore.at(own_redis.url)
    await store.open()
    await asyncio.gather(*(store.get("AwsAccount", "a") for _ in range(50)))
    await store.close()
    async with Redis.from_url(own_redis.url) as admin:
        await until(lambda: only_one(admin))


async def only_one(admin):
    return len(await admin.client_list()) == 1
