"""Who calls, and may they? A step that tells the caller of each request, and what handlers ask before they act."""

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import hdrs

from service.access.callers import Caller, Callers
from service.access.policies import Policies, Rules
from service.errors import Forbidden, Unauthenticated
from service.web import target
from service.web.context import Exchange

_REALM = 'realm="s3-signer", charset="UTF-8"'
# A policy that looked at these would show them to whoever may ask for an explanation.
_HIDDEN_HEADERS = frozenset({"authorization", "cookie", "proxy-authorization"})
_FORBIDDEN = "The caller may not do this; no access policy allows it"


@dataclass(frozen=True, slots=True)
class Access:
    """What callers and policies are asked of."""

    callers: Callers
    policies: Policies

    async def open(self) -> None:
        await self.callers.open()

    async def close(self) -> None:
        await self.callers.close()


def callers(exchange: Exchange) -> Awaitable[None] | None:
    """Tell who calls, or refuse who does not say so; everybody is let in where nobody is asked."""
    access = exchange.shared.access
    if access is None or exchange.request.method == hdrs.METH_OPTIONS:
        return None
    given = authorization(exchange)
    if given is None:
        raise challenge(exchange, Unauthenticated("Credentials are needed: Basic, or a Bearer token"))
    caller = access.callers.at_hand(given, address=address(exchange))
    if caller is None:
        return _identify(exchange, access, given)
    exchange.caller = caller
    return None


async def _identify(exchange: Exchange, access: Access, given: str) -> None:
    try:
        exchange.caller = await access.callers.identify(given, address=address(exchange))
    except Unauthenticated as error:
        raise challenge(exchange, error) from None


def authorization(exchange: Exchange) -> str | None:
    """The Authorization header, None if there is none. Raises Unauthenticated for several.

    A gateway in front may have looked at another one of them.
    """
    given = exchange.request.headers.getall(hdrs.AUTHORIZATION, None)
    if given is None:
        return None
    if len(given) > 1:
        raise challenge(exchange, Unauthenticated("There is more than one Authorization header"))
    return given[0]


def challenge(exchange: Exchange, error: Unauthenticated) -> Unauthenticated:
    """The same error, with what the client may try; a page's browser would ask for a password and keep it."""
    schemes = [f"Bearer {_REALM}"] if "Sec-Fetch-Site" in exchange.request.headers else _schemes()
    error.headers = {hdrs.WWW_AUTHENTICATE: ", ".join(schemes)}
    return error


def _schemes() -> list[str]:
    return [f"Basic {_REALM}", f"Bearer {_REALM}"]


def address(exchange: Exchange) -> str:
    """Where the request comes from; empty for a unix socket."""
    return exchange.request.remote or ""


def permissions(exchange: Exchange) -> Awaitable[None] | None:
    """Ask whether the caller may call the route."""
    return permit(exchange, {})


async def permitted(exchange: Exchange, params: Mapping[str, Any]) -> None:
    """See ``permit``."""
    if (waiting := permit(exchange, params)) is not None:
        await waiting


def permit(exchange: Exchange, params: Mapping[str, Any]) -> Awaitable[None] | None:
    """Raise Forbidden unless a policy allows the request with these ``params``; at once where that is known."""
    caller = exchange.caller
    access = exchange.shared.access
    if caller.unlimited or access is None:
        return None
    rules = access.policies.at_hand(caller)
    if rules is None:
        return _permit_later(exchange, access, params)
    _judge(exchange, rules, params)
    return None


async def _permit_later(exchange: Exchange, access: Access, params: Mapping[str, Any]) -> None:
    _judge(exchange, await access.policies.of(exchange.caller), params)


def _judge(exchange: Exchange, rules: Rules, params: Mapping[str, Any]) -> None:
    exchange.params = params
    policy = rules.allowing(_request(exchange, params, rules.names))
    if policy is None:
        raise Forbidden(_FORBIDDEN)
    exchange.policy = policy


def _request(exchange: Exchange, params: Mapping[str, Any], names: frozenset[str]) -> dict[str, Any]:
    """The request as policies see it. What takes time is there if ``names`` ask for it."""
    caller, request = exchange.caller, exchange.request
    method = exchange.route.judged_as or request.method
    seen: dict[str, Any] = {"request-method": request_method(method), "params": params}
    if "uri" in names:
        seen["uri"] = "/" + "/".join(target.segments(exchange.path, 64))
    if "client" in names:
        seen["client"] = _client(caller)
    if "jwt" in names:
        seen["jwt"] = caller.jwt or None
    if "headers" in names:
        headers = request.headers
        lowered = {name.lower() for name in headers} - _HIDDEN_HEADERS
        seen["headers"] = {name: ", ".join(headers.getall(name)) for name in lowered}
    if "body" in names:
        seen["body"] = exchange.body.values
    return seen


def request_method(method: str) -> str:
    """The method as policies see it.

    A HEAD is a GET whose content is not sent. Source: https://www.rfc-editor.org/rfc/rfc9110#section-9.3.2
    """
    lowered = method.lower()
    return "get" if lowered == "head" else lowered


def _client(caller: Caller) -> dict[str, str] | None:
    return {"id": caller.client, "resourceType": "Client"} if caller.client else None
