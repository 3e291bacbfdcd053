"""The ids of each kind in byte order, as a sorted set beside the hashes, and how it is mended from them."""

import asyncio
import logging
import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import inf
from time import monotonic
from typing import Any, cast

from redis.asyncio import Redis

from service.errors import StoreUnavailable
from service.resources.reachability import Reachability, Refused
from service.resources.schemas import ID

LOGGER = logging.getLogger(__name__)

CHUNK = 250

# A mend takes at most this part of the time: a small store is exact at every listing, 80,000 keys cost five percent.
# Beside that, one is made whenever anything may have changed.
REST_PER_MEND = 20
NOW = -inf


@dataclass(slots=True)
class Mends:
    """Of one kind, one at a time: when the next is ``due``; when the last ``broke_off``, if one did, and why."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    due: float = NOW
    broke_off: float = -inf
    reason: tuple[Any, ...] = ()


class Index:
    """Lists ids without a scan. What it says may lag behind the hashes, which alone are the truth.

    The two cannot be written at once (in a cluster they live on different nodes), so a writer comes here after the
    hash, and before a new one as well. What a crash in between, or an operator's ``redis-cli``, leaves out of step is
    mended before a listing.
    """

    def __init__(self, client: Redis, reach: Reachability, prefix: str) -> None:
        self._client = client
        self._reach = reach
        self._prefix = prefix
        self._mends: dict[str, Mends] = defaultdict(Mends)

    async def put(self, kind: str, ids: Sequence[str]) -> None:
        """Add ids whose hashes are written. Never fails: the write stands whether it is listed yet or not."""
        try:
            await self._reach.call(self._client.zadd, self._key(kind), dict.fromkeys(ids, 0))
        except StoreUnavailable:
            self._mends[kind].due = NOW

    async def drop(self, kind: str, ids: Sequence[str]) -> None:
        """Take out ids whose hashes have been deleted. Never fails, for the same reason."""
        try:
            await self._reach.call(self._client.zrem, self._key(kind), *ids)
            # Who has created a hash anew in the meantime has listed it too, and may just have lost that entry.
            if anew := await self._hashes_among(kind, ids):
                await self.put(kind, anew)
        except StoreUnavailable:
            self._mends[kind].due = NOW

    async def renew(self, kind: str, changed: Collection[str] | None) -> None:
        """See to it that those of the ids ``changed`` that have hashes are in the next listing; None for any."""
        if changed is None:
            self._mends[kind].due = NOW
        elif ids := [id_ for id_ in changed if ID.fullmatch(id_)]:
            with _as_far_as_allowed(kind):
                await self._add_missing(kind, ids)

    async def page(self, kind: str, *, offset: int, count: int) -> tuple[int, list[str]]:
        """How many there are, and at most ``count`` ids after the first ``offset``."""
        await self._mend_if_due(kind)

        async def page() -> tuple[int, list[str]]:
            async with self._client.pipeline(transaction=False) as pipe:
                pipe.zcard(self._key(kind))
                pipe.zrangebylex(self._key(kind), "-", "+", offset, count)
                total, ids = await pipe.execute()
            return total, ids

        return await self._reach.call(page)

    def _key(self, kind: str) -> str:
        return f"{self._prefix}_index:{kind}"

    async def _mend_if_due(self, kind: str) -> None:
        mends, came = self._mends[kind], monotonic()
        async with mends.lock:
            began = monotonic()
            if began < mends.due:
                return
            if came < mends.broke_off:
                # One after the other, all who waited for it would wait for their own.
                raise StoreUnavailable(*mends.reason)
            mends.due = began
            try:
                with _as_far_as_allowed(kind):
                    await self._mend(kind)
            except StoreUnavailable as error:
                mends.broke_off, mends.reason = monotonic(), error.args
                raise
            # Otherwise another was asked for meanwhile, of what this one may have passed already.
            if mends.due == began:
                mends.due = monotonic() + REST_PER_MEND * (monotonic() - began)

    async def _mend(self, kind: str) -> None:
        start = f"{self._prefix}{kind}:"
        found, cursor = 0, 0
        while True:
            cursor, keys = await self._reach.call(
                self._client.scan, cursor, match=f"{glob_escaped(start)}*", count=CHUNK, _type="hash"
            )
            ids = [id_ for key in cast("list[str]", keys) if ID.fullmatch(id_ := key[len(start) :])]
            found += len(ids)
            await self._add_missing(kind, ids)
            if not cursor:
                break
        if await self._reach.call(self._client.zcard, self._key(kind)) > found:
            await self._drop_vanished(kind)

    async def _add_missing(self, kind: str, ids: Sequence[str]) -> None:
        if not ids:
            return
        scores = await self._reach.call(self._client.zmscore, self._key(kind), list(ids))
        missing = [id_ for id_, score in zip(ids, scores, strict=True) if score is None]
        if missing:
            await self._reach.call(self._client.zadd, self._key(kind), dict.fromkeys(missing, 0))
            # One that was deleted since the scan saw it has just been listed again.
            await self._drop_absent(kind, missing)

    async def _drop_vanished(self, kind: str) -> None:
        after = "-"
        while listed := await self._reach.call(self._client.zrangebylex, self._key(kind), after, "+", 0, CHUNK):
            ids = cast("list[str]", listed)
            await self._drop_absent(kind, ids)
            after = f"({ids[-1]}"

    async def _drop_absent(self, kind: str, ids: Sequence[str]) -> None:
        there = set(await self._hashes_among(kind, ids))
        if absent := [id_ for id_ in ids if id_ not in there]:
            await self.drop(kind, absent)

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
