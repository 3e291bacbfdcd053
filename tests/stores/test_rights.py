"""The rights that docs/redis.md names are enough for Sentinels and a Cluster, and each further one is necessary."""

import re
from contextlib import suppress
from pathlib import Path

import pytest
from plugins.redis_topologies import SERVICE

from service.errors import StoreUnavailable

pytestmark = pytest.mark.slow

PAGE = Path("docs/redis.md").read_text(encoding="utf-8")
USER = re.search("^ACL SETUSER (.+)$", PAGE, re.MULTILINE)[1].split()
CLUSTER_RIGHTS = re.search(r"For a Cluster, add\s+`([^`]+)`", PAGE)[1].split()
WAIT_RIGHTS = re.search(r"and `([^`]+)` for `SIGNER_WAIT_REPLICAS`", PAGE)[1].split()
SENTINEL_RIGHTS = re.search(r"The user on Sentinels needs only\s+`([^`]+)`", PAGE)[1].split()


def add_user(nodes, *rights):
    for node in nodes:
        node.run("ACL", "SETUSER", *USER[:1], "reset", *USER[1:], *rights)


def as_user(url):
    return url.replace("://", "://s3-signer:password@")


async def use(store):
    """Call every operation, on every primary of a Cluster."""
    for number in range(10):
        seen = await store.replace("AwsAccount", f"a{number}", {"n": "1"}, expected=None)
        await store.rewrite(seen, {"n": "2"})
        await store.put_with_ttl("Session", f"a{number}", {"n": "1"}, seconds=60)
    assert len(await store.all("AwsAccount")) == 10
    for resource in await store.all("AwsAccount"):
        assert await store.remove(resource)
    assert await store.confirm("AwsAccount", "a0", None)


@pytest.fixture
def sentinel_url_of_user(shared_sentinel, sentinel_url):
    for sentinel in shared_sentinel.sentinels:
        sentinel.run("ACL", "SETUSER", "watcher", "reset", "on", ">watch", *SENTINEL_RIGHTS)
    return f"{as_user(sentinel_url)}?sentinel-username=watcher&sentinel-password=watch"


async def test_the_rights_behind_sentinels_are_sufficient(shared_sentinel, sentinel_url_of_user, open_store, caplog):
    add_user(shared_sentinel.nodes, *WAIT_RIGHTS)
    store = await open_store(sentinel_url_of_user, wait_replicas=1)
    await use(store)

    assert store.warnings() == []
    assert caplog.text == ""


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
    add_user(shared_cluster.nodes, *CLUSTER_RIGHTS, *WAIT_RIGHTS)
    store = await open_store(as_user(cluster_url), wait_replicas=1)
    await use(store)

    assert store.warnings() == []
    assert caplog.text == ""


@pytest.mark.parametrize("right", [*(right for right in CLUSTER_RIGHTS if right != "+asking"), *WAIT_RIGHTS])
async def test_each_right_on_a_cluster_is_necessary(shared_cluster, cluster_url, open_store, caplog, right):
    add_user(shared_cluster.nodes, *(other for other in (*CLUSTER_RIGHTS, *WAIT_RIGHTS) if other != right))
    store = await open_store(as_user(cluster_url), wait_replicas=1)
    with suppress(StoreUnavailable):
        await use(store)

    assert "NoPermissionError" in caplog.text
