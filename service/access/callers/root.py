"""The root client of the settings, and its access tokens, which no store keeps.

A token is ``root.`` and base64url of its end, 16 random bytes and an HMAC-SHA256 of both. The key is derived from the
root secret by argon2id, so every process with that secret accepts the token.
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

# 24 bytes and 32 bytes, in base64url.
_NONCE_BYTES, _PAYLOAD_LENGTH, _TOKEN_LENGTH = 16, 32, len(PREFIX) + 75


@dataclass(frozen=True, slots=True)
class Root:
    """The client that the settings name."""

    id: str
    secret: str = field(repr=False)

    def matches(self, id: str, secret: str) -> bool:
        # Hashes have one length, and so are compared in constant time.
        given, own = (
            hashlib.sha256(f"{len(one)}:{one}{two}".encode()).digest()
            for one, two in ((id, secret), (self.id, self.secret))
        )
        return hmac.compare_digest(given, own)


class RootTokens:
    """Issues tokens of ``seconds``, of 15 minutes at most, and verifies those of every process with the same root."""

    def __init__(self, root: Root, *, seconds: int, clock: Callable[[], float] = time.time) -> None:
        self._root = root
        self._seconds = min(seconds, MAX_SECONDS)
        self._clock = clock
        self._deriving: asyncio.Task[bytes] | None = None

    async def issue(self) -> tuple[str, int]:
        """A new token, and its lifetime in seconds."""
        ends = int((self._clock() + self._seconds) * 1000)
        payload = _encode(ends.to_bytes(8) + secrets.token_bytes(_NONCE_BYTES))
        return f"{PREFIX}{payload}{_signature(await self._key(), payload)}", self._seconds

    async def verify(self, token: str) -> bool:
        """Whether it is a token of the root client that has not ended."""
        if len(token) != _TOKEN_LENGTH or not token.isascii() or not is_root_token(token):
            return False
        payload, signature = token[len(PREFIX) :][:_PAYLOAD_LENGTH], token[len(PREFIX) :][_PAYLOAD_LENGTH:]
        if not hmac.compare_digest(signature, _signature(await self._key(), payload)):
            return False
        ends = int.from_bytes(base64.urlsafe_b64decode(payload)[:8])
        return self._clock() * 1000 < ends

    async def _key(self) -> bytes:
        # Only processes that see such a token need the key, and each derives it once.
        if self._deriving is None or _has_failed(self._deriving):
            self._deriving = asyncio.create_task(asyncio.to_thread(self._derive))
        return await asyncio.shield(self._deriving)

    def _derive(self) -> bytes:
        return derive_key(self._root.secret, f"s3-signer root tokens of {self._root.id}")


def _has_failed(task: "asyncio.Task[bytes]") -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)


def is_root_token(token: str) -> bool:
    """Whether a token claims to be the root client's."""
    return token.startswith(PREFIX)


def _signature(key: bytes, payload: str) -> str:
    return _encode(hmac.digest(key, payload.encode(), "sha256"))


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
