"""Authentication and authorization of one HTTP request."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import hdrs, web

from service.access.callers.principals import Principal
from service.errors import Forbidden, Unauthenticated
from service.stores.pacing import take_turn
from service.web import target
from service.web.context import CONTEXT, Access
from service.web.forwarded import UNIX_SOCKET
from service.web.routing import mount_prefix

_REALM = 'realm="s3-signer", charset="UTF-8"'
# The explanation of a policy shows the values that it compared, and must not show credentials.
_HIDDEN_HEADERS = frozenset({"authorization", "cookie", "proxy-authorization"})
_FORBIDDEN = "The caller may not do this; no access policy allows it"


async def identify(request: web.Request, access: Access) -> Principal:
    """Return the caller. Raises Unauthenticated for missing or wrong credentials."""
    authorization = authorization_header(request)
    if authorization is None:
        raise Unauthenticated("Credentials are needed: Basic, or a Bearer token")
    return await access.authenticator.authenticate(authorization, address=client_address(request))


def authorization_header(request: web.Request) -> str | None:
    """Return the Authorization header, None if it is missing or empty.

    Raises:
        Unauthenticated: for several such headers. A gateway in front may have checked another one.
    """
    given = request.headers.getall(hdrs.AUTHORIZATION, None)
    if given is None:
        return None
    if len(given) > 1:
        raise Unauthenticated("There is more than one Authorization header")
    return given[0] or None


def challenge(request: web.Request) -> dict[str, str]:
    """Return the WWW-Authenticate header of a 401.

    A web page gets no Basic challenge: its browser would prompt for a password and keep it.
    """
    schemes = ("Bearer",) if "Sec-Fetch-Site" in request.headers else ("Basic", "Bearer")
    return {hdrs.WWW_AUTHENTICATE: ", ".join(f"{scheme} {_REALM}" for scheme in schemes)}


def client_address(request: web.Request) -> str:
    """Return the client's IP address as the trusted proxies report it, or ``unix`` for a unix socket."""
    context = request[CONTEXT]
    if context.address is None:
        peer, proxies = request.remote or UNIX_SOCKET, context.app.proxies
        context.address = proxies.client(peer, request.headers.getall(proxies.header, ())) if proxies else peer
    return context.address


async def require_permission(
    request: web.Request,
    params: Mapping[str, Any],
    *,
    validate_body: Callable[[], Awaitable[None]] | None = None,
    instead: Mapping[str, Any] = target.NOTHING,
) -> None:
    """Raise Forbidden unless a policy allows the request with these ``params``.

    Args:
        request: The request.
        params: The ``params`` that policies see.
        validate_body: Raises Invalid for an invalid body. It is called if a policy reads the body.
        instead: Parts that policies see in place of those of the request, for one item of a batch.

    Raises:
        Forbidden: if no policy allows the request.
        StoreUnavailable: if the policies cannot be read.
        Overloaded: if too many evaluations are waiting.
    """
    context = request[CONTEXT]
    access = context.app.access
    if access is None or context.caller.unlimited:
        return
    rules = await access.policies.for_principal(context.caller)
    # Policies must not see an invalid body. Validation takes time, so it is left out if no policy reads the body.
    if validate_body and "body" in rules.names:
        # It may take 10 ms, as may the compilation of changed policies before and the write after it.
        await validate_body()
        await take_turn()
    context.params = params
    visible = _policy_request(request, params, rules.names)
    if instead:
        visible |= instead
    context.policy = await access.evaluator.first_match(rules, visible)
    if context.policy is None:
        raise Forbidden(_FORBIDDEN)


def _policy_request(request: web.Request, params: Mapping[str, Any], names: frozenset[str]) -> dict[str, Any]:
    """Return the request as policies see it. Parts that no policy mentions are omitted if they take time to build."""
    context = request[CONTEXT]
    caller = context.caller
    visible: dict[str, Any] = {
        "request-method": policy_request_method(context.route.policy_method or request.method),
        "params": params,
    }
    if "uri" in names:
        path = target.decode(target.split(request)[0], "path")
        visible["uri"] = path.removeprefix(mount_prefix(request, context.route))
    if "client" in names:
        visible["client"] = {"id": caller.client, "resourceType": "Client"} if caller.client else None
    if "jwt" in names:
        visible["jwt"] = caller.jwt or None
    if "headers" in names:
        headers = request.headers
        lowered = {name.lower() for name in headers} - _HIDDEN_HEADERS
        visible["headers"] = {name: ", ".join(headers.getall(name)) for name in lowered}
    if "body" in names:
        visible["body"] = context.body.values
    return visible


def policy_request_method(method: str) -> str:
    """Return the method as policies see it, in lower case. A HEAD is a GET without content.

    Source: https://www.rfc-editor.org/rfc/rfc9110#section-9.3.2
    """
    lowered = method.lower()
    return "get" if lowered == "head" else lowered
