"""The body of a request: how it arrives, and what is in it."""

import asyncio
from collections.abc import Awaitable
from typing import Literal

from aiohttp import HttpVersion11, hdrs, web

from service.errors import BodyTooLarge, MalformedBody, UnsupportedMediaType
from service.resources.schemas import Document
from service.web import codec, media, target
from service.web.codec import Format
from service.web.context import Exchange

BODY_SECONDS = 30

BodyFormat = Format | Literal["form"]


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
        exchange.settle(media.DEFAULT_TYPES[form])
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
