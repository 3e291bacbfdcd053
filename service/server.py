"""A process that serves: its applications, what stops it, and how it ends without losing a request."""

import asyncio
import contextlib
import gc
import logging
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp.http_parser
from aiohttp import web

from service import connections, listening
from service.app import App, create_app, create_operations_app
from service.listening import Listening, StartError
from service.resources.store import Store
from service.settings import Settings, SettingsError
from service.telemetry.audit import AuditLog

if TYPE_CHECKING:
    import ssl

    from service.tls import Identity

logger = logging.getLogger(__name__)

# What is in flight at the end gets this long to finish, and as long again to be cancelled.
SHUTDOWN_SECONDS = 5.0
POLL_SECONDS = 0.02
# asyncio's own minute for a handshake is long, and so is the half it waits for a client's farewell.
BACKLOG = 128
HANDSHAKE_SECONDS, FAREWELL_SECONDS = 10.0, 2.0


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        StartError: if it cannot begin to.
    """
    with contextlib.closing(listening.bind(settings)) as places:

        def began(store: Store) -> None:
            listening.announce(settings, places, store=store.description, networked=store.networked)

        serve(settings, places, began=began)


def serve(
    settings: Settings, places: Listening, *, began: Callable[[Store], None], parent: socket.socket | None = None
) -> None:
    """Serve at ``places`` until SIGTERM, SIGINT, or the end of ``parent``'s end of the line.

    ``began`` is called when requests can come. Raises ``StartError`` if they never can.
    """
    if aiohttp.http_parser.HttpRequestParser is aiohttp.http_parser.HttpRequestParserPy:
        raise StartError(
            "aiohttp runs without its C parser, which is slower and less strict: "
            "install a wheel of aiohttp for this platform and unset AIOHTTP_NO_EXTENSIONS"
        )
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve(settings, places, began, parent))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415 - there is none for every platform
    except ImportError:
        return None
    return uvloop.new_event_loop


async def _serve(
    settings: Settings, places: Listening, began: Callable[[Store], None], parent: socket.socket | None
) -> None:
    stop = _stop_signals(parent)
    try:
        app = create_app(settings, _audit())
    except SettingsError as error:
        raise StartError("; ".join(error.problems)) from None
    identity = _identity(settings)
    await app.shared.presigner.prepare()
    ports = [_port(app, settings)]
    if places.ops:
        ports.append(_port(create_operations_app(app), settings))
    followed = asyncio.create_task(identity.follow()) if identity else None
    await app.open()
    try:
        await ports[0].open(places.main, identity.context if identity else None)
        for port in ports[1:]:
            # Kubelets ask there, by the pod's address, which no certificate bears.
            await port.open(places.ops, None)
        # What is loaded by now stays, and a full collection that walks through all of it would stop requests for 50 ms.
        gc.collect()
        gc.freeze()
        # By default all that is in flight is looked at, in vain, each time that 700 further objects are alive.
        gc.set_threshold(5_000)
        began(app.shared.store)
        logger.info("Stopping on %s", await stop)
        await _drain(app, ports[0], settings.drain_seconds)
    finally:
        # Operators can ask until the last request is answered.
        for port in ports:
            await port.close()
        await app.close()
        if followed:
            followed.cancel()
    logger.info("Stopped")


def _audit() -> AuditLog:
    try:
        return AuditLog(sys.stdout.fileno())
    except (AttributeError, OSError, ValueError):
        raise StartError(
            "Standard output is closed, and the audit log goes there; send it to a file or a pipe"
        ) from None


def _identity(settings: Settings) -> "Identity | None":
    if not settings.tls_cert:
        return None
    # Who has TLS elsewhere need not load it.
    from service import tls  # noqa: PLC0415

    try:
        return tls.Identity(Path(settings.tls_cert), Path(settings.tls_key))
    except tls.TlsError as error:
        raise StartError(str(error)) from None


def _port(app: App, settings: Settings) -> "Port":
    return Port(
        server=web.Server(app.handle, request_factory=app.request),
        most=connections.room(settings.max_connections),
        idle_seconds=settings.idle_seconds,
    )


@dataclass(slots=True, kw_only=True)
class Port:
    """A server and what listens for it. aiohttp's own sites have no place for our connections."""

    server: web.Server
    most: int
    idle_seconds: float
    listeners: list[asyncio.Server] = field(default_factory=list)

    async def open(self, sockets: list[socket.socket], context: "ssl.SSLContext | None") -> None:
        """Take requests. Raises ``StartError`` where somebody bound the same address after us, and listened first."""
        make = connections.protocols(self.server, most=self.most, idle_seconds=self.idle_seconds)
        for bound in sockets:
            connections.bound_unread(bound)
            try:
                listener = await asyncio.get_running_loop().create_server(
                    make,
                    sock=bound,
                    backlog=BACKLOG,
                    ssl=context,
                    ssl_handshake_timeout=HANDSHAKE_SECONDS if context else None,
                    ssl_shutdown_timeout=FAREWELL_SECONDS if context else None,
                )
            except OSError as error:
                raise listening.refusal(str(bound.getsockname()), error, "SIGNER_PORT or SIGNER_SOCKET") from None
            self.listeners.append(listener)

    def stop(self) -> None:
        """Accept no further connection."""
        for listener in self.listeners:
            listener.close()

    async def close(self) -> None:
        """Finish what is in flight."""
        self.stop()
        # What has arrived by now is begun.
        await asyncio.sleep(0)
        self.server.pre_shutdown()
        await self.server.shutdown(SHUTDOWN_SECONDS)


def _stop_signals(parent: socket.socket | None) -> asyncio.Future[str]:
    loop = asyncio.get_running_loop()
    stop: asyncio.Future[str] = loop.create_future()

    def begin(name: str) -> None:
        if not stop.done():
            stop.set_result(name)

    def lose(parent: socket.socket) -> None:
        # Nothing is ever sent on it: it can be read when the other end is gone.
        loop.remove_reader(parent)
        begin("the end of its parent process")

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, begin, number.name)
    if parent:
        loop.add_reader(parent, lose, parent)
    return stop


async def _drain(app: App, port: Port, seconds: float) -> None:
    """Go on serving for a while, but tell load balancers and clients to go elsewhere; then finish what has begun.

    aiohttp's own shutdown reads no further byte of a body that is still arriving.
    """
    app.shared.readiness.draining = True
    await asyncio.sleep(seconds)
    port.stop()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(SHUTDOWN_SECONDS):
            while app.shared.readiness.in_flight:  # noqa: ASYNC110 - an event would cost every request
                await asyncio.sleep(POLL_SECONDS)
