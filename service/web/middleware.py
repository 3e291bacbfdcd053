"""What every request passes on its way to a handler: the steps of ``stack``, and what becomes of it in any case."""

import logging
import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from http import HTTPStatus
from ipaddress import ip_address
from itertools import count
from time import perf_counter
from urllib.parse import urlsplit

from aiohttp import hdrs, web
from multidict import istr

from service.errors import (
    AuditUnavailable,
    Forbidden,
    Internal,
    Invalid,
    Issue,
    NotAcceptable,
    Overloaded,
    ServiceError,
    Throttled,
    Unauthenticated,
    Unsealable,
)
from service.telemetry.metrics import METHODS, OTHER_METHOD, REQUESTS
from service.web import target
from service.web.access import callers, permissions
from service.web.answer import Answer, head_of, header, respond
from service.web.body import bodies
from service.web.context import UNSETTLED, Exchange, Shared
from service.web.outcome import outcome
from service.web.routing import Guard, Route, Step

logger = logging.getLogger(__name__)

# An istr is found in a table of headers in half the time.
_X_REQUEST_ID = istr("X-Request-Id")
_PROCESS_ID = secrets.token_hex(4)
_REQUESTS = count()
_REQUEST_ID = re.compile("[A-Za-z0-9._-]{1,128}")
_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
_PREFLIGHT = head_of(
    HTTPStatus.NO_CONTENT,
    {
        "Access-Control-Allow-Methods": "GET, HEAD, POST, PUT, PATCH, DELETE",
        "Access-Control-Allow-Headers": "authorization, content-type, if-match, if-none-match, x-request-id",
        "Access-Control-Max-Age": "600",
    },
)
_VARIES = header("Vary", "Origin")
_EXPOSED = _VARIES + header(
    "Access-Control-Expose-Headers", "etag, last-modified, location, retry-after, x-duration, x-request-id"
)


async def answered(shared: Shared, route: Route, steps: Sequence[Step], request: web.BaseRequest) -> Answer:
    """Give the request its id, and an answer whatever goes wrong; count it, and tell the time it took."""
    started = perf_counter()
    given = request.headers.get(_X_REQUEST_ID)
    request_id = given if given and _REQUEST_ID.fullmatch(given) else f"{_PROCESS_ID}{next(_REQUESTS):08x}"
    exchange = Exchange(request, request_id, shared, route)
    readiness = shared.readiness
    readiness.in_flight += 1
    if readiness.in_flight > shared.max_concurrency and not route.operations:
        steps = (_overloaded,)
    try:
        for step in steps:
            # A coroutine for each step that need not wait would take longer than the step.
            if (early := step(exchange)) is not None:
                answer = early if isinstance(early, Answer) else await early
                if answer is not None:
                    break
        else:
            last = route.handler(exchange)
            answer = last if isinstance(last, Answer) else await last
    except Exception as error:  # noqa: BLE001 - whatever it is, it is told as an outcome
        answer = _render(exchange, _translated(exchange, error))
        if request.method == hdrs.METH_CONNECT:
            # aiohttp would take what it came with for the next request, even where it says that it is a body.
            answer.force_close()
    finally:
        readiness.in_flight -= 1
    took = perf_counter() - started
    method = request.method
    REQUESTS[route.pattern, method if method in METHODS else OTHER_METHOD, answer.status].observe(took)
    answer.add(f"X-Request-Id: {request_id}\r\nX-Duration: {took * 1000:.2f}\r\n")
    if shared.cors_origins:
        answer.add(_cors_lines(exchange))
    if readiness.draining:
        answer.force_close()
    return answer


def origins(exchange: Exchange) -> Answer | None:
    """Keep web pages out, but those of allowed origins, whose preflight requests end here.

    A page can reach a loopback port by rebinding a DNS name, or by a POST of a type that needs no preflight.
    """
    request, shared = exchange.request, exchange.shared
    headers = request.headers
    if shared.loopback_only and not _is_loopback(headers.get(hdrs.HOST, "")):
        raise Forbidden("The Host header names no loopback address, and the service is open on loopback only")
    origin = headers.get(hdrs.ORIGIN)
    if origin is None:
        return None
    if origin in shared.cors_origins:
        preflight = request.method == hdrs.METH_OPTIONS and "Access-Control-Request-Method" in headers
        return Answer(_PREFLIGHT, status=HTTPStatus.NO_CONTENT) if preflight else None
    if shared.loopback_only and origin != f"{request.scheme}://{headers.get(hdrs.HOST)}":
        raise Forbidden("Web pages of this Origin may not call the service; SIGNER_CORS_ORIGINS names those that may")
    return None


def formats(exchange: Exchange) -> None:
    """Read the target, and settle the answer's format before anything is done."""
    headers = exchange.request.headers
    exchange.path, sent = target.split(exchange.request)
    exchange.query = query = target.query(sent)
    if hdrs.ACCEPT in headers or hdrs.CONTENT_TYPE in headers or query:
        _negotiate(exchange)


def stack(route: Route, method: str, *, closed: bool) -> Iterator[Step]:
    """What a request passes before the route's handler, in this order; ``closed`` to whoever does not say who calls."""
    yield origins
    yield formats
    if closed and route.guard is not Guard.NOBODY:
        yield callers
    if method in _WITH_BODY:
        yield bodies
    if closed and route.guard is Guard.ROUTE:
        yield permissions


def _overloaded(exchange: Exchange) -> None:
    del exchange
    raise Overloaded


def _cors_lines(exchange: Exchange) -> str:
    origin = exchange.request.headers.get(hdrs.ORIGIN)
    allowed = origin is not None and origin in exchange.shared.cors_origins
    return f"{_EXPOSED}{header(hdrs.ACCESS_CONTROL_ALLOW_ORIGIN, str(origin))}" if allowed else _VARIES


def _negotiate(exchange: Exchange) -> None:
    try:
        exchange.settle(exchange.request.headers.get(hdrs.CONTENT_TYPE))
    except NotAcceptable:
        if not exchange.route.own_type:
            raise
    if exchange.query.get("_pretty", "false") not in {"true", "false"}:
        raise Invalid(Issue("_pretty must be true or false", "_pretty"))


def _render(exchange: Exchange, error: ServiceError) -> Answer:
    if exchange.answer_type is UNSETTLED:
        with suppress(NotAcceptable):
            exchange.settle(exchange.request.headers.get(hdrs.CONTENT_TYPE))
    return respond(exchange, outcome(error), status=error.status, headers=error.headers)


def _translated(exchange: Exchange, error: Exception) -> ServiceError:
    if isinstance(error, Forbidden | Unauthenticated | Throttled):
        return _told(exchange, error)
    if isinstance(error, Unsealable):
        logger.error("Request %s failed: %s", exchange.request_id, error)
    if isinstance(error, ServiceError):
        return error
    logger.error("Request %s failed", exchange.request_id, exc_info=error)
    return Internal(exchange.request_id)


def _told(exchange: Exchange, denial: ServiceError) -> ServiceError:
    """The denial itself, once the audit log tells of it."""
    params = exchange.params
    kind, id_ = params.get("resource/type"), params.get("resource/id")
    try:
        exchange.shared.audit.denied(
            caller=exchange.caller.name,
            operation=exchange.route.operation,
            method=exchange.request.method,
            account=params.get("account"),
            resource=f"{kind}/{id_}" if kind and id_ else kind,
            bucket=params.get("bucket"),
            key=params.get("key"),
            expiration=params.get("expiration"),
            outcome=denial.code,
            request_id=exchange.request_id,
        )
    except AuditUnavailable as unavailable:
        return unavailable
    return denial


@lru_cache(maxsize=256)
def _is_loopback(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname if host.isascii() else None
    except ValueError:
        return False
    if name is None:
        return False
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False
