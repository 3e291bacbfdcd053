"""Probes of many primaries at the same time, and looks at the address during outages."""

import asyncio

import pytest
from redis.asyncio import ConnectionPool, Redis
from support.waiting import PerTurn, until

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


@pytest.fixture
async def monitor(own_redis):
    """A monitor that looks and probes when it is told to."""
    url = StoreUrl(own_redis.url)
    shard = Shard.at(url, None, key="AwsAccount:", credentials=StoreCredentials(url), wait_replicas=0)
    await shard.monitor._probe()
    yield shard.monitor
    await shard.close()


@pytest.mark.parametrize(("end", "begin"), [("kill", "start"), ("hang", "resume")])
async def test_looks_of_several_outages_are_no_warning(monitor, own_redis, caplog, end, begin):
    async def is_available_again():
        await monitor._probe()
        return monitor.is_available

    for _ in range(2):
        getattr(own_redis, end)()
        await monitor._look_at_address()
        await monitor._probe()
        await asyncio.to_thread(getattr(own_redis, begin))
        await until(is_available_again)

    assert caplog.text.count("is unavailable") == 2
    assert "takes no new one" not in caplog.text


async def test_looks_at_servers_before_the_last_restart_are_no_warning(monitor, own_redis, caplog):
    for _ in range(2):
        own_redis.kill()
        await monitor._look_at_address()
        await asyncio.to_thread(own_redis.start)
        await monitor._probe()

    assert "is unavailable" not in caplog.text
    assert "takes no new one" not in caplog.text
