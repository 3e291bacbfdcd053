"""Secrets at rest: text sealed with AES-256-GCM, by a key that has an id, for one field of one resource. Pure.

Sealed text is ``sealed:v1:{key-id}:{base64url of nonce, ciphertext and tag}``. What was stored unsealed stays readable.
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

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

# No plain secret may begin with it.
SEALED = "sealed:"

KEY_BYTES = 32
# Drawn at random, it lets one key seal 2^32 secrets.
NONCE_BYTES = 12

_VERSION = f"{SEALED}v1:"
_KEY_ID = re.compile("[A-Za-z0-9._-]{1,64}")
_FORM = re.compile(f"{_VERSION}({_KEY_ID.pattern}):(.*)", re.DOTALL)
_NO_KEYS: Mapping[str, bytes] = MappingProxyType({})


class Encryptor:
    """Seals with the first of ``keys`` (32 bytes each, by id), and opens what any of them has sealed.

    Without keys it leaves text as it is, and can open nothing that is sealed.
    """

    __slots__ = ("_ciphers", "_current")

    def __init__(self, keys: Mapping[str, bytes] = _NO_KEYS) -> None:
        self._ciphers = {key_id: _cipher(key) for key_id, key in keys.items()}
        self._current = next(iter(keys), None)

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """See ``parse``. Raises ``ValueError`` for a file that cannot be read, too."""
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
            # Who takes the variable of a file for that of a key has put the key where the path belongs.
            raise ValueError(f"cannot be read: {reason}") from None
        return cls.parse(text)

    @classmethod
    def parse(cls, text: str) -> Self:
        """From lines ``key-id: base64``, the first of which seals; blank lines and comments (#) may stand between them.

        Raises ``ValueError``, with a message that completes a sentence about the file: it names the line and the rule,
        and nothing that the line holds.
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
        """The text as it is to be stored; each time another. Empty text, which stands for no secret, stays empty."""
        if self._current is None or not text:
            return text
        nonce = os.urandom(NONCE_BYTES)
        ciphertext = self._ciphers[self._current].encrypt(nonce, _bytes(text), _associated_data(kind, id, field))
        return f"{_VERSION}{self._current}:{_encode(nonce + ciphertext)}"

    def decrypt(self, text: str, *, kind: str, id: str, field: str) -> str:
        """What was sealed for this field of this resource. Text that is not sealed is returned as it is.

        Raises:
            DecryptionFailed: names the key that it takes, or that does not fit.
        """
        if not text.startswith(SEALED):
            return text
        form = _FORM.fullmatch(text)
        if form is None:
            raise DecryptionFailed(kind, id, field, "is sealed in no form that this version knows")
        key_id, sealed = form.groups()
        if key_id not in self._ciphers:
            raise DecryptionFailed(
                kind, id, field, f"is sealed with key {key_id}, which is not among the encryption keys"
            )
        opened = _decrypt(self._ciphers[key_id], sealed, _associated_data(kind, id, field))
        if opened is None:
            problem = (
                f"cannot be opened with key {key_id}: it was sealed for another resource or field, or with another key "
                "of that name, or changed since"
            )
            raise DecryptionFailed(kind, id, field, problem)
        return opened

    def is_current(self, text: str) -> bool:
        """Whether ``seal`` would add nothing: it is sealed with the key that seals (or plain, where there is none)."""
        if self._current is None or not text:
            return not text.startswith(SEALED)
        return text.startswith(f"{_VERSION}{self._current}:")


def _cipher(key: bytes) -> "AESGCM":
    # Who seals nothing need not load what that takes.
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415

    return AESGCM(key)


def _decrypt(cipher: "AESGCM", sealed: str, associated_data: bytes) -> str | None:
    """The text, or None for all that this key did not seal with this associated data."""
    from cryptography.exceptions import InvalidTag  # noqa: PLC0415

    try:
        data = urlsafe_b64decode(sealed + "==")
        # Decoding passes over what is no base64, and over the bits that the last character has too many.
        if _encode(data) != sealed:
            return None
        return cipher.decrypt(data[:NONCE_BYTES], data[NONCE_BYTES:], associated_data).decode(errors="surrogatepass")
    except (InvalidTag, ValueError):
        return None


def _associated_data(kind: str, id: str, field: str) -> bytes:
    # With its length in front of each, no two triples read the same, whatever characters they have.
    return _bytes("".join(f"{len(part)}:{part}" for part in (kind, id, field)))


def _add_key(keys: dict[str, bytes], line: str) -> None:
    key_id, colon, encoded = line.partition(":")
    if not colon:
        raise ValueError("it must be key-id: base64")
    # An id is not quoted: who has swapped the two has a key there.
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


def _encode(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    # What is not UTF-8 in Redis is kept with surrogates.
    return text.encode(errors="surrogatepass")
