"""The stores of the faults, and the page that a run of all faults writes."""

import re
import subprocess

import pytest
from faults import page
from faults.stores import Group, Single
from plugins.redis_server import RedisServer
from plugins.redis_topologies import Cluster, SentinelGroup


def pytest_addoption(parser):
    parser.addoption("--write-reliability", action="store_true", help="write docs/reliability.md from this run")


@pytest.fixture(scope="session", autouse=True)
def figures(request):
    """The figures of each fault and store by their names."""
    found = {}
    if not request.config.getoption("--write-reliability", default=False):
        yield found
        return
    binary = request.getfixturevalue("redis_binary")
    shown = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True, timeout=5).stdout
    yield found
    if request.session.testsfailed == 0:
        page.write(found, "{} {}".format(*re.match(r"(\w+) server v=(\S+)", shown).groups()))


@pytest.fixture
def single(own_redis):
    return Single(own_redis)


@pytest.fixture
def replicated(own_redis, redis_binary, tmp_path):
    (tmp_path / "replica").mkdir()
    replica = RedisServer(redis_binary, tmp_path / "replica", "--replicaof", f"127.0.0.1 {own_redis.port}")
    replica.start()
    yield Single(own_redis, replica)
    replica.kill()


@pytest.fixture
def sentinel(own_sentinel):
    return Group(own_sentinel)


@pytest.fixture
def sentinel_waiting(own_sentinel):
    return Group(own_sentinel, SIGNER_WAIT_REPLICAS="1")


@pytest.fixture
def cluster(own_cluster):
    return Group(own_cluster)


@pytest.fixture
def cluster_waiting(own_cluster):
    return Group(own_cluster, SIGNER_WAIT_REPLICAS="1")


@pytest.fixture
def started():
    """Starts groups, and stops them after the test."""
    groups = []

    def started(group, **settings):
        groups.append(group)
        group.start()
        return Group(group, **settings)

    yield started
    for group in groups:
        group.stop()


@pytest.fixture
def sentinel_slow(redis_binary, tmp_path, started):
    return started(SentinelGroup(redis_binary, tmp_path, hasty=False))


@pytest.fixture
def sentinel_two(redis_binary, tmp_path, started):
    return started(SentinelGroup(redis_binary, tmp_path, replicas=2), SIGNER_WAIT_REPLICAS="2")


@pytest.fixture
def sentinel_network(redis_binary, tmp_path, network, started):
    return started(SentinelGroup(redis_binary, tmp_path, network=network))


@pytest.fixture
def sentinel_network_waiting(redis_binary, tmp_path, network, started):
    return started(SentinelGroup(redis_binary, tmp_path, network=network), SIGNER_WAIT_REPLICAS="1")


@pytest.fixture
def cluster_network(redis_binary, tmp_path, network, started):
    return started(Cluster(redis_binary, tmp_path, network=network))
