"""The store on Redis: one hash a resource, its record as plain text fields. Knows the commands and what they race."""

import asyncio
import secrets
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any, Self

from redis.asyncio import Redis, SSLConnection
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from service.errors import Invalid, ServiceError, StoreUnavailable
from service.stores.batching import BatchLoader
from service.stores.compare_and_set import swap
from service.stores.index import Index
from service.stores.pacing import paced
from service.stores.record import VERSION, VERSION_COPY, WRITES, Record, Resource, compose, rewrite
from service.stores.retry import CONNECTIONS, CircuitBreaker, WrongType
from service.stores.store import Clock, Page, StoreListener, utc_now
from service.stores.topology import ServerIdentity, connect, is_demotion

# Reads of one listing that go together. A listing gives way to others after each.
CHUNK = 50
# A kind whose keys the service may read, to probe with.
PROBE_KIND = "AwsAccount"


class RedisStore:
    """Keeps resources in Redis, where others may read and write them too: ``{prefix}{kind}:{id}`` is a resource's hash.

    ``probe`` is a client of the same Redis with a connection of its own.
    """

    networked = True

    def __init__(
        self,
        client: Redis,
        probe: Redis,
        *,
        prefix: str = "",
        clock: Clock = utc_now,
        identity: ServerIdentity | None = None,
    ) -> None:
        self._client = client
        self._prefix = prefix
        self._clock = clock
        self.description = _description(client)
        key = self._key(PROBE_KIND, "")
        self._reach = CircuitBreaker(client.connection_pool, probe, self.description, key, identity or ServerIdentity())
        self._index = Index(client, self._reach, prefix)
        self._reads = BatchLoader(self._read_each)
        self._listing = asyncio.Lock()

    @classmethod
    def at(cls, url: str, *, prefix: str = "") -> Self:
        identity = ServerIdentity()
        client = connect(url, connections=CONNECTIONS, identity=identity)
        return cls(client, connect(url, connections=1, identity=identity), prefix=prefix, identity=identity)

    async def get(self, kind: str, id: str, *, bypass_cache: bool = False) -> Resource | None:
        del bypass_cache
        found = await self._read(kind, id)
        return await self._adopted(found) if found else None

    async def replace(
        self, kind: str, id: str, fields: Mapping[str, str], *, expected: Resource | None, validated: bool = False
    ) -> Resource | None:
        write_id = secrets.token_hex(8)
        if expected is None:
            # A reader that finds the hash and lists at once must find the entry. A listing skips it until then.
            await self._index.put(kind, [id])
        # Redis gives the version: the script that compares knows that none was given out in between.
        least = expected.version + 1 if expected else 1
        record = compose(
            fields, expected=expected, version=least, now=self._clock(), write_id=write_id, validated=validated
        )
        version, in_doubt = await self._swap(kind, id, expected.record if expected else {}, record)
        if not version and in_doubt:
            version = await self._landed_version(kind, id, write_id)
        if not version:
            return None
        # A repair that found no hash yet may have taken the entry out, and a hash that an operator made has had none.
        await self._index.put(kind, [id])
        return Resource(kind, id, {**record, VERSION: version, VERSION_COPY: version}, validated=validated)

    async def rewrite(self, expected: Resource, fields: Mapping[str, str]) -> bool:
        record = rewrite(expected, fields)
        # An answer that was lost counts as a failure: to write the same again does no harm.
        replaced, _ = await self._swap(expected.kind, expected.id, expected.record, record, same_version=True)
        return bool(replaced)

    async def all(self, kind: str, *, changed: Collection[str] | None = ()) -> Sequence[Resource]:
        await self._index.renew(kind, changed)
        _, ids = await self._index.page(kind, offset=0, count=-1)
        return await self._adopted_all(kind, ids)

    async def put_with_ttl(self, kind: str, id: str, fields: Mapping[str, str], *, seconds: int) -> None:
        record: dict[Any, Any] = {
            **compose(
                fields, expected=None, version=1, now=self._clock(), write_id=secrets.token_hex(8), validated=True
            )
        }

        async def keep() -> None:
            async with self._client.pipeline(transaction=True) as pipe:
                pipe.hset(self._key(kind, id), mapping=record)
                pipe.expire(self._key(kind, id), seconds)
                await pipe.execute()

        await self._reach.call(keep)

    async def remove(self, expected: Resource) -> bool:
        removed, in_doubt = await self._swap(expected.kind, expected.id, expected.record, {})
        if not removed and not (in_doubt and await self._is_gone(expected)):
            return False
        await self._index.drop(expected.kind, [expected.id])
        return True

    async def page(self, kind: str, *, offset: int, count: int) -> Page:
        total, ids = await self._index.page(kind, offset=offset, count=count)
        return Page(total, await self._adopted_all(kind, ids))

    async def check(self) -> None:
        await self._reach.check()

    async def reached_within(self, seconds: float) -> bool:
        return await self._reach.reached_within(seconds)

    def listen(self, listener: StoreListener) -> None:
        self._reach.server_changed = listener.server_changed
        self._index.listing_changed = listener.listing_changed

    def recheck_server(self) -> None:
        self._reach.recheck_server()

    def warnings(self) -> Sequence[str]:
        return self._reach.warnings()

    async def open(self) -> None:
        await self._reach.open()

    async def close(self) -> None:
        await self._index.close()
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
                if isinstance(answer, Exception) and is_demotion(answer):
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

    async def _adopted_all(self, kind: str, ids: Sequence[str]) -> list[Resource]:
        """Those that are there. A key that is no hash, or has gone since the index was read, is left out."""
        found: list[Resource] = []
        for start in range(0, len(ids), CHUNK):
            chunk = ids[start : start + CHUNK]
            # One chunk at a time, of all listings: together they would hold the loop for as long as all of them take.
            async with self._listing:
                records = await self._read_each([(kind, id_) for id_ in chunk])
                async for id_, record in paced(zip(chunk, records, strict=True)):
                    stored = Resource(kind, id_, record) if record and isinstance(record, dict) else None
                    if stored and (adopted := await self._adopted(stored)):
                        found.append(adopted)
        return found

    async def _adopted(self, found: Resource) -> Resource | None:
        """``found`` under a version of its own, where an operator has changed it since the service last wrote it."""
        if found.verify_digest():
            return found
        try:
            adopted = await self.replace(found.kind, found.id, found.fields, expected=found)
            return adopted or await self._read(found.kind, found.id)
        except (StoreUnavailable, Invalid):
            # A replica, or an account that may only read, can serve it all the same.
            return found

    async def _swap(
        self, kind: str, id: str, old: Mapping[str, str], new: Mapping[str, str], *, same_version: bool = False
    ) -> tuple[str, bool]:
        """See ``swap``. Raises Invalid for a key of another type."""
        try:
            return await swap(self._client, self._reach, self._key(kind, id), old, new, same_version=same_version)
        except WrongType:
            raise _no_hash(kind, id) from None

    async def _landed_version(self, kind: str, id: str, write_id: str) -> str:
        """The version of the write with that ``write_id``; "" if it has not landed."""
        current = await self._read(kind, id)
        write_ids = _write_ids(current) if current else []
        if current is None or write_id not in write_ids:
            return ""
        # Where others have written since, an If-Match with this version must not match theirs.
        return str(current.version if write_ids[0] == write_id else current.version - 1)

    async def _is_gone(self, expected: Resource) -> bool:
        """Whether what is there now, if anything, was created after ``expected`` had been deleted."""
        current = await self._read(expected.kind, expected.id)
        return current is None or (bool(_write_ids(expected)) and _write_ids(expected)[0] not in _write_ids(current))


def _description(client: Redis) -> str:
    pool = client.connection_pool
    where = pool.connection_kwargs
    if "path" in where:
        return f"unix://{where['path']}?db={where.get('db', 0)}"
    scheme = "rediss" if issubclass(pool.connection_class, SSLConnection) else "redis"
    return f"{scheme}://{where.get('host', 'localhost')}:{where.get('port', 6379)}/{where.get('db', 0)}"


def _write_ids(resource: Resource) -> list[str]:
    return resource.record.get(WRITES, "").split()


def _no_hash(kind: str, id: str) -> Invalid:
    return Invalid(f"{kind}/{id} is no hash in Redis; delete its key, or write it with HSET")
