"""The ids of each kind in byte order, as a sorted set beside the hashes, and its repair by a scan of them."""

import asyncio
import logging
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf
from time import monotonic
from typing import cast

from redis.asyncio import Redis

from service.errors import StoreUnavailable
from service.stores.record import ID
from service.stores.retry import CircuitBreaker, Refused

LOGGER = logging.getLogger(__name__)

CHUNK = 250

# A repair takes at most this part of the time: a small store is exact at every listing, 80,000 keys cost five percent.
# Beside that, one is made whenever anything may have changed.
REST_PER_REPAIR = 20

# A listing waits so long for a repair, which is enough in a small store. After that it takes the index as it is.
WAIT_SECONDS = 0.1
SOON = -inf


@dataclass(slots=True)
class Repairs:
    """The repairs of one kind's index, which ``task`` makes one after the other."""

    needed: bool = True
    """Whether one is asked for that has not begun."""

    due: float = SOON
    """When a listing asks for the next."""

    took: float = 0
    """Seconds of the last one that was finished."""

    finished: bool = False
    """Whether any was."""

    outdated: bool = False
    """Whether a write has failed since the last one began."""

    failure: StoreUnavailable | None = None
    """Why the last one broke off, if it did."""

    task: "asyncio.Task[None] | None" = None


class Index:
    """Lists ids without a scan. The index may lag behind the hashes, which alone are the truth.

    The two cannot be written at once (in a Cluster they live on different nodes), so a writer comes here after the
    hash, and before a new one as well. A crash in between, or an operator's ``redis-cli``, leaves the two out of step.
    A scan repairs that. No listing waits long for one, so ``listing_changed`` is called with the
    kind that it has changed.
    """

    def __init__(self, client: Redis, reach: CircuitBreaker, prefix: str) -> None:
        self._client = client
        self._reach = reach
        self._prefix = prefix
        self._repairs: dict[str, Repairs] = defaultdict(Repairs)
        self.listing_changed: Callable[[str], None] = lambda _: None

    async def put(self, kind: str, ids: Sequence[str]) -> None:
        """Add ids whose hashes are written. Never fails: the write stands whether it is listed yet or not."""
        try:
            await self._reach.call(self._client.zadd, self._key(kind), dict.fromkeys(ids, 0))
        except StoreUnavailable:
            self._repairs[kind].due, self._repairs[kind].outdated = SOON, True

    async def drop(self, kind: str, ids: Sequence[str]) -> None:
        """Take out ids whose hashes have been deleted. Never fails, for the same reason."""
        try:
            await self._reach.call(self._client.zrem, self._key(kind), *ids)
            # Who has created a hash anew in the meantime has listed it too, and may just have lost that entry.
            if anew := await self._hashes_among(kind, ids):
                await self.put(kind, anew)
        except StoreUnavailable:
            self._repairs[kind].due, self._repairs[kind].outdated = SOON, True

    async def renew(self, kind: str, changed: Collection[str] | None) -> None:
        """See to it that those of the ids ``changed`` that have hashes are in the next listing; None for any."""
        if changed is None:
            self._repairs[kind].needed = True
        elif ids := [id_ for id_ in changed if ID.fullmatch(id_)]:
            with _as_far_as_allowed(kind):
                await self._add_missing(kind, ids)

    async def page(self, kind: str, *, offset: int, count: int) -> tuple[int, list[str]]:
        """How many there are, and at most ``count`` ids after the first ``offset``."""
        await self._repair_if_due(kind)

        async def page() -> tuple[int, list[str]]:
            async with self._client.pipeline(transaction=False) as pipe:
                pipe.zcard(self._key(kind))
                pipe.zrangebylex(self._key(kind), "-", "+", offset, count)
                total, ids = await pipe.execute()
            return total, ids

        return await self._reach.call(page)

    def _key(self, kind: str) -> str:
        return f"{self._prefix}_index:{kind}"

    async def close(self) -> None:
        """End repairs that are under way."""
        tasks = [repairs.task for repairs in self._repairs.values() if repairs.task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _repair_if_due(self, kind: str) -> None:
        """Begin a repair where one is due, and give it the time that it takes in a small store."""
        repairs = self._repairs[kind]
        if not repairs.needed and monotonic() < repairs.due:
            return
        if repairs.task is None or repairs.task.done():
            repairs.needed = True
            repairs.task = asyncio.create_task(self._repair_while_needed(kind, repairs))
        wait: float | None = WAIT_SECONDS if repairs.took < WAIT_SECONDS else 0
        if not repairs.finished and not await self._reach.call(self._client.zcard, self._key(kind)):
            # There is no index yet to list from.
            wait = None
        done, _ = await asyncio.wait({repairs.task}, timeout=wait)
        if done and repairs.failure:
            # Each request raises an error of its own.
            raise StoreUnavailable(*repairs.failure.issues)

    async def _repair_while_needed(self, kind: str, repairs: Repairs) -> None:
        # One that is asked for during another may be about keys that the other has passed already.
        while repairs.needed:
            repairs.needed, repairs.due, repairs.outdated, repairs.failure = False, SOON, False, None
            began = monotonic()
            try:
                with _as_far_as_allowed(kind):
                    await self._repair(kind)
            except StoreUnavailable as error:
                repairs.failure = error
                # A listing made meanwhile may lack what the scan would have found.
                self.listing_changed(kind)
                return
            repairs.took, repairs.finished = monotonic() - began, True
            if not repairs.outdated:
                repairs.due = monotonic() + REST_PER_REPAIR * repairs.took

    async def _repair(self, kind: str) -> None:
        start = f"{self._prefix}{kind}:"
        found, cursor, changed = 0, 0, False
        try:
            while True:
                cursor, keys = await self._reach.call(
                    self._client.scan, cursor, match=f"{glob_escaped(start)}*", count=CHUNK, _type="hash"
                )
                ids = [id_ for key in cast("list[str]", keys) if ID.fullmatch(id_ := key[len(start) :])]
                found += len(ids)
                changed |= await self._add_missing(kind, ids)
                if not cursor:
                    break
            if await self._reach.call(self._client.zcard, self._key(kind)) > found:
                changed |= await self._drop_vanished(kind)
        finally:
            if changed:
                self.listing_changed(kind)

    async def _add_missing(self, kind: str, ids: Sequence[str]) -> bool:
        """Whether any was missing."""
        if not ids:
            return False
        scores = await self._reach.call(self._client.zmscore, self._key(kind), list(ids))
        missing = [id_ for id_, score in zip(ids, scores, strict=True) if score is None]
        if missing:
            await self._reach.call(self._client.zadd, self._key(kind), dict.fromkeys(missing, 0))
            # One that was deleted since the scan saw it has just been listed again.
            await self._drop_absent(kind, missing)
        return bool(missing)

    async def _drop_vanished(self, kind: str) -> bool:
        """Whether any had vanished."""
        after, dropped = "-", False
        while listed := await self._reach.call(self._client.zrangebylex, self._key(kind), after, "+", 0, CHUNK):
            ids = cast("list[str]", listed)
            dropped |= await self._drop_absent(kind, ids)
            after = f"({ids[-1]}"
        return dropped

    async def _drop_absent(self, kind: str, ids: Sequence[str]) -> bool:
        """Whether any was absent."""
        there = set(await self._hashes_among(kind, ids))
        if absent := [id_ for id_ in ids if id_ not in there]:
            await self.drop(kind, absent)
        return bool(absent)

    async def _hashes_among(self, kind: str, ids: Sequence[str]) -> list[str]:
        async def type_each() -> list[str]:
            async with self._client.pipeline(transaction=False) as pipe:
                for id_ in ids:
                    pipe.type(f"{self._prefix}{kind}:{id_}")
                return await pipe.execute()

        types = await self._reach.call(type_each)
        return [id_ for id_, type_ in zip(ids, types, strict=True) if type_ == "hash"]


@contextmanager
def _as_far_as_allowed(kind: str) -> Iterator[None]:
    try:
        yield
    except Refused:
        LOGGER.debug("No scan is allowed, or nothing may be written: the index of %s must do as it is", kind)


def glob_escaped(text: str) -> str:
    return re.sub(r"([\\*?\[\]])", r"\\\1", text)
