"""Who calls? The Authorization header to a Caller: Basic, opaque Bearer tokens, JWTs of a trusted issuer.

Sources: https://www.rfc-editor.org/rfc/rfc7617, https://www.rfc-editor.org/rfc/rfc6750
"""

import asyncio
import base64
import binascii
import hashlib
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from service.access.throttle import Throttle
from service.access.types import BASIC, CLIENT, CLIENT_CREDENTIALS, Client
from service.errors import GrantNotAllowed, Throttled, Unauthenticated
from service.resources.hashing import Hasher
from service.resources.repository import Repository

if TYPE_CHECKING:
    from service.access.jwt import JwtVerifier
    from service.access.sessions import Sessions

MAX_REMEMBERED = 4096

Verdict = tuple[str, str]
"""Client id and the hash of its secret, for which given credentials fit."""

_ROOT_VERDICT: Verdict = ("", "")
_REFUSED = "The credentials are not valid"


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who calls: ``name`` for the audit, ``client`` an id of a Client, ``jwt`` the claims of a token.

    Who is ``unlimited`` may do everything.
    """

    name: str
    client: str | None = None
    jwt: Mapping[str, Any] = field(default_factory=dict, repr=False)
    unlimited: bool = False


ANYBODY = Caller("anonymous", unlimited=True)
ROOT = Caller("root", unlimited=True)


@dataclass(frozen=True, slots=True)
class Root:
    """The client that the settings name."""

    id: str
    secret: str = field(repr=False)

    def is_it(self, id: str, secret: str) -> bool:
        # Hashes are of one length, which comparing in constant time takes.
        given, own = (
            hashlib.sha256(f"{len(one)}:{one}{two}".encode()).digest()
            for one, two in ((id, secret), (self.id, self.secret))
        )
        return hmac.compare_digest(given, own)


class Callers:
    """Tells who calls. A verdict on a chosen secret is remembered for as long as the Client's own is what it was."""

    def __init__(
        self,
        root: Root,
        repository: Repository,
        hasher: Hasher,
        sessions: "Sessions",
        jwt: "JwtVerifier | None" = None,
    ) -> None:
        self._root = root
        self._repository = repository
        self._hasher = hasher
        self._sessions = sessions
        self._jwt = jwt
        self._throttle = Throttle()
        self._key = secrets.token_bytes(32)
        self._verdicts: OrderedDict[bytes, Verdict] = OrderedDict()
        """By the HMAC of credentials that fit."""

        self._judging: dict[tuple[bytes, str | None], asyncio.Task[Verdict | None]] = {}

    async def open(self) -> None:
        """Fetch what verdicts take; never fails."""
        if self._jwt:
            await self._jwt.open()

    async def close(self) -> None:
        self._hasher.close()
        if self._jwt:
            await self._jwt.close()

    async def identify(self, authorization: str, *, address: str) -> Caller:
        """The caller. ``address`` is where the request comes from, to limit guessing.

        Raises:
            Unauthenticated: for anything but valid credentials.
            Throttled: after too many wrong ones.
            StoreUnavailable: where they cannot be judged.
        """
        scheme, _, credentials = authorization.partition(" ")
        if scheme.lower() == "bearer":
            return await self._bearer(credentials.strip())
        id_, secret = basic_credentials(authorization)
        return await self.login(id_, secret, grant=BASIC, address=address)

    async def login(self, id_: str, secret: str, *, grant: str, address: str) -> Caller:
        """See ``identify``; for a ``grant`` that the Client must have."""
        return _caller(await self._login(id_, secret, grant=grant, address=address))

    async def _login(self, id_: str, secret: str, *, grant: str, address: str) -> Verdict:
        # The root needs no store, as somebody must be able to look after it.
        client = None if self._root.is_it(id_, secret) else await self._client(id_)
        kept = client.secret if client else None
        mark = self._mark(_authorization(id_, secret), address)
        verdict = self._verdicts.get(mark)
        if verdict is None or verdict not in {_ROOT_VERDICT, (id_, kept)}:
            verdict = await self._judge_once(mark, id_, secret, kept, address)
        if verdict is None:
            raise Unauthenticated(_REFUSED)
        if verdict is not _ROOT_VERDICT and (client is None or grant not in client.grant_types):
            raise GrantNotAllowed(grant)
        return verdict

    async def _judge_once(self, mark: bytes, id_: str, secret: str, kept: str | None, address: str) -> Verdict | None:
        """Judge for all who send the same at the same time: a client's many connections may begin together."""
        key = mark, kept
        if (judging := self._judging.get(key)) is None:
            judging = self._judging[key] = asyncio.create_task(self._judge(mark, id_, secret, kept, address))
            judging.add_done_callback(lambda task: self._judged(key, task))
        # Of all who wait, one may go away.
        return await asyncio.shield(judging)

    def _judged(self, key: tuple[bytes, str | None], task: "asyncio.Task[Verdict | None]") -> None:
        del self._judging[key]
        if not task.cancelled():
            # Those who waited may all have gone away, and asyncio would complain that nobody asked.
            task.exception()

    async def _judge(self, mark: bytes, id_: str, secret: str, kept: str | None, address: str) -> Verdict | None:
        self._throttle.begin(id_, address)
        try:
            # Where there is no such client, it takes as long to say so.
            verdict = (
                _ROOT_VERDICT
                if self._root.is_it(id_, secret)
                else (id_, str(kept))
                if await self._hasher.verify(secret, kept)
                else None
            )
        except Throttled:
            # Nobody has looked at the secret, so it was no guess.
            self._throttle.succeeded(id_, address)
            raise
        if verdict:
            self._throttle.succeeded(id_, address)
            self._remember(mark, verdict)
        return verdict

    async def token(self, id_: str, secret: str, *, address: str) -> tuple[Caller, str, int]:
        """The caller, a new token for it, and the token's lifetime in seconds. Raises as ``identify`` does."""
        verdict = await self._login(id_, secret, grant=CLIENT_CREDENTIALS, address=address)
        token, seconds = await self._sessions.open(*verdict)
        return _caller(verdict), token, seconds

    async def _bearer(self, token: str) -> Caller:
        if self._jwt and token.count(".") == 2:  # noqa: PLR2004 - head, payload and signature
            from service.access.jwt import UntrustedToken  # noqa: PLC0415 - loaded where it is configured

            try:
                claims = await self._jwt.verify(token)
            except UntrustedToken as error:
                raise Unauthenticated(f"The token is not trusted: {error.reason}") from None
            return Caller(f"jwt:{claims.get('sub', '')}", jwt=claims)
        return await self._sessions.find(token)

    async def _client(self, id_: str) -> Client | None:
        stored = await self._repository.find(CLIENT, id_) if CLIENT.is_id(id_) else None
        client: Client | None = self._repository.model_if_valid(CLIENT, stored)
        return client

    def _mark(self, authorization: str, address: str) -> bytes:
        # The address belongs to it: who guesses from elsewhere must not learn by what is remembered of others.
        text = f"{address} {authorization}"
        return hmac.digest(self._key, text.encode(errors="surrogateescape"), "sha256")

    def _remember(self, mark: bytes, verdict: Verdict) -> None:
        self._verdicts[mark] = verdict
        if len(self._verdicts) > MAX_REMEMBERED:
            self._verdicts.popitem(last=False)


def basic_credentials(authorization: str) -> tuple[str, str]:
    """Client id and secret of a Basic header. Raises Unauthenticated for any other."""
    scheme, _, credentials = authorization.partition(" ")
    if scheme.lower() != "basic":
        raise Unauthenticated("The Authorization scheme must be Basic, or Bearer where a token is taken")
    try:
        decoded = base64.b64decode(credentials.strip(), validate=True).decode()
    except (binascii.Error, ValueError):
        raise Unauthenticated(_REFUSED) from None
    id_, colon, secret = decoded.partition(":")
    if not colon:
        raise Unauthenticated(_REFUSED)
    return id_, secret


def _caller(verdict: Verdict) -> Caller:
    return ROOT if verdict is _ROOT_VERDICT else Caller(f"Client/{verdict[0]}", verdict[0])


def _authorization(id_: str, secret: str) -> str:
    return f"Basic {base64.b64encode(f'{id_}:{secret}'.encode()).decode()}"
