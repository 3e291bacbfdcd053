"""The layout that the nodes of a Cluster name, as the client reads it."""

from support.waiting import turns_during

from service.stores import pacing
from service.stores.discovery import ClusterDiscovery
from service.stores.url import Address, StoreUrl

NODES = 3
SLOTS = 16384


class MadeNode:
    """A node whose Cluster has one slot in each range, dealt round robin; it takes minutes to make a real one."""

    async def execute_command(self, command):
        if command == "CLUSTER INFO":
            return {"cluster_state": "ok"}
        return [
            [slot, slot, [f"10.0.0.{slot % NODES}", 6379, "id", []], [f"10.0.1.{slot % NODES}", 6379, "id", []]]
            for slot in range(SLOTS)
        ]


async def test_other_work_goes_on_while_thousands_of_ranges_are_read(monkeypatch):
    monkeypatch.setattr(pacing, "MAX_BLOCK_SECONDS", 0)
    discovery = ClusterDiscovery(StoreUrl("redis+cluster://10.0.0.0"), lambda _url, _seconds: MadeNode())
    layouts = []

    async def find():
        layouts.append(await discovery.find())

    assert await turns_during(find()) > SLOTS
    assert layouts[0].ranges == tuple((slot, slot, Address(f"10.0.0.{slot % NODES}", 6379)) for slot in range(SLOTS))
