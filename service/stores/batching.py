"""Reads that are asked for while another is on its way, made as one."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")

# A batch holds up those in it for as long as all its answers take to read.
MOST = 100
# A batch costs as much as ten of its reads, so what comes while one is on its way waits for its end; but no longer than
# a Redis nearby takes, for that one may be stuck.
PATIENCE_SECONDS = 0.002


class BatchLoader(Generic[K, V]):
    """Gathers keys until the loop comes round and the batch before is through, and asks ``read_all`` for all at once.

    ``read_all`` answers in the order of the keys; an exception in its place is raised for that key alone, one that it
    raises for each.
    """

    def __init__(self, read_all: Callable[[Sequence[K]], Awaitable[Sequence[V | Exception]]]) -> None:
        self._read_all = read_all
        self._waiting: list[tuple[K, asyncio.Future[V]]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._sending: asyncio.Handle | None = None

    def read(self, key: K) -> asyncio.Future[V]:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[V] = loop.create_future()
        if not self._waiting:
            self._sending = loop.call_later(PATIENCE_SECONDS, self._send) if self._tasks else loop.call_soon(self._send)
        self._waiting.append((key, answer))
        return answer

    def _send(self) -> None:
        waiting, self._waiting = self._waiting, []
        for start in range(0, len(waiting), MOST):
            task = asyncio.create_task(self._exchange(waiting[start : start + MOST]))
            self._tasks.add(task)
            task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if self._waiting and self._sending:
            self._sending.cancel()
            self._send()

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
