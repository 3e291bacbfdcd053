"""How long a function in a thread keeps the event loop waiting for the interpreter lock."""

import asyncio
import sys
import time
from itertools import pairwise
from typing import NamedTuple

RUNS = 3


class Hold(NamedTuple):
    result: object
    share: float
    """The longest wait of the loop, as a share of the processor time of the whole."""

    turns: int
    """The turns of the loop meanwhile."""


async def longest_hold(function):
    """Run ``function`` in a thread several times. Return the run in which the loop waited least.

    The share is of processor time, so that it does not depend on the machine. The system may let the loop wait too,
    hence several runs.
    """
    return min([await _hold(function) for _ in range(RUNS)], key=lambda hold: hold.share)


async def _hold(function):
    interval = sys.getswitchinterval()
    sys.setswitchinterval(0.0005)
    try:
        times = [time.process_time()]
        running = asyncio.get_running_loop().run_in_executor(None, function)
        while not running.done():
            await asyncio.sleep(0)
            times.append(time.process_time())
    finally:
        sys.setswitchinterval(interval)
    longest = max(later - earlier for earlier, later in pairwise(times))
    return Hold(await running, longest / (times[-1] - times[0]), len(times) - 1)
