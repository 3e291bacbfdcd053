"""Encryption of secrets at rest with AES-256-GCM, bound to one field of one resource. Pure.

The stored text is ``sealed:v1:{key-id}:{base64url of nonce, ciphertext and tag}``. Plain text stays readable.
Source: https://csrc.nist.gov/pubs/sp/800/38/d/final
"""

import os
import re
from base64 import b64decode, urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Self

from service.errors import DecryptionFailed
from service.settings.regular_file import read_regular

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

# No plain secret may begin with it.
ENCRYPTED_PREFIX = "sealed:"

KEY_BYTES = 32
# A random nonce of this length lets one key encrypt 2^32 secrets.
NONCE_BYTES = 12

_VERSION = f"{ENCRYPTED_PREFIX}v1:"
_KEY_ID = re.compile("[A-Za-z0-9._-]{1,64}")
_FORMAT = re.compile(f"{_VERSION}({_KEY_ID.pattern}):(.*)", re.DOTALL)
_NO_KEYS: Mapping[str, bytes] = MappingProxyType({})


class Encryptor:
    """Encrypts with the first of ``keys`` (32 bytes each, by id), and decrypts with any of them.

    Without keys it stores plain text, and can decrypt nothing.
    """

    def __init__(self, keys: Mapping[str, bytes] = _NO_KEYS) -> None:
        self.keys = dict(keys)
        self._ciphers = {key_id: _cipher(key) for key_id, key in keys.items()}
        self._current = next(iter(keys), None)

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """Read a key file, see ``parse``. Raises ValueError also for a file that cannot be read."""
        try:
            text = read_regular(path).decode()
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
            # The path is not quoted: users who mix up the setting put the key itself there.
            raise ValueError(f"cannot be read: {reason}") from None
        return cls.parse(text)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse lines ``key-id: base64``. Blank lines and comments (#) are ignored.

        Raises:
            ValueError: completes a sentence about the file. It names the line and the rule, and quotes nothing.
        """
        keys: dict[str, bytes] = {}
        for number, line in enumerate(text.splitlines(), 1):
            if line.strip() and not line.lstrip().startswith("#"):
                try:
                    _add_key(keys, line.strip())
                except ValueError as rule:
                    raise ValueError(f"has a fault in line {number}: {rule}") from None
        if not keys:
            raise ValueError("must hold a key, in a line such as key-id: base64")
        return cls(keys)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(self._ciphers)})"

    def encrypt(self, text: str, *, kind: str, id: str, field: str) -> str:
        """Return the text to store, different each time. Empty text, which means no secret, stays empty."""
        if self._current is None or not text:
            return text
        nonce = os.urandom(NONCE_BYTES)
        ciphertext = self._ciphers[self._current].encrypt(nonce, _bytes(text), _associated_data(kind, id, field))
        return f"{_VERSION}{self._current}:{_base64(nonce + ciphertext)}"

    def decrypt(self, text: str, *, kind: str, id: str, field: str) -> str:
        """Return the plain text of this field of this resource. Plain text is returned unchanged.

        Raises:
            DecryptionFailed: names the key that is missing or wrong.
        """
        if not text.startswith(ENCRYPTED_PREFIX):
            return text
        match = _FORMAT.fullmatch(text)
        if match is None:
            raise DecryptionFailed(kind, id, field, "is encrypted in a format that this version does not know")
        key_id, encoded = match.groups()
        if key_id not in self._ciphers:
            problem = f"is encrypted with key {key_id}, which is not among the encryption keys"
            raise DecryptionFailed(kind, id, field, problem)
        plain = _decrypt(self._ciphers[key_id], encoded, _associated_data(kind, id, field))
        if plain is None:
            problem = (
                f"cannot be decrypted with key {key_id}: it was encrypted for another resource or field, or with "
                "another key of that name, or changed since"
            )
            raise DecryptionFailed(kind, id, field, problem)
        return plain

    def without(self, other: "Encryptor") -> frozenset[str]:
        """Return the ids of the keys that ``other`` does not have, or has with other bytes."""
        return frozenset(key_id for key_id, key in self.keys.items() if other.keys.get(key_id) != key)

    @staticmethod
    def key_id(text: str) -> str | None:
        """Return the id of the key that a stored text is encrypted with, or None for plain text."""
        match = _FORMAT.fullmatch(text)
        return match[1] if match else None

    def is_current(self, text: str) -> bool:
        """Return whether the text is encrypted with the first key, or plain if there are no keys."""
        if self._current is None or not text:
            return not text.startswith(ENCRYPTED_PREFIX)
        return text.startswith(f"{_VERSION}{self._current}:")


def _cipher(key: bytes) -> "AESGCM":
    # Without keys, the library is not loaded.
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415

    return AESGCM(key)


def _decrypt(cipher: "AESGCM", encoded: str, associated_data: bytes) -> str | None:
    """Return the plain text, or None for text that this key did not encrypt with this associated data."""
    from cryptography.exceptions import InvalidTag  # noqa: PLC0415

    try:
        data = urlsafe_b64decode(encoded + "==")
        # Decoding ignores other characters, and the unused bits of the last one.
        if _base64(data) != encoded:
            return None
        return cipher.decrypt(data[:NONCE_BYTES], data[NONCE_BYTES:], associated_data).decode(errors="surrogatepass")
    except (InvalidTag, ValueError):
        return None


def _associated_data(kind: str, id: str, field: str) -> bytes:
    # A length in front of each part makes the encoding of a triple unique.
    return _bytes("".join(f"{len(part)}:{part}" for part in (kind, id, field)))


def _add_key(keys: dict[str, bytes], line: str) -> None:
    key_id, colon, encoded = line.partition(":")
    if not colon:
        raise ValueError("it must be key-id: base64")
    # The id is not quoted: it is the key if the two were swapped.
    if not _KEY_ID.fullmatch(key_id):
        raise ValueError("a key id must be 1 to 64 of A-Z a-z 0-9 . _ -")
    if key_id in keys:
        raise ValueError("a line before it has the same key id")
    try:
        key = b64decode(encoded.strip(), validate=True)
    except ValueError:
        raise ValueError("a key must be base64, with its padding") from None
    if len(key) != KEY_BYTES:
        raise ValueError(f"a key must be {KEY_BYTES} bytes, in base64")
    keys[key_id] = key


def _base64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    # Text from Redis that is not UTF-8 has surrogates.
    return text.encode(errors="surrogatepass")
