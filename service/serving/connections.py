"""Connection limits that aiohttp's runner lacks: connections, time and size of heads, half-closed clients, many chunks.

Other runners, such as gunicorn's, serve the application without these limits.
"""

import asyncio
import ctypes
import logging
import resource
import select
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
# aiohttp limits each header field and their number, which together allow a head of one megabyte.
MAX_HEAD_BYTES = 32 * 1024
# The kernel drops a connection whose client has read nothing for this time.
UNREAD_SECONDS = 30.0
BACKLOG = 128
# asyncio's defaults are 60 and 30 seconds.
TLS_HANDSHAKE_SECONDS, TLS_SHUTDOWN_SECONDS = 10.0, 2.0
POLL_SECONDS = 0.02
# Longer than a round trip within a data centre.
TCP_HANDSHAKE_DRAIN_SECONDS = 0.1
# Where new handshakes cannot be stopped, the backlog may never be empty.
BACKLOG_SECONDS = 1.0
# The time without new connections after the process or the system has run out of files. asyncio has the same.
ACCEPT_PAUSE_SECONDS = 1.0
# File descriptors reserved for up to 66 connections to Redis, logs and key sets.
RESERVED_FILES = 100

_SO_ATTACH_FILTER = 26
_TOO_MANY_CONNECTIONS = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nX-Content-Type-Options: nosniff\r\n"
    b"Content-Length: 0\r\nConnection: close\r\n\r\n"
)
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

    __slots__ = ("_head_bytes", "_head_timer", "_incomplete_body", "_is_parser_paused", "_opening", "_resumption")

    def __init__(self, *args: Any, opening: "set[Connection]", **kwargs: Any) -> None:
        """Leave ``opening`` when aiohttp begins to count this connection. Pass the rest to ``web.RequestHandler``."""
        super().__init__(*args, **kwargs)
        self._opening = opening
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
        """Close the connection if a head exceeds MAX_HEAD_BYTES. Only bytes after the last complete request count."""
        count, had_body = self._request_count, self._incomplete_body is not None
        super().data_received(data)
        if self._request_count != count:
            body = self._messages[-1][1] if self._messages else None
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


class Listener:
    """Accepts connections on one socket for a runner, and rejects them while the runner has ``limit`` or more.

    It takes the place of aiohttp's sites, which can create no other connections than ``web.RequestHandler``.
    """

    def __init__(
        self,
        runner: web.AppRunner,
        bound: socket.socket,
        *,
        limit: int,
        opening: set[Connection],
        inherited: bool = False,
        ssl_context: "ssl.SSLContext | None" = None,
        **handler_args: Any,
    ) -> None:
        """Pass ``handler_args`` to each ``web.RequestHandler``. ``inherited`` sockets are systemd's.

        ``opening`` holds the connections in their TLS handshake; listeners of one runner share it.
        """
        self._runner = runner
        self._socket = bound
        self._limit = limit
        self._is_inherited = inherited
        self._ssl_context = ssl_context
        self._handler_args = handler_args
        self._opening = opening
        self._tasks: set[asyncio.Task[None]] = set()
        self._pause: asyncio.TimerHandle | None = None
        self._is_full = False

    @property
    def is_opening(self) -> bool:
        """Whether accepted connections of the runner are in their TLS handshake."""
        return bool(self._opening)

    async def start(self) -> None:
        """Listen. Raises OSError if another process listens on the address."""
        drop_stalled_clients(self._socket)
        self._socket.setblocking(False)  # noqa: FBT003 - the standard library's
        self._socket.listen(BACKLOG)
        self._resume()

    async def drain(self) -> None:
        """Stop listening, but first accept the connections whose TCP handshake has begun.

        A socket of systemd stays open, and the next process accepts its connections.
        """
        if not self._is_inherited:
            drop_new_handshakes(self._socket)
            await asyncio.sleep(TCP_HANDSHAKE_DRAIN_SECONDS)
            # A process that has got no CPU meanwhile has accepted none of them.
            with suppress(TimeoutError):
                async with asyncio.timeout(BACKLOG_SECONDS):
                    while _has_backlog(self._socket):  # noqa: ASYNC110 - the loop accepts meanwhile
                        await asyncio.sleep(POLL_SECONDS)
        self.close()

    def close(self) -> None:
        """Stop listening; open connections stay open."""
        if self._pause:
            self._pause.cancel()
        if self._socket.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()

    def _resume(self) -> None:
        asyncio.get_running_loop().add_reader(self._socket, self._accept_all)

    def _accept_all(self) -> None:
        """Accept here and not in a server of asyncio, which neither counts nor limits TLS handshakes."""
        for _ in range(BACKLOG):
            try:
                client, _ = self._socket.accept()
            except ConnectionError:
                continue
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                logger.warning("New connections wait for %d second: %s", ACCEPT_PAUSE_SECONDS, error.strerror)
                loop = asyncio.get_running_loop()
                loop.remove_reader(self._socket)
                self._pause = loop.call_later(ACCEPT_PAUSE_SECONDS, self._resume)
                return
            self._open_or_reject(client)

    def _open_or_reject(self, client: socket.socket) -> None:
        client.setblocking(False)  # noqa: FBT003 - the standard library's
        server, loop = self._runner.server, asyncio.get_running_loop()
        if server is not None and len(server.connections) + len(self._opening) < self._limit:
            self._is_full = False
            connection = Connection(server, opening=self._opening, loop=loop, **self._handler_args)
            self._opening.add(connection)
            task = loop.create_task(self._open(connection, client))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            return
        if not self._is_full:
            logger.warning(
                "The limit of %d connections is reached; new connections are rejected until some close", self._limit
            )
        self._is_full = True
        with client, suppress(OSError):
            # A response over TLS would need a handshake, for which the client could hold the file open.
            if self._ssl_context is None:
                client.send(_TOO_MANY_CONNECTIONS)

    async def _open(self, connection: Connection, client: socket.socket) -> None:
        tls = self._ssl_context is not None
        try:
            # The client has gone, or its handshake has failed or taken too long.
            with suppress(OSError):
                await asyncio.get_running_loop().connect_accepted_socket(
                    lambda: connection,
                    client,
                    ssl=self._ssl_context,
                    ssl_handshake_timeout=TLS_HANDSHAKE_SECONDS if tls else None,
                    ssl_shutdown_timeout=TLS_SHUTDOWN_SECONDS if tls else None,
                )
        finally:
            self._opening.discard(connection)


def connection_limit(maximum: int) -> int:
    """Return ``maximum``, or less if the process may not open as many files."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return maximum if files == resource.RLIM_INFINITY else max(1, min(maximum, files - RESERVED_FILES))


def drop_stalled_clients(bound: socket.socket) -> None:
    """Let the kernel drop clients that do not read their responses. Accepted sockets inherit the option."""
    if bound.family != socket.AF_UNIX and (option := getattr(socket, "TCP_USER_TIMEOUT", None)) is not None:
        with suppress(OSError):
            bound.setsockopt(socket.IPPROTO_TCP, option, int(UNREAD_SECONDS * 1000))


def _has_backlog(bound: socket.socket) -> bool:
    """Return whether connections wait to be accepted."""
    poll = select.poll()
    poll.register(bound, select.POLLIN)
    return bool(poll.poll(0))


def drop_new_handshakes(bound: socket.socket) -> None:
    """Let the kernel ignore new connections to a listening socket; clients retry, and are refused after it closes.

    Closing the socket at once would reset the connections in its backlog. Does nothing on systems other than Linux.
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
