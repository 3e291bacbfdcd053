"""Long iterations yield to the event loop."""

import asyncio
from collections import Counter

import pytest
from support.waiting import PerTurn

from service.stores import pacing
from service.stores.pacing import CHUNK, in_chunks, paced, take_turn
from service.stores.record import Resource
from service.stores.redis import RedisStore


@pytest.fixture
def yields_always(monkeypatch):
    monkeypatch.setattr(pacing, "MAX_BLOCK_SECONDS", 0)


class Turns:
    """Counts the turns of the event loop."""

    async def __aenter__(self):
        self.count = 0
        self._task = asyncio.create_task(self._run())
        await asyncio.sleep(0)
        return self

    async def __aexit__(self, *_):
        self._task.cancel()
        await asyncio.wait({self._task})

    async def _run(self):
        while True:
            await asyncio.sleep(0)
            self.count += 1


async def test_items_come_in_order():
    assert [item async for item in paced("abc")] == ["a", "b", "c"]


@pytest.mark.usefixtures("yields_always")
async def test_the_loop_runs_after_each_long_item():
    async with Turns() as turns:
        seen = [turns.count async for _ in paced(range(100))]

    assert seen == sorted(set(seen))


async def test_the_loop_does_not_run_between_short_items(monkeypatch):
    monkeypatch.setattr(pacing, "MAX_BLOCK_SECONDS", 3600)
    async with Turns() as turns:
        seen = {turns.count async for _ in paced(range(100))}

    assert seen == {0}


@pytest.mark.usefixtures("yields_always")
async def test_long_work_of_several_callers_takes_turns_in_order():
    steps, done = PerTurn(), []

    async def work(name):
        for _ in range(10):
            await take_turn()
            steps.count()
            done.append(name)
            await asyncio.sleep(0)

    await steps.during(asyncio.gather(*map(work, "abc")))

    assert "".join(done) == "abc" * 10
    assert steps.most == 1


@pytest.mark.usefixtures("yields_always")
async def test_iterations_at_the_same_time_take_turns():
    steps = PerTurn()

    async def work():
        async for _ in paced(range(10)):
            steps.count()

    await steps.during(asyncio.gather(*(work() for _ in range(5))))

    assert (steps.total, steps.most) == (50, 1)


async def test_short_work_does_not_wait_for_a_turn(monkeypatch):
    monkeypatch.setattr(pacing, "MAX_BLOCK_SECONDS", 3600)
    async with Turns() as turns:
        for _ in range(100):
            await take_turn()

    assert turns.count == 0


@pytest.mark.usefixtures("yields_always")
async def test_a_cancelled_caller_keeps_nobody_waiting():
    await take_turn()
    waiting = [asyncio.create_task(take_turn()) for _ in range(3)]
    await asyncio.sleep(0)
    for task in waiting[:2]:
        task.cancel()

    await asyncio.wait_for(waiting[2], 20)


async def test_a_chunk_of_items_is_read_at_the_same_time():
    running, most = 0, 0

    async def double(number):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return 2 * number

    assert await in_chunks(double, range(5 * CHUNK + 1)) == [2 * number for number in range(5 * CHUNK + 1)]
    assert most == CHUNK


@pytest.mark.usefixtures("yields_always")
async def test_concurrent_listings_yield_after_each_resource(redis_url, monkeypatch):
    verified_at, verify_digest = [], Resource.verify_digest

    def recorded(resource):
        verified_at.append(turns.count)
        return verify_digest(resource)

    store = RedisStore.at(redis_url)
    await asyncio.gather(*(store.replace("AwsAccount", f"a{n}", {"n": "1"}, expected=None) for n in range(200)))
    monkeypatch.setattr(Resource, "verify_digest", recorded)
    async with Turns() as turns:
        await asyncio.gather(*(store.page("AwsAccount", offset=0, count=200) for _ in range(5)))
    await store.close()

    assert len(verified_at) == 5 * 200
    assert max(Counter(verified_at).values()) == 1
