"""What may be done with a resource: each change is decided on what is stored, and made only if that still stands."""

import asyncio
import random
import uuid
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from types import MappingProxyType
from typing import Any, TypeVar

from service.errors import (
    DecryptionFailed,
    Duplicate,
    Invalid,
    Issue,
    ResourceNotFound,
    StoreUnavailable,
    VersionConflict,
)
from service.resources.schemas import MAX_ISSUES, MAX_NAME_IN_MESSAGE, ParsedBody
from service.resources.secrets.codec import SecretCodec
from service.resources.types import ResourceType
from service.stores.record import Resource
from service.stores.store import Page, Store

# Each round at least one of the writers to a resource wins, so this many must have been racing.
MAX_ROUNDS = 100
MAX_PAUSE_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class Precondition:
    """What must be true of what is stored: one of ``versions`` (None: any), that it is there, or that it is not."""

    versions: frozenset[str] | None = None
    exists: bool = False
    absent: bool = False

    def check(self, kind: str, id: str, expected: Resource | None) -> None:
        current = expected.meta.version_id if expected else None
        wanted = self.versions is None or current in self.versions
        if not wanted or (self.exists and expected is None) or (self.absent and expected is not None):
            raise VersionConflict(kind, id, current)


ALWAYS = Precondition()

T = TypeVar("T")

Check = Callable[[Any], None]
_NO_CHECKS: Mapping[str, Check] = MappingProxyType({})

Change = Callable[[Resource | None], Mapping[str, Any]]


class Repository:
    """Create, read, update, delete for every resource type, on one store.

    Raises, beside what each method says: ``StoreUnavailable``; on a write ``Invalid`` with every fault, and
    ``VersionConflict`` where the precondition does not hold at the instant of the write.
    """

    def __init__(self, store: Store, codec: SecretCodec, *, checks: Mapping[str, Check] = _NO_CHECKS) -> None:
        """``checks`` judge models by kind, when they are stored and when they are used. They raise ``Invalid``."""
        self._store = store
        self._secrets = codec
        self._checks = checks

    async def find(self, type_: ResourceType, id: str) -> Resource | None:
        return await self._store.get(type_.kind, id)

    def model(self, type_: ResourceType, resource: Resource) -> Any:
        """What the service works with, remembered with the resource.

        Raises ``Invalid`` for what is stored and not valid, ``DecryptionFailed`` for secrets that no key opens.
        """
        return resource.model or resource.memoize(lambda stored: self._decode(type_, stored))

    def _decode(self, type_: ResourceType, stored: Resource) -> Any:
        model = type_.decode(stored, self._secrets.decrypted(type_, stored))
        self._check(type_, model)
        return model

    def _check(self, type_: ResourceType, model: Any) -> None:
        if check := self._checks.get(type_.kind):
            check(model)

    def model_if_valid(self, type_: ResourceType, resource: Resource | None) -> Any:
        """See ``model``; None where there is none, or it is not valid, as an operator may have written it."""
        try:
            return self.model(type_, resource) if resource else None
        except (Invalid, DecryptionFailed):
            return None

    async def find_valid(self, type_: ResourceType, id: str) -> Any:
        """See ``model_if_valid``. None as well where somebody else has stored what is no resource."""
        try:
            return self.model_if_valid(type_, await self.find(type_, id))
        except Invalid:
            return None

    async def all(self, type_: ResourceType) -> Sequence[Resource]:
        """See ``Store.all``."""
        return await self._store.all(type_.kind)

    async def read(self, type_: ResourceType, id: str) -> Resource:
        """The resource; ``ResourceNotFound`` if there is none."""
        resource = await self._store.get(type_.kind, id)
        if resource is None:
            raise ResourceNotFound(type_.kind, id)
        return resource

    async def put(
        self,
        type_: ResourceType,
        id: str,
        document: ParsedBody,
        precondition: Precondition = ALWAYS,
        *,
        may_redirect: bool = True,
    ) -> tuple[Resource, bool]:
        """Create or replace; return the resource and whether it was created. ``may_redirect``: see ``SecretCodec``."""
        values = type_.read(document.under(id))

        def change(expected: Resource | None) -> Mapping[str, Any]:
            precondition.check(type_.kind, id, expected)
            return values

        return await self._write(type_, id, change, may_redirect=may_redirect)

    async def create(self, type_: ResourceType, document: ParsedBody) -> Resource:
        """Create under the body's id, or else under a new UUID. ``Duplicate`` if it exists."""
        values = type_.read(_named(document, str(uuid.uuid4())))
        new_id: str = values["id"]

        def change(expected: Resource | None) -> Mapping[str, Any]:
            if expected is not None:
                raise Duplicate(type_.kind, new_id)
            return values

        resource, _ = await self._write(type_, new_id, change)
        return resource

    async def find_or_create(self, type_: ResourceType, id: str, document: ParsedBody) -> tuple[Resource, bool]:
        """The resource ``id``; where there is none, one of this document. Whether it was created comes beside it."""
        named = document.under(id)
        # Valid as it would have to be if it were created, whether it will be or not.
        type_.read(named)
        while True:
            if (resource := await self._store.get(type_.kind, id, bypass_cache=True)) is not None:
                return resource, False
            with suppress(Duplicate):
                return await self.create(type_, named), True

    async def patch(
        self,
        type_: ResourceType,
        id: str,
        document: ParsedBody,
        precondition: Precondition = ALWAYS,
        *,
        may_redirect: bool = True,
    ) -> Resource:
        """Merge ``document`` into the resource (RFC 7396). ``ResourceNotFound`` if there is none; else as ``put``."""

        def change(expected: Resource | None) -> Mapping[str, Any]:
            precondition.check(type_.kind, id, expected)
            if expected is None:
                raise ResourceNotFound(type_.kind, id)
            return type_.read(_patched(type_, expected, document).under(id))

        resource, _ = await self._write(type_, id, change, may_redirect=may_redirect)
        return resource

    async def rotate(
        self,
        type_: ResourceType,
        id: str,
        name: str,
        secret: str,
        *,
        previous_expires: int,
        now: float,
        precondition: Precondition = ALWAYS,
    ) -> Resource:
        """Store a new ``secret`` in the field ``name``; the one before stays valid until ``previous_expires``.

        Instants are in seconds since 1970. ``ResourceNotFound`` if there is no such resource.
        """

        async def rotate(expected: Resource | None) -> Resource | None:
            precondition.check(type_.kind, id, expected)
            if expected is None:
                raise ResourceNotFound(type_.kind, id)
            stored = expected.fields.get(name, "")
            text = await self._secrets.rotated(stored, secret, previous_expires=previous_expires, now=now)
            return await self._store.replace(
                type_.kind, id, {**expected.fields, name: text}, expected=expected, validated=expected.validated
            )

        return await self._decided(type_, id, rotate)

    async def rewrite(self, type_: ResourceType, id: str, name: str, change: Callable[[str], str | None]) -> None:
        """Replace the stored text of a secret, which changes no version. ``change`` returns None to leave it."""

        async def rewrite(expected: Resource | None) -> bool | None:
            text = change(expected.fields.get(name, "")) if expected else None
            if expected is None or text is None:
                return False
            return True if await self._store.rewrite(expected, {**expected.fields, name: text}) else None

        await self._decided(type_, id, rewrite)

    async def reencrypt(self, type_: ResourceType, id: str) -> bool:
        """Seal its secrets with the key that seals now; False if they are, or if it has gone.

        Raises ``DecryptionFailed`` where no key opens one.
        """

        async def seal(expected: Resource | None) -> bool | None:
            if expected is None or self._secrets.is_current(type_, expected):
                return False
            fields = self._secrets.reencrypted(type_, expected)
            stored = await self._store.replace(type_.kind, id, fields, expected=expected, validated=expected.validated)
            return True if stored else None

        return await self._decided(type_, id, seal)

    async def delete(self, type_: ResourceType, id: str, precondition: Precondition = ALWAYS) -> Resource | None:
        """Delete, and return what was there, or None."""

        async def remove(expected: Resource | None) -> tuple[Resource | None] | None:
            precondition.check(type_.kind, id, expected)
            return (expected,) if expected is None or await self._store.remove(expected) else None

        (removed,) = await self._decided(type_, id, remove)
        return removed

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
        """Return the same of those of ``ids`` that exist."""
        wanted = sorted(set(ids), reverse=descending)
        found = [resource for id_ in wanted if (resource := await self.find(type_, id_))]
        return Page(len(found), found[offset : offset + count])

    async def _write(
        self, type_: ResourceType, id: str, change: Change, *, may_redirect: bool = True
    ) -> tuple[Resource, bool]:
        async def write(expected: Resource | None) -> tuple[Resource, bool] | None:
            changed = change(expected)
            if issues := await type_.write_issues(changed, expected, self._exists):
                raise Invalid(*issues)
            if type_.kind in self._checks:
                self._check(type_, type_.model(changed))
            values = await self._secrets.encoded(type_, id, changed, expected, may_redirect=may_redirect)
            stored = await self._store.replace(type_.kind, id, type_.fields(values), expected=expected, validated=True)
            if stored is None:
                return None
            stored.changed = _changed_fields(expected, stored)
            return stored, expected is None

        return await self._decided(type_, id, write)

    async def _exists(self, kind: str, id: str) -> bool:
        return await self._store.get(kind, id, bypass_cache=True) is not None

    async def _decided(
        self, type_: ResourceType, id: str, attempt: Callable[[Resource | None], Awaitable[T | None]]
    ) -> T:
        """What comes of an ``attempt`` on what is stored; None means that another writer was first, so look again."""
        for round_ in range(MAX_ROUNDS):
            outcome = await attempt(await self._store.get(type_.kind, id, bypass_cache=True))
            if outcome is not None:
                return outcome
            await _pause(round_)
        raise StoreUnavailable(f"{type_.kind}/{id} is being changed by too many at once")


def _changed_fields(expected: Resource | None, stored: Resource) -> tuple[str, ...]:
    before, after = expected.fields if expected else {}, stored.fields
    return tuple(sorted(name for name in before | after if before.get(name) != after.get(name)))


async def _pause(round_: int) -> None:
    await asyncio.sleep(random.uniform(0, min(round_ * 0.001, MAX_PAUSE_SECONDS)))  # noqa: S311 - jitter


def _named(document: ParsedBody, id: str) -> ParsedBody:
    """The document with an id: its own, else ``id``."""
    return document.under(id) if document.values.get("id") is None else document


def _patched(type_: ResourceType, expected: Resource, document: ParsedBody) -> ParsedBody:
    base = {**type_.unknown(expected), **type_.represent(expected)}
    patch = dict(document.values)
    for secret in type_.secrets.keys() & patch.keys():
        # A secret that is given, a blank one too, stands for itself.
        patch[f"_{secret}"] = None
    values = {name: patch[name] for name in patch if name in type_.names and name != "meta"}
    idle = ((name, path) for name, value in values.items() for path in idle_nulls(base.get(name), value))
    if faults := [_idle_null(type_, name, path) for name, path in islice(idle, MAX_ISSUES)]:
        raise Invalid(*faults)
    merged = merge_patch(_as_text(base) if document.text else base, patch)
    # A null removes what is there; for a name that nothing has, it is a misspelling, to be told.
    misspelt = dict.fromkeys(patch.keys() - type_.names - base.keys())
    return ParsedBody({**misspelt, **merged}, document.text)


def _as_text(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values with text for those that the schema types. What is inside of objects and lists, it leaves as it is."""
    return {name: str(value).lower() if isinstance(value, bool | int) else value for name, value in values.items()}


def _idle_null(type_: ResourceType, name: str, path: str) -> Issue:
    field_name = f"{type_.kind}.{name}"
    shown = path if len(path) <= MAX_NAME_IN_MESSAGE else f"{path[:MAX_NAME_IN_MESSAGE]}…"
    return Issue(
        f"{field_name} has a null at {shown}, which would remove what is not there;"
        f" to store a null, send the whole {type_.kind} with PUT",
        field_name,
    )


def idle_nulls(target: Any, patch: Any) -> Iterator[str]:
    """The paths of the nulls inside of a merge patch that remove nothing, so that they may have been meant as values.

    A pattern of an AccessPolicy without the null that its author has asked for would match more than they wanted.
    """
    if not isinstance(patch, dict):
        return
    there = target if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None and there.get(name) is None:
            yield name
        yield from (f"{name}.{path}" for path in idle_nulls(there.get(name), value))


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
