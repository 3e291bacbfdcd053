"""Hashes of chosen secrets: argon2id, in a bounded number of threads; and scrypt, as earlier versions stored.

Sources: https://www.rfc-editor.org/rfc/rfc9106, https://www.rfc-editor.org/rfc/rfc7914,
https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html
"""

import asyncio
import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from service.errors import Throttled
from service.resources.secrets.stored_secret import HashedSecret, StoredSecret

# 19 MiB and two passes are the first choice of the OWASP Foundation.
MEMORY_KIB, PASSES, LANES = 19 * 1024, 2, 1
SALT_BYTES, HASH_BYTES = 16, 32
# A key is derived once in a process, so it may take longer.
KEY_PASSES = 8
# Earlier versions: 16 MiB.
SCRYPT_COST, SCRYPT_BLOCK_SIZE, SCRYPT_PARALLELISM = 2**14, 8, 1

THREADS = 2
# More would wait longer than a login is worth.
MAX_WAITING = 32

_T = TypeVar("_T")


class Hasher:
    """Hashes and verifies off the event loop, for a bounded number of callers at once."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(THREADS, "hashing")
        self._waiting = 0

    def check_capacity(self) -> None:
        """Raise Throttled if a call would be refused now."""
        if self._waiting >= MAX_WAITING:
            raise Throttled("Too many logins at once")

    async def hash(self, secret: str, *, beside: StoredSecret | None = None) -> str:
        """The hash of ``secret``, with the salt of ``beside``, so that one computation verifies both secrets.

        Raises:
            Throttled: if too many callers are waiting.
        """
        salt = _common_salt(beside) or secrets.token_bytes(SALT_BYTES)
        return await self._run(lambda: _argon2(secret, salt))

    async def verify(self, secret: str, candidates: Sequence[HashedSecret]) -> HashedSecret | None:
        """The first of ``candidates`` that is a hash of ``secret``. Without candidates, it takes as long to say None.

        Raises:
            Throttled: if too many callers are waiting.
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
    """Whether a secret can be verified against ``text``."""
    return _recipe(text) is not None


def is_current(text: str) -> bool:
    """Whether ``text`` is a hash as this version makes them."""
    return text.startswith(_argon2_prefix())


def derive_key(secret: str, purpose: str) -> bytes:
    """A key for ``purpose``, the same in every process that knows ``secret``. It blocks for 0.1 seconds."""
    from argon2 import low_level  # noqa: PLC0415 - loaded where callers are authenticated

    salt = hashlib.sha256(purpose.encode()).digest()[:SALT_BYTES]
    return low_level.hash_secret_raw(
        secret.encode(), salt, KEY_PASSES, MEMORY_KIB, LANES, HASH_BYTES, low_level.Type.ID
    )


def _first_match(secret: str, candidates: Sequence[HashedSecret]) -> HashedSecret | None:
    computed: dict[tuple[Callable[[str, bytes], str], bytes], str] = {}
    for candidate in candidates:
        recipe = _recipe(candidate.hash)
        if recipe is None:
            continue
        if recipe not in computed:
            function, salt = recipe
            computed[recipe] = function(secret, salt)
        if hmac.compare_digest(computed[recipe].encode(), candidate.hash.encode(errors="surrogateescape")):
            return candidate
    if not computed:
        _argon2(secret, bytes(SALT_BYTES))
    return None


def _recipe(text: str) -> tuple[Callable[[str, bytes], str], bytes] | None:
    """The function and the salt of a hash. None for parameters that no version has written, whatever their cost."""
    for function, prefix, separator in ((_argon2, _argon2_prefix(), "$"), (_scrypt, _scrypt_prefix(), ":")):
        if text.startswith(prefix):
            encoded, _, _ = text.removeprefix(prefix).partition(separator)
            salt = _decode(encoded)
            return (function, salt) if len(salt) == SALT_BYTES else None
    return None


def _common_salt(stored: StoredSecret | None) -> bytes | None:
    recipe = _recipe(stored.current.hash) if stored else None
    return recipe[1] if recipe and recipe[0] is _argon2 else None


def _argon2_prefix() -> str:
    return f"$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p={LANES}$"


def _argon2(secret: str, salt: bytes) -> str:
    from argon2 import PasswordHasher  # noqa: PLC0415 - loaded where callers are authenticated

    return PasswordHasher(PASSES, MEMORY_KIB, LANES, HASH_BYTES, SALT_BYTES).hash(secret, salt=salt)


def _scrypt_prefix() -> str:
    return f"scrypt:{SCRYPT_COST}:{SCRYPT_BLOCK_SIZE}:{SCRYPT_PARALLELISM}:"


def _scrypt(secret: str, salt: bytes) -> str:
    derived = hashlib.scrypt(
        secret.encode(), salt=salt, n=SCRYPT_COST, r=SCRYPT_BLOCK_SIZE, p=SCRYPT_PARALLELISM, dklen=HASH_BYTES
    )
    return f"{_scrypt_prefix()}{base64.b64encode(salt).decode()}:{base64.b64encode(derived).decode()}"


def _decode(encoded: str) -> bytes:
    try:
        return base64.b64decode(f"{encoded.rstrip('=')}{'=' * (-len(encoded.rstrip('=')) % 4)}", validate=True)
    except (binascii.Error, ValueError):
        return b""
