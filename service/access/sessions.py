"""Access tokens: opaque, known by their hash alone, ended by their time or with their client."""

import hashlib
import secrets
from collections import OrderedDict, deque
from collections.abc import Callable
from itertools import takewhile
from time import time
from typing import NamedTuple

from service.access.callers import ROOT, Caller, Root
from service.access.types import CLIENT, CLIENT_CREDENTIALS, Client
from service.errors import Unauthenticated
from service.resources.repository import Repository
from service.resources.resource import Resource
from service.resources.store import Store

KIND = "Session"
TOKEN_BYTES = 32
# 256 bits in base64url.
TOKEN_LENGTH = 43
# Of one client, by one process: a login costs next to nothing once its secret is known to be right.
MOST_OPEN = 1000

_INVALID = "The token is not valid, or no longer"


class Session(NamedTuple):
    """``client`` is empty for the root client. ``proof`` is the hash of the secret that the client had at that time."""

    client: str
    proof: str
    ends_at: float


class Sessions:
    """Opens sessions of ``seconds`` and finds them by their tokens."""

    def __init__(
        self, store: Store, repository: Repository, root: Root, *, seconds: int, clock: Callable[[], float] = time
    ) -> None:
        self._store = store
        self._repository = repository
        self._root_proof = _proof(f"{root.id}:{root.secret}")
        self._seconds = seconds
        self._clock = clock
        self._opened: OrderedDict[str, deque[tuple[float, str]]] = OrderedDict()
        """When the sessions of each client end, and their ids; the client that has opened one last is the last."""

    async def open(self, client: str, secret: str) -> tuple[str, int]:
        """A new token, and how long it is good, in seconds; where the client has too many, its oldest ends.

        It is for the ``client`` whose secret's hash was ``secret`` when it logged in, which need not be what it is now;
        for the root client both are empty.
        """
        token = secrets.token_urlsafe(TOKEN_BYTES)
        proof = _proof(secret) if client else self._root_proof
        id_, now = _hash(token), self._clock()
        for oldest in self._too_many(client, id_, now):
            if stored := await self._store.get(KIND, oldest, fresh=True):
                await self._store.remove(stored)
        fields = {"client": client, "proof": proof, "ends": str(now + self._seconds)}
        await self._store.keep(KIND, id_, fields, seconds=self._seconds)
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

    async def find(self, token: str) -> Caller:
        """The caller. Raises Unauthenticated, StoreUnavailable."""
        if len(token) != TOKEN_LENGTH or (stored := await self._store.get(KIND, _hash(token))) is None:
            raise Unauthenticated(_INVALID)
        session = _session(stored)
        if not session.client:
            caller = self._root_of(session)
        else:
            client = await self._repository.find(CLIENT, session.client)
            caller = self._client_of(session, client) if client else None
        if caller is None:
            raise Unauthenticated(_INVALID)
        return caller

    def _root_of(self, session: Session) -> Caller | None:
        return ROOT if session.proof == self._root_proof and self._clock() < session.ends_at else None

    def _client_of(self, session: Session, stored: Resource) -> Caller | None:
        client: Client | None = self._repository.model_if_valid(CLIENT, stored)
        # A client that was deleted and made anew has another secret, or the same one with another salt.
        if (
            client is None
            or CLIENT_CREDENTIALS not in client.grant_types
            or session.proof != _proof(client.secret or "")
        ):
            return None
        return Caller(f"Client/{client.id}", client.id) if self._clock() < session.ends_at else None


def _session(stored: Resource) -> Session:
    session: Session = stored.decoded or stored.remember(_decoded)
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


def _proof(secret: str) -> str:
    return hashlib.sha256(secret.encode(errors="surrogateescape")).hexdigest()
