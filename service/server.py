"""A process that serves: its applications, what stops it, and how it ends without losing a request."""

import asyncio
import contextlib
import gc
import logging
import signal
import socket
import sys
from collections.abc import Callable

import aiohttp.http_parser
from aiohttp import web

from service import listening
from service.app import create_app, create_operations_app
from service.listening import Listening, StartError
from service.resources.store import Store
from service.settings import Settings, SettingsError
from service.telemetry.audit import AuditLog
from service.web.context import SHARED

logger = logging.getLogger(__name__)

# What is in flight at the end gets this long to finish, and as long again to be cancelled.
SHUTDOWN_SECONDS = 5.0
POLL_SECONDS = 0.02
# How long what is left of a refused body is read and thrown away, so that the client sees the answer.
LINGER_SECONDS = 2.0


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
    await app[SHARED].presigner.prepare()
    served = [(app, places.main)]
    if places.ops:
        served.append((create_operations_app(app), places.ops))
    runners: list[web.AppRunner] = []
    try:
        for application, sockets in served:
            runners.append(_runner(application))
            await _start(runners[-1], sockets)
        # What is loaded by now stays, and a full collection that walks through all of it would stop requests for 50 ms.
        gc.collect()
        gc.freeze()
        began(app[SHARED].store)
        logger.info("Stopping on %s", await stop)
        await _drain(app, runners[0], settings.drain_seconds)
    finally:
        # The first has what the second shares; and operators can ask until the last request is answered.
        for runner in runners:
            await runner.cleanup()
    logger.info("Stopped")


def _audit() -> AuditLog:
    try:
        return AuditLog(sys.stdout.fileno())
    except (AttributeError, OSError, ValueError):
        raise StartError(
            "Standard output is closed, and the audit log goes there; send it to a file or a pipe"
        ) from None


def _runner(app: web.Application) -> web.AppRunner:
    return web.AppRunner(
        app,
        access_log=None,
        auto_decompress=False,
        handle_signals=False,
        lingering_time=LINGER_SECONDS,
        shutdown_timeout=SHUTDOWN_SECONDS,
    )


async def _start(runner: web.AppRunner, sockets: list[socket.socket]) -> None:
    await runner.setup()
    for bound in sockets:
        try:
            await web.SockSite(runner, bound).start()
        except OSError as error:
            # Somebody bound the same address after us, and was first to listen.
            raise listening.refusal(str(bound.getsockname()), error, "SIGNER_PORT or SIGNER_SOCKET") from None


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


async def _drain(app: web.Application, runner: web.AppRunner, seconds: float) -> None:
    """Go on serving for a while, but tell load balancers and clients to go elsewhere; then finish what has begun.

    aiohttp's own shutdown reads no further byte of a body that is still arriving.
    """
    app[SHARED].readiness.draining = True
    await asyncio.sleep(seconds)
    for site in runner.sites:
        await site.stop()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(SHUTDOWN_SECONDS):
            while app[SHARED].readiness.in_flight:  # noqa: ASYNC110 - an event would cost every request
                await asyncio.sleep(POLL_SECONDS)
