"""The stores that faults happen to."""

from redis.asyncio import Redis


class Single:
    """One primary, with a replica if there is a second server, which an operator promotes."""

    def __init__(self, *nodes):
        self.nodes = nodes
        self.primaries = nodes[:1]
        self.url = nodes[0].url

    def client(self):
        """Return a client of the primary."""
        return Redis.from_url(self.primaries[0].url, decode_responses=True)

    async def promote(self, node):
        self.primaries = [node]
        async with self.client() as client:
            await client.replicaof("NO", "ONE")
