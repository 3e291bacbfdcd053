"""The stored text of a Client's secret: its hash, and the hashes of previous secrets while those are valid. Pure.

The text is ``v2 FINGERPRINT HASH``, followed by ``EXPIRES FINGERPRINT HASH`` for each previous secret.
"""

import hashlib
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Self

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


class PreviousSecret(NamedTuple):
    """A secret that is valid until ``expires``, a Unix time."""

    expires: int
    secret: HashedSecret


@dataclass(frozen=True, slots=True)
class StoredSecret:
    """The current secret, and the ``previous`` ones, newest first, each until it expires."""

    current: HashedSecret
    previous: tuple[PreviousSecret, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse any text. Text that is not a hash gives a secret that matches nothing."""
        match text.split(" "):
            case ["v2", fingerprint, hash_, *rest] if len(rest) % 3 == 0:
                parts = zip(rest[::3], rest[1::3], rest[2::3], strict=True)
                previous = (
                    PreviousSecret(int(expires), HashedSecret(previous_fingerprint, previous_hash))
                    for expires, previous_fingerprint, previous_hash in parts
                    if _UNIX_TIME.fullmatch(expires)
                )
                return cls(HashedSecret(fingerprint, hash_), (*previous,))
        return cls(HashedSecret(hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest(), text))

    def __str__(self) -> str:
        parts = ["v2", self.current.fingerprint, self.current.hash]
        for expires, secret in self.previous:
            parts += [str(expires), secret.fingerprint, secret.hash]
        return " ".join(parts)

    def previous_at(self, instant: float) -> Sequence[PreviousSecret]:
        """Return the previous secrets that are valid at ``instant``, newest first."""
        return [previous for previous in self.previous if instant < previous.expires]

    def valid_at(self, instant: float) -> Sequence[HashedSecret]:
        """Return the secrets that are valid at ``instant``, the current one first."""
        return self.current, *(previous.secret for previous in self.previous_at(instant))

    def with_hash(self, hashed: HashedSecret, hash: str) -> Self | None:
        """Return a copy with another hash of one of its secrets, or None if it no longer has ``hashed``."""
        if hashed not in (self.current, *(each.secret for each in self.previous)):
            return None

        def updated(secret: HashedSecret) -> HashedSecret:
            return HashedSecret(hashed.fingerprint, hash) if secret == hashed else secret

        previous = (PreviousSecret(expires, updated(secret)) for expires, secret in self.previous)
        return type(self)(updated(self.current), (*previous,))


def new_secret() -> str:
    """Return 256 random bits, in characters that need no quoting in a URL or a header."""
    return secrets.token_urlsafe(SECRET_BYTES)
