"""What is read together, and what becomes of each who asked."""

import asyncio

import pytest

from service.stores.batching import MOST, BatchLoader


@pytest.fixture
def asked():
    return []


@pytest.fixture
def batches(asked):
    async def read_all(keys):
        asked.append(list(keys))
        await asyncio.sleep(0)
        if "stuck" in keys:
            await asyncio.Event().wait()
        if "all fail" in keys:
            raise ValueError("all")
        return [KeyError(key) if key == "fails" else key.upper() for key in keys]

    return BatchLoader(read_all)


async def test_what_is_asked_for_in_one_turn_is_read_at_once(batches, asked):
    answers = await asyncio.gather(batches.read("a"), batches.read("b"), batches.read("a"))

    assert answers == ["A", "B", "A"]
    assert asked == [["a", "b", "a"]]


async def test_what_is_asked_for_while_a_batch_is_on_its_way_is_read_together_after_it(batches, asked):
    first = batches.read("a")
    await asyncio.sleep(0)
    second = batches.read("b")
    await asyncio.sleep(0)
    third = batches.read("c")

    assert await asyncio.gather(first, second, third) == ["A", "B", "C"]
    assert asked == [["a"], ["b", "c"]]


async def test_a_batch_that_is_stuck_holds_up_nobody_for_good(batches):
    stuck = batches.read("stuck")
    await asyncio.sleep(0)

    async with asyncio.timeout(5):
        assert await batches.read("b") == "B"
    assert not stuck.done()
    stuck.cancel()


async def test_a_fault_of_one_is_told_to_that_one(batches):
    answers = await asyncio.gather(batches.read("a"), batches.read("fails"), return_exceptions=True)

    assert answers[0] == "A"
    assert isinstance(answers[1], KeyError)


async def test_a_fault_of_all_is_told_to_each(batches):
    answers = await asyncio.gather(batches.read("a"), batches.read("all fail"), return_exceptions=True)

    assert [str(answer) for answer in answers] == ["all", "all"]


async def test_who_goes_away_takes_nobody_along(batches):
    first, second = batches.read("a"), batches.read("b")
    first.cancel()

    assert await second == "B"


async def test_a_batch_has_an_end(batches, asked):
    await asyncio.gather(*(batches.read(str(number)) for number in range(MOST + 1)))

    assert [len(keys) for keys in asked] == [MOST, 1]
