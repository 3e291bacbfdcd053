"""The layout that the nodes of a Cluster name, as the client reads it."""

import pytest
from support.waiting import PerTurn, turns_during

from service.stores import pacing
from service.stores.discovery import ClusterDiscovery
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
