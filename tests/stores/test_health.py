"""Probes of many primaries at the same time."""

import asyncio

from redis.asyncio import ConnectionPool, Redis
from support.waiting import PerTurn

from service.stores import health, pacing
from service.stores.connection import ServerIdentity
from service.stores.credentials import StoreCredentials
from service.stores.shard import Shard
from service.stores.url import StoreUrl


async def test_primaries_are_probed_in_turns(redis_url, monkeypatch):
    monkeypatch.setattr(pacing, "MAX_BLOCK_SECONDS", 0)
    probes, inspect = PerTurn(), health.inspect

    async def counted(*args, **options):
        probes.count()
        return await inspect(*args, **options)

    monkeypatch.setattr(health, "inspect", counted)
    url = StoreUrl(redis_url)
    shards = [
        Shard.at(url, None, key="AwsAccount:", credentials=StoreCredentials(url), wait_replicas=0) for _ in range(10)
    ]
    await probes.during(asyncio.gather(*(shard.monitor.check() for shard in shards)))
    await asyncio.gather(*(shard.close() for shard in shards))

    assert (probes.total, probes.most) == (10, 1)


async def test_addresses_of_primaries_are_looked_at_in_turns(redis_url, monkeypatch):
    monkeypatch.setattr(pacing, "MAX_BLOCK_SECONDS", 0)
    made = PerTurn()

    class CountingPool(ConnectionPool):
        def make_connection(self):
            made.count()
            return super().make_connection()

    clients = [Redis.from_pool(CountingPool.from_url(redis_url)) for _ in range(10)]
    monitors = [
        health.HealthMonitor(client.connection_pool, client, name="store", key="", identity=ServerIdentity())
        for client in clients
    ]
    await made.during(asyncio.gather(*(monitor._look_at_address() for monitor in monitors)))
    await asyncio.gather(*(monitor.close() for monitor in monitors))

    assert (made.total, made.most) == (10, 1)
