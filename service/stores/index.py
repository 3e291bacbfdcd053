"""The ids of each kind in byte order: a sorted set beside the hashes, repaired by a scan of the hashes."""

import asyncio
import logging
import re
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from math import inf
from time import monotonic
from typing import cast

from redis.asyncio import Redis
from redis.exceptions import RedisError

from service.errors import StoreUnavailable
from service.stores.failures import Refused, WrongType, unreachable
from service.stores.record import ID
from service.stores.retry import CircuitBreaker
from service.stores.shard import Shard
from service.stores.topology import Topology

LOGGER = logging.getLogger(__name__)

CHUNK = 100
# At most so many changed ids are checked at once. In smaller chunks, the next listing would wait for more round trips.
INCLUDED = 500

# After a repair, listings start no other one for this many times its duration. So these scans take at most five
# percent of the time.
PAUSE_PER_REPAIR = 20

# A listing waits this long for a repair, which is enough in a small store. Then it uses the index as it is.
WAIT_SECONDS = 0.1
# Without a complete index, a listing waits this long for the scan that makes it.
BUILD_SECONDS = 5.0
NOW = -inf

# A member of the index, added after the first complete scan. It goes with the index when that is deleted, flushed or
# restored. No id begins with "-", and every id sorts behind it.
COMPLETE = "-complete"


@dataclass(slots=True)
class RepairState:
    """Repairs of one kind's index. ``task`` runs them one after another."""

    requested: bool = True
    # When the next listing starts a repair.
    due: float = NOW
    # Duration of the last finished repair.
    seconds: float = 0
    # Whether an update of the index has failed since the last repair started.
    outdated: bool = False
    # Whether Redis refused the last repair, so that waiting for another one is useless.
    refused: bool = False
    # Whether the last repair has scanned all keys, and the index has what it found.
    complete: bool = False
    # Whether the last listing has found that no scan has completed the index.
    partial: bool = False
    # Why the last repair failed, if it did.
    failure: StoreUnavailable | None = None
    task: "asyncio.Task[None] | None" = None


class Index:
    """Lists ids without a scan. The hashes are authoritative; the index may lag behind them.

    Hash and index cannot be written atomically, because a Cluster keeps them on different nodes. A crash between the
    two writes, or an edit with ``redis-cli``, leaves a difference that a scan of all primaries repairs. Listings do not
    wait for a long scan, so ``listing_changed`` is called with the kind after a repair has changed the index.
    """

    def __init__(self, topology: Topology, breaker: CircuitBreaker, prefix: str) -> None:
        self._topology = topology
        self._breaker = breaker
        self._prefix = prefix
        self._repairs: dict[str, RepairState] = defaultdict(RepairState)
        self._unusable: dict[str, str] = {}
        """A warning for each kind whose key holds no index, until a listing succeeds."""
        self.listing_changed: Callable[[str], None] = lambda _: None

    async def add(self, kind: str, ids: Sequence[str]) -> None:
        """Add ids of written hashes. A failure requests a repair and is not raised, because the write is complete."""
        try:
            await self._zadd(kind, ids)
        except StoreUnavailable:
            self._on_failed_update(kind)

    async def remove(self, kind: str, ids: Sequence[str]) -> None:
        """Remove ids of deleted hashes. A failure requests a repair and is not raised, as in ``add``."""
        try:
            await self._breaker.call("zrem", self._key(kind), lambda client: client.zrem(self._key(kind), *ids))
            # Another writer may have recreated a hash and added its id just before the removal.
            if recreated := await self._hashes_among(kind, ids):
                await self.add(kind, recreated)
        except StoreUnavailable:
            self._on_failed_update(kind)

    async def include(self, kind: str, changed: Collection[str] | None) -> None:
        """Ensure that the next listing contains the ids in ``changed`` that have hashes; None stands for all ids."""
        if changed is None:
            self._repairs[kind].requested = True
        elif ids := [id_ for id_ in changed if ID.fullmatch(id_)]:
            with _refusals_ignored(kind):
                # Commands with 10,000 ids hold the event loop for 30 ms.
                for start in range(0, len(ids), INCLUDED):
                    await self._add_missing(kind, ids[start : start + INCLUDED])

    async def complete(self, kind: str) -> bool:
        """Scan all keys, however long it takes. Return False if Redis refuses this, so that listings may lack ids.

        Raises:
            StoreUnavailable: the scan has failed.
        """
        state = self._repairs[kind]
        # A scan that runs already may have passed keys that are new.
        state.requested = True
        await self._repair_within(kind, None)
        return state.complete

    def check(self, kind: str) -> None:
        """Raise ``StoreUnavailable`` while a listing would wait for the scan that completes the index."""
        state = self._repairs[kind]
        if state.partial and state.task and not state.task.done():
            raise _being_built(kind)

    async def page(self, kind: str, *, offset: int, count: int, after: str = COMPLETE) -> tuple[int, list[str]]:
        """Return the number of ids, and at most ``count`` ids after the first ``offset``; -1 stands for all.

        With ``after``, only the ids behind this one are returned, and ``offset`` begins there.

        Raises:
            StoreUnavailable: no scan has completed the index yet, or another program has written something else into
                its key; the message says which.
        """

        async def page(client: Redis) -> tuple[bool, int, list[str]]:
            async with client.pipeline(transaction=False) as pipe:
                pipe.zmscore(self._key(kind), [COMPLETE])
                pipe.zcard(self._key(kind))
                pipe.zrangebylex(self._key(kind), f"({after}", "+", offset, count)
                (score,), total, ids = await pipe.execute()
            complete = score is not None
            self._repairs[kind].partial = not complete
            return complete, total - complete, ids

        try:
            await self._repair_if_due(kind)
            complete, total, ids = await self._breaker.call("page", self._key(kind), page)
            if not complete and await self._build(kind):
                complete, total, ids = await self._breaker.call("page", self._key(kind), page)
                if not complete and not self._repairs[kind].refused:
                    raise _being_built(kind)
        except WrongType:
            raise self._no_index(kind) from None
        self._unusable.pop(kind, None)
        return total, ids

    def warnings(self) -> Sequence[str]:
        return list(self._unusable.values())

    async def close(self) -> None:
        """Cancel running repairs."""
        tasks = [state.task for state in self._repairs.values() if state.task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _key(self, kind: str) -> str:
        return f"{self._prefix}_index:{kind}"

    def _no_index(self, kind: str) -> Refused:
        problem = f"{self._key(kind)} is no sorted set in Redis; delete this key, and the service creates it again"
        if kind not in self._unusable:
            LOGGER.warning("%s cannot be listed: %s", kind, problem)
        self._unusable[kind] = f"{kind} cannot be listed: {problem}"
        # The repair was refused because of this key alone.
        self._repairs[kind].refused = False
        return Refused(problem)

    def _on_failed_update(self, kind: str) -> None:
        self._repairs[kind].due, self._repairs[kind].outdated = NOW, True

    async def _repair_if_due(self, kind: str) -> None:
        """Start a repair if one is due, and wait for it as long as a small store needs."""
        state = self._repairs[kind]
        if state.requested or monotonic() >= state.due:
            await self._repair_within(kind, WAIT_SECONDS if state.seconds < WAIT_SECONDS else 0)

    async def _build(self, kind: str) -> bool:
        """Start a repair and wait for it. Return False if Redis refused one a short time ago."""
        state = self._repairs[kind]
        if state.refused and monotonic() < state.due:
            return False
        await self._repair_within(kind, BUILD_SECONDS)
        return True

    async def _repair_within(self, kind: str, seconds: float | None) -> None:
        state = self._repairs[kind]
        if state.task is None or state.task.done():
            state.requested = True
            state.task = asyncio.create_task(self._repair_while_requested(kind, state))
        done, _ = await asyncio.wait({state.task}, timeout=seconds)
        if done and state.failure:
            # Requests must not share one exception object.
            raise StoreUnavailable(*state.failure.issues)

    async def _repair_while_requested(self, kind: str, state: RepairState) -> None:
        # A request during a repair may concern keys that the scan has already passed, so repair again.
        while state.requested:
            state.requested, state.due, state.outdated, state.failure = False, NOW, False, None
            state.complete = False
            refused, started = True, monotonic()
            try:
                with _refusals_ignored(kind):
                    await self._repair(kind)
                    refused = False
            except StoreUnavailable as error:
                state.failure = error
                # Listings made during the scan may lack ids that it would have added.
                self.listing_changed(kind)
                return
            state.seconds, state.refused = monotonic() - started, refused
            if not state.outdated:
                state.due = monotonic() + PAUSE_PER_REPAIR * state.seconds

    async def _repair(self, kind: str) -> None:
        found, changed, shards = 0, False, self._topology.shards
        try:
            for shard in shards.values():
                cursor: int | None = None
                while cursor != 0:
                    scan = partial(self._scan, kind, shard, cursor or 0)
                    cursor, ids = await scan()
                    found += len(ids)
                    changed |= await self._add_missing(kind, ids, scan_again=scan)
            if self._topology.shards is not shards:
                # Keys of a primary that came during the scan may be missing.
                raise unreachable()
            # Without a missing id, a refusal of the writes below does no harm to listings.
            self._repairs[kind].complete = True
            await self._zadd(kind, [COMPLETE])
            if await self._zcard(kind) > found + 1:
                changed |= await self._remove_all_without_hash(kind)
        finally:
            if changed:
                self.listing_changed(kind)

    async def _scan(self, kind: str, shard: Shard, cursor: int) -> tuple[int, list[str]]:
        """Return the next cursor, and ids of hashes on one primary."""
        start = f"{self._prefix}{kind}:"
        scan = partial(_scan, cursor=cursor, pattern=f"{escape_glob(start)}*")
        cursor, keys = await self._breaker.call_shard("scan", shard, scan)
        return cursor, [id_ for key in keys if ID.fullmatch(id_ := key[len(start) :])]

    async def _zadd(self, kind: str, ids: Sequence[str]) -> None:
        key, scores = self._key(kind), dict.fromkeys(ids, 0)
        await self._breaker.call("zadd", key, lambda client: client.zadd(key, scores))

    async def _zcard(self, kind: str) -> int:
        key = self._key(kind)
        return await self._breaker.call("zcard", key, lambda client: client.zcard(key))

    async def _after(self, kind: str, start: str) -> list[str]:
        """Return the next ids from ``start`` on."""
        key = self._key(kind)
        page = await self._breaker.call(
            "zrangebylex", key, lambda client: client.zrangebylex(key, start, "+", 0, CHUNK)
        )
        return cast("list[str]", page)

    async def _add_missing(
        self, kind: str, ids: Sequence[str], *, scan_again: Callable[[], Awaitable[tuple[int, list[str]]]] | None = None
    ) -> bool:
        """Add those ids that the index lacks. Return whether there were any. ``scan_again`` finds the ids again."""
        if not ids:
            return False
        key = self._key(kind)
        scores = await self._breaker.call("zmscore", key, lambda client: client.zmscore(key, list(ids)))
        missing = [id_ for id_, score in zip(ids, scores, strict=True) if score is None]
        if missing:
            await self._zadd(kind, missing)
            # A hash may have been deleted since the scan. To scan again costs half as much as to ask for each hash.
            existing = set((await scan_again())[1]) if scan_again else set()
            await self._remove_without_hash(kind, [id_ for id_ in missing if id_ not in existing])
        return bool(missing)

    async def _remove_all_without_hash(self, kind: str) -> bool:
        """Remove every id without a hash from the index. Return whether there were any."""
        after, removed = f"({COMPLETE}", False
        while page := await self._after(kind, after):
            removed |= await self._remove_without_hash(kind, page)
            after = f"({page[-1]}"
        return removed

    async def _remove_without_hash(self, kind: str, ids: Sequence[str]) -> bool:
        """Remove those ids that have no hash. Return whether there were any."""
        existing = set(await self._hashes_among(kind, ids))
        if gone := [id_ for id_ in ids if id_ not in existing]:
            await self.remove(kind, gone)
        return bool(gone)

    async def _hashes_among(self, kind: str, ids: Sequence[str]) -> list[str]:
        keys = [f"{self._prefix}{kind}:{id_}" for id_ in ids]
        types = await self._breaker.call_each("type", keys, lambda pipe, key: pipe.type(key))
        for type_ in types:
            if isinstance(type_, StoreUnavailable):
                raise type_
            if isinstance(type_, RedisError):
                raise self._breaker.failures.refused("type", type_)
        return [id_ for id_, type_ in zip(ids, types, strict=True) if type_ == "hash"]


async def _scan(client: Redis, *, cursor: int, pattern: str) -> tuple[int, list[str]]:
    next_cursor, keys = await client.scan(cursor, match=pattern, count=CHUNK, _type="hash")
    return next_cursor, cast("list[str]", keys)


@contextmanager
def _refusals_ignored(kind: str) -> Iterator[None]:
    try:
        yield
    except Refused:
        LOGGER.debug("The index of %s cannot be repaired, because Redis refuses a scan or a write", kind)


def _being_built(kind: str) -> StoreUnavailable:
    return StoreUnavailable(f"The index of {kind} is being built; try again")


def escape_glob(text: str) -> str:
    return re.sub(r"([\\*?\[\]])", r"\\\1", text)
