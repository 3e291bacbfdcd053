"""The body of a request: bytes from the connection to plain data."""

import asyncio
import ctypes
from functools import partial
from time import perf_counter

from aiohttp import HttpVersion11, hdrs, web

from service.errors import BodyTooLarge, MalformedBody, Overloaded, UnsupportedMediaType
from service.resources.schemas import ParsedBody
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
# The bytes of all large bodies of one process that arrive, or wait to be parsed.
MAX_ARRIVING_BYTES = 32 * 1024 * 1024
RETURNED_BYTES = MAX_ARRIVING_BYTES // 2

# No token request is longer, but for a secret of 512 characters with escapes.
ORDINARY_ANONYMOUS_BODY = 1024


async def read(request: web.Request) -> ParsedBody:
    """Return the body as plain data.

    Raises:
        UnsupportedMediaType: for a compressed body, or another type or charset than the route takes.
        BodyTooLarge: above the limit of bytes.
        MalformedBody: for a body that does not arrive or cannot be parsed.
    """
    _check_encoding(request)
    body_format = _body_format(request)
    share = _Share(request[CONTEXT].app.state)
    try:
        body = await _arrived(request, share)
        # One that waits for a thread takes as much memory as one that arrives.
        return await _document(request, body, body_format)
    finally:
        if share.size:
            share.release()


class _Share:
    """The bytes of one large body, as they count in the sum of all."""

    __slots__ = ("_state", "size")

    def __init__(self, state: ServerState) -> None:
        self._state = state
        self.size = 0

    def grow(self, size: int, limit: int) -> None:
        """Count ``size`` bytes in all. Raises Overloaded if the sum is too large."""
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


async def _document(request: web.Request, body: bytes, body_format: BodyFormat | None) -> ParsedBody:
    context = request[CONTEXT]
    if context.route.guard is not Guard.PUBLIC or len(body) <= ORDINARY_ANONYMOUS_BODY:
        return await _parsed(request, body, body_format)
    # Anyone can send many of these: they are parsed one after another, in half of the loop's time at most.
    async with context.app.state.anonymous_bodies:
        began = perf_counter()
        try:
            return await _parsed(request, body, body_format)
        finally:
            await asyncio.sleep(perf_counter() - began)


async def _parsed(request: web.Request, body: bytes, body_format: BodyFormat | None) -> ParsedBody:
    if body_format == "form":
        return ParsedBody(target.form(body), text=True)
    if body_format is None:
        body_format = codec.detect_format(body)
        request[CONTEXT].answer_type = negotiated_type(request, body_type=media.DEFAULT_TYPES[body_format])
    if len(body) > codec.LARGE_BODY:
        # Parsing it here would hold the event loop for too long.
        return await in_background(partial(_parse, body, body_format))
    return _parse(body, body_format)


def _check_encoding(request: web.Request) -> None:
    if _codings(request, hdrs.CONTENT_ENCODING) - {"identity"}:
        raise UnsupportedMediaType("A body with this Content-Encoding is not supported; send it without the header")
    # aiohttp finds the end of `gzip, chunked`, and leaves the content compressed.
    if _codings(request, hdrs.TRANSFER_ENCODING) - {"chunked"}:
        raise UnsupportedMediaType("A compressed body is not supported; send it with Transfer-Encoding: chunked alone")


def _codings(request: web.Request, header: str) -> set[str]:
    """The codings of a comma list, in lower case. An empty list is allowed.

    Source: https://www.rfc-editor.org/rfc/rfc9110#section-5.6.1
    """
    given = request.headers.getall(header, ())
    return {coding.strip().lower() for line in given for coding in line.split(",")} - {""}


def _body_format(request: web.Request) -> BodyFormat | None:
    """The format that Content-Type names, None if it is missing or empty."""
    content_type = request.headers.get(hdrs.CONTENT_TYPE, "").strip()
    if not content_type:
        return None
    return media.body_format(content_type, takes_form=request[CONTEXT].route.form)


def _parse(body: bytes, body_format: Format) -> ParsedBody:
    text = body_format == "yaml"
    return ParsedBody(codec.load_yaml(body) if text else codec.load_json(body), text)


async def _arrived(request: web.Request, share: _Share) -> bytes:
    limit = _limit(request)
    if (request.content_length or 0) > limit:
        raise BodyTooLarge(limit)
    try:
        async with asyncio.timeout(BODY_SECONDS):
            await _send_continue(request)
            return await _collected(request, limit, share)
    except TimeoutError:
        raise MalformedBody(f"it did not arrive within {BODY_SECONDS} seconds") from None
    except (web.RequestPayloadError, ConnectionError):
        raise MalformedBody("it ends too early or is not framed as HTTP") from None


def _limit(request: web.Request) -> int:
    """The largest body in bytes. A request to a public route has no credentials yet."""
    context = request[CONTEXT]
    most = context.app.max_body
    return min(most, MAX_ANONYMOUS_BODY) if context.route.guard is Guard.PUBLIC else most


async def _collected(request: web.Request, limit: int, share: _Share) -> bytes:
    """All bytes of the body. Large bodies share a bound until they are parsed, and small ones are always read."""
    pieces: list[bytes] = []
    size = 0
    try:
        async for piece in request.content.iter_any():
            pieces.append(piece)
            size += len(piece)
            if size > limit:
                raise BodyTooLarge(limit)
            if size > SMALL_BODY:
                share.grow(size, limit)
        return b"".join(pieces)
    finally:
        # An error's traceback keeps this frame until the garbage collector runs.
        pieces.clear()


def _return_memory() -> None:
    """Give the memory of many large bodies back to the system, which glibc would keep for good.

    Source: https://man7.org/linux/man-pages/man3/malloc_trim.3.html
    """
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)


async def _send_continue(request: web.Request) -> None:
    """Ask the client for a body that it holds back. Other expectations are ignored, as HTTP allows.

    Source: https://www.rfc-editor.org/rfc/rfc9110#section-10.1.1
    """
    if request.version >= HttpVersion11 and request.headers.get(hdrs.EXPECT, "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        # The writer would count these bytes as the beginning of the answer.
        request.writer.output_size = 0
