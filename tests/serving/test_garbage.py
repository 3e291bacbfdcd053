import subprocess
import sys

REFRESH = """
import asyncio, gc
from service.serving import garbage

async def main():
    garbage.keep_short()
    print(*gc.get_threshold()[:2])
    cached = {}
    # Later rounds free as many objects as they make.
    for _ in range(3):
        for number in range(10_000):
            cached[number] = [[]]
            if number % 100 == 0:
                await asyncio.sleep(0.001)
    await asyncio.sleep(2 * garbage.COLLECT_SECONDS)
    print(len(gc.get_objects(0)) + len(gc.get_objects(1)))

asyncio.run(main())
"""


def test_a_collection_of_garbage_among_new_objects_looks_at_few():
    shown = subprocess.run(
        [sys.executable, "-c", REFRESH], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    objects, collections, new_after_refreshes = map(int, shown.split())

    assert objects * (collections + 1) <= 8_000
    assert new_after_refreshes < objects


FULL = """
import asyncio, gc, weakref
from service.serving import garbage

class Node:
    pass

async def main():
    garbage.FULL_AFTER_GARBAGE = 1000
    garbage.keep_short()
    old = Node()
    old.itself = old
    await asyncio.sleep(2 * garbage.COLLECT_SECONDS)
    is_freed = weakref.ref(old)
    # From here on, it is garbage that only a full collection finds.
    del old
    await asyncio.sleep(2 * garbage.COLLECT_SECONDS)
    print(is_freed() is None)
    for _ in range(2000):
        node = Node()
        node.itself = node
    del node
    await asyncio.sleep(2 * garbage.COLLECT_SECONDS)
    print(is_freed() is None)

asyncio.run(main())
"""


def test_much_garbage_is_followed_by_a_full_collection():
    shown = subprocess.run([sys.executable, "-c", FULL], capture_output=True, text=True, check=True, timeout=60).stdout

    assert shown.split() == ["False", "True"]
