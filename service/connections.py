"""What a client may do with a connection: how many there are, how long one may be silent, how its end is met."""

import asyncio
import logging
import resource
import socket
from collections.abc import Callable
from contextlib import suppress

from aiohttp import web

logger = logging.getLogger(__name__)

# From its start, a connection's first request has this long to bring its head.
HEAD_SECONDS = 20.0
# What a client does not read is kept for this long, and then it is gone.
UNREAD_SECONDS = 30.0
# How long what is left of a refused body is read and thrown away, so that the client sees the answer.
LINGER_SECONDS = 2.0
POLL_SECONDS = 0.02
# Files that are left for Redis, and for whatever else is opened while we serve.
RESERVED_FILES = 64

_FULL = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Connection(web.RequestHandler):
    """aiohttp's own, with what it lacks: a time for the first request, and answers to a client that only listens.

    aiohttp closes a connection on which no whole head has come for ``keepalive_timeout`` since its last answer; it has
    no shorter time for a connection that has asked nothing yet. And it drops requests in flight at the end of input.
    """

    __slots__ = ("_first",)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._first = self._loop.call_later(HEAD_SECONDS, self._expect_first)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._first.cancel()
        super().connection_lost(exc)

    def eof_received(self) -> bool:  # type: ignore[override] # asyncio's contract, of which aiohttp uses half
        """Keep a connection whose client has said all while there is something to answer."""
        if self.ssl_context is not None:
            # Over TLS, asyncio and uvloop end both directions at once.
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
        """Answer what the parser has refused. Its own message quotes it, and that may be a header with a password."""
        return super().handle_error(request, status, exc, message and "The request is malformed")

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
        if not self._request_count:
            self.force_close()


class _Full(asyncio.Protocol):
    """Tells a client that there is no room for its connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.WriteTransport):
            transport.write(_FULL)
        transport.close()


def protocols(server: web.Server, *, most: int, idle_seconds: float) -> Callable[[], asyncio.Protocol]:
    """Makes the protocol of each connection to ``server``, of which there are ``most`` at once."""
    loop = asyncio.get_running_loop()
    full = False

    def protocol() -> asyncio.Protocol:
        nonlocal full
        if len(server.connections) < most:
            full = False
            return Connection(
                server,
                loop=loop,
                access_log=None,  # type: ignore[arg-type] # as AppRunner takes it
                auto_decompress=False,
                keepalive_timeout=idle_seconds,
                lingering_time=LINGER_SECONDS,
            )
        if not full:
            logger.warning("There are %d connections; further ones are refused until some end", most)
        full = True
        return _Full()

    return protocol


def room(most: int) -> int:
    """How many connections there can be: ``most``, unless the process may not open as many files."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return most if files == resource.RLIM_INFINITY else max(1, min(most, files - RESERVED_FILES))


def bound_unread(bound: socket.socket) -> None:
    """Let the system drop clients that do not read what they have asked for: connections inherit it from ``bound``."""
    if bound.family != socket.AF_UNIX and (option := getattr(socket, "TCP_USER_TIMEOUT", None)) is not None:
        with suppress(OSError):
            bound.setsockopt(socket.IPPROTO_TCP, option, int(UNREAD_SECONDS * 1000))
