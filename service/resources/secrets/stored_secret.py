"""The stored text of a Client's secret: its hash, and the hash of the previous secret while that is valid. Pure.

The text is ``v2 FINGERPRINT HASH``, followed by ``EXPIRES FINGERPRINT HASH`` for a previous secret.
"""

import hashlib
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Self

SECRET_BYTES = 32
FINGERPRINT_BYTES = 16
# int() has a limit that differs between interpreters.
_UNIX_TIME = re.compile("[0-9]{1,15}")


@dataclass(frozen=True, slots=True)
class HashedSecret:
    """The hash of one secret. ``fingerprint`` identifies the secret and survives a replacement of its hash.

    It is random. Earlier versions used the SHA-256 of the hash, as did their tokens.
    """

    fingerprint: str
    hash: str = field(repr=False)

    @classmethod
    def new(cls, hash: str) -> Self:
        return cls(secrets.token_urlsafe(FINGERPRINT_BYTES), hash)


@dataclass(frozen=True, slots=True)
class StoredSecret:
    """The current secret, and the ``previous`` one until ``previous_expires``, a Unix time."""

    current: HashedSecret
    previous: HashedSecret | None = None
    previous_expires: int = 0

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse any text. Text that is not a hash gives a secret that matches nothing."""
        match text.split(" "):
            case ["v2", fingerprint, hash_, expires, previous, previous_hash] if _UNIX_TIME.fullmatch(expires):
                return cls(HashedSecret(fingerprint, hash_), HashedSecret(previous, previous_hash), int(expires))
            case ["v2", fingerprint, hash_] | ["v2", fingerprint, hash_, _, _, _]:
                return cls(HashedSecret(fingerprint, hash_))
        return cls(HashedSecret(hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest(), text))

    def __str__(self) -> str:
        parts = ["v2", self.current.fingerprint, self.current.hash]
        if self.previous:
            parts += [str(self.previous_expires), self.previous.fingerprint, self.previous.hash]
        return " ".join(parts)

    def valid_at(self, instant: float) -> Sequence[HashedSecret]:
        """Return the secrets that are valid at ``instant``, the current one first."""
        if self.previous and instant < self.previous_expires:
            return self.current, self.previous
        return (self.current,)

    def with_hash(self, hashed: HashedSecret, hash: str) -> Self | None:
        """Return a copy with another hash of one of its secrets, or None if it no longer has ``hashed``."""
        new = HashedSecret(hashed.fingerprint, hash)
        if self.current == hashed:
            return replace(self, current=new)
        return replace(self, previous=new) if self.previous == hashed else None


def new_secret() -> str:
    """Return 256 random bits, in characters that need no quoting in a URL or a header."""
    return secrets.token_urlsafe(SECRET_BYTES)
