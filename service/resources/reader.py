"""Read resources and their models from one store."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any

from service.errors import DecryptionFailed, Invalid, ResourceNotFound
from service.resources.secrets.codec import SecretCodec
from service.resources.types import ResourceType
from service.stores.pacing import in_chunks
from service.stores.record import Resource
from service.stores.store import Page, Store

Check = Callable[[Any], None]
NO_CHECKS: Mapping[str, Check] = MappingProxyType({})


class ResourceReader:
    """Reads every resource type. Every coroutine can raise ``StoreUnavailable``."""

    def __init__(self, store: Store, codec: SecretCodec, *, checks: Mapping[str, Check] = NO_CHECKS) -> None:
        """``checks`` validate models, by kind, when they are used. They raise ``Invalid``."""
        self._store = store
        self._codec = codec
        self._checks = checks

    async def find(self, type_: ResourceType, id: str) -> Resource | None:
        return await self._store.get(type_.kind, id)

    async def read(self, type_: ResourceType, id: str) -> Resource:
        """Return the resource. Raises ``ResourceNotFound``."""
        return existing(type_, id, await self._store.get(type_.kind, id))

    async def all(self, type_: ResourceType) -> Sequence[Resource]:
        """See ``Store.all``."""
        return await self._store.all(type_.kind)

    async def exists(self, kind: str, id: str) -> bool:
        """Return whether a resource is stored, without the cache."""
        return await self._store.get(kind, id, bypass_cache=True) is not None

    def model(self, type_: ResourceType, resource: Resource) -> Any:
        """Return the model of a resource, which is memoized with the resource.

        Raises ``Invalid`` for an invalid stored resource, and ``DecryptionFailed``.
        """
        return resource.model or resource.memoize(lambda stored: self._decode(type_, stored))

    def model_if_valid(self, type_: ResourceType, resource: Resource | None) -> Any:
        """Return the model, or None without a resource or for an invalid one."""
        try:
            return self.model(type_, resource) if resource else None
        except (Invalid, DecryptionFailed):
            return None

    async def find_valid(self, type_: ResourceType, id: str) -> Any:
        """Return the model, or None for a missing or invalid resource, or for a key that is not a resource."""
        try:
            return self.model_if_valid(type_, await self.find(type_, id))
        except Invalid:
            return None

    async def complete_listing(self, type_: ResourceType) -> bool:
        """Find all that other programs have stored or deleted, however long it takes, for the next listings.

        Returns False if the store refuses this, so that listings may lack resources.
        """
        return await self._store.complete_listing(type_.kind)

    def each(self, type_: ResourceType) -> AsyncIterator[Resource]:
        """See ``Store.each``."""
        return self._store.each(type_.kind)

    async def page(self, type_: ResourceType, *, offset: int, count: int, descending: bool = False) -> Page:
        """Return ``count`` resources after the first ``offset``, sorted by id."""
        if not descending:
            return await self._store.page(type_.kind, offset=offset, count=count)
        total = (await self._store.page(type_.kind, offset=0, count=0)).total
        end = max(0, total - offset)
        start = max(0, end - count)
        page = await self._store.page(type_.kind, offset=start, count=end - start)
        return Page(page.total, page.resources[::-1])

    async def select(
        self, type_: ResourceType, ids: Sequence[str], *, offset: int, count: int, descending: bool = False
    ) -> Page:
        """Return a page of those of ``ids`` that exist."""
        ordered = sorted(set(ids), reverse=descending)
        found = [resource for resource in await in_chunks(partial(self.find, type_), ordered) if resource]
        return Page(len(found), found[offset : offset + count])

    def _decode(self, type_: ResourceType, stored: Resource) -> Any:
        model = type_.decode(stored, self._codec.decrypt(type_, stored))
        self._check(type_, model)
        return model

    def _check(self, type_: ResourceType, model: Any) -> None:
        if check := self._checks.get(type_.kind):
            check(model)


def existing(type_: ResourceType, id: str, stored: Resource | None) -> Resource:
    if stored is None:
        raise ResourceNotFound(type_.kind, id)
    return stored
