"""The text that a store keeps in place of a chosen secret: its hash, and for a while the hash of the secret before it.

Pure. The text is ``v2 FINGERPRINT HASH``, and ``EXPIRES FINGERPRINT HASH`` after it while the secret before is valid.
"""

import hashlib
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Self

FORMAT = "v2"
SECRET_BYTES = 32
FINGERPRINT_BYTES = 16
_ONE, _TWO = 3, 6
# int() has a limit of its own, which differs from interpreter to interpreter.
_INSTANT = re.compile("[0-9]{1,15}")


@dataclass(frozen=True, slots=True)
class HashedSecret:
    """The hash of one secret. ``fingerprint`` identifies the secret, and stays when its hash is replaced.

    It is random. For a hash of an earlier version it is the SHA-256 of that hash, as in the tokens of that time.
    """

    fingerprint: str
    hash: str = field(repr=False)

    @classmethod
    def new(cls, hash: str) -> Self:
        return cls(secrets.token_urlsafe(FINGERPRINT_BYTES), hash)


@dataclass(frozen=True, slots=True)
class StoredSecret:
    """The current secret, and the ``previous`` one until ``previous_expires``, in seconds since 1970."""

    current: HashedSecret
    previous: HashedSecret | None = None
    previous_expires: int = 0

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read any text. One that is no hash gives a secret that nobody can know."""
        parts = text.split(" ")
        if parts[0] != FORMAT or len(parts) not in {_ONE, _TWO}:
            return cls(HashedSecret(hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest(), text))
        current = HashedSecret(parts[1], parts[2])
        if len(parts) == _ONE or not _INSTANT.fullmatch(parts[3]):
            return cls(current)
        return cls(current, HashedSecret(parts[4], parts[5]), int(parts[3]))

    def __str__(self) -> str:
        parts = [FORMAT, self.current.fingerprint, self.current.hash]
        if self.previous:
            parts += [str(self.previous_expires), self.previous.fingerprint, self.previous.hash]
        return " ".join(parts)

    def valid_at(self, instant: float) -> Sequence[HashedSecret]:
        """The hashes of the secrets that are valid at ``instant``, the current one first."""
        if self.previous and instant < self.previous_expires:
            return self.current, self.previous
        return (self.current,)

    def with_hash(self, hashed: HashedSecret, hash: str) -> Self | None:
        """The same with another hash of one of its secrets. None if it does not have ``hashed`` any more."""
        new = HashedSecret(hashed.fingerprint, hash)
        if self.current == hashed:
            return replace(self, current=new)
        return replace(self, previous=new) if self.previous == hashed else None


def new_secret() -> str:
    """256 random bits, in characters that need no quoting in a URL or a header."""
    return secrets.token_urlsafe(SECRET_BYTES)
