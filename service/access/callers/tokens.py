"""Opaque access tokens of Clients. The store has their hashes.

A token ends when it expires or is revoked. It also ends with the secret that it was issued for, and when
its Client is deleted or loses the grant type.
``root.py`` has the tokens of the root client.
"""

import hashlib
import secrets
from collections.abc import Callable
from contextlib import suppress
from math import inf
from time import time
from typing import Any, NamedTuple

from cachetools import TTLCache

from service.access.client import CLIENT, CLIENT_CREDENTIALS, Client
from service.errors import Invalid, StoreUnavailable, TokenOfAnotherClient, Unauthenticated
from service.resources.repository import Repository
from service.stores.record import Resource
from service.stores.store import Store

KIND = "Session"
TOKEN_BYTES = 32
# 256 bits in base64url.
TOKEN_LENGTH = 43
# Counted by each process. Once its secret is cached, a client can issue tokens at almost no cost.
MAX_TOKENS_OF_CLIENT = 1000

INVALID_TOKEN = "The token is not valid, or no longer"  # noqa: S105 - a message


class IssuedToken(NamedTuple):
    """The stored data of a token. ``fingerprint`` is that of the secret that the client logged in with."""

    client: str
    fingerprint: str
    expires_at: float


class AccessTokens:
    """Issues, verifies and revokes access tokens with a lifetime of ``seconds``."""

    def __init__(
        self, store: Store, repository: Repository, *, seconds: int, clock: Callable[[], float] = time
    ) -> None:
        self._store = store
        self._repository = repository
        self._seconds = seconds
        self._clock = clock
        self._issued: TTLCache[str, TTLCache[str, None]] = self._table()
        """The hashes of the tokens of each client, oldest first."""

        self._lost: TTLCache[str, TTLCache[str, None]] = self._table()
        """The same for tokens that may be stored, although the client got an error in their place."""

    async def issue(self, client: str, fingerprint: str) -> tuple[str, int]:
        """Return a new token and its lifetime in seconds. The client's oldest token ends if there are too many.

        ``fingerprint`` is that of the verified secret, which may have been replaced since.
        """
        token = secrets.token_urlsafe(TOKEN_BYTES)
        id_ = _hash(token)
        fields = {"client": client, "proof": fingerprint, "ends": str(self._clock() + self._seconds)}
        try:
            await self._store.put_with_ttl(KIND, id_, fields, seconds=self._seconds)
        except StoreUnavailable:
            await self._add(self._lost, client, id_)
            raise
        await self._add(self._issued, client, id_)
        return token, self._seconds

    async def _add(self, tables: "TTLCache[str, TTLCache[str, None]]", client: str, id_: str) -> None:
        """Count a new token of the client, and remove one above the limit: a lost one, or the oldest."""
        tokens = tables.get(client) or self._table()
        # The entry expires with the client's last token.
        tables[client] = tokens
        tokens[id_] = None
        issued, lost = (table.get(client) or self._table() for table in (self._issued, self._lost))
        if len(issued) + len(lost) <= MAX_TOKENS_OF_CLIENT:
            return
        surplus, _ = (lost or issued).popitem()
        # The new token is valid, although an old one may stay until it expires.
        with suppress(StoreUnavailable, Invalid):
            if stored := await self._store.get(KIND, surplus, bypass_cache=True):
                await self._store.remove(stored)

    def _table(self) -> "TTLCache[str, Any]":
        return TTLCache(inf, self._seconds, timer=self._clock)

    async def verify(self, token: str) -> str:
        """Return the id of the token's Client. Raises Unauthenticated, StoreUnavailable."""
        if (stored := await self._find(token)) is None:
            raise Unauthenticated(INVALID_TOKEN)
        issued = _issued_token(stored)
        now = self._clock()
        client: Client | None = await self._repository.find_valid(CLIENT, issued.client)
        # A new Client of the same id has another secret, with another fingerprint.
        if (
            client is None
            # Written with `not`, so that an expiry of NaN has passed.
            or not now < issued.expires_at
            or CLIENT_CREDENTIALS not in client.grant_types
            or issued.fingerprint not in [secret.fingerprint for secret in client.secrets_at(now)]
        ):
            raise Unauthenticated(INVALID_TOKEN)
        return client.id

    async def revoke(self, token: str, *, client: str | None) -> str | None:
        """Revoke a token of ``client``, or of any Client for None.

        Returns the id of the token's Client, or None for an unknown token.

        Raises:
            TokenOfAnotherClient: if ``client`` may not revoke the token.
            StoreUnavailable: if the token may still be valid.
        """
        while stored := await self._find(token, bypass_cache=True):
            owner = _issued_token(stored).client
            if client not in {owner, None}:
                raise TokenOfAnotherClient
            if await self._store.remove(stored):
                return owner
        return None

    async def _find(self, token: str, *, bypass_cache: bool = False) -> Resource | None:
        if len(token) != TOKEN_LENGTH:
            return None
        try:
            return await self._store.get(KIND, _hash(token), bypass_cache=bypass_cache)
        except Invalid:
            # An operator has stored data of another type under its key.
            return None


def _issued_token(stored: Resource) -> IssuedToken:
    issued: IssuedToken = stored.model or stored.memoize(_decode)
    return issued


def _decode(stored: Resource) -> IssuedToken:
    fields = stored.fields
    try:
        return IssuedToken(fields["client"], fields["proof"], float(fields["ends"]))
    except (KeyError, ValueError):
        # Data that this service did not write is an expired token.
        return IssuedToken("", "", 0)


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode(errors="surrogateescape")).hexdigest()
