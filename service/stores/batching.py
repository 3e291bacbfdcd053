"""Combines concurrent reads into batches."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")

# The first read of a batch waits for all of its answers.
MAX_BATCH = 100
# A batch costs as much as ten single reads, so reads wait for the end of a running batch. The limit is the time of a
# round trip to a nearby Redis, because the running batch may hang.
MAX_WAIT_SECONDS = 0.002


class BatchLoader(Generic[K, V]):
    """Collects keys until the next turn of the event loop and the end of the running batch, and loads them together.

    ``load_all`` returns a value for each key in order; an exception among them is raised for that key only. An
    exception raised by ``load_all`` is raised for all keys.
    """

    def __init__(self, load_all: Callable[[Sequence[K]], Awaitable[Sequence[V | Exception]]]) -> None:
        self._load_all = load_all
        self._pending: list[tuple[K, asyncio.Future[V]]] = []
        self._running: set[asyncio.Task[None]] = set()
        self._timer: asyncio.Handle | None = None

    def load(self, key: K) -> asyncio.Future[V]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[V] = loop.create_future()
        if not self._pending:
            if self._running:
                self._timer = loop.call_later(MAX_WAIT_SECONDS, self._start)
            else:
                self._timer = loop.call_soon(self._start)
        self._pending.append((key, future))
        return future

    def _start(self) -> None:
        pending, self._pending = self._pending, []
        for start in range(0, len(pending), MAX_BATCH):
            task = asyncio.create_task(self._load_batch(pending[start : start + MAX_BATCH]))
            self._running.add(task)
            task.add_done_callback(self._on_done)

    def _on_done(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if self._pending and self._timer:
            self._timer.cancel()
            self._start()

    async def _load_batch(self, batch: Sequence[tuple[K, asyncio.Future[V]]]) -> None:
        try:
            values = await self._load_all([key for key, _ in batch])
        except Exception as error:  # noqa: BLE001 - raised in every caller
            values = [error] * len(batch)
        for (_, future), value in zip(batch, values, strict=True):
            if future.done():
                # The caller was cancelled.
                continue
            if isinstance(value, Exception):
                future.set_exception(value)
            else:
                future.set_result(value)
