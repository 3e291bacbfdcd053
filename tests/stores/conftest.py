"""Stores that tests open by their URL."""

import asyncio

import pytest
from support.writes import KIND

from service.stores.cache import CachedStore
from service.stores.redis import RedisStore
from service.stores.tracking import Tracker


@pytest.fixture
async def open_store():
    """Opens stores, cached ones by default."""
    stores = []

    async def open_store(url, *, cached=True, **options):
        store = RedisStore.at(url, **options)
        if cached:
            store = CachedStore(store, Tracker(store.topology, kinds=[KIND]), size=100, ttl=3600, stale=0)
        stores.append(store)
        await store.open()
        return store

    yield open_store
    for store in stores:
        await store.close()
    assert asyncio.all_tasks() == {asyncio.current_task()}
