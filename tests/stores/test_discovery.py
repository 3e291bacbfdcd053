"""Checks that ask for the primaries, the layout that the nodes of a Cluster name, and their redirections."""

import asyncio

import pytest
from support.waiting import PerTurn, turns_during

from service.stores import pacing, topology
from service.stores.discovery import ClusterDiscovery, Layout, SentinelDiscovery
from service.stores.server import UnusableServer
from service.stores.time_limit import TimeLimit
from service.stores.topology import Topology
from service.stores.url import Address, StoreUrl

NODES = 3
SLOTS = 16384


class Range(list):
    """A range of an answer, which counts when it is freed."""

    freed = PerTurn()

    def __del__(self):
        self.freed.count()


class MadeNode:
    """A node whose Cluster has one slot in each range, dealt round robin; it takes minutes to make a real one."""

    async def execute_command(self, command):
        if command == "CLUSTER INFO":
            return {"cluster_state": "ok"}
        return [
            Range([slot, slot, [f"10.0.0.{slot % NODES}", 6379, "id", []], [f"10.0.1.{slot % NODES}", 6379, "id", []]])
            for slot in range(SLOTS)
        ]


BAD_HOSTS = ["10.0.0.1:6379", "[::1]", "a@b", "x/y"]


class MistakenNode:
    """A node that names a primary with a replica."""

    def __init__(self, primary, replica):
        self._nodes = [[primary, 6379, "id", []], [replica, 6379, "id", []]]

    async def execute_command(self, command):
        return {"cluster_state": "ok"} if command == "CLUSTER INFO" else [[0, SLOTS - 1, *self._nodes]]


class MistakenSentinel:
    """A Sentinel that names a primary without a replica."""

    def __init__(self, primary):
        self._primary = primary

    async def sentinel_masters(self):
        return {"accounts": {"config-epoch": 0}}

    async def execute_command(self, _command, _service):
        return [self._primary, 6379]


@pytest.fixture
def cluster(monkeypatch):
    monkeypatch.setattr(pacing, "MAX_BLOCK_SECONDS", 0)
    return ClusterDiscovery(StoreUrl("redis+cluster://10.0.0.0"), lambda _url, _seconds: MadeNode())


async def test_other_work_goes_on_while_thousands_of_ranges_are_read(cluster):
    layouts = []

    async def find():
        layouts.append(await cluster.find())

    assert await turns_during(find()) > SLOTS
    # Every second, few objects are compared and freed.
    assert layouts[0].slots == {Address(f"10.0.0.{node}", 6379): [*range(node, SLOTS, NODES)] for node in range(NODES)}


async def test_thousands_of_ranges_are_freed_in_turns(cluster, monkeypatch):
    freed = PerTurn()
    monkeypatch.setattr(Range, "freed", freed)
    await freed.during(cluster.find())

    assert (freed.total, freed.most) == (SLOTS, 1)


async def test_only_nodes_that_are_asked_have_clients():
    made = []

    def connect_to(url, _seconds):
        made.append(url)
        return MadeNode()

    cluster = ClusterDiscovery(StoreUrl("redis+cluster://10.0.0.0"), connect_to)
    for _ in range(2):
        await cluster.find()

    assert len(made) == 1


@pytest.mark.parametrize("host", BAD_HOSTS)
async def test_a_primary_of_a_cluster_whose_address_is_no_host_has_no_slots_and_is_reported(host):
    cluster = ClusterDiscovery(StoreUrl("redis+cluster://10.0.0.0"), lambda *_: MistakenNode(host, "10.0.0.2"))

    assert (await cluster.find()).slots == {}
    assert cluster.warnings == [f"the node 10.0.0.0:6379 names the primary '{host}', which is no host"]


@pytest.mark.parametrize("host", BAD_HOSTS)
async def test_a_replica_of_a_cluster_whose_address_is_no_host_is_left_out(host):
    asked = []

    def connect_to(url, _seconds):
        asked.append(url)
        return MistakenNode("10.0.0.1", host)

    cluster = ClusterDiscovery(StoreUrl("redis+cluster://10.0.0.0"), connect_to)
    layouts = [await cluster.find() for _ in range(2)]

    assert [layout.slots.keys() for layout in layouts] == [{Address("10.0.0.1", 6379)}] * 2
    assert cluster._nodes == [Address("10.0.0.0", 6379), Address("10.0.0.1", 6379)]
    assert asked == ["redis://10.0.0.0:6379/0?"]


@pytest.mark.parametrize("host", BAD_HOSTS)
async def test_a_primary_of_sentinels_whose_address_is_no_host_is_reported(host):
    sentinels = SentinelDiscovery(StoreUrl("redis+sentinel://10.0.0.0/accounts"), lambda *_: MistakenSentinel(host))
    with pytest.raises(UnusableServer) as refusal:
        await sentinels.find()

    assert str(refusal.value) == f"the Sentinels name the primary '{host}', which is no host"


class HangingDiscovery:
    """Hangs at every question after the first one, until ``answers`` is set."""

    warnings = ()

    def __init__(self):
        self.answers = asyncio.Event()
        self.layout = Layout({})
        self.asked = self.answered = 0

    async def find(self):
        self.asked += 1
        if self.asked > 1:
            await self.answers.wait()
        self.answered += 1
        return self.layout

    async def close(self):
        """Do nothing: there are no connections."""


def refuse(address):
    raise ValueError(address)


@pytest.fixture
async def hanging(monkeypatch):
    """A topology whose second check hangs."""
    monkeypatch.setattr(topology, "CHECK_SECONDS", 3600)
    monkeypatch.setattr(topology, "MIN_CHECK_SECONDS", 0)
    discovery = HangingDiscovery()
    opened = Topology("store", refuse, discovery)
    await opened.open()
    yield opened, discovery
    await opened.close()


async def test_a_check_goes_on_for_the_next_caller_if_a_caller_runs_out_of_time(hanging):
    opened, discovery = hanging
    with pytest.raises(TimeoutError):
        async with TimeLimit(0.01):
            await opened.check()
    check = asyncio.create_task(opened.check())
    await asyncio.sleep(0)
    discovery.answers.set()
    await check

    assert (discovery.asked, discovery.answered) == (2, 2)


async def test_a_close_ends_a_check_and_no_other_begins(hanging):
    opened, discovery = hanging
    with pytest.raises(TimeoutError):
        async with TimeLimit(0.01):
            await opened.check()
    await opened.close()
    discovery.answers.set()
    await opened.check()
    await asyncio.sleep(0)

    assert (discovery.asked, discovery.answered) == (2, 1)


class NamingDiscovery:
    """Names the primaries ``named``, which share the slots. ``asked`` is set at each question."""

    is_cluster = True
    warnings = ()

    def __init__(self, *hosts):
        self.asked = asyncio.Event()
        self.name(*hosts)

    def name(self, *hosts):
        self.layout = Layout({Address(host, 6379): range(n, SLOTS, len(hosts)) for n, host in enumerate(hosts)})

    async def find(self):
        self.asked.set()
        return self.layout

    async def close(self):
        """Do nothing: there are no connections."""


class Monitor:
    available_at = 0.0

    async def open(self):
        """Do nothing: there is no server."""

    def warnings(self):
        return ()


class MadeShard:
    """A shard without a server. There is none at the host ``bad``."""

    def __init__(self, address):
        if address.host == "bad":
            raise ValueError("not a Redis URL")
        self.host = address.host
        self.monitor = Monitor()

    async def close(self):
        """Do nothing: there are no connections."""


@pytest.fixture
async def naming(monkeypatch):
    """A topology that checks all the time after it is opened, and its discovery."""
    monkeypatch.setattr(topology, "CHECK_SECONDS", 0.001)
    monkeypatch.setattr(topology, "MIN_CHECK_SECONDS", 0)
    discovery = NamingDiscovery("one", "two")
    opened = Topology("store", MadeShard, discovery)
    yield opened, discovery
    await opened.close()


def hosts_of(opened):
    """Return the hosts of all shards, and those that have slots."""
    owners = {opened.owner(f"a{number}") for number in range(99)}
    return sorted(shard.host for shard in opened.shards.values()), sorted(shard.host for shard in owners if shard)


async def checked(opened, discovery):
    """Wait for two checks."""
    for _ in range(2):
        discovery.asked.clear()
        await discovery.asked.wait()
    await opened.check()


async def test_a_primary_that_nobody_can_connect_to_leaves_the_former_layout_and_is_logged(naming, caplog):
    opened, discovery = naming
    await opened.open()
    discovery.name("three", "bad", "four")
    async with asyncio.timeout(10):
        await checked(opened, discovery)

    assert hosts_of(opened) == (["one", "two"], ["one", "two"])
    assert caplog.text.count("does not find its primaries: ValueError: not a Redis URL") == 1
    assert "A failover goes unnoticed: ValueError: not a Redis URL" in opened.warnings()


async def test_the_next_primary_is_found_after_one_that_nobody_can_connect_to(naming):
    opened, discovery = naming
    await opened.open()
    discovery.name("one", "bad")
    async with asyncio.timeout(10):
        await checked(opened, discovery)
        discovery.name("one", "three")
        await checked(opened, discovery)

    assert hosts_of(opened) == (["one", "three"], ["one", "three"])
    assert opened.warnings() == []


async def test_a_topology_opens_while_nobody_can_connect_to_a_primary_and_finds_the_next_one(naming):
    opened, discovery = naming
    discovery.name("bad")
    await opened.open()
    before = hosts_of(opened)
    discovery.name("one")
    async with asyncio.timeout(10):
        await checked(opened, discovery)

    assert before == ([], [])
    assert hosts_of(opened) == (["one"], ["one"])


@pytest.mark.parametrize(
    ("url", "followed"),
    [
        ("redis://10.0.0.0", None),
        ("redis+sentinel://10.0.0.0/accounts", None),
        ("redis+cluster://10.0.0.0", Address("10.0.0.1", 6379)),
    ],
)
def test_only_a_cluster_moves_keys_to_another_primary(url, followed):
    opened = Topology.at(url, key="AwsAccount:")

    assert opened.redirection("10.0.0.1", 6379, asked=None) == followed


@pytest.mark.parametrize("host", BAD_HOSTS)
def test_no_redirection_is_followed_to_an_address_that_is_no_host(host):
    opened = Topology.at("redis+cluster://10.0.0.0", key="AwsAccount:")

    assert opened.redirection(host, 6379, asked=None) is None
