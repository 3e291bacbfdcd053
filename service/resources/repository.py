"""What may be done with a resource: each change is decided on what is stored, and made only if that still stands."""

import asyncio
import random
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from service.errors import Duplicate, Invalid, Issue, ResourceNotFound, StoreUnavailable, VersionConflict
from service.resources.resource import Resource
from service.resources.schemas import Document
from service.resources.store import Page, Store
from service.resources.types import ResourceType

# Each round at least one of the writers to a resource wins, so this many must have been racing.
MAX_ROUNDS = 100
MAX_PAUSE_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class Precondition:
    """What must be true of what is stored: one of ``versions`` (None: any), that it is there, or that it is not."""

    versions: frozenset[str] | None = None
    exists: bool = False
    absent: bool = False

    def check(self, kind: str, id: str, seen: Resource | None) -> None:
        current = seen.meta.version_id if seen else None
        wanted = self.versions is None or current in self.versions
        if not wanted or (self.exists and seen is None) or (self.absent and seen is not None):
            raise VersionConflict(kind, id, current)


ALWAYS = Precondition()

Change = Callable[[Resource | None], Mapping[str, str]]


class Repository:
    """Create, read, update, delete for every resource type, on one store.

    Raises, beside what each method says: ``StoreUnavailable``; on a write ``Invalid`` with every fault, and
    ``VersionConflict`` where the precondition does not hold at the instant of the write.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    async def find(self, type_: ResourceType, id: str) -> Resource | None:
        return await self._store.get(type_.kind, id)

    def at_hand(self, type_: ResourceType, id: str) -> Resource | None:
        """See ``Store.at_hand``."""
        return self._store.at_hand(type_.kind, id)

    async def read(self, type_: ResourceType, id: str) -> Resource:
        """The resource; ``ResourceNotFound`` if there is none."""
        resource = await self._store.get(type_.kind, id)
        if resource is None:
            raise ResourceNotFound(type_.kind, id)
        return resource

    async def put(
        self, type_: ResourceType, id: str, document: Document, precondition: Precondition = ALWAYS
    ) -> tuple[Resource, bool]:
        """Create or replace; whether it was created comes beside the resource."""
        values = type_.read(document.under(id))

        def change(seen: Resource | None) -> Mapping[str, str]:
            precondition.check(type_.kind, id, seen)
            return type_.fields(_keep_secrets(type_, values, seen))

        return await self._write(type_, id, change)

    async def create(self, type_: ResourceType, document: Document, *, id: str | None = None) -> Resource:
        """Create under the body's id, else under ``id``, else under a new UUID. ``Duplicate`` if it exists."""
        given = document.values.get("id")
        values = type_.read(document.under(id or str(uuid.uuid4())) if given is None else document)
        new_id: str = values["id"]

        def change(seen: Resource | None) -> Mapping[str, str]:
            if seen is not None:
                raise Duplicate(type_.kind, new_id)
            return type_.fields(_keep_secrets(type_, values, seen))

        resource, _ = await self._write(type_, new_id, change)
        return resource

    async def find_or_create(self, type_: ResourceType, id: str, document: Document) -> tuple[Resource, bool]:
        """The resource ``id``, or else as ``create``; whether it was created comes beside it."""
        type_.read(document.under(id))
        while True:
            if (resource := await self._store.get(type_.kind, id, fresh=True)) is not None:
                return resource, False
            try:
                return await self.create(type_, document, id=id), True
            except Duplicate:
                if document.values.get("id") not in {None, id}:
                    raise

    async def patch(
        self, type_: ResourceType, id: str, document: Document, precondition: Precondition = ALWAYS
    ) -> Resource:
        """Merge ``document`` into the resource (RFC 7396). ``ResourceNotFound`` if there is none."""

        def change(seen: Resource | None) -> Mapping[str, str]:
            precondition.check(type_.kind, id, seen)
            if seen is None:
                raise ResourceNotFound(type_.kind, id)
            values = type_.read(_patched(type_, seen, document).under(id))
            return type_.fields(_keep_secrets(type_, values, seen))

        resource, _ = await self._write(type_, id, change)
        return resource

    async def delete(self, type_: ResourceType, id: str, precondition: Precondition = ALWAYS) -> Resource | None:
        """Delete, and return what was there, or None."""
        for round_ in range(MAX_ROUNDS):
            seen = await self._store.get(type_.kind, id, fresh=True)
            precondition.check(type_.kind, id, seen)
            if seen is None or await self._store.remove(seen):
                return seen
            await _pause(round_)
        raise StoreUnavailable(f"{type_.kind}/{id} is being changed by too many at once")

    async def page(self, type_: ResourceType, *, offset: int, count: int) -> Page:
        return await self._store.page(type_.kind, offset=offset, count=count)

    async def select(self, type_: ResourceType, ids: Sequence[str], *, offset: int, count: int) -> Page:
        """The page of those of ``ids`` that exist."""
        found = [resource for id_ in sorted(set(ids)) if (resource := await self.find(type_, id_))]
        return Page(len(found), found[offset : offset + count])

    async def _write(self, type_: ResourceType, id: str, change: Change) -> tuple[Resource, bool]:
        for round_ in range(MAX_ROUNDS):
            seen = await self._store.get(type_.kind, id, fresh=True)
            stored = await self._store.replace(type_.kind, id, change(seen), seen=seen, judged=True)
            if stored is not None:
                return stored, seen is None
            await _pause(round_)
        raise StoreUnavailable(f"{type_.kind}/{id} is being changed by too many at once")


async def _pause(round_: int) -> None:
    await asyncio.sleep(random.uniform(0, min(round_ * 0.001, MAX_PAUSE_SECONDS)))  # noqa: S311 - jitter


def _keep_secrets(type_: ResourceType, values: Mapping[str, Any], seen: Resource | None) -> dict[str, Any]:
    """Put back the stored secret where ``values`` has its marker instead, as a client does that reads and writes."""
    kept = dict(values)
    faults = []
    for secret, owner in type_.secrets.items():
        if kept.pop(f"_{secret}", None) is None or secret in kept:
            continue
        stored = seen.fields.get(secret) if seen else None
        if not stored:
            faults.append(_secret_fault(type_, secret, "is masked, but none is stored; send it"))
        elif seen and seen.fields.get(owner) != kept.get(owner):
            faults.append(_secret_fault(type_, secret, f"must be sent too, as {owner} changes"))
        else:
            kept[secret] = stored
    if faults:
        raise Invalid(*faults)
    return kept


def _secret_fault(type_: ResourceType, secret: str, problem: str) -> Issue:
    name = f"{type_.kind}.{secret}"
    return Issue(f"{name} {problem}", name)


def _patched(type_: ResourceType, seen: Resource, document: Document) -> Document:
    base = {**type_.unknown(seen), **type_.represent(seen)}
    patch = dict(document.values)
    for secret in type_.secrets.keys() & patch.keys():
        # A secret that is given, a blank one too, stands for itself.
        patch[f"_{secret}"] = None
    merged = merge_patch(_as_text(base) if document.text else base, patch)
    # A null removes what is there; for a name that nothing has, it is a misspelling, to be told.
    misspelt = dict.fromkeys(patch.keys() - type_.names - base.keys())
    return Document({**misspelt, **merged}, document.text)


def _as_text(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _as_text(entry) for name, entry in value.items()}
    return value if isinstance(value, str | list) else str(value).lower()


def merge_patch(target: Any, patch: Any) -> Any:
    """Objects are merged, null removes, anything else replaces.

    Source: RFC 7396, https://www.rfc-editor.org/rfc/rfc7396
    """
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged
