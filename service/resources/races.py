"""Changes of a resource that other writers may change too: each is repeated until it wins."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import TypeVar

from service.errors import StoreUnavailable
from service.stores.record import Resource
from service.stores.store import Store

# In each attempt at least one of the competing writers succeeds.
MAX_ATTEMPTS = 100
MAX_PAUSE_SECONDS = 0.01

T = TypeVar("T")


class LostRaceError(Exception):
    """Another writer has changed the resource since it was read."""


class Races:
    """The changes of a store by compare-and-set. Each raises ``LostRaceError`` if another writer was first."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def win(self, kind: str, id: str, attempt: Callable[[Resource | None], Awaitable[T]]) -> T:
        """Return the result of ``attempt`` with the stored resource, repeated until it wins the race.

        Raises ``StoreUnavailable`` after too many attempts.
        """
        for number in range(MAX_ATTEMPTS):
            with suppress(LostRaceError):
                return await attempt(await self._store.get(kind, id, bypass_cache=True))
            await asyncio.sleep(random.uniform(0, min(number * 0.001, MAX_PAUSE_SECONDS)))  # noqa: S311 - jitter
        raise StoreUnavailable(f"{kind}/{id} is being changed by too many at once")

    async def replace(
        self, kind: str, id: str, fields: Mapping[str, str], expected: Resource | None, *, validated: bool
    ) -> Resource:
        """See ``Store.replace``."""
        stored = await self._store.replace(kind, id, fields, expected=expected, validated=validated)
        if stored is None:
            raise LostRaceError
        return stored

    async def rewrite(self, stored: Resource, fields: Mapping[str, str]) -> None:
        """See ``Store.rewrite``."""
        if not await self._store.rewrite(stored, fields):
            raise LostRaceError

    async def remove(self, stored: Resource) -> None:
        """See ``Store.remove``."""
        if not await self._store.remove(stored):
            raise LostRaceError

    async def confirm(self, kind: str, id: str, stored: Resource | None) -> None:
        """Confirm what an earlier change, whose caller got a 503, may have made."""
        if not await self._store.confirm(kind, id, stored):
            raise LostRaceError
