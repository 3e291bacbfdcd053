"""Encode the secrets of resources for a store, encrypted or hashed, and decrypt them."""

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

from service.errors import DecryptionFailed, Invalid, Issue
from service.resources.secrets.encryption import Encryptor
from service.resources.secrets.hashing import Hasher, is_hash
from service.resources.secrets.stored_secret import HashedSecret, PreviousSecret, StoredSecret
from service.resources.types import ResourceType, Secret
from service.stores.record import Resource

Canonical = Callable[[Mapping[str, str]], Mapping[str, str] | None]
"""Returns the stored fields of a resource in one form for all equivalent spellings, or None if they are invalid."""

_NO_CANONICAL: Mapping[str, Canonical] = MappingProxyType({})


class SecretCodec:
    """Encodes and decodes the secrets of all resource types. ``canonical`` is by kind; see ``Secret.destination``.

    ``encryptor`` may be replaced by one that has the keys of every stored secret.
    """

    def __init__(
        self, encryptor: Encryptor, hasher: Hasher, *, canonical: Mapping[str, Canonical] = _NO_CANONICAL
    ) -> None:
        self.encryptor = encryptor
        self._hasher = hasher
        self._canonical = canonical

    def decrypt(self, type_: ResourceType, resource: Resource) -> dict[str, str]:
        """Return the fields with decrypted secrets. Raises DecryptionFailed."""
        fields = resource.fields
        for name in type_.encrypted & fields.keys():
            fields[name] = self.encryptor.decrypt(fields[name], kind=type_.kind, id=resource.id, field=name)
        return fields

    def is_current(self, type_: ResourceType, resource: Resource) -> bool:
        """Return whether ``reencrypt`` would change nothing."""
        fields = resource.fields
        return all(self.encryptor.is_current(fields[name]) for name in type_.encrypted & fields.keys())

    def reencrypt(self, type_: ResourceType, resource: Resource) -> dict[str, str]:
        """Return the fields to store, with secrets encrypted by the first key. Raises DecryptionFailed."""
        fields = resource.fields
        for name in type_.encrypted & fields.keys():
            fields[name] = self._reencrypt_text(fields[name], kind=type_.kind, id=resource.id, field=name)
        return fields

    def key_ids(self, type_: ResourceType, resource: Resource) -> set[str]:
        """Return the ids of the keys that its secrets are encrypted with."""
        fields = resource.fields
        return {key_id for name in type_.encrypted & fields.keys() if (key_id := self.encryptor.key_id(fields[name]))}

    async def has_values(self, type_: ResourceType, resource: Resource, values: Mapping[str, Any]) -> bool:
        """Return whether a stored resource has exactly these values. Hashed secrets are verified.

        Raises:
            Throttled: too many secrets are being hashed.
        """
        try:
            before, after = self.decrypt(type_, resource), type_.fields(values)
        except DecryptionFailed:
            return False
        hashed = {name for name, secret in type_.secrets.items() if secret.hashed} & before.keys() & after.keys()
        if before.keys() != after.keys() or _changed(before.keys() - hashed, before, after):
            return False
        for name in hashed:
            if not await self._hasher.verify(after[name], [StoredSecret.parse(before[name]).current]):
                return False
        return True

    async def encode(
        self,
        type_: ResourceType,
        id: str,
        values: Mapping[str, Any],
        expected: Resource | None,
        *,
        may_move_secret: bool = True,
    ) -> dict[str, Any]:
        """Return ``values`` with encoded secrets. A masked secret keeps the text of the ``expected`` resource.

        ``may_move_secret`` allows a masked secret with a new destination; see ``Secret``.

        Raises:
            Invalid: a secret is masked, and none is stored or it may not be kept.
            Throttled: too many secrets are being hashed.
        """
        encoded = dict(values)
        faults: list[Issue] = []
        for name, secret in type_.secrets.items():
            is_masked = encoded.pop(f"_{name}", None) is not None
            if name in encoded:
                encoded[name] = await self._encode_secret(type_, id, name, encoded[name])
            elif is_masked and expected and expected.fields.get(name):
                changed = self._forbidden_changes(type_, secret, expected, encoded, may_move_secret=may_move_secret)
                if changed:
                    faults.append(_issue(type_, name, f"must be sent too, as {', '.join(changed)} changes"))
                else:
                    encoded[name] = self._keep_secret(type_, expected, name)
            elif is_masked:
                faults.append(_issue(type_, name, "is masked, but none is stored; send it"))
        if faults:
            raise Invalid(*faults)
        return encoded

    async def rotate(self, stored: str, secret: str, *, previous_expires: int, now: float) -> str:
        """Return the text to store for a new ``secret``. The one in ``stored`` is valid until ``previous_expires``.

        The oldest secret keeps its own end, and ``previous_expires`` in the past ends all. If ``stored`` has ``secret``
        already, a rotation is repeated.

        Raises:
            Throttled: too many secrets are being hashed.
        """
        before = StoredSecret.parse(stored)
        hashed = await self._hasher.hash(secret, beside=before)
        previous = [*before.previous_at(now)]
        if hashed == before.current.hash:
            current = before.current
            previous[:1] = [PreviousSecret(previous_expires, each.secret) for each in previous[:1]]
        else:
            current = HashedSecret.new(hashed)
            if is_hash(before.current.hash):
                previous.insert(0, PreviousSecret(previous_expires, before.current))
        # If the answers to some rotations were lost, nobody knows the secrets in between, but all use the oldest.
        previous[1:-1] = []
        return str(StoredSecret(current, (*previous,) if now < previous_expires else ()))

    async def _encode_secret(self, type_: ResourceType, id: str, name: str, text: str) -> str:
        if name in type_.encrypted:
            return self.encryptor.encrypt(text, kind=type_.kind, id=id, field=name)
        return str(StoredSecret(HashedSecret.new(await self._hasher.hash(text))))

    def _keep_secret(self, type_: ResourceType, expected: Resource, name: str) -> str:
        stored = expected.fields[name]
        if name not in type_.encrypted or self.encryptor.is_current(stored):
            return stored
        return self._reencrypt_text(stored, kind=type_.kind, id=expected.id, field=name)

    def _forbidden_changes(
        self,
        type_: ResourceType,
        secret: Secret,
        expected: Resource,
        values: Mapping[str, Any],
        *,
        may_move_secret: bool,
    ) -> list[str]:
        """Return the names of the changed fields that require the secret itself."""
        before, after = expected.fields, type_.fields(values)
        if secret.owner and before.get(secret.owner) != after.get(secret.owner):
            return [secret.owner]
        if may_move_secret:
            return []
        changed = _changed(secret.destination, before, after)
        if changed and (canonical := self._canonical.get(type_.kind)):
            before_form, after_form = canonical(before), canonical(after)
            if before_form is not None and after_form is not None:
                return _changed(changed, before_form, after_form)
        return changed

    def _reencrypt_text(self, text: str, **place: str) -> str:
        return self.encryptor.encrypt(self.encryptor.decrypt(text, **place), **place)


def _changed(names: Iterable[str], before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    return sorted(name for name in names if before.get(name) != after.get(name))


def _issue(type_: ResourceType, name: str, problem: str) -> Issue:
    return Issue(f"{type_.kind}.{name} {problem}", f"{type_.kind}.{name}")
