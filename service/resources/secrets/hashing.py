"""Hashes of Clients' secrets: argon2id, computed in a bounded number of threads, and scrypt of earlier versions.

Sources: https://www.rfc-editor.org/rfc/rfc9106, https://www.rfc-editor.org/rfc/rfc7914,
https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html
"""

import asyncio
import base64
import hashlib
import hmac
import secrets
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from service.errors import Throttled
from service.resources.secrets.stored_secret import HashedSecret, StoredSecret

# The first choice of the OWASP Foundation: 19 MiB and two passes.
MEMORY_KIB, PASSES, LANES = 19 * 1024, 2, 1
SALT_BYTES, HASH_BYTES = 16, 32
# A process derives a key once, so that can take longer.
KEY_PASSES = 8
# Earlier versions used scrypt with 16 MiB.
SCRYPT_COST, SCRYPT_BLOCK_SIZE, SCRYPT_PARALLELISM = 2**14, 8, 1

THREADS = 2
# More callers would wait too long for a login.
MAX_WAITING = 32

_T = TypeVar("_T")
_HashFunction = Callable[[str, bytes], str]
"""Returns the encoded hash of a secret with a salt."""


class Hasher:
    """Hashes and verifies secrets off the event loop, for a bounded number of concurrent callers."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(THREADS, "hashing")
        self._waiting = 0

    def check_capacity(self) -> None:
        """Raise Throttled if too many callers are waiting."""
        if self._waiting >= MAX_WAITING:
            raise Throttled("Too many logins at once")

    async def hash(self, secret: str, *, beside: StoredSecret | None = None) -> str:
        """Return the hash of ``secret``, with the salt of ``beside``: one computation then verifies against both.

        Raises:
            Throttled: too many callers are waiting.
        """
        salt = _argon2_salt(beside) or secrets.token_bytes(SALT_BYTES)
        return await self._run(lambda: _argon2(secret, salt))

    async def verify(self, secret: str, candidates: Sequence[HashedSecret]) -> HashedSecret | None:
        """Return the first of ``candidates`` that matches ``secret``, or None. It takes as long without candidates.

        Raises:
            Throttled: too many callers are waiting.
        """
        return await self._run(lambda: _first_match(secret, candidates))

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _run(self, compute: Callable[[], _T]) -> _T:
        self.check_capacity()
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, compute)
        finally:
            self._waiting -= 1


def is_hash(text: str) -> bool:
    """Return whether a secret can be verified against ``text``."""
    return _parse(text) is not None


def is_current(text: str) -> bool:
    """Return whether ``text`` has the algorithm and parameters of new hashes."""
    return text.startswith(_argon2_prefix())


def derive_key(secret: str, purpose: str) -> bytes:
    """Return a key for ``purpose``, the same in every process with this secret. It blocks for 0.1 seconds."""
    from argon2 import low_level  # noqa: PLC0415 - not loaded without authentication

    salt = hashlib.sha256(purpose.encode()).digest()[:SALT_BYTES]
    return low_level.hash_secret_raw(
        secret.encode(), salt, KEY_PASSES, MEMORY_KIB, LANES, HASH_BYTES, low_level.Type.ID
    )


def _first_match(secret: str, candidates: Sequence[HashedSecret]) -> HashedSecret | None:
    computed: dict[tuple[_HashFunction, bytes], str] = {}
    for candidate in candidates:
        if parsed := _parse(candidate.hash):
            if parsed not in computed:
                function, salt = parsed
                computed[parsed] = function(secret, salt)
            if hmac.compare_digest(computed[parsed].encode(), candidate.hash.encode(errors="surrogateescape")):
                return candidate
    if not computed:
        _argon2(secret, bytes(SALT_BYTES))
    return None


def _parse(text: str) -> tuple[_HashFunction, bytes] | None:
    """Return the function and the salt of a hash. None for parameters that no version has used, as they cost more."""
    for function, prefix, separator in ((_argon2, _argon2_prefix(), "$"), (_scrypt, _scrypt_prefix(), ":")):
        if text.startswith(prefix):
            salt = _decode_salt(text.removeprefix(prefix).partition(separator)[0])
            return (function, salt) if len(salt) == SALT_BYTES else None
    return None


def _argon2_salt(stored: StoredSecret | None) -> bytes | None:
    parsed = _parse(stored.current.hash) if stored else None
    return parsed[1] if parsed and parsed[0] is _argon2 else None


def _argon2_prefix() -> str:
    return f"$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p={LANES}$"


def _argon2(secret: str, salt: bytes) -> str:
    from argon2 import PasswordHasher  # noqa: PLC0415 - not loaded without authentication

    return PasswordHasher(PASSES, MEMORY_KIB, LANES, HASH_BYTES, SALT_BYTES).hash(secret, salt=salt)


def _scrypt_prefix() -> str:
    return f"scrypt:{SCRYPT_COST}:{SCRYPT_BLOCK_SIZE}:{SCRYPT_PARALLELISM}:"


def _scrypt(secret: str, salt: bytes) -> str:
    derived = hashlib.scrypt(
        secret.encode(), salt=salt, n=SCRYPT_COST, r=SCRYPT_BLOCK_SIZE, p=SCRYPT_PARALLELISM, dklen=HASH_BYTES
    )
    return f"{_scrypt_prefix()}{base64.b64encode(salt).decode()}:{base64.b64encode(derived).decode()}"


def _decode_salt(encoded: str) -> bytes:
    try:
        return base64.b64decode(encoded.rstrip("=") + "==", validate=True)
    except ValueError:
        return b""
