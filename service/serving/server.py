"""A process that serves: starts the applications, waits for a signal, and drains without losing a request."""

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import aiohttp.http_parser
from aiohttp import web

from service.app import HANDLER_ARGS, create_app, create_operations_app
from service.serving import garbage, listening, systemd
from service.serving.binding import StartError, bind_error, place_of
from service.serving.connections import Connection
from service.serving.listener import Listener, connection_limit
from service.serving.listening import BoundSockets
from service.settings import Settings
from service.stores.store import Store
from service.web.context import APP

if TYPE_CHECKING:
    import ssl

    from service.serving.tls import ServerCertificate

logger = logging.getLogger(__name__)

# Requests in progress at shutdown get this time to finish, and the same time again after their cancellation.
SHUTDOWN_SECONDS = 5.0
# Connections that are accepted during shutdown get this time for a TLS handshake and their first request.
FIRST_REQUEST_SECONDS = 1.0
POLL_SECONDS = 0.02


class StopSignals:
    """The signals that stop the process: SIGTERM begins to drain; a second one, or SIGINT, ends the drain early.

    SIGHUP, that of a closed terminal, counts as a SIGTERM unless it is ignored.

    A worker ignores a second SIGTERM, because its parent passes on the first one, which systemd sends to every process
    itself. Its parent sends SIGINT instead.
    """

    def __init__(self, parent: socket.socket | None) -> None:
        self._loop = asyncio.get_running_loop()
        self._is_worker = parent is not None
        self._drain_end = asyncio.Event()
        self.reason: asyncio.Future[str] = self._loop.create_future()
        """The name of the first signal, or the end of the parent process."""

        # With nohup, SIGHUP stays ignored.
        hangup = () if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else (signal.SIGHUP,)
        for number in (signal.SIGTERM, signal.SIGINT, *hangup):
            self._loop.add_signal_handler(number, self._on_signal, number)
        if parent:
            self._loop.add_reader(parent, self._on_parent_end, parent)

    async def sleep(self, seconds: float) -> None:
        """Wait for ``seconds``, or until a signal ends the drain early."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._drain_end.wait(), seconds)

    def _on_signal(self, number: signal.Signals) -> None:
        if number == signal.SIGINT or (self.reason.done() and not self._is_worker):
            self._drain_end.set()
        self._stop(number.name)

    def _on_parent_end(self, parent: socket.socket) -> None:
        # The parent never sends, so the socket is readable only when the other end is closed.
        self._loop.remove_reader(parent)
        self._stop("the end of its parent process")

    def _stop(self, reason: str) -> None:
        if not self.reason.done():
            self.reason.set_result(reason)


def run(settings: Settings, sockets: BoundSockets) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        SettingsError: for settings that only their use can check, such as files.
        StartError: if the process cannot serve.
    """

    def on_ready(store: Store) -> None:
        listening.announce(settings, sockets, store=store.description, networked=store.networked)
        _keep_watchdog_quiet()

    serve(settings, sockets, on_ready=on_ready)


def _keep_watchdog_quiet() -> None:
    """Notify systemd regularly for as long as the event loop runs."""
    systemd.notify(systemd.WATCHDOG)
    asyncio.get_running_loop().call_later(systemd.WATCHDOG_SECONDS, _keep_watchdog_quiet)


def serve(
    settings: Settings,
    sockets: BoundSockets,
    *,
    on_start: Callable[[], None] = lambda: None,
    on_ready: Callable[[Store], None],
    parent: socket.socket | None = None,
) -> None:
    """Serve on ``sockets`` until SIGTERM, SIGINT, or until the other end of ``parent`` is closed.

    Calls ``on_start`` when the event loop runs, and ``on_ready`` when connections are accepted.

    Raises:
        SettingsError: for settings that only their use can check, such as files.
        StartError: if the process cannot serve.
    """
    if aiohttp.http_parser.HttpRequestParser is aiohttp.http_parser.HttpRequestParserPy:
        raise StartError(
            "aiohttp runs without its C parser, which is slower and less strict: "
            "install a wheel of aiohttp for this platform and unset AIOHTTP_NO_EXTENSIONS"
        )
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve(settings, sockets, on_start, on_ready, parent))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415 - not available on every platform
    except ImportError:
        return None
    return uvloop.new_event_loop


async def _serve(
    settings: Settings,
    sockets: BoundSockets,
    on_start: Callable[[], None],
    on_ready: Callable[[Store], None],
    parent: socket.socket | None,
) -> None:
    signals = StopSignals(parent)
    on_start()
    # The operations port closes last, so that probes and metrics are available while requests finish.
    async with contextlib.AsyncExitStack() as ops_stack, contextlib.AsyncExitStack() as stack:
        app = create_app(settings)
        runner = await _runner(stack, app)
        certificate = _server_certificate(settings)
        await app[APP].presigner.prepare()
        if certificate:
            app[APP].files.follow("SIGNER_TLS_CERT", certificate.read, certificate.use, used=certificate.used)
        context = certificate.context if certificate else None
        listeners = await _listen(
            stack, runner, sockets.main, settings, context, variable="SIGNER_PORT", inherited=sockets.inherited
        )
        if sockets.ops:
            # No TLS: kubelets connect to the pod's address, which no certificate names.
            ops_runner = await _runner(ops_stack, create_operations_app(app))
            ops_listeners = await _listen(
                ops_stack, ops_runner, sockets.ops, settings, None, variable="SIGNER_OPS_PORT"
            )
            ops_stack.push_async_callback(_close, app, ops_runner, ops_listeners)
        garbage.keep_short()
        on_ready(app[APP].store)
        logger.info("Stopping on %s", await signals.reason)
        systemd.notify(systemd.STOPPING)
        app[APP].state.draining = True
        await signals.sleep(settings.drain_seconds)
        sockets.remove_file()
        await _close(app, runner, listeners)
    logger.info("Stopped")


def _server_certificate(settings: Settings) -> "ServerCertificate | None":
    if not settings.tls_cert:
        return None
    # Imported on demand, because most deployments terminate TLS in a proxy.
    from service.serving import tls  # noqa: PLC0415

    return tls.server_certificate(settings)


async def _runner(stack: contextlib.AsyncExitStack, app: web.Application) -> web.AppRunner:
    runner = web.AppRunner(app, shutdown_timeout=SHUTDOWN_SECONDS)
    stack.push_async_callback(runner.cleanup)
    try:
        await runner.setup()
    except OSError:
        raise StartError(
            "Standard output is closed, and the audit log goes there; send it to a file or a pipe"
        ) from None
    return runner


async def _listen(
    stack: contextlib.AsyncExitStack,
    runner: web.AppRunner,
    sockets: list[socket.socket],
    settings: Settings,
    context: "ssl.SSLContext | None",
    *,
    variable: str,
    inherited: bool = False,
) -> list[Listener]:
    """Accept connections. Raises ``StartError`` if another process listens on the address by now."""
    limit = connection_limit(settings.max_connections)
    listeners: list[Listener] = []
    opening: set[Connection] = set()
    for bound in sockets:
        listener = Listener(
            runner,
            bound,
            limit=limit,
            opening=opening,
            inherited=inherited,
            ssl_context=context,
            keepalive_timeout=settings.idle_seconds,
            **HANDLER_ARGS,
        )
        stack.callback(listener.close)
        try:
            await listener.start()
        except OSError as error:
            # The kernel lets several processes bind an address, and the first one listen.
            raise bind_error(place_of(bound), error, variable) from None
        listeners.append(listener)
    return listeners


async def _close(app: web.Application, runner: web.AppRunner, listeners: Sequence[Listener]) -> None:
    """Accept the connections in the backlog, close the port, and finish the requests in progress.

    aiohttp's shutdown comes after this, because it stops reading incomplete bodies.
    """
    await asyncio.gather(*(listener.drain() for listener in listeners))
    await _wait_while(lambda: _expects_first_requests(runner, listeners), FIRST_REQUEST_SECONDS)
    await _wait_while(lambda: bool(app[APP].state.in_flight), SHUTDOWN_SECONDS)


def _expects_first_requests(runner: web.AppRunner, listeners: Sequence[Listener]) -> bool:
    """Return whether an accepted connection has not sent its first request."""
    return any(listener.is_opening for listener in listeners) or any(
        connection.is_new() for connection in _connections(runner)
    )


def _connections(runner: web.AppRunner) -> list[Connection]:
    server = runner.server
    return [connection for connection in server.connections if isinstance(connection, Connection)] if server else []


async def _wait_while(condition: Callable[[], bool], seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while condition():  # noqa: ASYNC110 - an event would slow down every request
                await asyncio.sleep(POLL_SECONDS)
