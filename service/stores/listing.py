"""Listings for the cache, which contain every reported change although the index of the store may lag behind."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from service.stores.record import Resource
from service.stores.store import Store
from service.stores.tracking import TrackingSession
from service.stores.tracking_connection import MAX_KEYS


@dataclass(slots=True, eq=False)
class DirtyIds:
    """The ids of one kind that were reported as changed during ``session`` and are not yet in a listing.

    Each id has a token that identifies its last report. ``complete`` is true after the first listing of the session.
    """

    session: TrackingSession
    tokens: dict[str, object] = field(default_factory=dict)
    complete: bool = False


class ListingReader:
    """Reads all resources of a kind, and has the store check the ids that changed since the last listing."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._dirty: dict[str, DirtyIds] = {}

    def changed(self, kind: str, id: str) -> None:
        if dirty := self._dirty.get(kind):
            dirty.tokens[id] = object()
            if len(dirty.tokens) > MAX_KEYS:
                # The next listing has the store scan all keys, as the first one does.
                del self._dirty[kind]

    def flushed(self) -> None:
        self._dirty.clear()

    async def read(self, kind: str, session: TrackingSession) -> Sequence[Resource]:
        dirty = self._dirty.get(kind)
        if dirty is None or dirty.session is not session:
            # Changes between two sessions were not reported.
            dirty = self._dirty[kind] = DirtyIds(session)
        tokens = dirty.tokens.copy()
        resources = await self._store.all(kind, changed=tokens.keys() if dirty.complete else None)
        dirty.complete = True
        for id_, token in tokens.items():
            # An id that changed again during the read stays dirty.
            if dirty.tokens.get(id_) is token:
                del dirty.tokens[id_]
        return resources
