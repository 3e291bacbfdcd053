"""Reads that are asked for in the same turn of the event loop, made as one."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")

# A batch holds up those in it for as long as all its answers take to read.
MOST = 100


class Batches(Generic[K, V]):
    """Gathers keys until the loop comes round, and asks ``read_all`` for all of them at once.

    ``read_all`` answers in the order of the keys; an exception in its place is raised for that key alone, one that it
    raises for each.
    """

    def __init__(self, read_all: Callable[[Sequence[K]], Awaitable[Sequence[V | Exception]]]) -> None:
        self._read_all = read_all
        self._waiting: list[tuple[K, asyncio.Future[V]]] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def read(self, key: K) -> asyncio.Future[V]:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[V] = loop.create_future()
        if not self._waiting:
            loop.call_soon(self._send)
        self._waiting.append((key, answer))
        return answer

    def _send(self) -> None:
        waiting, self._waiting = self._waiting, []
        for start in range(0, len(waiting), MOST):
            task = asyncio.create_task(self._exchange(waiting[start : start + MOST]))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _exchange(self, waiting: Sequence[tuple[K, asyncio.Future[V]]]) -> None:
        try:
            answers = await self._read_all([key for key, _ in waiting])
        except Exception as error:  # noqa: BLE001 - it is told to everybody who waits
            answers = [error] * len(waiting)
        for (_, waiter), answer in zip(waiting, answers, strict=True):
            if waiter.done():
                # Whoever asked has gone away.
                continue
            if isinstance(answer, Exception):
                waiter.set_exception(answer)
            else:
                waiter.set_result(answer)
