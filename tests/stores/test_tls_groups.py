"""TLS to real Sentinels and a real Cluster, which also use it among themselves: discovery, failover and the cache."""

import asyncio
import re

import pytest
from live.certificates import make_certificates
from plugins.redis_topologies import Cluster, SentinelGroup
from support.tools import tool
from support.waiting import until
from support.writes import KIND, put, reads

pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return make_certificates(tmp_path_factory.mktemp("certificates"), "redis.test")


@pytest.fixture(scope="module", params=[SentinelGroup, Cluster])
def group(request, tmp_path_factory, files):
    # The server of other tests is built without TLS.
    program = tool("redis-server", package="redis-server")
    group = request.param(program, tmp_path_factory.mktemp("group"), tls=files)
    try:
        group.start()
        yield group
    finally:
        group.stop()


def with_certificates(url, files):
    return f"{url}?ssl_ca_certs={files.ca}&ssl_certfile={files.certificate}&ssl_keyfile={files.key}"


async def test_writes_and_the_cache_move_to_the_new_primary_over_tls(group, files, open_store):
    store = await open_store(with_certificates(group.url, files), wait_replicas=1)
    old = group.primaries[0]
    (new,) = group.replicas_of(old)
    await until(lambda: put(store, "a", "old"))
    await asyncio.to_thread(old.kill)
    await until(lambda: new in group.primaries)
    await asyncio.to_thread(old.start)
    await asyncio.to_thread(group.wait_until_ready)
    await until(lambda: put(store, "a", "new"))
    await until(lambda: not store.warnings())
    assert await reads(store, "a", "new")
    for primary in group.primaries:
        if isinstance(group, SentinelGroup) or primary is group.primary_of(f"{KIND}:a"):
            primary.run("HSET", f"{KIND}:a", "region", "newer")

    await until(lambda: reads(store, "a", "newer"))


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ("no certificate", "does not find its primaries: .* alert certificate required|reset by peer"),
        ("another authority", "does not find its primaries: .* certificate verify failed"),
        ("no TLS", r"does not find its primaries: .*; does the port need TLS\? Then the URL begins with rediss"),
        ("one server", r"is unavailable: .*; does the port need TLS\? Then the URL begins with rediss"),
    ],
)
async def test_a_url_that_does_not_fit_the_tls_of_the_servers_reaches_nothing_and_is_told_in_one_line(
    group, files, tmp_path, open_store, caplog, wrong, problem
):
    other = make_certificates(tmp_path, "redis.test")
    url = {
        "no certificate": f"{group.url}?ssl_ca_certs={files.ca}",
        "another authority": with_certificates(group.url, files).replace(str(files.ca), str(other.ca)),
        "no TLS": group.url.replace("rediss", "redis"),
        "one server": f"redis://127.0.0.1:{group.nodes[0].announced}",
    }[wrong]
    store = await open_store(url, cached=False)

    assert not await put(store, "a", "one")
    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert re.search(problem, line)
