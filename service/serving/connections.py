"""One connection, with limits that aiohttp lacks: time and size of heads, half-closed clients, many chunks."""

import asyncio
from typing import Any

from aiohttp import StreamReader, web
from aiohttp.http import RawRequestMessage

from service.errors import drop_tracebacks

# The head of a connection's first request must arrive within this time.
HEAD_SECONDS = 20.0
# aiohttp limits each header field and their number, which together allow a head of one megabyte.
MAX_HEAD_BYTES = 32 * 1024
POLL_SECONDS = 0.02

_HEAD_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nX-Content-Type-Options: nosniff\r\n"
    b"Content-Length: 0\r\nConnection: close\r\n\r\n"
)


class Connection(web.RequestHandler):
    """aiohttp's request handler, with limits on the time and size of heads, and responses to half-closed clients.

    A body of many small chunks is parsed in turns with other requests.

    aiohttp's ``keepalive_timeout`` also applies between requests, and aiohttp cancels requests in progress when a
    client closes its sending side. docs/architecture.md lists the private attributes used here;
    tests/serving/test_connections.py fails when aiohttp changes one of them.
    """

    __slots__ = (
        "_head_bytes",
        "_head_timer",
        "_incomplete_body",
        "_is_malformed",
        "_is_parser_paused",
        "_opening",
        "_resumption",
    )

    def __init__(self, *args: Any, opening: "set[Connection]", **kwargs: Any) -> None:
        """Leave ``opening`` when aiohttp begins to count this connection. Pass the rest to ``web.RequestHandler``."""
        super().__init__(*args, **kwargs)
        self._opening = opening
        self._is_malformed = False
        self._is_parser_paused = False
        self._resumption: asyncio.Handle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._opening.discard(self)
        super().connection_made(transport)
        self._head_bytes = 0
        self._incomplete_body: StreamReader | None = None
        self._head_timer = asyncio.get_running_loop().call_later(HEAD_SECONDS, self._on_head_timeout)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._head_timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Close the connection if a head exceeds MAX_HEAD_BYTES. Only bytes after the last complete request count.

        Ignore what follows a malformed request: aiohttp parses it again, and each of up to 32 reads in one turn of the
        event loop takes some milliseconds, as the error quotes it.
        """
        if self._is_malformed:
            return
        count, had_body = self._request_count, self._incomplete_body is not None
        super().data_received(data)
        if self._request_count != count:
            message, body = self._messages[-1] if self._messages else (None, None)
            self._is_malformed = message is not None and not isinstance(message, RawRequestMessage)
            self._incomplete_body = None if body is None or body.is_eof() else body
            self._head_bytes = 0
        elif had_body:
            if self._incomplete_body is not None and self._incomplete_body.is_eof():
                self._incomplete_body = None
        else:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._reject_head()

    def pause_reading(self) -> None:
        self._is_parser_paused = True
        super().pause_reading()

    def resume_reading(self, resume_parser: bool = True) -> None:  # noqa: FBT001, FBT002 - aiohttp's
        """Parse the rest of a read in another turn of the event loop: aiohttp parses it while a task reads the body.

        Such a task would never wait, and the 40,000 chunks of one byte in a read would hold the loop for 40 ms or more.
        """
        if not (resume_parser and self._is_parser_paused):
            super().resume_reading(resume_parser)
        elif self._resumption is None:
            self._resumption = asyncio.get_running_loop().call_soon(self._resume_parser)

    def _resume_parser(self) -> None:
        self._resumption = None
        self._is_parser_paused = False
        if self.transport is not None:
            super().resume_reading()

    def _reject_head(self) -> None:
        if self._is_idle() and isinstance(self.transport, asyncio.WriteTransport):
            self.transport.write(_HEAD_TOO_LARGE)
        self.force_close()

    def eof_received(self) -> bool:  # type: ignore[override] # as asyncio documents it
        """Keep the connection open until the requests in progress have their responses."""
        if self.ssl_context is not None:
            # asyncio and uvloop close both directions of a TLS connection together.
            return False
        payloads = [payload for _, payload in self._messages]
        if self._current_request is not None:
            payloads.append(self._current_request.content)
        for payload in payloads:
            if not payload.is_eof():
                payload.set_exception(web.RequestPayloadError("The body ends too early"))
                payload.feed_eof()
        self._close_when_idle()
        return True

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Respond to a request that the parser rejected, without the parser's message: it may quote a password."""
        response = super().handle_error(request, status, exc, message and "The request is malformed")
        response.headers["X-Content-Type-Options"] = "nosniff"
        if exc:
            drop_tracebacks(exc)
        return response

    def is_new(self) -> bool:
        """Whether the connection has received no complete request head yet."""
        return not self._request_count

    def _is_idle(self) -> bool:
        return self._waiter is not None and not self._waiter.done()

    def _close_when_idle(self) -> None:
        if self.transport is None:
            return
        if self._is_idle():
            self.force_close()
        else:
            asyncio.get_running_loop().call_later(POLL_SECONDS, self._close_when_idle)

    def _on_head_timeout(self) -> None:
        if self.is_new():
            self.force_close()
