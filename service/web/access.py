"""Authentication and authorization of one HTTP request."""

from collections.abc import Mapping
from typing import Any

from aiohttp import hdrs, web

from service.access.callers.principals import Principal
from service.errors import Forbidden, Unauthenticated
from service.web import target
from service.web.context import CONTEXT, Access
from service.web.forwarded import UNIX_SOCKET
from service.web.routing import mount_prefix

_REALM = 'realm="s3-signer", charset="UTF-8"'
# The explanation of a policy shows the values that it looked at, and nobody may see these.
_HIDDEN_HEADERS = frozenset({"authorization", "cookie", "proxy-authorization"})
_FORBIDDEN = "The caller may not do this; no access policy allows it"


async def identify(request: web.Request, access: Access) -> Principal:
    """Return the caller. Raises Unauthenticated, with a challenge, for missing or wrong credentials."""
    authorization = authorization_header(request)
    if authorization is None:
        raise challenge(request, Unauthenticated("Credentials are needed: Basic, or a Bearer token"))
    try:
        return await access.callers.authenticate(authorization, address=client_address(request))
    except Unauthenticated as error:
        raise challenge(request, error) from None


def authorization_header(request: web.Request) -> str | None:
    """The Authorization header, None if there is none. Raises Unauthenticated for more than one.

    With two, a gateway in front may have checked the other one.
    """
    given = request.headers.getall(hdrs.AUTHORIZATION, None)
    if given is None:
        return None
    if len(given) > 1:
        raise challenge(request, Unauthenticated("There is more than one Authorization header"))
    return given[0]


def challenge(request: web.Request, error: Unauthenticated) -> Unauthenticated:
    """The same error with a WWW-Authenticate header.

    A request that comes from a page gets no Basic challenge: its browser would ask for a password and keep it.
    """
    schemes = ("Bearer",) if "Sec-Fetch-Site" in request.headers else ("Basic", "Bearer")
    error.headers = {hdrs.WWW_AUTHENTICATE: ", ".join(f"{scheme} {_REALM}" for scheme in schemes)}
    return error


def client_address(request: web.Request) -> str:
    """The client's IP address as the trusted proxies say it, ``unix`` for a unix socket."""
    peer = request.remote or UNIX_SOCKET
    proxies = request[CONTEXT].app.proxies
    return proxies.client(peer, request.headers.getall(proxies.header, ())) if proxies else peer


async def require_permission(request: web.Request, params: Mapping[str, Any]) -> None:
    """Raise Forbidden unless a policy allows the request with these ``params``.

    Raises StoreUnavailable and Overloaded, too.
    """
    context = request[CONTEXT]
    access = context.app.access
    if access is None or context.caller.unlimited:
        return
    context.params = params
    rules = await access.policies.for_principal(context.caller)
    context.policy = await access.judge.first_match(rules, _policy_request(request, params, rules.names))
    if context.policy is None:
        raise Forbidden(_FORBIDDEN)


def _policy_request(request: web.Request, params: Mapping[str, Any], names: frozenset[str]) -> dict[str, Any]:
    """The request as policies see it. Parts that no policy mentions are left out if they take time to build."""
    context = request[CONTEXT]
    caller = context.caller
    seen: dict[str, Any] = {
        "request-method": policy_request_method(context.route.policy_method or request.method),
        "params": params,
    }
    if "uri" in names:
        seen["uri"] = target.decode(target.split(request)[0], "path").removeprefix(mount_prefix(request, context.route))
    if "client" in names:
        seen["client"] = {"id": caller.client, "resourceType": "Client"} if caller.client else None
    if "jwt" in names:
        seen["jwt"] = caller.jwt or None
    if "headers" in names:
        headers = request.headers
        lowered = {name.lower() for name in headers} - _HIDDEN_HEADERS
        seen["headers"] = {name: ", ".join(headers.getall(name)) for name in lowered}
    if "body" in names:
        seen["body"] = context.body.values
    return seen


def policy_request_method(method: str) -> str:
    """The method as policies see it, in lower case. A HEAD is a GET without content.

    Source: https://www.rfc-editor.org/rfc/rfc9110#section-9.3.2
    """
    lowered = method.lower()
    return "get" if lowered == "head" else lowered
