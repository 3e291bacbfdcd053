"""A process that serves: its applications, what stops it, and how it ends without losing a request."""

import asyncio
import contextlib
import gc
import logging
import signal
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp.http_parser
from aiohttp import web

from service.app import HANDLER_ARGS, create_app, create_operations_app
from service.serving import connections, listening
from service.serving.connections import Connection, Listener
from service.serving.listening import BoundSockets, StartError
from service.settings import Settings, SettingsError
from service.stores.store import Store
from service.web.context import APP

if TYPE_CHECKING:
    import ssl

    from service.serving.tls import Identity

logger = logging.getLogger(__name__)

# Requests in progress at the end get this time to finish, and the same time again to be cancelled.
SHUTDOWN_SECONDS = 5.0
# A connection that was accepted last gets this time to send its first request.
FIRST_REQUEST_SECONDS = 1.0
POLL_SECONDS = 0.02


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
    settings: Settings, places: BoundSockets, *, began: Callable[[Store], None], parent: socket.socket | None = None
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
    settings: Settings, places: BoundSockets, began: Callable[[Store], None], parent: socket.socket | None
) -> None:
    stop = _stop_signals(parent)
    # The operations port is closed last, so that operators can ask until the last request is answered.
    async with contextlib.AsyncExitStack() as ops_stack, contextlib.AsyncExitStack() as stack:
        app = _app(settings)
        runner = await _runner(stack, app)
        identity = _identity(settings)
        await app[APP].presigner.prepare()
        if identity:
            followed = asyncio.create_task(identity.follow())
            stack.callback(followed.cancel)
        listeners = await _listen(stack, runner, places.main, settings, identity.context if identity else None)
        if places.ops:
            # Kubelets ask there by the pod's address, which no certificate names.
            await _listen(ops_stack, await _runner(ops_stack, create_operations_app(app)), places.ops, settings, None)
        _tune_collector()
        began(app[APP].store)
        logger.info("Stopping on %s", await stop)
        await _drain(app, runner, listeners, settings.drain_seconds)
    logger.info("Stopped")


def _app(settings: Settings) -> web.Application:
    try:
        return create_app(settings)
    except SettingsError as error:
        raise StartError("; ".join(error.problems)) from None


def _tune_collector() -> None:
    # A full collection of all that is loaded by now would stop requests for 50 ms.
    gc.collect()
    gc.freeze()
    # The default, 700 new objects, is reached every few requests.
    gc.set_threshold(5_000)


def _identity(settings: Settings) -> "Identity | None":
    if not settings.tls_cert:
        return None
    # Who has TLS elsewhere need not load it.
    from service.serving import tls  # noqa: PLC0415

    try:
        return tls.Identity(Path(settings.tls_cert), Path(settings.tls_key))
    except tls.TlsError as error:
        raise StartError(str(error)) from None


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
) -> list[Listener]:
    """Accept connections. Raises ``StartError`` where another process has begun to listen on the same address."""
    limit = connections.connection_limit(settings.max_connections)
    listeners = []
    for bound in sockets:
        listener = Listener(
            runner, bound, limit=limit, ssl_context=context, keepalive_timeout=settings.idle_seconds, **HANDLER_ARGS
        )
        stack.callback(listener.close)
        try:
            await listener.start()
        except OSError as error:
            raise listening.refusal(str(bound.getsockname()), error, "SIGNER_PORT or SIGNER_SOCKET") from None
        listeners.append(listener)
    return listeners


def _stop_signals(parent: socket.socket | None) -> asyncio.Future[str]:
    loop = asyncio.get_running_loop()
    stop: asyncio.Future[str] = loop.create_future()

    def begin(name: str) -> None:
        if not stop.done():
            stop.set_result(name)

    def lose(parent: socket.socket) -> None:
        # The parent sends nothing on it: it can be read when the other end is closed.
        loop.remove_reader(parent)
        begin("the end of its parent process")

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, begin, number.name)
    if parent:
        loop.add_reader(parent, lose, parent)
    return stop


async def _drain(app: web.Application, runner: web.AppRunner, listeners: Sequence[Listener], seconds: float) -> None:
    """Keep serving for ``seconds`` while ``/ready`` fails, then finish the requests in progress.

    aiohttp's own shutdown stops reading bodies that are still arriving.
    """
    state = app[APP].state
    state.draining = True
    await asyncio.sleep(seconds)
    await asyncio.gather(*(listener.drain() for listener in listeners))
    await _wait_while(lambda: any(connection.is_new() for connection in _connections(runner)), FIRST_REQUEST_SECONDS)
    await _wait_while(lambda: bool(state.in_flight), SHUTDOWN_SECONDS)


def _connections(runner: web.AppRunner) -> list[Connection]:
    server = runner.server
    return [connection for connection in server.connections if isinstance(connection, Connection)] if server else []


async def _wait_while(condition: Callable[[], bool], seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while condition():  # noqa: ASYNC110 - an event would cost every request
                await asyncio.sleep(POLL_SECONDS)
