"""What becomes of secrets on their way into a store and out of it: kept as they are, hashed or sealed, and opened."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from service.errors import Invalid, Issue
from service.resources.secrets.encryption import Encryptor
from service.resources.secrets.hashing import Hasher, is_hash
from service.resources.secrets.stored_secret import HashedSecret, StoredSecret
from service.resources.types import ResourceType, Secret
from service.stores.record import Resource

Canonical = Callable[[Mapping[str, str]], Mapping[str, str] | None]
"""Brings the fields of a resource, as they are stored, into one form for all spellings that mean the same.

None where they mean nothing.
"""

_AS_THEY_ARE: Mapping[str, Canonical] = MappingProxyType({})


class SecretCodec:
    """Keeps the secrets of all resources.

    ``canonical`` says by kind which fields mean the same, for a request that may change no ``aims`` of a secret.
    """

    def __init__(
        self, encryptor: Encryptor, hasher: Hasher, *, canonical: Mapping[str, Canonical] = _AS_THEY_ARE
    ) -> None:
        self._encryptor = encryptor
        self._hasher = hasher
        self._canonical = canonical

    def decrypted(self, type_: ResourceType, resource: Resource) -> dict[str, str]:
        """The fields with decrypted secrets. Raises DecryptionFailed if no key decrypts one."""
        fields = resource.fields
        for name in type_.sealed & fields.keys():
            fields[name] = self._encryptor.decrypt(fields[name], kind=type_.kind, id=resource.id, field=name)
        return fields

    def is_current(self, type_: ResourceType, resource: Resource) -> bool:
        """Whether nothing would be sealed anew."""
        fields = resource.fields
        return all(self._encryptor.is_current(fields[name]) for name in type_.sealed & fields.keys())

    def reencrypted(self, type_: ResourceType, resource: Resource) -> dict[str, str]:
        """The fields as they are to be stored, secrets sealed with the key that seals now. Raises DecryptionFailed."""
        fields = resource.fields
        for name in type_.sealed & fields.keys():
            fields[name] = self._resealed(fields[name], kind=type_.kind, id=resource.id, field=name)
        return fields

    async def encoded(
        self,
        type_: ResourceType,
        id: str,
        values: Mapping[str, Any],
        seen: Resource | None,
        *,
        may_redirect: bool = True,
    ) -> dict[str, Any]:
        """``values`` with their secrets as they are to be stored; one whose marker is there stays as it was ``seen``.

        ``may_redirect`` allows a kept secret to be used somewhere else than before, see ``Secret``.

        Raises:
            Invalid: for a marker where there is nothing to keep, or nothing that may be kept.
            Throttled: where too many secrets are being hashed.
        """
        kept = dict(values)
        faults: list[Issue] = []
        for name, secret in type_.secrets.items():
            masked = kept.pop(f"_{name}", None) is not None
            if name in kept:
                kept[name] = await self._protected(type_, id, name, secret, kept[name])
            elif masked:
                try:
                    kept[name] = self._as_before(type_, name, secret, kept, seen, may_redirect=may_redirect)
                except ValueError as problem:
                    faults.append(Issue(f"{type_.kind}.{name} {problem}", f"{type_.kind}.{name}"))
        if faults:
            raise Invalid(*faults)
        return kept

    async def rotated(self, stored: str, secret: str, *, previous_expires: int, now: float) -> str:
        """The text to store for a new ``secret``; the one in ``stored`` stays valid until ``previous_expires``.

        Raises:
            Throttled: where too many secrets are being hashed.
        """
        before = StoredSecret.parse(stored)
        current = HashedSecret.new(await self._hasher.hash(secret, beside=before))
        if previous_expires <= now or not is_hash(before.current.hash):
            return str(StoredSecret(current))
        return str(StoredSecret(current, before.current, previous_expires))

    async def _protected(self, type_: ResourceType, id: str, name: str, secret: Secret, text: str) -> str:
        if secret.hashed:
            return str(StoredSecret(HashedSecret.new(await self._hasher.hash(text))))
        return self._encryptor.encrypt(text, kind=type_.kind, id=id, field=name)

    def _as_before(
        self,
        type_: ResourceType,
        name: str,
        secret: Secret,
        values: Mapping[str, Any],
        seen: Resource | None,
        *,
        may_redirect: bool,
    ) -> str:
        stored = seen.fields.get(name) if seen else None
        if not seen or not stored:
            raise ValueError("is masked, but none is stored; send it")
        if secret.owner and seen.fields.get(secret.owner) != values.get(secret.owner):
            raise ValueError(f"must be sent too, as {secret.owner} changes")
        if not may_redirect and (changed := self._changed_aims(type_, secret, seen.fields, type_.fields(values))):
            raise ValueError(f"must be sent too, as {', '.join(changed)} changes")
        if secret.hashed or self._encryptor.is_current(stored):
            return stored
        return self._resealed(stored, kind=type_.kind, id=seen.id, field=name)

    def _changed_aims(
        self, type_: ResourceType, secret: Secret, before: Mapping[str, str], after: Mapping[str, str]
    ) -> list[str]:
        changed = [name for name in secret.aims if before.get(name) != after.get(name)]
        if changed and (canonical := self._canonical.get(type_.kind)):
            forms = canonical(before), canonical(after)
            if forms[0] is not None and forms[1] is not None:
                changed = [name for name in changed if forms[0].get(name) != forms[1].get(name)]
        return sorted(changed)

    def _resealed(self, text: str, **where: str) -> str:
        return self._encryptor.encrypt(self._encryptor.decrypt(text, **where), **where)
