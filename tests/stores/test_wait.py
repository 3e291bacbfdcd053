"""Writes that replicas must confirm."""

import asyncio
from contextlib import contextmanager

import pytest
from redis.asyncio import Redis
from support.accounts import ACCOUNT
from support.waiting import until
from support.writes import KIND

from service.errors import StoreUnavailable
from service.stores import compare_and_set, retry
from service.stores.compare_and_set import Unconfirmed
from service.stores.shard import CONNECTIONS

pytestmark = pytest.mark.heavy


@contextmanager
def patience():
    """Give replicas and readers the time that they need on a busy machine."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("ATTEMPT_SECONDS", "DEADLINE_SECONDS"):
            patch.setattr(retry, name, 3.0)
        yield


async def write(store, seen):
    """Run every operation that writes, one after another."""
    yield lambda: store.replace(KIND, "b", {"n": "1"}, expected=None)
    yield lambda: store.replace(KIND, "a", {"n": "2"}, expected=seen)
    current = await store.get(KIND, "a", bypass_cache=True)
    yield lambda: store.rewrite(current, {"n": "3"})
    current = await store.get(KIND, "a", bypass_cache=True)
    yield lambda: store.remove(current)
    yield lambda: store.put_with_ttl("Session", "a", {"n": "1"}, seconds=60)


def hang_replicas(group):
    for primary in group.primaries:
        for replica in group.replicas_of(primary):
            replica.hang()


@pytest.fixture(params=["sentinel", "cluster"])
def group(request):
    return request.getfixturevalue(f"own_{request.param}")


async def test_writes_succeed_when_enough_replicas_confirm(group, open_store):
    store = await open_store(group.url, wait_replicas=1)
    with patience():
        seen = await store.replace(KIND, "a", {"n": "1"}, expected=None)
        results = [await operation() async for operation in write(store, seen)]

    assert all(results[:-1])
    assert store.warnings() == []


async def test_each_write_fails_while_the_replicas_hang(group, open_store):
    # The replicas must stay connected until the end.
    for node in group.nodes:
        node.run("CONFIG", "SET", "repl-timeout", "3600")
    store = await open_store(group.url, cached=False, wait_replicas=1)
    with patience():
        seen = await store.replace(KIND, "a", {"n": "1"}, expected=None)
    hang_replicas(group)
    async for operation in write(store, seen):
        with pytest.raises(StoreUnavailable, match="may or may not have happened"):
            await operation()


@pytest.mark.parametrize("exists", [True, False])
async def test_a_confirmation_waits_and_changes_nothing(group, open_store, exists):
    store = await open_store(group.url, cached=False, wait_replicas=1)
    with patience():
        seen = await store.replace(KIND, "a", {"n": "1"}, expected=None)
        if not exists:
            await store.remove(seen)
        stored = await store.get(KIND, "a")
        succeeded = await store.confirm(KIND, "a", stored)
        after = await store.get(KIND, "a")
        outdated = await store.confirm(KIND, "a", None if exists else seen)
    hang_replicas(group)

    assert (succeeded, outdated) == (True, False)
    assert (after and after.record) == (stored and stored.record)
    with pytest.raises(Unconfirmed):
        await store.confirm(KIND, "a", stored)


async def test_a_refused_write_waits_for_no_replica(group, open_store):
    store = await open_store(group.url, cached=False, wait_replicas=1)
    with patience():
        seen = await store.replace(KIND, "a", {"n": "1"}, expected=None)
        changed = await store.replace(KIND, "a", {"n": "2"}, expected=seen)
    hang_replicas(group)

    assert changed
    assert await store.replace(KIND, "a", {"n": "3"}, expected=seen) is None


async def test_writes_that_wait_leave_connections_to_reads(own_sentinel, open_store):
    store = await open_store(own_sentinel.url, cached=False, wait_replicas=1)
    with patience():
        await store.replace(KIND, "a", {"n": "1"}, expected=None)
        own_sentinel.replica.hang()
        writes = [
            asyncio.create_task(store.put_with_ttl("Session", f"s{number}", {"n": "1"}, seconds=60))
            for number in range(2 * CONNECTIONS)
        ]
        await asyncio.sleep(0)
        found = await store.get(KIND, "a")
        ended = sum(write.done() for write in writes)
        results = await asyncio.gather(*writes, return_exceptions=True)

    assert found.fields == {"n": "1"}
    assert ended == 0
    assert all(isinstance(result, StoreUnavailable) for result in results)


async def test_a_lost_answer_is_unconfirmed(own_redis, open_store, monkeypatch):
    run_script, calls = compare_and_set._run_script, []

    async def lose_first_answer(*arguments):
        version = await run_script(*arguments)
        calls.append(version)
        if len(calls) == 1:
            raise ConnectionError
        return version

    store = await open_store(own_redis.url, cached=False, wait_replicas=1)
    monkeypatch.setattr(compare_and_set, "_run_script", lose_first_answer)
    with pytest.raises(Unconfirmed):
        await store.replace(KIND, "a", {"n": "1"}, expected=None)

    assert calls[1] == ""


async def test_too_few_connected_replicas_are_a_warning(own_redis, open_store, caplog):
    store = await open_store(own_redis.url, cached=False, wait_replicas=2)
    warning = f"SIGNER_WAIT_REPLICAS is 2, but {store.description} has 0 connected replicas"

    assert store.warnings() == [warning]
    assert [record.getMessage() for record in caplog.records] == [f"The account store {store.description}: {warning}"]


async def test_replicas_that_stay_connected_and_confirm_nothing_are_a_warning(own_sentinel, open_store, caplog):
    store = await open_store(own_sentinel.url, cached=False, wait_replicas=1)
    with patience():
        seen = await store.replace(KIND, "a", {"n": "1"}, expected=None)
    before, primary, replica = list(store.warnings()), own_sentinel.primary, own_sentinel.replica
    replica.hang()
    for _ in range(2):
        with pytest.raises(Unconfirmed):
            await store.confirm(KIND, "a", seen)
    during = list(store.warnings())
    replica.resume()

    async def is_confirmed():
        try:
            return await store.confirm(KIND, "a", seen)
        except StoreUnavailable:
            return False

    await until(is_confirmed)
    why = "answers probes, but does not complete wait of AwsAccount:*: too few replicas have confirmed a change in time"

    assert before == []
    assert during == [f"redis://127.0.0.1:{primary.port}/0 {why}"]
    assert store.warnings() == []
    assert [why in record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [True]


async def test_a_refused_wait_is_no_success(own_redis, open_store):
    async with Redis.from_url(own_redis.url) as admin:
        await admin.execute_command("ACL", "SETUSER", "limited", "on", ">hush", "~*", "+@all", "-wait")
    store = await open_store(own_redis.url.replace("//", "//limited:hush@"), cached=False, wait_replicas=1)

    with pytest.raises(StoreUnavailable):
        await store.replace(KIND, "a", {"n": "1"}, expected=None)


async def test_an_unconfirmed_change_is_a_503_that_says_so(group, make_client):
    client = await make_client(SIGNER_STORE_URL=group.url, SIGNER_WAIT_REPLICAS="1")
    before = await client.put("/AwsAccount", json=ACCOUNT)
    hang_replicas(group)
    after = await client.put("/AwsAccount", json=ACCOUNT | {"region": "eu-west-1"})

    assert before.status == 201
    assert after.status == 503
    assert "Too few replicas have confirmed the change, so it may or may not have happened" in await after.text()


async def test_a_repeated_change_is_acknowledged_only_when_a_replica_has_it(own_sentinel, make_client):
    client = await make_client(SIGNER_STORE_URL=own_sentinel.url, SIGNER_WAIT_REPLICAS="1")
    body = {name: value for name, value in ACCOUNT.items() if name != "id"}

    async def statuses():
        deleted = await client.delete("/AwsAccount/old")
        created = await client.post("/AwsAccount?_id=new", json=body)
        return deleted.status, created.status

    created = await client.put("/AwsAccount/old", json=body)
    replica = own_sentinel.replica
    replica.hang()
    hung = [await statuses() for _ in range(2)]
    still_gone = await client.get("/AwsAccount/old")
    replica.resume()

    async def is_acknowledged():
        return await statuses() == (204, 200)

    await until(is_acknowledged)
    assert created.status == 201
    assert still_gone.status == 404
    assert hung == [(503, 503)] * 2
    assert replica.run("KEYS", "AwsAccount:*") == ["AwsAccount:new"]
