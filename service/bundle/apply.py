"""Apply a bundle to the store: validate it whole, then store what differs and delete what it no longer has."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple, Protocol

from service.access.client import CLIENT
from service.access.policies.policy_set import warn_of_links_to
from service.access.types import RESOURCE_TYPES
from service.bundle.document import BundleError, Entry
from service.bundle.source import BundleFile, Contents
from service.errors import Invalid, StoreUnavailable
from service.resources.repository import Repository
from service.stores.memory import EmbeddedStore
from service.stores.pacing import paced
from service.stores.record import Resource
from service.telemetry.audit import AuditLog

CALLER = "bundle"
"""The caller in audit lines of changes by a bundle."""

_TYPES = {type_.kind: type_ for type_ in RESOURCE_TYPES}
# Clients come before the policies that link to them, and deletions come last, so that access has no gap.
_ORDER = {kind: number for number, kind in enumerate(_TYPES)}


class Change(NamedTuple):
    """A change of one resource: ``create``, ``update`` or ``delete``."""

    operation: str
    resource: Resource


class Target(Protocol):
    """Stores the resources of a bundle."""

    def removed(self, entries: Sequence[Entry]) -> Sequence[Entry]:
        """Return deletions of what an earlier bundle has stored and this one does not have."""

    def apply(self, entries: Sequence[Entry]) -> AsyncIterator[Change]:
        """Carry out valid entries, and yield each change that is made."""


class SharedTarget:
    """A store that others write to. Entries are carried out one by one, and nothing else is deleted."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository

    def removed(self, entries: Sequence[Entry]) -> Sequence[Entry]:
        del entries
        return ()

    async def apply(self, entries: Sequence[Entry]) -> AsyncIterator[Change]:
        async for entry in paced(entries):
            if change := await _carry_out(self._repository, entry):
                yield change


class EmbeddedTarget:
    """The store of this process. All changes are visible at once.

    A bundle owns the resources that it has created, and later ones delete those that they do not have. A resource that
    the API has created stays, although a bundle may have changed it.
    """

    def __init__(self, repository: Repository, store: EmbeddedStore) -> None:
        self._repository = repository
        self._store = store
        self._owned: dict[tuple[str, str], Resource] = {}
        """What bundles have created, as it was then. The API may have deleted it, and created another one."""

    def removed(self, entries: Sequence[Entry]) -> Sequence[Entry]:
        named = {entry.key for entry in entries}
        return [
            Entry(0, _TYPES[key[0]], key[1], None)
            for key, made in self._owned.items()
            if key not in named
            and (stored := self._store.current(*key))
            and stored.meta.created_at == made.meta.created_at
        ]

    async def apply(self, entries: Sequence[Entry]) -> AsyncIterator[Change]:
        draft = self._store.draft()
        repository = self._repository.on(draft)
        changes = [change async for entry in paced(entries) if (change := await _carry_out(repository, entry))]
        if not self._store.adopt(draft):
            raise StoreUnavailable("Requests have changed the same resources")
        named = {entry.key for entry in entries if entry.body}
        created = {(made.kind, made.id): made for operation, made in changes if operation == "create"}
        self._owned = {key: made for key, made in (self._owned | created).items() if key in named}
        async for change in paced(changes):
            yield change


class InitBundle:
    """The bundle of ``SIGNER_INIT_BUNDLE``. It acts for the operator, so no policy applies."""

    def __init__(self, file: BundleFile, repository: Repository, target: Target, audit: AuditLog) -> None:
        self.read = file.read
        self._file = file
        self._repository = repository
        self._target = target
        self._audit = audit

    async def use(self, contents: Contents) -> None:
        """Apply a bundle. With a fault in it, nothing changes.

        Raises:
            BundleError: with every fault. If it depends on the store, a part of the bundle may be stored.
            Unavailable: the store or the audit log is not available, and a part of the bundle may be stored. Apply
                the bundle again.
            Throttled: too many secrets are being hashed. The same holds.
        """
        # A large bundle takes long to parse.
        entries = await asyncio.to_thread(self._file.entries, contents)
        entries += self._target.removed(entries)
        await self._validate(entries)
        self._audit.check()
        try:
            async for change in self._target.apply(sorted(entries, key=_order)):
                await self._record(change)
        except Invalid as error:
            # Another program has changed the store since the validation.
            raise BundleError([issue.diagnostics for issue in error.issues], depends_on_store=True) from None

    async def _validate(self, entries: Sequence[Entry]) -> None:
        puts = {entry.key: (entry, entry.body) for entry in entries if entry.body}
        deleted = {entry.key for entry in entries} - puts.keys()
        faults: list[str] = []
        values = {}
        async for entry, body in paced(puts.values()):
            try:
                values[entry.key] = await self._repository.read_body(entry.type, entry.id, body)
            except Invalid as error:
                faults += entry.faults(error.issues)
        if faults:
            # Found without the store, so that they end a start even while it is unavailable.
            raise BundleError(faults)

        async def exists(kind: str, id: str) -> bool:
            key = kind, id
            return key in puts or (key not in deleted and await self._repository.exists(kind, id))

        async for key, (entry, _) in paced(puts.items()):
            faults += entry.faults(await self._repository.issues_with_stored(entry.type, entry.id, values[key], exists))
        if faults:
            raise BundleError(faults, depends_on_store=True)

    async def _record(self, change: Change) -> None:
        operation, resource = change
        is_deletion = operation == "delete"
        self._audit.changed(
            caller=CALLER,
            address="",
            policy=None,
            operation=operation,
            method="DELETE" if is_deletion else "PUT",
            resource=f"{resource.kind}/{resource.id}",
            fields=None if is_deletion else resource.changed,
            host=resource.fields.get("host"),
            request_id="",
        )
        if is_deletion and resource.kind == CLIENT.kind:
            await warn_of_links_to(resource.id, self._repository)


async def _carry_out(repository: Repository, entry: Entry) -> Change | None:
    """Store or delete a resource. Return None if the store was so already."""
    if entry.body is None:
        deleted = await repository.delete(entry.type, entry.id)
        return Change("delete", deleted) if deleted else None
    if written := await repository.put_if_different(entry.type, entry.id, entry.body):
        resource, created = written
        return Change("create" if created else "update", resource)
    return None


def _order(entry: Entry) -> tuple[bool, int]:
    return entry.body is None, _ORDER[entry.type.kind]
