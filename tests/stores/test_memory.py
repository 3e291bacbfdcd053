"""Pages of the embedded store stay in order without sorting all ids again."""

import random

from service.stores import memory
from service.stores.memory import EmbeddedStore

KIND = "AwsAccount"


async def ids(store):
    return [resource.id for resource in (await store.page(KIND, offset=0, count=10_000)).resources]


async def put(store, id_):
    return await store.replace(KIND, id_, {}, expected=await store.get(KIND, id_))


async def test_a_listing_does_not_sort_all_ids(monkeypatch):
    """To sort 100,000 ids would hold the event loop for 30 to 100 ms."""
    monkeypatch.setattr(memory, "sorted", None, raising=False)
    store = EmbeddedStore()
    for id_ in ("c", "a", "b"):
        await put(store, id_)
    await put(store, "a")
    await store.remove(await store.get(KIND, "c"))

    assert await ids(store) == ["a", "b"]
    assert (await store.page(KIND, offset=1, count=1)).resources == [await store.get(KIND, "b")]


async def test_pages_are_sorted_after_any_writes():
    store, chance = EmbeddedStore(), random.Random(5)  # noqa: S311 - no secret
    for number in range(500):
        id_ = f"{chance.choice('aBz09')}{chance.randrange(20)}"
        stored = await store.get(KIND, id_)
        if stored and chance.random() < 0.4:
            await store.remove(stored)
        elif chance.random() < 0.2:
            draft = store.draft()
            await put(draft, id_)
            await draft.remove(await draft.get(KIND, chance.choice([*await ids(store), id_])))
            assert store.adopt(draft)
        else:
            await put(store, id_)
        if number % 3:
            assert await ids(store) == sorted(store._kinds[KIND])
            assert [resource.id for resource in await store.all(KIND)] == await ids(store)
