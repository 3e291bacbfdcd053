"""The store on Redis: one hash a resource, its record as plain text fields. Knows the commands and what they race."""

import hashlib
import secrets
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Self

from redis.asyncio import ConnectionPool, Redis, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from service.errors import Invalid, ServiceError, StoreUnavailable
from service.resources.batching import Batches
from service.resources.index import Index
from service.resources.reachability import CONNECTIONS, LOST, TRY_SECONDS, Reachability, WrongType
from service.resources.resource import WRITES, Record, Resource, compose
from service.resources.store import Clock, Page, utc_now

HEALTH_CHECK_SECONDS = 15

# The new fields go in before the old ones go out, and nothing is deleted whole: were one command refused half way
# (an ACL, say), what was there is still there. A hash without fields is gone by itself.
COMPARE_AND_SET = """
local seen = tonumber(ARGV[1])
if redis.call('HLEN', KEYS[1]) ~= seen then return 0 end
for i = 2, 2 * seen, 2 do
  if redis.call('HGET', KEYS[1], ARGV[i]) ~= ARGV[i + 1] then return 0 end
end
local kept = {}
for i = 2 * seen + 2, #ARGV, 2 do
  redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
  kept[ARGV[i]] = true
end
for i = 2, 2 * seen, 2 do
  if not kept[ARGV[i]] then redis.call('HDEL', KEYS[1], ARGV[i]) end
end
return 1
"""
COMPARE_AND_SET_SHA = hashlib.sha1(COMPARE_AND_SET.encode(), usedforsecurity=False).hexdigest()


def connect(url: str, *, connections: int) -> Redis:
    """A client for ``redis://``, ``rediss://`` or ``unix://``. Raises ``ValueError``, without the URL, for any other.

    It does not try again by itself: who writes must know whether an earlier try may have landed.
    """
    try:
        pool = ConnectionPool.from_url(
            url,
            max_connections=connections,
            # A time for each try is kept outside: redis-py would make a task of every command that it sends.
            socket_timeout=None,
            socket_connect_timeout=TRY_SECONDS,
            health_check_interval=HEALTH_CHECK_SECONDS,
            retry=Retry(NoBackoff(), 0),
            # RESP3's handshake needs Redis 6 and asks for maintenance pushes; nothing here wants either.
            protocol=2,
            decode_responses=True,
            # What an operator writes need not be UTF-8: it must be read, compared and written back as it is.
            encoding_errors="surrogateescape",
        )
        # Options of the URL are only looked at when a connection is made, which would be at the first request.
        pool.make_connection()  # type: ignore[no-untyped-call]
    except (ValueError, TypeError, AttributeError):
        raise ValueError("not a Redis URL (redis://, rediss:// or unix://)") from None
    return Redis.from_pool(pool)


class RedisStore:
    """Keeps resources in Redis, where others may read and write them too: ``{prefix}{kind}:{id}`` is a resource's hash.

    ``probe`` is a client of the same Redis with a connection of its own.
    """

    networked = True

    def __init__(self, client: Redis, probe: Redis, *, prefix: str = "", clock: Clock = utc_now) -> None:
        self._client = client
        self._prefix = prefix
        self._clock = clock
        self.description = _description(client)
        self._reach = Reachability(probe, self.description)
        self._index = Index(client, self._reach, prefix)
        self._reads = Batches(self._read_each)

    @classmethod
    def at(cls, url: str, *, prefix: str = "") -> Self:
        return cls(connect(url, connections=CONNECTIONS), connect(url, connections=1), prefix=prefix)

    def at_hand(self, kind: str, id: str) -> Resource | None:
        del kind, id
        return None

    async def get(self, kind: str, id: str, *, fresh: bool = False) -> Resource | None:
        del fresh
        found = await self._read(kind, id)
        return await self._adopted(found) if found else None

    async def replace(
        self, kind: str, id: str, fields: Mapping[str, str], *, seen: Resource | None, judged: bool = False
    ) -> Resource | None:
        mark = secrets.token_hex(8)
        version = await self._next_version(kind, seen)
        if seen is None:
            # Whoever is told of the hash and lists at once must find it. Before the hash is there, it is passed over.
            await self._index.put(kind, [id])
        record = compose(fields, seen=seen, version=version, now=self._clock(), mark=mark, judged=judged)
        swapped, in_doubt = await self._swap(kind, id, seen.record if seen else {}, record)
        if not swapped and not (in_doubt and await self._has_landed(kind, id, mark)):
            return None
        # A mend that found no hash yet may have taken the entry out, and what an operator has created has had none.
        await self._index.put(kind, [id])
        return Resource(kind, id, record, judged=judged)

    def all_at_hand(self, kind: str) -> Sequence[Resource] | None:
        del kind
        return None

    async def all(self, kind: str, *, changed: Collection[str] | None = ()) -> Sequence[Resource]:
        await self._index.renew(kind, changed)
        _, ids = await self._index.page(kind, offset=0, count=-1)
        return await self._adopted_all(kind, ids)

    async def keep(self, kind: str, id: str, fields: Mapping[str, str], *, seconds: int) -> None:
        record: dict[Any, Any] = {
            **compose(fields, seen=None, version=1, now=self._clock(), mark=secrets.token_hex(8), judged=True)
        }

        async def keep() -> None:
            async with self._client.pipeline(transaction=True) as pipe:
                pipe.hset(self._key(kind, id), mapping=record)
                pipe.expire(self._key(kind, id), seconds)
                await pipe.execute()

        await self._reach.call(keep)

    async def remove(self, seen: Resource) -> bool:
        swapped, in_doubt = await self._swap(seen.kind, seen.id, seen.record, {})
        if not swapped and not (in_doubt and await self._is_gone(seen)):
            return False
        await self._index.drop(seen.kind, [seen.id])
        return True

    async def page(self, kind: str, *, offset: int, count: int) -> Page:
        total, ids = await self._index.page(kind, offset=offset, count=count)
        return Page(total, await self._adopted_all(kind, ids))

    async def check(self) -> None:
        await self._reach.check()

    def warnings(self) -> Sequence[str]:
        return ()

    async def open(self) -> None:
        await self._reach.open()

    async def close(self) -> None:
        await self._reach.close()
        # A connection that takes too long to say goodbye is dropped all the same.
        with suppress(RedisTimeoutError):
            await self._client.aclose()

    def _key(self, kind: str, id: str) -> str:
        return f"{self._prefix}{kind}:{id}"

    async def _read(self, kind: str, id: str) -> Resource | None:
        record = await self._reads.read((kind, id))
        return Resource(kind, id, Record(record)) if record else None

    async def _read_each(self, keys: Sequence[tuple[str, str]]) -> list[dict[str, str] | Exception]:
        """The hash of each key, or why it cannot be read."""

        async def hgetall() -> list[dict[str, str] | Exception]:
            async with self._client.pipeline(transaction=False) as pipe:
                for kind, id_ in keys:
                    pipe.hgetall(self._key(kind, id_))
                answers = await pipe.execute(raise_on_error=False)
            for answer in answers:
                # Such as that Redis is still loading: to be tried again.
                if isinstance(answer, LOST):
                    raise answer
            return answers

        answers = await self._reach.call(hgetall)
        return [
            self._fault(*key, answer) if isinstance(answer, RedisError) else answer
            for key, answer in zip(keys, answers, strict=True)
        ]

    def _fault(self, kind: str, id: str, error: RedisError) -> ServiceError:
        refused = self._reach.refused("hgetall", error)
        return _no_hash(kind, id) if isinstance(refused, WrongType) else refused

    async def _read_all(self, kind: str, ids: Sequence[str]) -> list[Resource]:
        """Those that are there. A key that is no hash, or has gone since the index was read, is left out."""
        records = await self._read_each([(kind, id_) for id_ in ids]) if ids else []
        return [
            Resource(kind, id_, record)
            for id_, record in zip(ids, records, strict=True)
            if record and isinstance(record, dict)
        ]

    async def _adopted_all(self, kind: str, ids: Sequence[str]) -> list[Resource]:
        adopted = [await self._adopted(found) for found in await self._read_all(kind, ids)]
        return [resource for resource in adopted if resource]

    async def _adopted(self, found: Resource) -> Resource | None:
        """``found`` under a version of its own, where an operator has changed it since the service last wrote it."""
        if found.recognise():
            return found
        try:
            adopted = await self.replace(found.kind, found.id, found.fields, seen=found)
            return adopted or await self._read(found.kind, found.id)
        except (StoreUnavailable, Invalid):
            # A replica, or an account that may only read, can serve it all the same.
            return found

    async def _next_version(self, kind: str, seen: Resource | None) -> int:
        sequence = f"{self._prefix}_sequence:{kind}"
        behind = seen.version if seen else 0
        version = await self._reach.call(self._client.incr, sequence)
        if version <= behind:
            # The sequence was lost, or records were brought from elsewhere. Adding, unlike SET, races nobody.
            version = await self._reach.call(self._client.incrby, sequence, behind + 1 - version)
        return version

    async def _swap(self, kind: str, id: str, old: Mapping[str, str], new: Mapping[str, str]) -> tuple[bool, bool]:
        """Whether ``new`` now stands in place of ``old``; and, if not, whether an earlier try may have put it there."""
        arguments = [str(len(old)), *_flat(old), *_flat(new)]
        tries = 0

        async def compare_and_set() -> bool:
            nonlocal tries
            tries += 1
            try:
                return bool(await self._client.evalsha(COMPARE_AND_SET_SHA, 1, self._key(kind, id), *arguments))
            except NoScriptError:
                return bool(await self._client.eval(COMPARE_AND_SET, 1, self._key(kind, id), *arguments))

        try:
            return await self._reach.call(compare_and_set), tries > 1
        except WrongType:
            raise _no_hash(kind, id) from None

    async def _has_landed(self, kind: str, id: str, mark: str) -> bool:
        current = await self._read(kind, id)
        return current is not None and mark in _marks(current)

    async def _is_gone(self, seen: Resource) -> bool:
        """Whether what is there now, if anything, was created after ``seen`` had been deleted."""
        current = await self._read(seen.kind, seen.id)
        return current is None or (bool(_marks(seen)) and _marks(seen)[0] not in _marks(current))


def _description(client: Redis) -> str:
    pool = client.connection_pool
    where = pool.connection_kwargs
    if "path" in where:
        return f"unix://{where['path']}?db={where.get('db', 0)}"
    scheme = "rediss" if issubclass(pool.connection_class, SSLConnection) else "redis"
    return f"{scheme}://{where.get('host', 'localhost')}:{where.get('port', 6379)}/{where.get('db', 0)}"


def _flat(record: Mapping[str, str]) -> Iterator[str]:
    for name, text in record.items():
        yield name
        yield text


def _marks(resource: Resource) -> list[str]:
    return resource.record.get(WRITES, "").split()


def _no_hash(kind: str, id: str) -> Invalid:
    return Invalid(f"{kind}/{id} is no hash in Redis; delete its key, or write it with HSET")
