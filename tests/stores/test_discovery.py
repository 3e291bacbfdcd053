"""Checks that ask for the primaries, the layout that the nodes of a Cluster name, and their redirections."""

import asyncio
import gc

import pytest
from support.waiting import PerTurn, turns_during, until

from service.stores import pacing, topology
from service.stores.discovery import ClusterDiscovery, Layout
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


async def test_the_error_of_a_check_reaches_its_callers_and_no_log(hanging):
    opened, discovery = hanging
    discovery.layout = Layout.of(Address("10.0.0.0", 6379))
    logged = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: logged.append(context))
    with pytest.raises(TimeoutError):
        async with TimeLimit(0.01):
            await opened.check()
    discovery.answers.set()
    await until(lambda: discovery.answered == 2)
    with pytest.raises(ValueError, match=r"10\.0\.0\.0"):
        await opened.check()
    # asyncio logs when it frees a task.
    gc.collect()

    assert logged == []


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
