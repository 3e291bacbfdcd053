"""Connections beyond aiohttp's runner: a limit on their number, a time for the first head, half-closed clients.

Under another runner, such as gunicorn's, the service works without these.
"""

import asyncio
import ctypes
import logging
import resource
import socket
import struct
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from aiohttp import StreamReader, web

if TYPE_CHECKING:
    import ssl

logger = logging.getLogger(__name__)

# The head of a connection's first request must arrive within this time.
HEAD_SECONDS = 20.0
# aiohttp bounds each header field and their number: a head could have a megabyte, and keep it until its time is over.
MAX_HEAD_BYTES = 32 * 1024
# A connection whose client reads nothing is dropped after this time.
UNREAD_SECONDS = 30.0
BACKLOG = 128
# asyncio's defaults are 60 and 30 seconds.
HANDSHAKE_SECONDS, FAREWELL_SECONDS = 10.0, 2.0
POLL_SECONDS = 0.02
# Longer than a round trip to any client of a data centre.
HANDSHAKE_DRAIN_SECONDS = 0.1
# File descriptors kept for Redis, logs and key sets.
RESERVED_FILES = 64

_SO_ATTACH_FILTER = 26
_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nX-Content-Type-Options: nosniff\r\n"
    b"Content-Length: 0\r\nConnection: close\r\n\r\n"
)
_LONG_HEAD = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nX-Content-Type-Options: nosniff\r\n"
    b"Content-Length: 0\r\nConnection: close\r\n\r\n"
)


class Connection(web.RequestHandler):
    """aiohttp's request handler, with limits on the time and size of heads and answers to half-closed clients.

    aiohttp has only ``keepalive_timeout``, which also applies between requests, and it drops the requests in progress
    when a client closes its sending side. ADR 5 lists the private attributes used here;
    tests/serving/test_connections.py fails when aiohttp changes one of them.
    """

    __slots__ = ("_arriving", "_head_bytes", "_head_timer")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._head_bytes = 0
        self._arriving: StreamReader | None = None
        """The body that is not complete yet: what is received belongs to it."""

        self._head_timer = self._loop.call_later(HEAD_SECONDS, self._expect_first)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._head_timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Close a connection with a head above MAX_HEAD_BYTES, by at most what is received at once."""
        count, had_body = self._request_count, self._arriving is not None
        super().data_received(data)
        if self._request_count != count:
            body = self._messages[-1][1] if self._messages else None
            self._arriving = None if body is None or body.is_eof() else body
            self._head_bytes = 0
        elif had_body:
            if self._arriving is not None and self._arriving.is_eof():
                self._arriving = None
        else:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse_head()

    def _refuse_head(self) -> None:
        if self._is_idle() and isinstance(self.transport, asyncio.WriteTransport):
            self.transport.write(_LONG_HEAD)
        self.force_close()

    def eof_received(self) -> bool:  # type: ignore[override] # asyncio's contract, of which aiohttp uses half
        """Keep the connection until the requests in progress are answered."""
        if self.ssl_context is not None:
            # Over TLS, asyncio and uvloop close both directions at once.
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
        """Answer a request that the parser rejected. The parser's message quotes it, and it may hold a password."""
        response = super().handle_error(request, status, exc, message and "The request is malformed")
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response

    def is_new(self) -> bool:
        """Whether no request has come yet."""
        return not self._request_count

    def _is_idle(self) -> bool:
        return self._waiter is not None and not self._waiter.done()

    def _close_when_idle(self) -> None:
        if self.transport is None:
            return
        if self._is_idle():
            self.force_close()
        else:
            self._loop.call_later(POLL_SECONDS, self._close_when_idle)

    def _expect_first(self) -> None:
        if self.is_new():
            self.force_close()


class _Reject(asyncio.Protocol):
    """Answers a connection above the limit with a 503."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.WriteTransport):
            transport.write(_FULL)
        transport.close()


class Listener:
    """Accepts the connections of one socket for a runner, at most ``limit`` for all sockets of that runner.

    aiohttp's own sites make plain ``RequestHandler`` objects, so this calls the public ``runner.server`` itself.
    """

    def __init__(
        self,
        runner: web.AppRunner,
        bound: socket.socket,
        *,
        limit: int,
        ssl_context: "ssl.SSLContext | None" = None,
        **handler_args: Any,
    ) -> None:
        """``handler_args`` are those of ``web.RequestHandler``."""
        self._runner = runner
        self._socket = bound
        self._limit = limit
        self._ssl_context = ssl_context
        self._handler_args = handler_args
        self._listening: asyncio.Server | None = None
        self._full = False

    async def start(self) -> None:
        """Listen. Raises OSError if another process listens on the address."""
        limit_unread(self._socket)
        tls = self._ssl_context is not None
        self._listening = await asyncio.get_running_loop().create_server(
            self._protocol,
            sock=self._socket,
            backlog=BACKLOG,
            ssl=self._ssl_context,
            ssl_handshake_timeout=HANDSHAKE_SECONDS if tls else None,
            ssl_shutdown_timeout=FAREWELL_SECONDS if tls else None,
        )

    async def drain(self) -> None:
        """Stop listening without losing a connection: those whose handshake has begun are accepted first."""
        drop_new_handshakes(self._socket)
        await asyncio.sleep(HANDSHAKE_DRAIN_SECONDS)
        self.close()

    def close(self) -> None:
        """Stop listening; open connections stay open."""
        if self._listening:
            self._listening.close()

    def _protocol(self) -> asyncio.Protocol:
        server = self._runner.server
        if server is not None and len(server.connections) < self._limit:
            self._full = False
            return Connection(server, loop=asyncio.get_running_loop(), **self._handler_args)
        if not self._full:
            logger.warning("There are %d connections; further ones are refused until some end", self._limit)
        self._full = True
        return _Reject()


def connection_limit(most: int) -> int:
    """The limit on connections: ``most``, or less where the process may not open as many files."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return most if files == resource.RLIM_INFINITY else max(1, min(most, files - RESERVED_FILES))


def limit_unread(bound: socket.socket) -> None:
    """Have the kernel drop clients that do not read their answers. Accepted sockets inherit the option."""
    if bound.family != socket.AF_UNIX and (option := getattr(socket, "TCP_USER_TIMEOUT", None)) is not None:
        with suppress(OSError):
            bound.setsockopt(socket.IPPROTO_TCP, option, int(UNREAD_SECONDS * 1000))


def drop_new_handshakes(bound: socket.socket) -> None:
    """Have the kernel ignore new connections to a listening socket; clients try again, and are refused once it closes.

    Closing alone would reset the connections in its backlog. This is a no-op where the system has no socket filters.
    Source: https://docs.kernel.org/networking/filter.html
    """
    if bound.family == socket.AF_UNIX or not sys.platform.startswith("linux"):
        return
    load_flags, test_syn, drop, accept = (0x30, 0, 0, 13), (0x45, 0, 1, 0x02), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFF)
    program = ctypes.create_string_buffer(
        b"".join(struct.pack("HBBI", *instruction) for instruction in (load_flags, test_syn, drop, accept))
    )
    with suppress(OSError):
        bound.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", 4, ctypes.addressof(program)))
