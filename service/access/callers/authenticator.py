"""Who calls? The Authorization header to a Principal: Basic, opaque Bearer tokens, JWTs of a trusted issuer.

Sources: https://www.rfc-editor.org/rfc/rfc7617, https://www.rfc-editor.org/rfc/rfc6750
"""

import asyncio
import base64
import binascii
import hmac
import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from service.access.callers.root import Root, RootTokens, is_root_token
from service.access.callers.sessions import Sessions
from service.access.callers.throttle import Throttle
from service.access.types import BASIC, CLIENT, CLIENT_CREDENTIALS, MIN_SECRET, Client
from service.addresses import network
from service.errors import GrantNotAllowed, ServiceError, Unauthenticated, UnsupportedTokenType
from service.resources.repository import Repository
from service.resources.secrets.hashing import Hasher, is_current
from service.resources.secrets.stored_secret import HashedSecret, StoredSecret

if TYPE_CHECKING:
    from service.access.jwt.verifier import JwtVerifier

logger = logging.getLogger(__name__)

MAX_REMEMBERED = 4096

VerifiedCredential = tuple[str, str]
"""A client's id, and the fingerprint of the secret that was verified."""

_ROOT: VerifiedCredential = ("", "")
_REFUSED = "The credentials are not valid"
_INVALID_TOKEN = "The token is not valid, or no longer"  # noqa: S105 - a message


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody who calls: ``name`` for the audit, ``client`` an id of a Client, ``jwt`` the claims of a token.

    Who is ``unlimited`` may do everything.
    """

    name: str
    client: str | None = None
    jwt: Mapping[str, Any] = field(default_factory=dict, repr=False)
    unlimited: bool = False


ANONYMOUS = Principal("anonymous", unlimited=True)
ROOT = Principal("root", unlimited=True)


class Authenticator:
    """Authenticates callers. It remembers a secret that it has verified for as long as the Client has that secret.

    A clock counts seconds since 1970.
    """

    def __init__(
        self,
        root: Root,
        repository: Repository,
        hasher: Hasher,
        sessions: Sessions,
        root_tokens: RootTokens,
        *,
        jwt: "JwtVerifier | None" = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._root = root
        self._repository = repository
        self._hasher = hasher
        self._sessions = sessions
        self._root_tokens = root_tokens
        self._jwt = jwt
        self._clock = clock
        self._throttle = Throttle()
        self._key = secrets.token_bytes(32)
        self._verified: OrderedDict[bytes, VerifiedCredential] = OrderedDict()
        """By the HMAC of the credentials."""

        self._verifying: dict[tuple[bytes, Sequence[HashedSecret]], asyncio.Task[VerifiedCredential | None]] = {}
        self._warned: set[str] = set()

    async def open(self) -> None:
        """Fetch the keys that tokens are verified with; never fails."""
        if self._jwt:
            await self._jwt.open()

    async def close(self) -> None:
        self._hasher.close()
        if self._jwt:
            await self._jwt.close()

    async def identify(self, authorization: str, *, address: str) -> Principal:
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

    async def login(self, id_: str, secret: str, *, grant: str, address: str) -> Principal:
        """See ``identify``; for a ``grant`` that the Client must have."""
        return _caller(await self._login(id_, secret, grant=grant, address=address))

    async def token(self, id_: str, secret: str, *, address: str) -> tuple[Principal, str, int]:
        """The caller, a new token for it, and the token's lifetime in seconds. Raises as ``identify`` does."""
        verified = await self._login(id_, secret, grant=CLIENT_CREDENTIALS, address=address)
        if verified is _ROOT:
            token, seconds = await self._root_tokens.issue()
        else:
            token, seconds = await self._sessions.open(*verified)
        return _caller(verified), token, seconds

    async def revoke(self, id_: str, secret: str, token: str, *, address: str) -> tuple[Principal, str | None]:
        """End a token of the caller, of any Client for the root client. The caller, and whose token has ended, if any.

        Raises as ``identify`` does, and:
            TokenOfAnotherClient: for a token that the caller may not end.
            UnsupportedTokenType: for a JWT or a root token, which nothing but its time ends.
        """
        caller = await self.login(id_, secret, grant=CLIENT_CREDENTIALS, address=address)
        if is_root_token(token) or _is_jwt(token):
            raise UnsupportedTokenType
        return caller, await self._sessions.revoke(token, client=caller.client)

    async def _login(self, id_: str, secret: str, *, grant: str, address: str) -> VerifiedCredential:
        # The root client must get in while the store is away, and guesses at its secret must count then.
        client = None if id_ == self._root.id else await self._client(id_)
        hashes = client.secrets_at(self._clock()) if client else ()
        key = self._key_of(id_, secret, address)
        verified = self._verified.get(key)
        if verified and (verified is _ROOT or verified in {(id_, known.fingerprint) for known in hashes}):
            self._throttle.remember(id_, address)
        else:
            verified = await self._verify_once(key, id_, secret, hashes, address)
        if verified is None:
            raise Unauthenticated(_REFUSED)
        if verified is not _ROOT and (client is None or grant not in client.grant_types):
            raise GrantNotAllowed(grant)
        return verified

    async def _verify_once(
        self, key: bytes, id_: str, secret: str, hashes: Sequence[HashedSecret], address: str
    ) -> VerifiedCredential | None:
        """Verify once for all who send the same at the same time: a client's many connections may begin together."""
        flight = key, hashes
        if (verifying := self._verifying.get(flight)) is None:
            verifying = asyncio.create_task(self._verify(key, id_, secret, hashes, address))
            self._verifying[flight] = verifying
            verifying.add_done_callback(lambda task: self._landed(flight, task))
        # Of all who wait, one may go away.
        return await asyncio.shield(verifying)

    def _landed(
        self, flight: tuple[bytes, Sequence[HashedSecret]], task: "asyncio.Task[VerifiedCredential | None]"
    ) -> None:
        del self._verifying[flight]
        if not task.cancelled():
            # Those who waited may all have gone away, and asyncio would complain that nobody asked.
            task.exception()

    async def _verify(
        self, key: bytes, id_: str, secret: str, hashes: Sequence[HashedSecret], address: str
    ) -> VerifiedCredential | None:
        # A refusal here must not count, nor take the place of what was counted. It is the same for the root client:
        # otherwise guesses at its secret would be told from it, and would not count.
        self._hasher.check_capacity()
        is_root = self._root.matches(id_, secret)
        attempt = self._throttle.acquire(id_, address)
        try:
            # For a client that does not exist, verifying takes as long.
            match = None if is_root else await self._hasher.verify(secret, hashes)
        except Exception:
            # The secret was not looked at, so it was no guess; but it was compared to the root client's.
            if id_ != self._root.id:
                self._throttle.refund(attempt)
            raise
        if not is_root and match is None:
            return None
        self._throttle.refund(attempt)
        self._throttle.remember(id_, address)
        verified = (id_, match.fingerprint) if match else _ROOT
        self._remember(key, verified)
        if match:
            self._warn_if_short(id_, secret)
            await self._upgrade(id_, secret, match)
        return verified

    async def _upgrade(self, id_: str, secret: str, match: HashedSecret) -> None:
        """Replace a hash of an earlier version. If that fails, the next login tries again."""
        if is_current(match.hash):
            return
        try:
            new = await self._hasher.hash(secret)

            def change(text: str) -> str | None:
                # Another replica may have been first.
                replaced = StoredSecret.parse(text).with_hash(match, new)
                return str(replaced) if replaced else None

            await self._repository.rewrite(CLIENT, id_, "secret", change)
        except ServiceError as error:
            logger.info("The hash of the secret of Client/%s was not replaced: %s", id_, error)

    def _warn_if_short(self, id_: str, secret: str) -> None:
        if len(secret) < MIN_SECRET and id_ not in self._warned:
            self._warned.add(id_)
            logger.warning(
                "The secret of Client/%s has fewer than %d characters; replace it with POST /Client/%s/$rotate-secret",
                id_,
                MIN_SECRET,
                id_,
            )

    async def _bearer(self, token: str) -> Principal:
        if is_root_token(token):
            if not await self._root_tokens.verify(token):
                raise Unauthenticated(_INVALID_TOKEN)
            return ROOT
        if self._jwt and _is_jwt(token):
            from service.access.jwt.verifier import InvalidToken  # noqa: PLC0415 - loaded where it is configured

            try:
                claims = await self._jwt.verify(token)
            except InvalidToken as error:
                raise Unauthenticated(f"The token is not trusted: {error.reason}") from None
            return Principal(f"jwt:{claims.get('sub', '')}", jwt=claims)
        return _client_caller(await self._sessions.find(token))

    async def _client(self, id_: str) -> Client | None:
        client: Client | None = await self._repository.find_valid(CLIENT, id_) if CLIENT.is_id(id_) else None
        return client

    def _key_of(self, id_: str, secret: str, address: str) -> bytes:
        # The network belongs to it: a guesser elsewhere must not learn from what is remembered of others.
        text = f"{network(address)} {len(id_)}:{id_}{secret}"
        return hmac.digest(self._key, text.encode(errors="surrogateescape"), "sha256")

    def _remember(self, key: bytes, verified: VerifiedCredential) -> None:
        self._verified[key] = verified
        if len(self._verified) > MAX_REMEMBERED:
            self._verified.popitem(last=False)


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


def _caller(verified: VerifiedCredential) -> Principal:
    return ROOT if verified is _ROOT else _client_caller(verified[0])


@lru_cache(maxsize=1024)
def _client_caller(id_: str) -> Principal:
    return Principal(f"Client/{id_}", id_)


def _is_jwt(token: str) -> bool:
    return token.count(".") == 2  # noqa: PLR2004 - header, payload and signature
