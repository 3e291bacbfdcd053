"""The store on Redis: one hash for each resource, with its record as plain text fields."""

import asyncio
import secrets
from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import Any, Self

from redis.exceptions import RedisError

from service.errors import Invalid, StoreUnavailable
from service.stores.batching import BatchLoader
from service.stores.compare_and_set import Writer
from service.stores.credentials import StoreCredentials
from service.stores.failures import Refused, WrongType
from service.stores.index import COMPLETE, Index
from service.stores.pacing import paced
from service.stores.record import LARGEST_VERSION, VERSION, VERSION_COPY, Record, Resource, compose, rewrite
from service.stores.retry import CircuitBreaker
from service.stores.store import Page, StoreListener, utc_now
from service.stores.topology import Topology

# Reads of a listing in one pipeline.
CHUNK = 50
# Listings of one kind that read at the same time; the replies to one chunk take 2 ms to parse.
LISTINGS_AT_ONCE = 4
PAGE_SIZE = 250
# Probes read keys of this kind, which the user may read.
PROBE_KIND = "AwsAccount"


class RedisStore:
    """Keeps each resource in the hash ``{prefix}{kind}:{id}``, which other programs may read and write.

    ``wait_replicas`` replicas must confirm each write of a resource.
    """

    networked = True

    def __init__(self, topology: Topology, *, prefix: str = "", wait_replicas: int = 0) -> None:
        self.topology = topology
        self.description = topology.name
        self._prefix = prefix
        self._wait_replicas = wait_replicas
        self._breaker = CircuitBreaker(topology)
        self._writer = Writer(self._breaker, wait_replicas=wait_replicas)
        self._index = Index(topology, self._breaker, prefix)
        self._reads = BatchLoader(self._read_each)
        self._listings = defaultdict[str, asyncio.Semaphore](lambda: asyncio.Semaphore(LISTINGS_AT_ONCE))
        """By kind, because requests wait for the listing of policies."""

    @classmethod
    def at(
        cls, url: str, *, prefix: str = "", credentials: StoreCredentials | None = None, wait_replicas: int = 0
    ) -> Self:
        """Return the store at a URL. ``credentials`` replace those of the URL."""
        topology = Topology.at(url, key=f"{prefix}{PROBE_KIND}:", credentials=credentials, wait_replicas=wait_replicas)
        return cls(topology, prefix=prefix, wait_replicas=wait_replicas)

    async def get(self, kind: str, id: str, *, bypass_cache: bool = False) -> Resource | None:
        del bypass_cache
        found = await self._read(kind, id)
        return await self._adopt_external_edit(found) if found else None

    async def replace(
        self, kind: str, id: str, fields: Mapping[str, str], *, expected: Resource | None, validated: bool = False
    ) -> Resource | None:
        # An acknowledged change must not end by a time to live that an operator has set before.
        return await self._replace(kind, id, fields, expected=expected, validated=validated, persist=True)

    async def rewrite(self, expected: Resource, fields: Mapping[str, str]) -> bool:
        await self._check_primary(expected.kind, expected.id)
        record = rewrite(expected, fields)
        # A lost answer counts as a failure, because a second rewrite is harmless.
        version, _ = await self._swap(expected.kind, expected.id, expected.record, record, same_version=True)
        return bool(version)

    async def all(self, kind: str, *, changed: Collection[str] | None = ()) -> Sequence[Resource]:
        await self._index.include(kind, changed)
        _, ids = await self._index.page(kind, offset=0, count=-1)
        return await self._read_listed(kind, ids)

    async def put_with_ttl(self, kind: str, id: str, fields: Mapping[str, str], *, seconds: int) -> None:
        await self._check_primary(kind, id)
        write_id = secrets.token_hex(8)
        record = compose(fields, expected=None, version=1, now=utc_now(), write_id=write_id, validated=True)
        await self._writer.set_with_ttl(self._key(kind, id), record, seconds)

    async def remove(self, expected: Resource) -> bool:
        await self._check_primary(expected.kind, expected.id)
        removed, in_doubt = await self._swap(expected.kind, expected.id, expected.record, {})
        if not removed and not (in_doubt and await self._is_removed(expected)):
            return False
        await self._index.remove(expected.kind, [expected.id])
        return True

    async def confirm(self, kind: str, id: str, expected: Resource | None) -> bool:
        if not self._wait_replicas:
            return True
        await self._check_primary(kind, id)
        record = expected.record if expected else {}
        version, _ = await self._swap(kind, id, record, record, same_version=True)
        return bool(version)

    async def page(self, kind: str, *, offset: int, count: int) -> Page:
        total, ids = await self._index.page(kind, offset=offset, count=count)
        return Page(total, await self._read_listed(kind, ids))

    async def each(self, kind: str) -> AsyncIterator[Resource]:
        after = COMPLETE
        while ids := (await self._index.page(kind, offset=0, count=PAGE_SIZE, after=after))[1]:
            async for resource in paced(await self._read_listed(kind, ids)):
                yield resource
            after = ids[-1]

    async def complete_listing(self, kind: str) -> bool:
        return await self._index.complete(kind)

    async def check(self, kind: str = "", id: str = "") -> None:
        await self.topology.check_available(self._key(kind, id) if id else None)
        if kind and not id:
            self._index.check(kind)

    async def reached_within(self, seconds: float) -> bool:
        return await self.topology.reached_within(seconds)

    def listen(self, listener: StoreListener) -> None:
        self._index.listing_changed = listener.listing_changed

    def warnings(self) -> Sequence[str]:
        return [*self.topology.warnings(), *self._breaker.failures.warnings(), *self._index.warnings()]

    async def open(self) -> None:
        await self.topology.open()

    async def close(self) -> None:
        await self._index.close()
        await self.topology.close()

    async def _replace(
        self,
        kind: str,
        id: str,
        fields: Mapping[str, str],
        *,
        expected: Resource | None,
        validated: bool = False,
        persist: bool = False,
    ) -> Resource | None:
        await self._check_primary(kind, id)
        write_id = secrets.token_hex(8)
        if expected is None:
            # The id comes first, so that a reader who has seen the hash finds it in every listing. Listings skip ids
            # without a hash.
            await self._index.add(kind, [id])
        # The script chooses the version, because it knows that no other writer has used it.
        # A version that an operator has written may have no successor. Then Redis' clock is the next version.
        next_version = expected.version + 1 if expected else 1
        least_version = next_version if next_version < LARGEST_VERSION else 1
        record = compose(
            fields, expected=expected, version=least_version, now=utc_now(), write_id=write_id, validated=validated
        )
        version, in_doubt = await self._swap(kind, id, expected.record if expected else {}, record, persist=persist)
        if not version and in_doubt:
            version = await self._version_of_write(kind, id, write_id)
        if not version:
            return None
        # A repair before the write may have removed the id. The id of a hash that an operator made may be missing, too.
        await self._index.add(kind, [id])
        return Resource(kind, id, {**record, VERSION: version, VERSION_COPY: version}, validated=validated)

    def _key(self, kind: str, id: str) -> str:
        return f"{self._prefix}{kind}:{id}"

    async def _read(self, kind: str, id: str) -> Resource | None:
        record = await self._reads.load((kind, id))
        return Resource(kind, id, Record(record)) if record else None

    async def _check_primary(self, kind: str, id: str) -> None:
        if shard := self.topology.owner(self._key(kind, id)):
            await shard.monitor.check_primary()

    async def _read_replies(self, keys: Sequence[tuple[str, str]]) -> list[Any]:
        names = [self._key(*key) for key in keys]
        return await self._breaker.call_each("hgetall", names, lambda pipe, key: pipe.hgetall(key))

    async def _read_each(self, keys: Sequence[tuple[str, str]]) -> list[dict[str, str] | Exception]:
        """Return the hash of each key, or the error of its read."""
        replies = await self._read_replies(keys)
        return [
            self._read_error(*key, reply) if isinstance(reply, RedisError) else reply
            for key, reply in zip(keys, replies, strict=True)
        ]

    def _read_error(self, kind: str, id: str, error: RedisError) -> Invalid | Refused:
        refused = self._breaker.failures.refused("hgetall", error, self._key(kind, id))
        return _no_hash(kind, id) if isinstance(refused, WrongType) else refused

    async def _read_listed(self, kind: str, ids: Sequence[str]) -> list[Resource]:
        """Return the resources of listed ids, without those that are no hash or were deleted in the meantime."""
        resources: list[Resource] = []
        for start in range(0, len(ids), CHUNK):
            chunk = ids[start : start + CHUNK]
            # Otherwise the chunks of many listings together would block the event loop.
            async with self._listings[kind]:
                replies = await self._read_replies([(kind, id_) for id_ in chunk])
                async for id_, reply in paced(zip(chunk, replies, strict=True)):
                    record = self._read_error(kind, id_, reply) if isinstance(reply, RedisError) else reply
                    if isinstance(record, StoreUnavailable):
                        raise record
                    if not record or isinstance(record, Invalid):
                        continue
                    if resource := await self._adopt_external_edit(Resource(kind, id_, record)):
                        resources.append(resource)
        return resources

    async def _adopt_external_edit(self, found: Resource) -> Resource | None:
        """Return ``found``, after storing it under a new version if an operator has edited its hash."""
        if found.verify_digest():
            return found
        try:
            adopted = await self._replace(found.kind, found.id, found.fields, expected=found)
            return adopted or await self._read(found.kind, found.id)
        except (StoreUnavailable, Invalid):
            # Replicas, users with read access alone and a full memory cannot store it, but can serve it.
            found.edited = True
            return found

    async def _swap(
        self,
        kind: str,
        id: str,
        old: Mapping[str, str],
        new: Mapping[str, str],
        *,
        same_version: bool = False,
        persist: bool = False,
    ) -> tuple[str, bool]:
        """Compare and set. Raise Invalid if the key does not hold a hash."""
        try:
            return await self._writer.compare_and_set(
                self._key(kind, id), old, new, same_version=same_version, persist=persist
            )
        except WrongType:
            raise _no_hash(kind, id) from None

    async def _version_of_write(self, kind: str, id: str, write_id: str) -> str:
        """Return the version of the write ``write_id``; "" if Redis did not execute it."""
        current = await self._read(kind, id)
        if current is None or write_id not in current.write_ids:
            return ""
        # After later writes, use a lower version, so that an If-Match with it fails.
        return str(current.version if current.write_ids[0] == write_id else current.version - 1)

    async def _is_removed(self, expected: Resource) -> bool:
        """Return whether ``expected`` is gone, even if another resource was created under its id."""
        current = await self._read(expected.kind, expected.id)
        return current is None or (bool(expected.write_ids) and expected.write_ids[0] not in current.write_ids)


def _no_hash(kind: str, id: str) -> Invalid:
    return Invalid(f"{kind}/{id} is no hash in Redis; delete its key, or write it with HSET")
