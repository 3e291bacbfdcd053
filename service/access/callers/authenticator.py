"""Authentication: the Authorization header to a principal. It takes Basic, opaque Bearer tokens and JWTs.

Source: https://www.rfc-editor.org/rfc/rfc6750
"""

from typing import TYPE_CHECKING

from service.access.callers.credentials import ROOT_CREDENTIAL, CredentialVerifier, VerifiedCredential, parse_basic
from service.access.callers.principals import ROOT, Principal, client_principal
from service.access.callers.root import RootTokens, is_root_token
from service.access.callers.tokens import INVALID_TOKEN, AccessTokens
from service.access.client import BASIC, CLIENT_CREDENTIALS
from service.errors import Unauthenticated, UnsupportedTokenType

if TYPE_CHECKING:
    from service.access.jwt.verifier import JwtVerifier


class Authenticator:
    """Authenticates requests, and issues and revokes access tokens."""

    def __init__(
        self,
        credentials: CredentialVerifier,
        tokens: AccessTokens,
        root_tokens: RootTokens,
        *,
        jwt: "JwtVerifier | None" = None,
    ) -> None:
        self._credentials = credentials
        self._tokens = tokens
        self._root_tokens = root_tokens
        self._jwt = jwt

    async def open(self) -> None:
        """Fetch the keys that verify JWTs. A failure is logged."""
        if self._jwt:
            await self._jwt.open()

    async def close(self) -> None:
        self._credentials.close()
        if self._jwt:
            await self._jwt.close()

    async def authenticate(self, authorization: str, *, address: str) -> Principal:
        """Return the principal of an Authorization header. ``address`` is the client's, to limit guessing.

        Raises:
            Unauthenticated: for anything but valid credentials.
            Throttled: after too many wrong ones.
            StoreUnavailable: if they cannot be verified.
        """
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() == "bearer":
            return await self._verify_token(token.strip())
        id_, secret = parse_basic(authorization)
        return await self.login(id_, secret, grant=BASIC, address=address)

    async def login(self, id_: str, secret: str, *, grant: str, address: str) -> Principal:
        """Return the principal of a client id and a secret. See ``CredentialVerifier.verify``."""
        return _principal(await self._credentials.verify(id_, secret, grant=grant, address=address))

    async def issue_token(self, id_: str, secret: str, *, address: str) -> tuple[Principal, str, int]:
        """Return the principal, a new access token and its lifetime in seconds. Raises as ``authenticate`` does."""
        verified = await self._credentials.verify(id_, secret, grant=CLIENT_CREDENTIALS, address=address)
        if verified is ROOT_CREDENTIAL:
            token, seconds = await self._root_tokens.issue()
        else:
            token, seconds = await self._tokens.issue(*verified)
        return _principal(verified), token, seconds

    async def revoke(self, id_: str, secret: str, token: str, *, address: str) -> tuple[Principal, str | None]:
        """Revoke a token of the client; the root client may revoke those of any Client.

        Returns the principal, and the id of the token's Client or None for an unknown token.

        Raises as ``authenticate`` does, and:
            TokenOfAnotherClient: if the principal may not revoke the token.
            UnsupportedTokenType: for a JWT or a root token, which only expire.
        """
        principal = await self.login(id_, secret, grant=CLIENT_CREDENTIALS, address=address)
        if is_root_token(token) or _is_jwt(token):
            raise UnsupportedTokenType
        return principal, await self._tokens.revoke(token, client=principal.client)

    async def _verify_token(self, token: str) -> Principal:
        if is_root_token(token):
            if not await self._root_tokens.verify(token):
                raise Unauthenticated(INVALID_TOKEN)
            return ROOT
        if self._jwt and _is_jwt(token):
            claims = await self._jwt.verify(token)
            return Principal(f"jwt:{claims.get('sub', '')}", jwt=claims)
        return client_principal(await self._tokens.verify(token))


def _principal(verified: VerifiedCredential) -> Principal:
    return ROOT if verified is ROOT_CREDENTIAL else client_principal(verified.client)


def _is_jwt(token: str) -> bool:
    return token.count(".") == 2  # noqa: PLR2004 - header, payload and signature
