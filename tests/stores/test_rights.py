"""The rights that docs/redis.md names are enough for Sentinels and a Cluster, and each further one is necessary."""

import re
from contextlib import suppress
from pathlib import Path

import pytest
from plugins.redis_topologies import SERVICE

from service.errors import StoreUnavailable

pytestmark = pytest.mark.heavy

PAGE = Path("docs/redis.md").read_text(encoding="utf-8")
USER = re.search("^ACL SETUSER (.+)$", PAGE, re.MULTILINE)[1].split()
CLUSTER_RIGHTS = re.search(r"For a Cluster, add\s+`([^`]+)`", PAGE)[1].split()
WAIT_RIGHTS = re.search(r"and `([^`]+)` for `SIGNER_WAIT_REPLICAS`", PAGE)[1].split()
DATABASE_RIGHTS = re.search(r"Add `([^`]+)` for a database other than 0", PAGE)[1].split()
SENTINEL_RIGHTS = re.search(r"The user on Sentinels needs only\s+`([^`]+)`", PAGE)[1].split()


def add_user(nodes, *rights):
    for node in nodes:
        node.run("ACL", "SETUSER", *USER[:1], "reset", *USER[1:], *rights)


def as_user(url):
    return url.replace("://", "://s3-signer:password@")


async def use(store):
    """Call every operation, on every primary of a Cluster."""
    for kind in ("AwsAccount", "Client", "AccessPolicy"):
        for number in range(10):
            seen = await store.replace(kind, f"a{number}", {"n": "1"}, expected=None)
            await store.rewrite(seen, {"n": "2"})
            assert (await store.get(kind, f"a{number}")).fields == {"n": "2"}
        assert (await store.page(kind, offset=0, count=5)).total == 10
        assert len(await store.all(kind)) == 10
        for resource in await store.all(kind):
            assert await store.remove(resource)
        assert await store.confirm(kind, "a0", None)
    for number in range(10):
        await store.put_with_ttl("Session", f"a{number}", {"n": "1"}, seconds=60)
        assert await store.remove(await store.get("Session", f"a{number}"))


def clear_log(nodes):
    for node in nodes:
        node.run("ACL LOG", "RESET")


def refusals(nodes):
    """What the user has tried without the right, as the servers have noted it."""
    return [(entry["username"], entry["object"]) for node in nodes for entry in node.run("ACL LOG")]


@pytest.fixture
def sentinel_url_of_user(shared_sentinel, sentinel_url):
    for sentinel in shared_sentinel.sentinels:
        sentinel.run("ACL", "SETUSER", "watcher", "reset", "on", ">watch", *SENTINEL_RIGHTS)
    return f"{as_user(sentinel_url)}?sentinel-username=watcher&sentinel-password=watch"


@pytest.mark.parametrize(("database", "rights"), [("0", []), ("1", DATABASE_RIGHTS)])
async def test_the_rights_behind_sentinels_are_sufficient(
    shared_sentinel, sentinel_url_of_user, open_store, caplog, database, rights
):
    nodes = [*shared_sentinel.nodes, *shared_sentinel.sentinels]
    clear_log(nodes)
    add_user(shared_sentinel.nodes, *WAIT_RIGHTS, *rights)
    store = await open_store(sentinel_url_of_user.replace("/0?", f"/{database}?"), wait_replicas=1)
    await use(store)

    assert store.warnings() == []
    assert caplog.text == ""
    assert refusals(nodes) == []


async def test_the_right_to_choose_a_database_is_necessary(shared_sentinel, sentinel_url_of_user, open_store, caplog):
    add_user(shared_sentinel.nodes)
    store = await open_store(sentinel_url_of_user.replace("/0?", "/1?"))
    with pytest.raises(StoreUnavailable):
        await use(store)

    assert "NoPermissionError" in caplog.text


@pytest.mark.parametrize("right", SENTINEL_RIGHTS)
async def test_each_right_on_sentinels_is_necessary(shared_sentinel, sentinel_url_of_user, open_store, caplog, right):
    add_user(shared_sentinel.nodes)
    for sentinel in shared_sentinel.sentinels:
        sentinel.run("ACL", "SETUSER", "watcher", right.replace("+", "-"))
    store = await open_store(sentinel_url_of_user)
    with pytest.raises(StoreUnavailable):
        await use(store)

    assert "refuses to name the primary: NoPermissionError" in caplog.text
    assert SERVICE in store.description


async def test_the_rights_on_a_cluster_are_sufficient(shared_cluster, cluster_url, open_store, caplog):
    clear_log(shared_cluster.nodes)
    add_user(shared_cluster.nodes, *CLUSTER_RIGHTS, *WAIT_RIGHTS)
    store = await open_store(as_user(cluster_url), wait_replicas=1)
    await use(store)

    assert store.warnings() == []
    assert caplog.text == ""
    assert refusals(shared_cluster.nodes) == []


@pytest.mark.parametrize("right", [*(right for right in CLUSTER_RIGHTS if right != "+asking"), *WAIT_RIGHTS])
async def test_each_right_on_a_cluster_is_necessary(shared_cluster, cluster_url, open_store, caplog, right):
    add_user(shared_cluster.nodes, *(other for other in (*CLUSTER_RIGHTS, *WAIT_RIGHTS) if other != right))
    store = await open_store(as_user(cluster_url), wait_replicas=1)
    with suppress(StoreUnavailable):
        await use(store)

    assert "NoPermissionError" in caplog.text


@pytest.mark.parametrize("rights", [CLUSTER_RIGHTS, [right for right in CLUSTER_RIGHTS if right != "+asking"]])
async def test_the_right_to_ask_is_necessary_while_a_slot_moves(own_cluster, open_store, caplog, rights):
    add_user(own_cluster.nodes, *rights)
    store = await open_store(as_user(own_cluster.url))
    source = own_cluster.primary_of("AwsAccount:a")
    target = next(node for node in own_cluster.primaries if node is not source)
    slot = source.run("CLUSTER", "KEYSLOT", "AwsAccount:a")
    target.run("CLUSTER", "SETSLOT", slot, "IMPORTING", source.run("CLUSTER", "MYID"))
    source.run("CLUSTER", "SETSLOT", slot, "MIGRATING", target.run("CLUSTER", "MYID"))
    written = None
    with suppress(StoreUnavailable):
        written = await store.replace("AwsAccount", "a", {"n": "1"}, expected=None)

    assert (written is not None) is ("+asking" in rights)
    assert ("NoPermissionError" in caplog.text) is ("+asking" not in rights)
