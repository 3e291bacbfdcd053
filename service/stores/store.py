"""The Store protocol: reads, writes and listings of resources."""

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from service.errors import StoreUnavailable
from service.stores.record import Resource

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Page:
    """A part of the resources of one kind, ordered by id; ``total`` counts all of them."""

    total: int
    resources: Sequence[Resource]


class NothingWritten(StoreUnavailable):
    """A write failed and did not change the store."""


class StoreListener(Protocol):
    """Receives events of a store. Its methods must not raise or block."""

    def listing_changed(self, kind: str) -> None:
        """Earlier listings of ``kind`` may lack a resource, or contain one that is deleted."""


class Store(Protocol):
    """Keeps resources. Every call but ``close`` may raise ``StoreUnavailable``.

    Writes compare and set: a writer passes the resource that it expects in the store. If another resource is stored
    there, the write changes nothing. Of two writers that expect the same resource, one succeeds.
    """

    networked: bool
    """Whether other processes can reach the stored resources."""

    description: str
    """Kind and address of the store for the log, without credentials."""

    async def get(self, kind: str, id: str, *, bypass_cache: bool = False) -> Resource | None:
        """Return the stored resource, or None. A change must be decided on a resource read with ``bypass_cache``."""

    async def replace(
        self, kind: str, id: str, fields: Mapping[str, str], *, expected: Resource | None, validated: bool = False
    ) -> Resource | None:
        """Store ``fields`` in place of ``expected``; None for ``expected`` creates the resource.

        Returns the stored resource, or None if the store does not hold ``expected``. ``validated`` records that a
        schema has accepted the fields.
        """

    async def rewrite(self, expected: Resource, fields: Mapping[str, str]) -> bool:
        """Store ``fields`` in place of ``expected``, with its version. Return False if another writer was first."""

    async def all(self, kind: str, *, changed: Collection[str] | None = ()) -> Sequence[Resource]:
        """Return every resource of a kind that has few, ordered by id.

        The listing may lack changes by other programs, except to the ids in ``changed``; None stands for all ids.
        """

    async def put_with_ttl(self, kind: str, id: str, fields: Mapping[str, str], *, seconds: int) -> None:
        """Store a resource that is never listed or changed. The reader must check its expiry."""

    async def remove(self, expected: Resource) -> bool:
        """Delete ``expected``. Return False if another writer was first."""

    async def confirm(self, kind: str, id: str, expected: Resource | None) -> bool:
        """Confirm ``expected``, or the absence of a resource, as a write would, for a change that is made already.

        Returns False if another writer was first.
        """

    async def page(self, kind: str, *, offset: int, count: int) -> Page:
        """Return at most ``count`` resources after the first ``offset``."""

    def each(self, kind: str) -> AsyncIterator[Resource]:
        """Yield every resource once, ordered by id.

        Those that are stored or deleted in the meantime may be missing, and no other one is.
        """

    async def complete_listing(self, kind: str) -> bool:
        """Find all that other programs have stored or deleted, however long it takes, for the next listings.

        Returns False if the server refuses this, so that listings may lack resources.
        """

    async def check(self, kind: str = "", id: str = "") -> None:
        """Raise ``StoreUnavailable`` unless the resource can be read now.

        Without an id, unless all resources can, and those of ``kind`` can be listed without a long wait.
        """

    async def reached_within(self, seconds: float) -> bool:
        """Return whether some resources can be read now, or could be read in the last ``seconds``."""

    def warnings(self) -> Sequence[str]:
        """Return sentences about what an operator should change, although resources can be read."""

    async def open(self) -> None:
        """Start to monitor the store. Does not raise if the store is unavailable."""

    async def close(self) -> None:
        """Release connections and end background tasks."""


class RemoteStore(Store, Protocol):
    """A store on servers."""

    def listen(self, listener: StoreListener) -> None:
        """Send events to ``listener`` from now on."""
