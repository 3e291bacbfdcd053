"""Read the body of a request into plain data, within limits of size, time and memory."""

import asyncio
import ctypes
import re
from collections.abc import Mapping
from functools import partial
from time import perf_counter
from typing import Literal

from aiohttp import HttpVersion11, hdrs, web

from service.errors import BodyTooLarge, InvalidRequest, MalformedBody, Overloaded, UnsupportedMediaType
from service.resources.schemas import ParsedBody
from service.stores.pacing import take_turn
from service.web import target
from service.web.background import in_background
from service.web.context import CONTEXT, ServerState
from service.web.formats import codec, media
from service.web.formats.codec import Format
from service.web.formats.media import BodyFormat
from service.web.formats.negotiation import negotiated_type
from service.web.routing import Guard

BODY_SECONDS = 30
MAX_ANONYMOUS_BODY = 8 * 1024
SMALL_BODY = 8 * 1024
# A longer one can take some milliseconds.
SHORT_BODY = 256
# The limit for the sum of all large bodies of one process that arrive or wait to be parsed.
MAX_ARRIVING_BYTES = 32 * 1024 * 1024
RETURNED_BYTES = MAX_ARRIVING_BYTES // 2

# Token requests are shorter, except for a secret of 512 escaped characters.
ORDINARY_ANONYMOUS_BODY = 1024


_starts_like_form = re.compile(rb"[A-Za-z0-9._~%+*-]+=").match
_find_control = re.compile(rb"[\x00-\x1f\x7f]").search


async def read(request: web.Request) -> ParsedBody:
    """Return the body as plain data.

    Raises:
        InvalidRequest: for a part of a body.
        UnsupportedMediaType: for a compressed body, or a type or charset that the route does not support.
        BodyTooLarge: for a body above the limit.
        Overloaded: if the large bodies of all requests need too much memory.
        MalformedBody: for a body that does not arrive in time or cannot be parsed.
    """
    if any(request.headers.getall(hdrs.CONTENT_RANGE, ())):
        # Source: https://www.rfc-editor.org/rfc/rfc9110#section-14.5
        raise InvalidRequest("Content-Range is not supported: send the whole body, without this header")
    _check_encoding(request)
    body_format = _body_format(request)
    reservation = _Reservation(request[CONTEXT].app.state)
    try:
        body = await _receive(request, reservation)
        # A body that waits to be parsed takes as much memory as one that arrives.
        return await _parse_throttled(request, body, body_format)
    finally:
        if reservation.size:
            reservation.release()


class _Reservation:
    """The part of MAX_ARRIVING_BYTES that one large body takes."""

    __slots__ = ("_state", "size")

    def __init__(self, state: ServerState) -> None:
        self._state = state
        self.size = 0

    def grow(self, size: int, limit: int) -> None:
        """Extend the reservation to ``size`` bytes. Raises Overloaded if the sum of all is too large."""
        state = self._state
        state.large_body_bytes += size - self.size
        self.size = size
        state.large_body_peak = max(state.large_body_peak, state.large_body_bytes)
        if state.large_body_bytes > max(MAX_ARRIVING_BYTES, limit):
            raise Overloaded

    def release(self) -> None:
        state = self._state
        state.large_body_bytes -= self.size
        if not state.large_body_bytes and state.large_body_peak > RETURNED_BYTES:
            state.large_body_peak = 0
            asyncio.get_running_loop().call_soon(_return_memory)


async def _parse_throttled(request: web.Request, body: bytes, body_format: BodyFormat | None) -> ParsedBody:
    context = request[CONTEXT]
    if context.route.guard is not Guard.PUBLIC or len(body) <= ORDINARY_ANONYMOUS_BODY:
        return await _parse_body(request, body, body_format)
    # Anyone can send many of these. They are parsed one at a time, in at most half of the event loop's time.
    async with context.app.state.anonymous_bodies:
        started = perf_counter()
        try:
            return await _parse_body(request, body, body_format)
        finally:
            await asyncio.sleep(perf_counter() - started)


async def _parse_body(request: web.Request, body: bytes, body_format: BodyFormat | None) -> ParsedBody:
    if body_format == "form":
        return ParsedBody(_form(body), text=True)
    if body_format is None:
        if request[CONTEXT].route.form and _starts_like_form(body):
            raise UnsupportedMediaType(f"This body looks like a form; send it with Content-Type: {media.FORM}")
        body_format = codec.detect_format(body)
        if body.strip():
            request[CONTEXT].response_type = negotiated_type(request, body_type=media.DEFAULT_TYPES[body_format])
    if len(body) > codec.LARGE_BODY:
        parsed = await in_background(partial(_parse, body, body_format))
        # The work on it is long, too.
        await take_turn()
        return parsed
    if len(body) > SHORT_BODY:
        await take_turn()
    return _parse(body, body_format)


def _check_encoding(request: web.Request) -> None:
    if _codings(request, hdrs.CONTENT_ENCODING) - {"identity"}:
        raise UnsupportedMediaType("A body with this Content-Encoding is not supported; send it without the header")
    # aiohttp accepts `gzip, chunked` and leaves the content compressed.
    if _codings(request, hdrs.TRANSFER_ENCODING) - {"chunked"}:
        raise UnsupportedMediaType("A compressed body is not supported; send it with Transfer-Encoding: chunked alone")


def _codings(request: web.Request, header: str) -> set[str]:
    """Return the codings of a comma-separated list, in lower case. The list may be empty.

    Source: https://www.rfc-editor.org/rfc/rfc9110#section-5.6.1
    """
    given = ",".join(request.headers.getall(header, ())).lower()
    # A header can have tens of thousands of commas.
    return {coding.strip() for coding in set(given.split(","))} - {""}


def _body_format(request: web.Request) -> BodyFormat | None:
    """Return the format of the Content-Type; None if it is missing or empty."""
    content_type = request.headers.get(hdrs.CONTENT_TYPE, "").strip()
    if not content_type:
        return None
    return media.body_format(
        content_type,
        takes_form=request[CONTEXT].route.form,
        takes_json_patch=request.method == hdrs.METH_PATCH,
    )


def _form(body: bytes) -> Mapping[str, str]:
    # curl and others send a body as a form unless its type is stated.
    if codec.detect_format(body) == "json":
        raise MalformedBody("it looks like JSON, not a form; send it with Content-Type: application/json")
    if found := _find_control(body):
        raise MalformedBody(
            f"a form has no raw control character, such as %{found[0][0]:02X}; escape it or leave it out, "
            "and send YAML with Content-Type: text/yaml"
        )
    return target.form(body)


def _parse(body: bytes, body_format: Format | Literal["json-patch"]) -> ParsedBody:
    if body_format == "json-patch":
        return ParsedBody({}, text=False, operations=codec.load_json_list(body))
    text = body_format == "yaml"
    return ParsedBody(codec.load_yaml(body) if text else codec.load_json(body), text)


async def _receive(request: web.Request, reservation: _Reservation) -> bytes:
    limit = _limit(request)
    if (request.content_length or 0) > limit:
        raise BodyTooLarge(limit)
    try:
        async with asyncio.timeout(BODY_SECONDS):
            await _send_continue(request)
            return await _collect(request, limit, reservation)
    except TimeoutError:
        raise MalformedBody(f"it did not arrive within {BODY_SECONDS} seconds") from None
    except (web.RequestPayloadError, ConnectionError):
        raise MalformedBody("it ends too early or is not framed as HTTP") from None


def _limit(request: web.Request) -> int:
    """Return the limit in bytes. A request to a public route has no verified credentials yet."""
    context = request[CONTEXT]
    limit = context.route.max_body or context.app.settings.max_body
    return min(limit, MAX_ANONYMOUS_BODY) if context.route.guard is Guard.PUBLIC else limit


async def _collect(request: web.Request, limit: int, reservation: _Reservation) -> bytes:
    """Return the bytes of the body. Only large bodies need a reservation."""
    pieces: list[bytes] = []
    size = 0
    try:
        async for piece in request.content.iter_any():
            pieces.append(piece)
            size += len(piece)
            if size > limit:
                raise BodyTooLarge(limit)
            if size > SMALL_BODY:
                reservation.grow(size, limit)
        return b"".join(pieces)
    finally:
        # The traceback of an error keeps this frame until the garbage collector runs.
        pieces.clear()


def _return_memory() -> None:
    """Return the memory of many large bodies to the system, because glibc would keep it.

    Source: https://man7.org/linux/man-pages/man3/malloc_trim.3.html
    """
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)


async def _send_continue(request: web.Request) -> None:
    """Send ``100 Continue`` if the client expects it. Other expectations are ignored, as HTTP allows.

    Source: https://www.rfc-editor.org/rfc/rfc9110#section-10.1.1
    """
    if request.version >= HttpVersion11 and request.headers.get(hdrs.EXPECT, "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        # The writer would count these bytes as a part of the response.
        request.writer.output_size = 0
