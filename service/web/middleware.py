"""What every request passes on its way to a handler: the steps of ``stack``, and what becomes of it in any case."""

import asyncio
import logging
import re
import secrets
from collections.abc import Awaitable, Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from http import HTTPStatus
from ipaddress import ip_address
from itertools import count
from time import perf_counter
from typing import Literal
from urllib.parse import urlsplit

from aiohttp import HttpVersion11, hdrs, web
from multidict import istr

from service.errors import (
    AuditUnavailable,
    BodyTooLarge,
    Forbidden,
    Internal,
    Invalid,
    Issue,
    MalformedBody,
    NotAcceptable,
    Overloaded,
    ServiceError,
    Throttled,
    Unauthenticated,
    Unsealable,
    UnsupportedMediaType,
)
from service.resources.schemas import Document
from service.telemetry.metrics import METHODS, OTHER_METHOD, REQUESTS
from service.web import codec, media, target
from service.web.access import callers, permissions
from service.web.answer import Answer, head_of, header, respond
from service.web.codec import Format
from service.web.context import UNSETTLED, Exchange, Shared
from service.web.media import AnswerType
from service.web.outcome import outcome
from service.web.routing import Guard, Route, Step

logger = logging.getLogger(__name__)

BODY_SECONDS = 30

BodyFormat = Format | Literal["form"]

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


def bodies(exchange: Exchange) -> Awaitable[None] | None:
    """Read the body."""
    request, limit = exchange.request, exchange.shared.max_body
    headers = request.headers
    if headers.get(hdrs.CONTENT_ENCODING, "identity").lower() != "identity":
        raise UnsupportedMediaType("A compressed body is not supported; send it without Content-Encoding")
    if headers.get(hdrs.TRANSFER_ENCODING, "chunked").lower() != "chunked":
        # aiohttp finds the end of `gzip, chunked`, and leaves the rest as it is.
        raise UnsupportedMediaType("A compressed body is not supported; send it with Transfer-Encoding: chunked alone")
    form = _body_format(exchange)
    if (request.content_length or 0) > limit:
        raise BodyTooLarge(limit)
    content = request.content
    # Most bodies come in one piece with their heads, and are not waited for.
    if content.is_eof() and content.exception() is None:
        body = content.read_nowait()
        if len(body) > limit:
            raise BodyTooLarge(limit)
        return _take(exchange, body, form)
    return _take_later(exchange, form)


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
        exchange.answer_type = _answer_type(exchange, exchange.request.headers.get(hdrs.CONTENT_TYPE))
    except NotAcceptable:
        if not exchange.route.own_type:
            raise
    if exchange.query.get("_pretty", "false") not in {"true", "false"}:
        raise Invalid(Issue("_pretty must be true or false", "_pretty"))


def _answer_type(exchange: Exchange, body_type: str | None) -> AnswerType:
    # A client may send the header in several lines.
    accept = exchange.request.headers.getall(hdrs.ACCEPT, None)
    wanted = None if accept is None else ",".join(accept)
    return media.answer_type(exchange.query.get("_format"), wanted, body_type)


def _body_format(exchange: Exchange) -> BodyFormat | None:
    """What the body is said to be in, if that is said."""
    content_type = exchange.request.headers.get(hdrs.CONTENT_TYPE)
    if content_type is None:
        return None
    return "form" if exchange.route.form and media.is_form(content_type) else media.body_format(content_type)


def _take(exchange: Exchange, body: bytes, form: BodyFormat | None) -> Awaitable[None] | None:
    if form == "form":
        exchange.body = Document(target.form(body), text=True)
        return None
    if form is None:
        form = codec.sniff(body)
        exchange.answer_type = _answer_type(exchange, media.DEFAULT_TYPES[form])
    if len(body) > codec.LARGE_BODY:
        return _load_elsewhere(exchange, body, form)
    exchange.body = _load(body, form)
    return None


def _load(body: bytes, form: Format) -> Document:
    text = form == "yaml"
    return Document(codec.load_yaml(body) if text else codec.load_json(body), text)


async def _load_elsewhere(exchange: Exchange, body: bytes, form: Format) -> None:
    # It would hold the loop, and all other requests, for too long.
    exchange.body = await asyncio.get_running_loop().run_in_executor(None, _load, body, form)


async def _take_later(exchange: Exchange, form: BodyFormat | None) -> None:
    if waiting := _take(exchange, await _arriving(exchange), form):
        await waiting


async def _arriving(exchange: Exchange) -> bytes:
    request, limit = exchange.request, exchange.shared.max_body
    try:
        async with asyncio.timeout(BODY_SECONDS):
            await _continue(request)
            return await request.read()
    except TimeoutError:
        raise MalformedBody(f"it did not arrive within {BODY_SECONDS} seconds") from None
    except web.HTTPRequestEntityTooLarge:
        raise BodyTooLarge(limit) from None
    except (web.RequestPayloadError, ConnectionError):
        raise MalformedBody("it ends too early or is not framed as HTTP") from None


async def _continue(request: web.BaseRequest) -> None:
    """Ask for a body that is waited for. An expectation that is none of HTTP's may be ignored.

    Source: https://www.rfc-editor.org/rfc/rfc9110#section-10.1.1
    """
    if request.version >= HttpVersion11 and request.headers.get(hdrs.EXPECT, "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        # Otherwise it would count as the beginning of the answer.
        request.writer.output_size = 0


def _render(exchange: Exchange, error: ServiceError) -> Answer:
    if exchange.answer_type is UNSETTLED:
        with suppress(NotAcceptable):
            exchange.answer_type = _answer_type(exchange, exchange.request.headers.get(hdrs.CONTENT_TYPE))
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
