"""Accounts on a Cluster: failover, moved slots, and keys of several primaries."""

import asyncio
import re
from collections import Counter
from contextlib import suppress

import pytest
from plugins.redis_server import free_port
from plugins.redis_topologies import Cluster, Node
from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError
from support.waiting import until
from support.writes import KIND, put, reads

from service.errors import StoreUnavailable
from service.stores import health, retry, topology, tracking_connection
from service.stores.connection import connect
from service.stores.server import inspect

pytestmark = pytest.mark.heavy

IDS = [f"a{number}" for number in range(30)]


def id_of(cluster, primary):
    """Return an id whose key is on ``primary``."""
    return next(id_ for id_ in IDS if cluster.primary_of(f"{KIND}:{id_}") is primary)


async def is_healthy(store):
    with suppress(StoreUnavailable):
        await store.check()
        return True
    return False


@pytest.mark.parametrize("end", ["kill", "hang"])
async def test_writes_and_the_cache_move_to_the_new_primary(own_cluster, open_store, end):
    store = await open_store(own_cluster.url)
    old = own_cluster.primary_of(f"{KIND}:a0")
    (new,) = own_cluster.replicas_of(old)
    assert await put(store, "a0", "old")
    await asyncio.to_thread(getattr(old, end))
    await until(lambda: put(store, "a0", "new"))
    await until(lambda: not store.warnings())
    assert await reads(store, "a0", "new")
    new.run("HSET", f"{KIND}:a0", "region", "newer")

    await until(lambda: reads(store, "a0", "newer"))


async def test_a_hung_primary_does_not_fail_reads_of_others(own_cluster, open_store):
    store = await open_store(own_cluster.url, cached=False)
    for id_ in IDS:
        assert await put(store, id_, "one")
    hung = own_cluster.primary_of(f"{KIND}:a0")
    owners = {id_: own_cluster.primary_of(f"{KIND}:{id_}") for id_ in IDS}
    hung.hang()
    results = await asyncio.gather(*(store.get(KIND, id_) for id_ in IDS), return_exceptions=True)
    found = dict(zip(IDS, results, strict=True))

    others = [id_ for id_ in IDS if owners[id_] is not hung]
    assert all(found[id_].fields == {"region": "one"} for id_ in others)
    assert isinstance(found["a0"], StoreUnavailable)
    assert len(Counter(node.port for node in owners.values())) == 3


async def test_open_connections_serve_more_calls_than_a_node_takes_connections(own_cluster, open_store):
    store = await open_store(own_cluster.url, cached=False)
    # Braces put all keys on one node.
    assert await put(store, "{a}", "one")
    own_cluster.primary_of(f"{KIND}:{{a}}").run("CONFIG", "SET", "maxclients", 1)

    assert all(await asyncio.gather(*(put(store, f"{{a}}{number}", "one") for number in range(20))))


async def test_a_node_that_takes_connections_again_is_tracked_at_once(own_cluster, open_store, monkeypatch, caplog):
    monkeypatch.setattr(tracking_connection, "REFUSED_SECONDS", 3600)
    store = await open_store(own_cluster.url)
    assert await put(store, "a0", "one")
    async with Redis(port=own_cluster.primary_of(f"{KIND}:a0").port, decode_responses=True) as admin:
        await admin.config_set("maxclients", 1)
        refused = (await admin.info("stats"))["rejected_connections"]
        for entry in await admin.client_list():
            if "B" in entry["flags"]:
                await admin.client_kill_filter(_id=entry["id"])

        async def has_refused():
            return (await admin.info("stats"))["rejected_connections"] > refused + 2

        await until(has_refused)
        await admin.config_set("maxclients", 1000)

    await until(lambda: reads(store, "a0", "one"))
    await until(lambda: not store.warnings())
    assert "The cache is off" not in caplog.text


async def test_a_node_without_a_probed_key_is_unavailable_while_it_runs_a_slow_script(own_cluster):
    # Braces put all keys on one node.
    key = "{a}"
    busy = next(node for node in own_cluster.primaries if node is not own_cluster.primary_of(key))
    busy.run("CONFIG", "SET", "lua-time-limit", 1)
    async with Redis(port=busy.port) as admin, connect(busy.url, connections=1) as client:
        script = asyncio.create_task(admin.eval("while true do end", 0))
        await until(lambda: is_busy(busy))
        with pytest.raises(ResponseError, match="BUSY"):
            await inspect(client, key, cluster=True)
        busy.run("SCRIPT", "KILL")
        with suppress(RedisError):
            await script

        assert (await inspect(client, key, cluster=True)).is_primary


def is_busy(node):
    try:
        node.run("DBSIZE")
    except ResponseError as error:
        return "BUSY" in str(error)
    return False


async def test_the_warning_of_a_refused_change_names_the_primary(own_cluster, open_store, caplog):
    store = await open_store(own_cluster.url)
    full = own_cluster.primary_of(f"{KIND}:a0")
    full.run("CONFIG", "SET", "maxmemory", "1")
    with pytest.raises(StoreUnavailable):
        await store.replace(KIND, "a0", {"region": "x"}, expected=None)
    warnings = [text for text in store.warnings() if "refuses" in text]

    assert warnings
    assert all(re.match(rf"redis://\S+:{full.port}/0 refuses \w+ of .+: OutOfMemoryError", text) for text in warnings)
    assert re.search(rf":{full.port}/0 refuses commands: OutOfMemoryError", caplog.text)


async def test_nodes_that_prefer_host_names_and_have_none_are_found_by_their_addresses(own_cluster, open_store):
    for node in own_cluster.nodes:
        node.run("CONFIG", "SET", "cluster-preferred-endpoint-type", "hostname")
    (_, _, (host, *_), *_), *_ = own_cluster.nodes[0].run("CLUSTER SLOTS")
    store = await open_store(own_cluster.url)

    assert host == "?"
    assert all([await put(store, f"a{number}", "one") for number in range(9)])


async def test_nodes_with_host_names_are_followed_to_a_new_primary(own_cluster, open_store):
    for node in own_cluster.nodes:
        node.run("CONFIG", "SET", "cluster-announce-hostname", "localhost")
        node.run("CONFIG", "SET", "cluster-preferred-endpoint-type", "hostname")

    def names():
        return {primary[0] for _, _, primary, *_ in own_cluster.nodes[0].run("CLUSTER SLOTS")}

    await until(lambda: names() == {"localhost"})
    store = await open_store(own_cluster.url)
    old = own_cluster.primary_of(f"{KIND}:a0")
    assert await put(store, "a0", "one")
    old.kill()

    await until(lambda: put(store, "a0", "two"))
    await until(lambda: not store.warnings())


async def test_a_failover_is_followed_after_a_primary_has_announced_an_address_by_mistake(
    own_cluster, open_store, monkeypatch
):
    monkeypatch.setattr(topology, "CHECK_SECONDS", 0.1)
    store = await open_store(own_cluster.url, cached=False)
    mistaken = own_cluster.primary_of(f"{KIND}:a0")
    (new,) = own_cluster.replicas_of(mistaken)
    mistaken.run("CONFIG", "SET", "cluster-announce-ip", "10.0.0.1:6379")
    await until(lambda: any("'10.0.0.1:6379', which is no host" in warning for warning in store.warnings()))
    late = await open_store(own_cluster.url, cached=False)
    mistaken.run("CONFIG", "SET", "cluster-announce-ip", "127.0.0.1")
    await until(lambda: not store.warnings() and not late.warnings())
    mistaken.kill()

    for opened in (store, late):
        await until(lambda opened=opened: put(opened, "a0", "two"))
    assert new.info()["role"] == "master"


@pytest.mark.parametrize("prefix", ["team:", "{team}:"])
async def test_a_prefix_may_name_the_slot_of_all_keys(cluster_url, shared_cluster, open_store, prefix):
    store = await open_store(cluster_url, cached=False, prefix=prefix)
    for id_ in IDS:
        assert await put(store, id_, "one")
    primaries = {shared_cluster.primary_of(f"{prefix}{KIND}:{id_}") for id_ in IDS}

    assert len(await store.all(KIND)) == len(IDS)
    assert await is_healthy(store)
    assert len(primaries) == (1 if "{" in prefix else 3)


async def test_a_listing_fails_while_a_primary_hangs(own_cluster, open_store):
    store = await open_store(own_cluster.url, cached=False)
    for id_ in IDS:
        assert await put(store, id_, "one")
    index = own_cluster.primary_of(f"_index:{KIND}")
    next(node for node in own_cluster.primaries if node is not index).hang()

    with pytest.raises(StoreUnavailable):
        await store.all(KIND)


async def test_changes_on_every_primary_leave_the_cache(cluster_url, shared_cluster, open_store):
    store = await open_store(cluster_url)
    for id_ in IDS:
        assert await put(store, id_, "one")
        assert await reads(store, id_, "one")
    for id_ in IDS:
        shared_cluster.primary_of(f"{KIND}:{id_}").run("HSET", f"{KIND}:{id_}", "region", "two")

    for id_ in IDS:
        await until(lambda id_=id_: reads(store, id_, "two"))


async def test_a_listing_contains_what_an_operator_adds_on_any_primary(cluster_url, shared_cluster, open_store):
    store = await open_store(cluster_url)
    for id_ in IDS:
        shared_cluster.primary_of(f"{KIND}:{id_}").run("HSET", f"{KIND}:{id_}", "region", "one")

    async def is_complete():
        return sorted(IDS) == sorted(resource.id for resource in await store.all(KIND))

    await until(is_complete)


async def test_the_cache_follows_a_failover_that_leaves_the_old_connection_open(own_cluster, open_store):
    store = await open_store(own_cluster.url)
    assert await put(store, "a0", "one")
    assert await reads(store, "a0", "one")
    old = own_cluster.primary_of(f"{KIND}:a0")
    await asyncio.to_thread(own_cluster.fail_over, old)
    new = own_cluster.primary_of(f"{KIND}:a0")
    new.run("HSET", f"{KIND}:a0", "region", "two")

    assert new is not old
    await until(lambda: reads(store, "a0", "two"))
    new.run("HSET", f"{KIND}:a0", "region", "three")
    await until(lambda: reads(store, "a0", "three"))


# Redirections name an address, "?", or only a port.
@pytest.mark.parametrize(
    ("endpoint", "finished"),
    [("ip", False), ("ip", True), ("hostname", False), ("unknown-endpoint", False), ("unknown-endpoint", True)],
)
async def test_keys_of_a_moving_slot_are_read_written_and_reported(own_cluster, open_store, endpoint, finished):
    for node in own_cluster.nodes:
        node.run("CONFIG", "SET", "cluster-preferred-endpoint-type", endpoint)
    store = await open_store(own_cluster.url)
    source = own_cluster.primary_of(f"{KIND}:a0")
    target = next(node for node in own_cluster.primaries if node is not source)
    assert await put(store, "a0", "one")
    assert await reads(store, "a0", "one")
    slot = source.run("CLUSTER", "KEYSLOT", f"{KIND}:a0")
    target.run("CLUSTER", "SETSLOT", slot, "IMPORTING", source.run("CLUSTER", "MYID"))
    source.run("CLUSTER", "SETSLOT", slot, "MIGRATING", target.run("CLUSTER", "MYID"))
    source.run("MIGRATE", "127.0.0.1", target.port, f"{KIND}:a0", 0, 1000)
    if finished:
        for node in own_cluster.primaries:
            node.run("CLUSTER", "SETSLOT", slot, "NODE", target.run("CLUSTER", "MYID"))

    await until(lambda: reads(store, "a0", "one"))
    assert await put(store, "a0", "two")
    assert await reads(store, "a0", "two")
    assert (await store.get(KIND, "a0")).version > 0
    if finished:
        target.run("HSET", f"{KIND}:a0", "region", "three")
        await until(lambda: reads(store, "a0", "three"))


async def test_a_node_that_gets_no_slots_is_forgotten(own_cluster, redis_binary, tmp_path, open_store, monkeypatch):
    monkeypatch.setattr(topology, "ADOPTED_SECONDS", 1.0)
    store = await open_store(own_cluster.url)
    assert await put(store, "a0", "one")
    source = own_cluster.primary_of(f"{KIND}:a0")
    (tmp_path / "new").mkdir()
    options = ("--cluster-enabled", "yes", "--cluster-port", str(free_port()), "--cluster-node-timeout", "1000")
    new = Node(redis_binary, tmp_path / "new", *options)
    new.start()
    try:
        new.run("CLUSTER", "MEET", "127.0.0.1", source.port, source.bus_port)
        await until(lambda: new.run("CLUSTER INFO")["cluster_state"] == "ok")
        await until(lambda: new.run("CLUSTER", "MYID") in source.run("CLUSTER", "NODES"))
        slot = source.run("CLUSTER", "KEYSLOT", f"{KIND}:a0")
        new.run("CLUSTER", "SETSLOT", slot, "IMPORTING", source.run("CLUSTER", "MYID"))
        source.run("CLUSTER", "SETSLOT", slot, "MIGRATING", new.run("CLUSTER", "MYID"))
        source.run("MIGRATE", "127.0.0.1", new.port, f"{KIND}:a0", 0, 1000)
        await until(lambda: put(store, "a0", "two"))
        # The operator cancels the migration, and removes the node.
        source.run("CLUSTER", "SETSLOT", slot, "STABLE")
        new.run("MIGRATE", "127.0.0.1", source.port, f"{KIND}:a0", 0, 1000)
        id_ = new.run("CLUSTER", "MYID")
    finally:
        new.kill()
    for node in own_cluster.nodes:
        node.run("CLUSTER", "FORGET", id_)

    await until(lambda: is_healthy(store))
    await until(lambda: not store.warnings())
    assert await reads(store, "a0", "two")
    assert len(await store.all(KIND)) == 1


async def test_a_store_of_one_server_does_not_follow_a_node_to_another(own_cluster, open_store, monkeypatch):
    monkeypatch.setattr(retry, "OPEN_AFTER_SECONDS", 3600)
    source = own_cluster.primary_of(f"{KIND}:a0")
    target = next(node for node in own_cluster.primaries if node is not source)
    slot = source.run("CLUSTER", "KEYSLOT", f"{KIND}:a0")
    target.run("CLUSTER", "SETSLOT", slot, "IMPORTING", source.run("CLUSTER", "MYID"))
    source.run("CLUSTER", "SETSLOT", slot, "MIGRATING", target.run("CLUSTER", "MYID"))
    store = await open_store(source.url, cached=False)

    # It would stay a second primary for ever, because nothing asks for the primaries.
    with pytest.raises(StoreUnavailable):
        await store.get(KIND, "a0")
    assert list(store.topology.shards) == [None]


async def test_a_session_is_stored_and_expires_on_every_primary(cluster_url, shared_cluster, open_store):
    store = await open_store(cluster_url, cached=False)
    for id_ in IDS:
        await store.put_with_ttl("Session", id_, {"client": "x"}, seconds=60)
    left = [shared_cluster.primary_of(f"Session:{id_}").run("TTL", f"Session:{id_}") for id_ in IDS]

    assert min(left) > 30


@pytest.mark.parametrize("full_coverage", ["no", "yes"])
async def test_a_lost_part_leaves_the_others_unless_full_coverage_is_required(
    redis_binary, tmp_path, open_store, full_coverage
):
    cluster = Cluster(redis_binary, tmp_path, "--cluster-require-full-coverage", full_coverage)
    cluster.start()
    try:
        store = await open_store(cluster.url, cached=False)
        for id_ in IDS:
            assert await put(store, id_, "one")
        lost = cluster.primary_of(f"{KIND}:a0")
        others = [id_ for id_ in IDS if cluster.primary_of(f"{KIND}:{id_}") is not lost]
        for node in (*cluster.replicas_of(lost), lost):
            node.kill()
        (left, *_) = cluster.primaries

        async def is_unhealthy():
            return not await is_healthy(store)

        async def is_ready_as_promised():
            return await store.reached_within(0) is (full_coverage == "no")

        await until(is_unhealthy)
        await until(lambda: any("fail" in node["flags"].split(",") for node in left.run("CLUSTER NODES").values()))
        if full_coverage == "yes":
            await until(lambda: all(n.run("CLUSTER INFO")["cluster_state"] == "fail" for n in cluster.primaries))
        served = [await reads(store, id_, "one") for id_ in others]
        await until(is_ready_as_promised)
    finally:
        cluster.stop()

    assert others
    assert served == [full_coverage == "no"] * len(others)


def delete_slots(cluster, first, last):
    """Have each node forget the owner of these slots. A node that has not may tell the others of it again."""
    for node in cluster.nodes:
        with suppress(RedisError):
            owned = {slot for start, end, *_ in node.run("CLUSTER SLOTS") for slot in range(start, end + 1)}
            if known := sorted(owned.intersection(range(first, last + 1))):
                node.run("CLUSTER", "DELSLOTS", *known)


@pytest.mark.parametrize("cause", ["slots", "identity"])
async def test_slots_without_a_primary_leave_the_others(redis_binary, tmp_path, open_store, caplog, cause):
    cluster = Cluster(redis_binary, tmp_path, "--cluster-require-full-coverage", "no")
    cluster.start()
    try:
        store = await open_store(cluster.url)
        for id_ in IDS:
            assert await put(store, id_, "one")
        lost = cluster.primary_of(f"{KIND}:a0")
        others = [id_ for id_ in IDS if cluster.primary_of(f"{KIND}:{id_}") is not lost]
        slots = sum(last + 1 - first for first, last in cluster._slots_of(lost))
        for replica in cluster.replicas_of(lost):
            replica.kill()
        left = [node for node in cluster.primaries if node is not lost]
        ((first, last),) = cluster._slots_of(lost)
        if cause == "identity":
            # As a new pod without the old volume does.
            lost.run("FLUSHALL")
            lost.run("CLUSTER", "RESET", "HARD")
            lost.run("CLUSTER", "MEET", "127.0.0.1", left[0].port, left[0].bus_port)
        why = f"has no primary for {slots} slots of the Cluster"

        async def is_known():
            if cause == "slots":
                delete_slots(cluster, first, last)
            try:
                await store.check()
            except StoreUnavailable as error:
                return why in str(error)
            return False

        await until(is_known)
        # Probes see the same.
        await asyncio.sleep(health.PROBE_INTERVAL_SECONDS)
        served = [await reads(store, id_, "one") for id_ in others]
        fresh = await open_store(cluster.url)
        served += [await put(fresh, id_, "two") for id_ in others]
        with pytest.raises(StoreUnavailable):
            await fresh.replace(KIND, "a0", {"region": "two"}, expected=None)
    finally:
        cluster.stop()

    assert others
    assert all(served)
    assert why in caplog.text
    assert "127.0.0.1:0" not in caplog.text
    assert "127.0.0.1:6379" not in caplog.text
