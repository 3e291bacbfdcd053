"""Garbage collections that hold the event loop only for a short time."""

import asyncio
import gc

COLLECT_SECONDS = 0.1
# Collections of new objects until a full one, which looks at all of them: 50 ms with 10,000 cached accounts. Ten
# collections a second make it once an hour.
FULL_AFTER = 36_000


def keep_short() -> None:
    """Exempt all objects of now from collections, and look at new objects often. To be called on the event loop.

    Source: https://docs.python.org/3/library/gc.html
    """
    # A full collection of all loaded modules would block requests for 50 ms.
    gc.collect()
    gc.freeze()
    # The default of 700 new objects is reached every few requests. A collection of the second generation looks at the
    # new objects of several collections. With 5,000 objects in each of three, it held a loaded machine for 14 ms.
    gc.set_threshold(2_000, 2, FULL_AFTER)
    _collect_new_objects()


def _collect_new_objects() -> None:
    # Automatic collections do not count new objects, but how many more are made than freed. A cache that is read again
    # frees as many as it makes. The next collection would look at all of its entries, for 77 ms with 10,000 accounts.
    gc.collect(1)
    asyncio.get_running_loop().call_later(COLLECT_SECONDS, _collect_new_objects)
