"""Access tokens of Clients: opaque, stored as a hash, ended by their time, with their Client's secret, or on request.

The root client has tokens of another kind; see ``root.py``.
"""

import hashlib
import secrets
from collections import OrderedDict, deque
from collections.abc import Callable
from itertools import takewhile
from time import time
from typing import NamedTuple

from service.access.types import CLIENT, CLIENT_CREDENTIALS, Client
from service.errors import Invalid, TokenOfAnotherClient, Unauthenticated
from service.resources.repository import Repository
from service.stores.record import Resource
from service.stores.store import Store

KIND = "Session"
TOKEN_BYTES = 32
# 256 bits in base64url.
TOKEN_LENGTH = 43
# Of one client, by one process: a login costs next to nothing once its secret is known to be right.
MOST_OPEN = 1000

_INVALID = "The token is not valid, or no longer"


class Session(NamedTuple):
    """``proof`` is the fingerprint of the secret that the client logged in with."""

    client: str
    proof: str
    ends_at: float


class Sessions:
    """Opens sessions of ``seconds`` and finds them by their tokens."""

    def __init__(
        self, store: Store, repository: Repository, *, seconds: int, clock: Callable[[], float] = time
    ) -> None:
        self._store = store
        self._repository = repository
        self._seconds = seconds
        self._clock = clock
        self._opened: OrderedDict[str, deque[tuple[float, str]]] = OrderedDict()
        """When the sessions of each client end, and their ids; the client that has opened one last is the last."""

    async def open(self, client: str, fingerprint: str) -> tuple[str, int]:
        """A new token, and its lifetime in seconds; where the client has too many, its oldest ends.

        ``fingerprint`` identifies the secret that the client has shown, which may have been replaced since.
        """
        token = secrets.token_urlsafe(TOKEN_BYTES)
        id_, now = _hash(token), self._clock()
        for oldest in self._too_many(client, id_, now):
            if stored := await self._store.get(KIND, oldest, bypass_cache=True):
                await self._store.remove(stored)
        fields = {"client": client, "proof": fingerprint, "ends": str(now + self._seconds)}
        await self._store.put_with_ttl(KIND, id_, fields, seconds=self._seconds)
        return token, self._seconds

    def _too_many(self, client: str, id_: str, now: float) -> list[str]:
        """Count a session that the client opens, and tell which of its others must end for it."""
        opened = self._opened.setdefault(client, deque())
        opened.append((now + self._seconds, id_))
        self._opened.move_to_end(client)
        while opened[0][0] <= now:
            opened.popleft()
        for idle in [*takewhile(lambda name: self._opened[name][-1][0] <= now, self._opened)]:
            del self._opened[idle]
        return [opened.popleft()[1] for _ in range(len(opened) - MOST_OPEN)]

    async def find(self, token: str) -> str:
        """The id of the token's Client. Raises Unauthenticated, StoreUnavailable."""
        if (stored := await self._stored(token)) is None:
            raise Unauthenticated(_INVALID)
        session = _session(stored)
        now = self._clock()
        client: Client | None = await self._repository.find_valid(CLIENT, session.client)
        # A client that was deleted and made anew has another secret, with another fingerprint.
        if (
            client is None
            # Nothing is before NaN, either.
            or not now < session.ends_at
            or CLIENT_CREDENTIALS not in client.grant_types
            or session.proof not in [secret.fingerprint for secret in client.secrets_at(now)]
        ):
            raise Unauthenticated(_INVALID)
        return client.id

    async def revoke(self, token: str, *, client: str | None) -> str | None:
        """End a token of ``client``, of any Client for None. The id of its Client, or None for an unknown token.

        Raises:
            TokenOfAnotherClient: for a token that ``client`` may not end.
            StoreUnavailable: if the token may live on.
        """
        while stored := await self._stored(token, bypass_cache=True):
            owner = _session(stored).client
            if client not in {owner, None}:
                raise TokenOfAnotherClient
            if await self._store.remove(stored):
                return owner
        return None

    async def _stored(self, token: str, *, bypass_cache: bool = False) -> Resource | None:
        if len(token) != TOKEN_LENGTH:
            return None
        try:
            return await self._store.get(KIND, _hash(token), bypass_cache=bypass_cache)
        except Invalid:
            # An operator has stored something else under its key.
            return None


def _session(stored: Resource) -> Session:
    session: Session = stored.model or stored.memoize(_decoded)
    return session


def _decoded(stored: Resource) -> Session:
    fields = stored.fields
    try:
        return Session(fields["client"], fields["proof"], float(fields["ends"]))
    except (KeyError, ValueError):
        # Not as it was written: it has never begun.
        return Session("", "", 0)


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode(errors="surrogateescape")).hexdigest()
