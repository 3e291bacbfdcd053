"""POST /auth/token issues an access token for a client's credentials, POST /auth/revoke ends one.

Sources: https://www.rfc-editor.org/rfc/rfc6749#section-4.4, https://www.rfc-editor.org/rfc/rfc7009
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

from aiohttp import hdrs, web
from marshmallow import EXCLUDE, fields, pre_load

from service.access.callers.credentials import parse_basic
from service.access.client import CLIENT_CREDENTIALS
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
from service.web.access import authorization_header, client_address
from service.web.audit import audit_change
from service.web.context import CONTEXT, Access
from service.web.openapi.metadata import documented
from service.web.rendering import NO_STORE, render
from service.web.routing import Guard, Route


class OAuthRequest(WireSchema):
    """The fields that both bodies share. Credentials may be in a Basic header instead.

    Unknown parameters are ignored. A parameter without a value counts as not sent.
    Source: https://www.rfc-editor.org/rfc/rfc6749#section-3.2
    """

    class Meta:
        unknown = EXCLUDE

    client_id = Text(data_key="client_id", metadata={"description": "The id of the Client.", "examples": ["my-client"]})
    client_secret = Text(
        data_key="client_secret",
        metadata={"description": "The secret of the Client.", "examples": ["<client-secret>"]},
    )

    @pre_load
    def _empty_is_absent(self, data: Any, **_: Any) -> Any:
        return {name: value for name, value in data.items() if value != ""} if isinstance(data, Mapping) else data


class TokenRequest(OAuthRequest):
    """The body of a token request. Any ``scope`` is accepted and has no effect: policies limit the client."""

    grant_type = Text(
        data_key="grant_type", required=True, metadata={"const": CLIENT_CREDENTIALS, "examples": [CLIENT_CREDENTIALS]}
    )
    scope = fields.Raw(metadata={"description": "Accepted in any form, and ignored."})


class RevocationRequest(OAuthRequest):
    """The body of a revocation request. A ``token_type_hint`` is ignored.

    Source: https://www.rfc-editor.org/rfc/rfc7009#section-2.1
    """

    # A token with another character is none of ours. As an unknown token it would count as ended, and stay valid.
    # Source: https://www.rfc-editor.org/rfc/rfc6750#section-2.1
    token = Text(
        "[A-Za-z0-9._~+/=-]+",
        "must be the token alone, of A-Z a-z 0-9 . _ ~ + / = -",
        visible=True,
        required=True,
        metadata={"minLength": 1, "description": "The access token to end.", "examples": ["my-access-token"]},
    )


_TOKEN = Reader(TokenRequest)
_REVOCATION = Reader(RevocationRequest)
_ISSUE, _REVOKE = "issue-token", "revoke-token"
_ERRORS = (RouteNotFound, StoreUnavailable, Throttled, Unauthenticated)


@documented(
    "token",
    "Get an access token",
    description="Issues a Bearer token for the id and secret of a Client with the grant type `client_credentials`, as"
    " OAuth 2.0 describes it. The credentials are in the body or in a Basic Authorization header.",
    response="Token",
    request_body="TokenRequest",
    errors=_ERRORS,
)
async def token(request: web.Request) -> web.Response:
    access, values = _read(request, _TOKEN)
    if values["grant_type"] != CLIENT_CREDENTIALS:
        raise UnsupportedGrantType
    id_, secret = _credentials(request, values)
    caller, text, seconds = await access.authenticator.issue_token(id_, secret, address=client_address(request))
    audit_change(request, _ISSUE, caller.name, caller=caller)
    return render(request, {"token_type": "Bearer", "access_token": text, "expires_in": seconds}, headers=NO_STORE)


@documented(
    "revoke",
    "Revoke an access token",
    description="Ends a token of the client before its time. A token that is unknown counts as ended.",
    response="Revoked",
    request_body="RevocationRequest",
    errors=_ERRORS,
)
async def revoke(request: web.Request) -> web.Response:
    access, values = _read(request, _REVOCATION)
    id_, secret = _credentials(request, values)
    caller, client = await access.authenticator.revoke(id_, secret, values["token"], address=client_address(request))
    if client is not None:
        audit_change(request, _REVOKE, f"Client/{client}", caller=caller)
    return render(request, {}, headers=NO_STORE)


def _read(request: web.Request, reader: Reader) -> tuple[Access, dict[str, str]]:
    """Return the access control and the values of the body. Raises AuditUnavailable if the log accepts no line."""
    context = request[CONTEXT]
    if context.app.access is None:
        raise RouteNotFound(f"{context.route.pattern} (the service runs without authentication)")
    context.app.audit.check()
    return context.app.access, reader.read(context.body)


def _credentials(request: web.Request, values: Mapping[str, str]) -> tuple[str, str]:
    """Return the client id and secret of the Basic header or of the body."""
    if (authorization := authorization_header(request)) is not None:
        id_, secret = parse_basic(authorization)
        # Source: https://www.rfc-editor.org/rfc/rfc6749#section-2.3
        if "client_secret" in values or values.get("client_id", id_) != id_:
            raise InvalidRequest("Credentials are in the Authorization header and in the body; send one of them")
        return id_, secret
    missing = [name for name in ("client_id", "client_secret") if name not in values]
    if missing:
        raise Invalid(*(Issue(f"{name} is missing; or send a Basic Authorization header", name) for name in missing))
    return values["client_id"], values["client_secret"]


# These handlers authenticate the client themselves, because its credentials may be in the body.
_route = partial(Route, hdrs.METH_POST, guard=Guard.PUBLIC, form=True, oauth=True)
ROUTES = (
    _route("/auth/token", token, operation=_ISSUE),
    _route("/auth/revoke", revoke, operation=_REVOKE),
)
