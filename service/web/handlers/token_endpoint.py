"""POST /auth/token: an access token for a client's credentials. POST /auth/revoke: the end of one.

Sources: https://www.rfc-editor.org/rfc/rfc6749#section-4.4, https://www.rfc-editor.org/rfc/rfc7009
"""

from collections.abc import Mapping
from typing import Any

from aiohttp import hdrs, web
from marshmallow import EXCLUDE, pre_load

from service.access.callers.credentials import parse_basic
from service.access.callers.principals import Principal
from service.access.types import CLIENT_CREDENTIALS
from service.errors import (
    Invalid,
    InvalidRequest,
    Issue,
    RouteNotFound,
    StoreUnavailable,
    Throttled,
    Unauthenticated,
    UnsupportedGrantType,
)
from service.resources.fields import Text
from service.resources.schemas import Reader, WireSchema
from service.web.access import authorization_header, challenge, client_address
from service.web.context import CONTEXT, Access
from service.web.openapi.metadata import documented
from service.web.rendering import NO_STORE, render
from service.web.routing import Guard, Route


class OAuthRequest(WireSchema):
    """Credentials may come in a Basic header instead.

    Unknown parameters are ignored, and a parameter without a value counts as not sent.
    Source: https://www.rfc-editor.org/rfc/rfc6749#section-3.2
    """

    class Meta:
        unknown = EXCLUDE

    client_id = Text(data_key="client_id")
    client_secret = Text(data_key="client_secret")

    @pre_load
    def _empty_is_absent(self, data: Any, **_: Any) -> Any:
        return {name: value for name, value in data.items() if value != ""} if isinstance(data, Mapping) else data


class TokenRequest(OAuthRequest):
    """The body of a token request. Any ``scope`` is accepted, and the policies decide what the client may do."""

    grant_type = Text(data_key="grant_type", required=True)
    scope = Text()


class RevocationRequest(OAuthRequest):
    """The body of a revocation request. A ``token_type_hint`` is not needed.

    Source: https://www.rfc-editor.org/rfc/rfc7009#section-2.1
    """

    token = Text(required=True)


_REQUEST = Reader(TokenRequest)
_REVOCATION = Reader(RevocationRequest)


@documented(
    "token",
    "Get an access token for a client's credentials",
    answer="Token",
    body="TokenRequest",
    errors=(RouteNotFound, StoreUnavailable, Throttled, Unauthenticated),
)
async def token(request: web.Request) -> web.Response:
    access = _access(request)
    request[CONTEXT].app.audit.check()
    asked = _REQUEST.read(request[CONTEXT].body)
    if asked["grant_type"] != CLIENT_CREDENTIALS:
        raise UnsupportedGrantType
    try:
        id_, secret = _credentials(request, asked)
        caller, text, seconds = await access.callers.issue_token(id_, secret, address=client_address(request))
    except Unauthenticated as error:
        raise challenge(request, error) from None
    _audit(request, caller, caller.name, _ISSUE)
    body = {"token_type": "Bearer", "access_token": text, "expires_in": seconds}
    return render(request, body, headers=NO_STORE)


@documented(
    "revoke",
    "End an access token; one that is unknown has ended",
    answer="Revoked",
    body="RevocationRequest",
    errors=(RouteNotFound, StoreUnavailable, Throttled, Unauthenticated),
)
async def revoke(request: web.Request) -> web.Response:
    access = _access(request)
    request[CONTEXT].app.audit.check()
    asked = _REVOCATION.read(request[CONTEXT].body)
    try:
        id_, secret = _credentials(request, asked)
        caller, client = await access.callers.revoke(id_, secret, asked["token"], address=client_address(request))
    except Unauthenticated as error:
        raise challenge(request, error) from None
    if client is not None:
        _audit(request, caller, f"Client/{client}", _REVOKE)
    return render(request, {}, headers=NO_STORE)


def _access(request: web.Request) -> Access:
    context = request[CONTEXT]
    if context.app.access is None:
        raise RouteNotFound(f"{context.route.pattern}, as nobody is asked for credentials here,")
    return context.app.access


def _audit(request: web.Request, caller: Principal, resource: str, operation: str) -> None:
    request[CONTEXT].app.audit.changed(
        caller=caller.name,
        address=client_address(request),
        policy=None,
        operation=operation,
        method=request.method,
        resource=resource,
        request_id=request[CONTEXT].request_id,
    )


def _credentials(request: web.Request, asked: dict[str, str]) -> tuple[str, str]:
    if (given := authorization_header(request)) is not None:
        id_, secret = parse_basic(given)
        # Source: https://www.rfc-editor.org/rfc/rfc6749#section-2.3
        if "client_secret" in asked or asked.get("client_id", id_) != id_:
            raise InvalidRequest("Credentials are in the Authorization header and in the body; send one of them")
        return id_, secret
    missing = [name for name in ("client_id", "client_secret") if name not in asked]
    if missing:
        raise Invalid(*(Issue(f"{name} is missing; or send a Basic Authorization header", name) for name in missing))
    return asked["client_id"], asked["client_secret"]


_ISSUE, _REVOKE = "issue-token", "revoke-token"

# Both authenticate the client themselves, as its credentials may be in the body.
ROUTES = (
    Route(hdrs.METH_POST, "/auth/token", token, guard=Guard.PUBLIC, form=True, oauth=True, operation=_ISSUE),
    Route(hdrs.METH_POST, "/auth/revoke", revoke, guard=Guard.PUBLIC, form=True, oauth=True, operation=_REVOKE),
)
