"""Client ids and secrets: parsed from a Basic header, and verified against stored hashes.

Source: https://www.rfc-editor.org/rfc/rfc7617
"""

import asyncio
import base64
import binascii
import hmac
import logging
import secrets
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from cachetools import FIFOCache

from service.access.callers.rate_limiter import LoginRateLimiter
from service.access.callers.root import Root
from service.access.client import CLIENT, MIN_SECRET, Client
from service.addresses import network
from service.errors import GrantNotAllowed, ServiceError, Unauthenticated
from service.resources.repository import Repository
from service.resources.secrets.hashing import Hasher, is_current
from service.resources.secrets.stored_secret import HashedSecret, StoredSecret

logger = logging.getLogger(__name__)

MAX_CACHED = 4096

_INVALID = "The credentials are not valid"


class VerifiedCredential(NamedTuple):
    """The id of a Client, and the fingerprint of the secret that was verified."""

    client: str
    fingerprint: str


ROOT_CREDENTIAL = VerifiedCredential("", "")


def parse_basic(authorization: str) -> tuple[str, str]:
    """Return the client id and the secret of a Basic header. Raises Unauthenticated for any other text."""
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        raise Unauthenticated("The Authorization scheme must be Basic, or Bearer where a token is taken")
    try:
        decoded = base64.b64decode(encoded.strip(), validate=True).decode()
    except (binascii.Error, ValueError):
        raise Unauthenticated(_INVALID) from None
    id_, colon, secret = decoded.partition(":")
    if not colon:
        raise Unauthenticated(_INVALID)
    return id_, secret


class CredentialVerifier:
    """Verifies the secrets of Clients and of the root client, and limits guessing.

    A verified secret is cached. The entry is valid while the Client has that secret.
    ``clock`` returns seconds since 1970.
    """

    def __init__(
        self, root: Root, repository: Repository, hasher: Hasher, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._root = root
        self._repository = repository
        self._hasher = hasher
        self._clock = clock
        self._limiter = LoginRateLimiter()
        self._cache_secret = secrets.token_bytes(32)
        self._cache: FIFOCache[bytes, VerifiedCredential] = FIFOCache(MAX_CACHED)
        self._in_flight: dict[tuple[bytes, Sequence[HashedSecret]], asyncio.Task[VerifiedCredential | None]] = {}
        self._warned: set[str] = set()

    def close(self) -> None:
        self._hasher.close()

    async def verify(self, id_: str, secret: str, *, grant: str, address: str) -> VerifiedCredential:
        """Verify the secret of the root client, or of a Client that has the grant type ``grant``.

        Raises:
            Unauthenticated: for a wrong secret or an unknown client.
            GrantNotAllowed: if the Client does not have the grant type.
            Throttled: after too many wrong secrets, or if too many logins are pending.
            StoreUnavailable: if the Client cannot be read.
        """
        # The root client must be able to log in while the store is unavailable, and guesses at its secret must count.
        may_be_stored = id_ != self._root.id and CLIENT.is_id(id_)
        client: Client | None = await self._repository.find_valid(CLIENT, id_) if may_be_stored else None
        hashes = client.secrets_at(self._clock()) if client else ()
        key = self._cache_key(id_, secret, address)
        verified = self._cache.get(key)
        if verified is ROOT_CREDENTIAL:
            # The root secret may have been replaced.
            is_valid = self._root.matches(id_, secret)
        else:
            is_valid = verified in {(id_, known.fingerprint) for known in hashes}
        if is_valid:
            self._limiter.remember(id_, address)
        else:
            verified = await self._verify_once(key, id_, secret, hashes, address)
        if verified is None:
            raise Unauthenticated(_INVALID)
        if verified is not ROOT_CREDENTIAL and (client is None or grant not in client.grant_types):
            raise GrantNotAllowed(grant)
        return verified

    def _cache_key(self, id_: str, secret: str, address: str) -> bytes:
        # With the network in the key, a guesser elsewhere learns nothing from cache hits.
        text = f"{network(address)} {len(id_)}:{id_}{secret}"
        return hmac.digest(self._cache_secret, text.encode(errors="surrogateescape"), "sha256")

    async def _verify_once(
        self, key: bytes, id_: str, secret: str, hashes: Sequence[HashedSecret], address: str
    ) -> VerifiedCredential | None:
        """Share one verification between concurrent logins with equal credentials."""
        flight = key, hashes
        if (task := self._in_flight.get(flight)) is None:
            task = asyncio.create_task(self._verify(key, id_, secret, hashes, address))
            self._in_flight[flight] = task
            task.add_done_callback(lambda done: self._land(flight, done))
        # A cancelled login must not cancel the verification of the others.
        return await asyncio.shield(task)

    def _land(
        self, flight: tuple[bytes, Sequence[HashedSecret]], task: "asyncio.Task[VerifiedCredential | None]"
    ) -> None:
        del self._in_flight[flight]
        if not task.cancelled():
            # If all waiting logins were cancelled, asyncio would log an exception that was never retrieved.
            task.exception()

    async def _verify(
        self, key: bytes, id_: str, secret: str, hashes: Sequence[HashedSecret], address: str
    ) -> VerifiedCredential | None:
        # Checked first, so that a refused attempt changes no counter. Guesses at the root secret are refused too.
        # Otherwise a guesser would recognize the right secret by its answer.
        self._hasher.check_capacity()
        is_root = self._root.matches(id_, secret)
        attempt = self._limiter.acquire(id_, address)
        try:
            # Verification takes as long for an unknown client.
            match = None if is_root else await self._hasher.verify(secret, hashes)
        except Exception:
            # The secret was not compared, so the attempt was no guess. A secret for the root id was compared above.
            if id_ != self._root.id:
                self._limiter.refund(attempt)
            raise
        if not is_root and match is None:
            return None
        self._limiter.refund(attempt)
        self._limiter.remember(id_, address)
        verified = VerifiedCredential(id_, match.fingerprint) if match else ROOT_CREDENTIAL
        self._cache[key] = verified
        if match:
            self._warn_if_short(id_, secret)
            await self._upgrade(id_, secret, match)
        return verified

    def _warn_if_short(self, id_: str, secret: str) -> None:
        if len(secret) < MIN_SECRET and id_ not in self._warned:
            self._warned.add(id_)
            logger.warning(
                "The secret of Client/%s has fewer than %d characters; replace it with POST /Client/%s/$rotate-secret",
                id_,
                MIN_SECRET,
                id_,
            )

    async def _upgrade(self, id_: str, secret: str, match: HashedSecret) -> None:
        """Replace a hash of an earlier version. If this fails, the next login tries again."""
        if is_current(match.hash):
            return
        try:
            new = await self._hasher.hash(secret)

            def change(text: str) -> str | None:
                # None if another replica has replaced the hash.
                replaced = StoredSecret.parse(text).with_hash(match, new)
                return str(replaced) if replaced else None

            await self._repository.rewrite(CLIENT, id_, "secret", change)
        except ServiceError as error:
            logger.info("The hash of the secret of Client/%s was not replaced: %s", id_, error)
