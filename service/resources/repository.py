"""Create, read, update and delete resources, with compare-and-set on the stored resource."""

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType
from typing import Any

from service.errors import Duplicate, Invalid, Issue
from service.mounted_files import UnusableFile
from service.resources import json_patch, merge_patch
from service.resources.precondition import ALWAYS, Precondition
from service.resources.races import LostRaceError, Races
from service.resources.reader import NO_CHECKS, Check, ResourceReader, existing
from service.resources.schemas import ParsedBody
from service.resources.secrets.codec import SecretCodec
from service.resources.secrets.encryption import Encryptor
from service.resources.types import Exists, ResourceType
from service.stores.pacing import take_turn
from service.stores.record import Resource
from service.stores.store import Store

Limit = Callable[[Mapping[str, str], Mapping[str, str]], Sequence[Issue]]
"""Returns the faults of a limited caller's write, from the stored fields before and after it."""

_NO_LIMITS: Mapping[str, Limit] = MappingProxyType({})
_NewValues = Callable[[Resource | None], Awaitable[Mapping[str, Any]]]


class KeysInUse(UnusableFile):
    """Encryption keys without one that stored secrets need, or may need."""

    depends_on_store = True

    def __init__(self, key_ids: Sequence[str], *, is_certain: bool = True) -> None:
        """Without ``is_certain``, the store refuses to list every secret."""
        reason, advice = (
            ("are encrypted with", ", run python -m service rekey, and remove it then")
            if is_certain
            else (
                "may be encrypted with, as Redis refuses to list them all",
                ", or change the rights of the Redis user",
            )
        )
        super().__init__(
            f"it lacks a key, or has other bytes for it, that stored secrets {reason}: {', '.join(key_ids)}; "
            f"add it below the new one{advice}"
        )


class Repository(ResourceReader):
    """Create, read, update, delete for every resource type, on one store.

    Every method can raise ``StoreUnavailable``. A write can also raise ``Invalid`` with every fault, and
    ``VersionConflict`` if its precondition does not hold.
    """

    def __init__(
        self,
        store: Store,
        codec: SecretCodec,
        *,
        checks: Mapping[str, Check] = NO_CHECKS,
        limits: Mapping[str, Limit] = _NO_LIMITS,
    ) -> None:
        """``checks`` validate models, by kind, when they are written and when they are used. They raise ``Invalid``.

        ``limits``, by kind, are for writes whose caller may not move secrets.
        """
        super().__init__(store, codec, checks=checks)
        self._races = Races(store)
        self._limits = limits

    def on(self, store: Store) -> "Repository":
        """Return a repository with the same rules and keys on another store."""
        return Repository(store, self._codec, checks=self._checks, limits=self._limits)

    async def put(
        self,
        type_: ResourceType,
        id: str,
        body: ParsedBody,
        precondition: Precondition = ALWAYS,
        *,
        may_move_secret: bool = True,
    ) -> tuple[Resource, bool]:
        """Create or replace a resource. Return it and whether it was created.

        ``may_move_secret``: see ``SecretCodec``. Without it, ``limits`` apply too.
        """
        values = await self.read_values(type_, body.with_id(id))

        async def new_values(_: Resource | None) -> Mapping[str, Any]:
            return values

        return await self._write(type_, id, new_values, precondition, may_move_secret=may_move_secret)

    async def put_if_different(self, type_: ResourceType, id: str, body: ParsedBody) -> tuple[Resource, bool] | None:
        """See ``put``. Write nothing and return None if the stored resource has the values of the body already."""
        values = await self.read_values(type_, body.with_id(id))

        async def attempt(expected: Resource | None) -> tuple[Resource, bool] | None:
            if expected and await self._codec.has_values(type_, expected, values):
                await self._races.confirm(type_.kind, id, expected)
                return None
            return await self._write_values(type_, id, values, expected)

        return await self._races.win(type_.kind, id, attempt)

    async def read_values(self, type_: ResourceType, body: ParsedBody) -> Mapping[str, Any]:
        """Return the values of a body, by wire name. Raises ``Invalid`` for a body that no resource can have."""
        # Each step takes up to 15 ms for the largest policy, so others run in between.
        await take_turn()
        values = type_.read(body)
        await take_turn()
        if issues := type_.value_issues(values):
            raise Invalid(*issues)
        return values

    async def read_body(self, type_: ResourceType, id: str, body: ParsedBody) -> Mapping[str, Any]:
        """Return the values that ``put`` would store. Raises ``Invalid``, but for faults that depend on the store."""
        values = await self.read_values(type_, body.with_id(id))
        if type_.kind in self._checks:
            self._check(type_, type_.model(values))
        return values

    async def issues_with_stored(
        self, type_: ResourceType, id: str, values: Mapping[str, Any], exists: Exists
    ) -> Sequence[Issue]:
        """Return the faults of ``put`` that depend on the store. ``exists`` returns whether another resource exists."""
        return await type_.write_issues(values, await self._store.get(type_.kind, id, bypass_cache=True), exists)

    async def create(self, type_: ResourceType, body: ParsedBody, *, may_move_secret: bool = True) -> Resource:
        """Create a resource under the body's id, or under a new UUID. Raises ``Duplicate`` if it exists.

        ``may_move_secret``: see ``put``.
        """
        values = await self.read_values(
            type_, body.with_id(str(uuid.uuid4())) if body.values.get("id") is None else body
        )
        new_id: str = values["id"]

        async def new_values(stored: Resource | None) -> Mapping[str, Any]:
            if stored is not None:
                raise Duplicate(type_.kind, new_id)
            return values

        resource, _ = await self._write(type_, new_id, new_values, may_move_secret=may_move_secret)
        return resource

    async def find_or_create(
        self, type_: ResourceType, id: str, body: ParsedBody, *, may_move_secret: bool = True
    ) -> tuple[Resource, bool]:
        """Return the resource ``id``, created from the body if it does not exist, and whether it was created.

        ``may_move_secret``: see ``put``.
        """
        named = body.with_id(id)
        # An invalid body is an error even if the resource exists.
        await self.read_values(type_, named)
        while True:
            with suppress(LostRaceError):
                if (resource := await self._store.get(type_.kind, id, bypass_cache=True)) is not None:
                    await self._races.confirm(type_.kind, id, resource)
                    return resource, False
            with suppress(Duplicate):
                return await self.create(type_, named, may_move_secret=may_move_secret), True

    async def patch(
        self,
        type_: ResourceType,
        id: str,
        body: ParsedBody,
        precondition: Precondition = ALWAYS,
        *,
        may_move_secret: bool = True,
    ) -> Resource:
        """Apply a merge patch or a JSON Patch. Raises ``ResourceNotFound``; otherwise see ``put``."""
        patched = merge_patch.patch_resource if body.operations is None else json_patch.patch_resource

        async def new_values(stored: Resource | None) -> Mapping[str, Any]:
            await take_turn()
            result = patched(type_, existing(type_, id, stored), body).with_id(id)
            return await self.read_values(type_, result)

        resource, _ = await self._write(type_, id, new_values, precondition, may_move_secret=may_move_secret)
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
        """Store a new ``secret`` in the field ``name``. The current one stays valid until ``previous_expires``.

        Times are Unix times in seconds. Raises ``ResourceNotFound``, and ``Invalid`` for an invalid stored resource.
        """

        async def attempt(stored: Resource | None) -> Resource:
            precondition.check(type_.kind, id, stored)
            expected = existing(type_, id, stored)
            # A new secret of an invalid resource would be of no use.
            self.model(type_, expected)
            text = await self._codec.rotate(
                expected.fields.get(name, ""), secret, previous_expires=previous_expires, now=now
            )
            fields = {**expected.fields, name: text}
            return await self._races.replace(type_.kind, id, fields, expected, validated=expected.validated)

        return await self._races.win(type_.kind, id, attempt)

    async def rewrite(self, type_: ResourceType, id: str, name: str, change: Callable[[str], str | None]) -> None:
        """Replace the stored text of a secret, under the same version. ``change`` returns None to keep it."""

        async def attempt(stored: Resource | None) -> None:
            text = change(stored.fields.get(name, "")) if stored else None
            if stored and text is not None:
                await self._races.rewrite(stored, {**stored.fields, name: text})

        await self._races.win(type_.kind, id, attempt)

    async def reencrypt(self, type_: ResourceType, id: str) -> bool:
        """Encrypt its secrets with the first key. Return whether that changed anything.

        Raises ``DecryptionFailed``.
        """

        async def attempt(stored: Resource | None) -> bool:
            if stored is None or self._codec.is_current(type_, stored):
                await self._races.confirm(type_.kind, id, stored)
                return False
            fields = self._codec.reencrypt(type_, stored)
            await self._races.replace(type_.kind, id, fields, stored, validated=stored.validated)
            return True

        return await self._races.win(type_.kind, id, attempt)

    async def use_encryptor(self, encryptor: Encryptor, types: Sequence[ResourceType]) -> None:
        """Encrypt and decrypt with other keys from now on.

        Raises:
            KeysInUse: a stored secret of ``types`` needs a key that ``encryptor`` does not have, or may need it as the
                store refuses to list every secret. Nothing changes.
        """
        if removed := self._codec.encryptor.without(encryptor):
            are_complete = [await self.complete_listing(type_) for type_ in types]
            in_use = {key_id async for key_id in self._key_ids_in_use(types)}
            if missing := sorted(removed & in_use):
                raise KeysInUse(missing)
            if not all(are_complete):
                raise KeysInUse(sorted(removed), is_certain=False)
        self._codec.encryptor = encryptor

    async def _key_ids_in_use(self, types: Sequence[ResourceType]) -> AsyncIterator[str]:
        for type_ in types:
            async for resource in self.each(type_):
                for key_id in self._codec.key_ids(type_, resource):
                    yield key_id

    async def delete(self, type_: ResourceType, id: str, precondition: Precondition = ALWAYS) -> Resource | None:
        """Delete a resource. Return the deleted resource, or None."""

        async def attempt(stored: Resource | None) -> Resource | None:
            precondition.check(type_.kind, id, stored)
            if stored is None:
                await self._races.confirm(type_.kind, id, None)
            else:
                await self._races.remove(stored)
            return stored

        return await self._races.win(type_.kind, id, attempt)

    async def _write(
        self,
        type_: ResourceType,
        id: str,
        new_values: _NewValues,
        precondition: Precondition = ALWAYS,
        *,
        may_move_secret: bool = True,
    ) -> tuple[Resource, bool]:
        async def attempt(expected: Resource | None) -> tuple[Resource, bool]:
            precondition.check(type_.kind, id, expected)
            values = await new_values(expected)
            return await self._write_values(type_, id, values, expected, may_move_secret=may_move_secret)

        return await self._races.win(type_.kind, id, attempt)

    async def _write_values(
        self,
        type_: ResourceType,
        id: str,
        values: Mapping[str, Any],
        expected: Resource | None,
        *,
        may_move_secret: bool = True,
    ) -> tuple[Resource, bool]:
        await take_turn()
        if issues := await type_.write_issues(values, expected, self.exists):
            raise Invalid(*issues)
        await take_turn()
        limit = None if may_move_secret else self._limits.get(type_.kind)
        if limit and (issues := limit(expected.fields if expected else {}, type_.fields(values))):
            raise Invalid(*issues)
        if type_.kind in self._checks:
            self._check(type_, type_.model(values))
        encoded = await self._codec.encode(type_, id, values, expected, may_move_secret=may_move_secret)
        fields = type_.fields(encoded)
        if type_.encrypted and expected and not expected.validated:
            # A masked secret keeps a text that an operator or an earlier version has stored, perhaps an invalid one.
            self._decode(type_, Resource(type_.kind, id, fields))
        stored = await self._races.replace(type_.kind, id, fields, expected, validated=True)
        stored.changed = _changed_fields(expected, stored)
        return stored, expected is None


def _changed_fields(expected: Resource | None, stored: Resource) -> tuple[str, ...]:
    before, after = expected.fields if expected else {}, stored.fields
    return tuple(sorted(name for name in before | after if before.get(name) != after.get(name)))
