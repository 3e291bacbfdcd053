"""Batches of concurrent reads."""

import asyncio

import pytest

from service.stores.batching import MAX_BATCH, BatchLoader


@pytest.fixture
def loaded():
    return []


@pytest.fixture
def loader(loaded):
    async def load_all(keys):
        loaded.append(list(keys))
        await asyncio.sleep(0)
        if "hangs" in keys:
            await asyncio.Event().wait()
        if "all fail" in keys:
            raise ValueError("all")
        return [KeyError(key) if key == "fails" else key.upper() for key in keys]

    return BatchLoader(load_all)


async def test_reads_in_one_turn_of_the_loop_are_one_batch(loader, loaded):
    values = await asyncio.gather(loader.load("a"), loader.load("b"), loader.load("a"))

    assert values == ["A", "B", "A"]
    assert loaded == [["a", "b", "a"]]


async def test_reads_during_a_batch_wait_for_its_end(loader, loaded):
    first = loader.load("a")
    await asyncio.sleep(0)
    second = loader.load("b")
    await asyncio.sleep(0)
    third = loader.load("c")

    assert await asyncio.gather(first, second, third) == ["A", "B", "C"]
    assert loaded == [["a"], ["b", "c"]]


async def test_a_hanging_batch_does_not_block_later_reads(loader):
    hanging = loader.load("hangs")
    await asyncio.sleep(0)

    async with asyncio.timeout(5):
        assert await loader.load("b") == "B"
    assert not hanging.done()
    hanging.cancel()


async def test_an_error_of_one_key_is_raised_for_that_key(loader):
    values = await asyncio.gather(loader.load("a"), loader.load("fails"), return_exceptions=True)

    assert values[0] == "A"
    assert isinstance(values[1], KeyError)


async def test_an_error_of_the_batch_is_raised_for_every_key(loader):
    values = await asyncio.gather(loader.load("a"), loader.load("all fail"), return_exceptions=True)

    assert [str(answer) for answer in values] == ["all", "all"]


async def test_a_cancelled_read_does_not_cancel_others(loader):
    first, second = loader.load("a"), loader.load("b")
    first.cancel()

    assert await second == "B"


async def test_a_batch_has_a_maximum_size(loader, loaded):
    await asyncio.gather(*(loader.load(str(number)) for number in range(MAX_BATCH + 1)))

    assert [len(keys) for keys in loaded] == [MAX_BATCH, 1]
