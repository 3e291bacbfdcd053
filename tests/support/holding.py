"""How long a function in a thread keeps the event loop waiting for the interpreter lock."""

import asyncio
import sys
import time
from itertools import pairwise

RUNS = 3


async def longest_hold(function):
    """Run ``function`` in a thread. Return its result, and the longest wait of the loop as a share of the whole.

    The share is of processor time, so that it does not depend on the machine. It is the least of several runs, because
    the system may let the loop wait too.
    """
    runs = [await _longest_hold(function) for _ in range(RUNS)]
    return runs[0][0], min(share for _, share in runs)


async def _longest_hold(function):
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
    return await running, longest / (times[-1] - times[0])
