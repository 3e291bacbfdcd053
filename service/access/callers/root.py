"""The root client of the settings, and its access tokens, which are not stored.

A token is ``root.`` and base64url of its expiry, 16 random bytes and an HMAC-SHA256 of both. The key is derived from
the root secret by argon2id, so every process with that secret accepts the token.
"""

import asyncio
import base64
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from service.resources.secrets.hashing import derive_key

PREFIX = "root."
MAX_SECONDS = 900

# In base64url, the payload of 24 bytes has 32 characters and the signature of 32 bytes has 43.
_NONCE_BYTES, _PAYLOAD_LENGTH, _TOKEN_LENGTH = 16, 32, len(PREFIX) + 75


@dataclass(slots=True)
class Root:
    """The root client. ``secret`` may be replaced, which ends the logins and tokens of the one before."""

    id: str
    secret: str = field(repr=False)

    def matches(self, id: str, secret: str) -> bool:
        """Compare an id and a secret in constant time."""
        # Hashes have equal lengths.
        given, expected = (
            hashlib.sha256(f"{len(id_)}:{id_}{secret_}".encode()).digest()
            for id_, secret_ in ((id, secret), (self.id, self.secret))
        )
        return hmac.compare_digest(given, expected)


class RootTokens:
    """Issues tokens with a lifetime of ``seconds``, at most 15 minutes, and verifies those of all processes."""

    def __init__(self, root: Root, *, seconds: int, clock: Callable[[], float] = time.time) -> None:
        self._root = root
        self._seconds = min(seconds, MAX_SECONDS)
        self._clock = clock
        self._lock = asyncio.Lock()
        self._derived: tuple[str, bytes] = "", b""

    async def issue(self) -> tuple[str, int]:
        """Return a new token and its lifetime in seconds."""
        expires_at = int((self._clock() + self._seconds) * 1000)
        payload = _encode(expires_at.to_bytes(8) + secrets.token_bytes(_NONCE_BYTES))
        return f"{PREFIX}{payload}{_sign(await self._key(), payload)}", self._seconds

    async def verify(self, token: str) -> bool:
        """Return whether this is a token of the root client that has not expired."""
        if len(token) != _TOKEN_LENGTH or not token.isascii() or not is_root_token(token):
            return False
        content = token.removeprefix(PREFIX)
        payload, signature = content[:_PAYLOAD_LENGTH], content[_PAYLOAD_LENGTH:]
        if not hmac.compare_digest(signature, _sign(await self._key(), payload)):
            return False
        expires_at = int.from_bytes(base64.urlsafe_b64decode(payload)[:8])
        return self._clock() * 1000 < expires_at

    async def _key(self) -> bytes:
        # Derived once for each secret, by a process that issues or verifies a root token.
        async with self._lock:
            secret = self._root.secret
            if self._derived[0] != secret:
                purpose = f"s3-signer root tokens of {self._root.id}"
                self._derived = secret, await asyncio.to_thread(derive_key, secret, purpose)
            return self._derived[1]


def is_root_token(token: str) -> bool:
    """Return whether a token has the prefix of root tokens."""
    return token.startswith(PREFIX)


def _sign(key: bytes, payload: str) -> str:
    return _encode(hmac.digest(key, payload.encode(), "sha256"))


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
