"""Garbage collections that hold the event loop only for a short time."""

import asyncio
import gc

COLLECT_SECONDS = 0.1
# A full collection looks at all objects, which takes 50 ms with 10,000 cached accounts. It follows so many collections
# of new objects, which is once an hour, or so much garbage found by them: then as much may be among the old objects.
FULL_AFTER_COLLECTIONS = 36_000
FULL_AFTER_GARBAGE = 1_000_000


def keep_short() -> None:
    """Exempt all objects of now from collections, and look at new objects often. To be called on the event loop.

    Source: https://docs.python.org/3/library/gc.html
    """
    # A full collection of all loaded modules would block requests for 50 ms.
    gc.collect()
    gc.freeze()
    # The default of 700 new objects is reached every few requests. A collection of the second generation looks at the
    # new objects of several collections. With 5,000 objects in each of three, it held a loaded machine for 14 ms.
    gc.set_threshold(2_000, 2, FULL_AFTER_COLLECTIONS)
    _collect_new_objects(_found())


def _collect_new_objects(found_before: int) -> None:
    """``found_before`` is the garbage that all collections until the last full one have found."""
    # Automatic collections do not count new objects, but how many more are made than freed. A cache that is read again
    # frees as many as it makes. The next collection would look at all of its entries, for 77 ms with 10,000 accounts.
    gc.collect(1)
    if _found() - found_before > FULL_AFTER_GARBAGE:
        gc.collect()
        found_before = _found()
    asyncio.get_running_loop().call_later(COLLECT_SECONDS, _collect_new_objects, found_before)


def _found() -> int:
    return sum(generation["collected"] for generation in gc.get_stats())
