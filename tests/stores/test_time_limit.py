"""Time-outs that do not count a blocked event loop."""

import asyncio
import socket
import time

import pytest

from service.stores.time_limit import TimeLimit


async def test_a_block_that_takes_longer_times_out():
    started = time.monotonic()
    with pytest.raises(TimeoutError):
        async with TimeLimit(0.05):
            await asyncio.Event().wait()

    assert time.monotonic() - started >= 0.04


@pytest.mark.parametrize("seconds", [0, -1])
async def test_a_limit_of_zero_times_out(seconds):
    with pytest.raises(TimeoutError):
        async with TimeLimit(seconds):
            await asyncio.Event().wait()


async def test_a_block_that_ends_in_time_leaves_no_timer():
    async with TimeLimit(0.01):
        await asyncio.sleep(0)

    # A remaining timer would cancel this.
    await asyncio.sleep(0.03)


async def test_a_cancellation_is_passed_on():
    async def wait():
        async with TimeLimit(60):
            await asyncio.Event().wait()

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_error_is_passed_on():
    with pytest.raises(KeyError):
        async with TimeLimit(60):
            raise KeyError


async def test_the_time_left_does_not_count_a_blocked_loop():
    async with TimeLimit(1) as limit:
        before = limit.left
        time.sleep(1.5)  # noqa: ASYNC251 - blocks the loop
        blocked = limit.left
        await asyncio.sleep(0)
        after = limit.left

    assert 0.9 <= before <= 1
    assert blocked == pytest.approx(0.9)
    assert 0.79 < after < 0.91
    assert limit.used == pytest.approx(1 - after, abs=0.05)


async def test_a_limit_that_is_exceeded_is_used():
    limit = TimeLimit(0.05)
    with pytest.raises(TimeoutError):
        async with limit:
            await asyncio.sleep(10)

    assert limit.used == 0.05


@pytest.mark.parametrize("rounds", [1, 3])
async def test_an_answer_that_arrives_while_the_loop_is_blocked_is_in_time(rounds):
    near, far = socket.socketpair()
    with near, far:
        reader, writer = await asyncio.open_connection(sock=near)
        far.sendall(b"." * rounds)
        asyncio.get_running_loop().call_soon(time.sleep, 0.3)
        async with TimeLimit(0.1):
            for _ in range(rounds):
                await asyncio.sleep(0)
                await reader.readexactly(1)
        writer.close()
        await writer.wait_closed()


def test_a_short_limit_is_used_under_uvloop():
    """Its timers of less than a millisecond are of another class."""

    async def main():
        limit = TimeLimit(0.001)
        with pytest.raises(TimeoutError):
            async with limit:
                await asyncio.sleep(10)
        return limit.used

    with asyncio.Runner(loop_factory=pytest.importorskip("uvloop").new_event_loop) as runner:
        assert runner.run(main()) == 0.001
