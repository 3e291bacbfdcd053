"""Chosen secrets as hashes: scrypt, in threads of its own, so many at a time.

Source: https://www.rfc-editor.org/rfc/rfc7914
"""

import asyncio
import base64
import binascii
import hashlib
import hmac
import secrets
from concurrent.futures import ThreadPoolExecutor

from service.errors import Throttled

# 37 ms and 16 MiB each, as OWASP's cheat sheet on storing passwords has it.
COST, BLOCK_SIZE, PARALLELISM = 2**14, 8, 1
SALT_BYTES, HASH_BYTES = 16, 32
SCHEME = f"scrypt:{COST}:{BLOCK_SIZE}:{PARALLELISM}"

THREADS = 2
# Who comes later waits longer than a login is worth.
MOST_WAITING = 32


class Hasher:
    """Hashes and verifies off the event loop; more callers than can be served soon are told to come again."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(THREADS, "scrypt")
        self._waiting = 0

    async def hash(self, secret: str) -> str:
        """The text to keep in place of ``secret``. Raises Throttled where too many wait."""
        salt = secrets.token_bytes(SALT_BYTES)
        return f"{SCHEME}:{_text(salt)}:{_text(await self._derive(secret, salt))}"

    async def verify(self, secret: str, kept: str | None) -> bool:
        """Whether ``kept`` is the hash of ``secret``; for None it takes as long, and is not.

        Raises Throttled where too many wait.
        """
        salt, expected = _parts(kept)
        derived = await self._derive(secret, salt or bytes(SALT_BYTES))
        return hmac.compare_digest(derived, expected) if salt else False

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _derive(self, secret: str, salt: bytes) -> bytes:
        if self._waiting >= MOST_WAITING:
            raise Throttled("Too many logins at once")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, _scrypt, secret.encode(), salt)
        finally:
            self._waiting -= 1


def _scrypt(secret: bytes, salt: bytes) -> bytes:
    return hashlib.scrypt(secret, salt=salt, n=COST, r=BLOCK_SIZE, p=PARALLELISM, dklen=HASH_BYTES)


def _parts(kept: str | None) -> tuple[bytes, bytes]:
    """Salt and hash; empty for what this version has not written, such as a secret that an operator put there."""
    salt, _, derived = (kept or "").removeprefix(f"{SCHEME}:").partition(":")
    try:
        parts = base64.b64decode(salt, validate=True), base64.b64decode(derived, validate=True)
    except (binascii.Error, ValueError):
        return b"", b""
    return parts if (len(parts[0]), len(parts[1])) == (SALT_BYTES, HASH_BYTES) else (b"", b"")


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
