"""Accepts connections up to a limit, which aiohttp's runner lacks, and loses none at the end of a drain.

Other runners, such as gunicorn's, serve the application without it and without the limits of ``Connection``.
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

from aiohttp import web

from service.serving.client_hello import wait_for_client_hello
from service.serving.connections import POLL_SECONDS, Connection

if TYPE_CHECKING:
    import ssl

logger = logging.getLogger(__name__)

# The kernel drops a connection whose client has read nothing for this time.
UNREAD_SECONDS = 30.0
BACKLOG = 128
# Of a TLS connection, in one turn of the event loop. Linux doubles it.
TLS_RECEIVED_BYTES = 4096
# asyncio's defaults are 60 and 30 seconds.
TLS_HANDSHAKE_SECONDS, TLS_SHUTDOWN_SECONDS = 10.0, 2.0
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
        if self._ssl_context is not None:
            # Accepted sockets inherit it. 200 KB of tiny TLS records, read at once, hold the event loop for 100 ms.
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, TLS_RECEIVED_BYTES)
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
        loop, limits = asyncio.get_running_loop(), {}
        try:
            # The client has gone, or its handshake has failed or taken too long.
            with suppress(OSError):
                if self._ssl_context is not None:
                    begun = loop.time()
                    async with asyncio.timeout(TLS_HANDSHAKE_SECONDS):
                        await wait_for_client_hello(client)
                    left = TLS_HANDSHAKE_SECONDS - (loop.time() - begun)
                    limits = {
                        "ssl_handshake_timeout": max(left, POLL_SECONDS),
                        "ssl_shutdown_timeout": TLS_SHUTDOWN_SECONDS,
                    }
                await loop.connect_accepted_socket(lambda: connection, client, ssl=self._ssl_context, **limits)
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
