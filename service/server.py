"""A process that listens: its socket, its signals, and how it ends without losing a request."""

import asyncio
import contextlib
import errno
import logging
import os
import signal
from collections.abc import Callable
from pathlib import Path

import aiohttp.http_parser
from aiohttp import web

import service
from service.app import create_app
from service.settings import Settings
from service.web.context import PRESIGNER, READINESS, STORE

logger = logging.getLogger(__name__)

# What is in flight at the end gets this long to finish, and as long again to be cancelled.
SHUTDOWN_SECONDS = 5.0
POLL_SECONDS = 0.02
# How long what is left of a refused body is read and thrown away, so that the client sees the answer.
LINGER_SECONDS = 2.0


class StartError(Exception):
    """Why the service cannot start, in one sentence that says what to do."""


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        StartError: if it cannot begin to.
    """
    if aiohttp.http_parser.HttpRequestParser is aiohttp.http_parser.HttpRequestParserPy:
        raise StartError(
            "aiohttp runs without its C parser, which is slower and less strict: "
            "install a wheel of aiohttp for this platform and unset AIOHTTP_NO_EXTENSIONS"
        )
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve(settings))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415 - there is none for every platform
    except ImportError:
        return None
    return uvloop.new_event_loop


async def _serve(settings: Settings) -> None:
    stop = _stop_signals()
    app = create_app(settings)
    runner = web.AppRunner(
        app,
        access_log=None,
        auto_decompress=False,
        handle_signals=False,
        lingering_time=LINGER_SECONDS,
        shutdown_timeout=SHUTDOWN_SECONDS,
    )
    await runner.setup()
    try:
        await app[PRESIGNER].prepare()
        address = await _listen(runner, settings)
        _announce(settings, app, address)
        name = await stop
        logger.info("Stopping on %s", name)
        await _drain(app, runner, settings.drain_seconds)
    finally:
        await runner.cleanup()
    logger.info("Stopped")


def _stop_signals() -> asyncio.Future[str]:
    loop = asyncio.get_running_loop()
    stop: asyncio.Future[str] = loop.create_future()

    def begin(name: str) -> None:
        if not stop.done():
            stop.set_result(name)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, begin, number.name)
    return stop


async def _listen(runner: web.AppRunner, settings: Settings) -> str:
    try:
        if settings.socket:
            return await _listen_on_socket(runner, settings)
        await web.TCPSite(runner, settings.host, settings.port).start()
    except OSError as error:
        place = settings.socket or f"{settings.host}:{settings.port}"
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise StartError(
            f"Cannot listen on {place}: {reason}. "
            f"Stop what is there, or choose another place with {'SIGNER_SOCKET' if settings.socket else 'SIGNER_PORT'}"
        ) from None
    host, port = runner.addresses[0][:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def _listen_on_socket(runner: web.AppRunner, settings: Settings) -> str:
    path = Path(settings.socket)
    await _refuse_taken_socket(path)
    # Nobody may connect between the socket's making and its mode, so it is made with that mode.
    umask = os.umask(0o777 & ~settings.socket_mode)
    try:
        await web.UnixSite(runner, path).start()
    finally:
        os.umask(umask)
    return f"unix:{path}"


async def _refuse_taken_socket(path: Path) -> None:
    # Binding replaces a stale socket, and would as readily replace one that somebody serves on.
    try:
        _, writer = await asyncio.open_unix_connection(path)
    except OSError:
        return
    writer.close()
    raise OSError(errno.EADDRINUSE, "")


def _announce(settings: Settings, app: web.Application, address: str) -> None:
    store = app[STORE]
    authentication = "none"
    logger.info(
        "s3-signer %s listens on %s; store: %s; authentication: %s",
        service.__version__,
        address,
        store.description,
        authentication,
    )
    if not store.networked:
        logger.warning("Accounts are kept in memory alone and forgotten at the end; set SIGNER_STORE_URL to keep them")
    who = "everybody who reaches it" if settings.auth == "none" else "everybody on this machine"
    logger.warning("No authentication: %s can sign with every account", who)


async def _drain(app: web.Application, runner: web.AppRunner, seconds: float) -> None:
    """Go on serving for a while, but tell load balancers and clients to go elsewhere; then finish what has begun.

    aiohttp's own shutdown reads no further byte of a body that is still arriving.
    """
    app[READINESS].draining = True
    await asyncio.sleep(seconds)
    for site in runner.sites:
        await site.stop()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(SHUTDOWN_SECONDS):
            while app[READINESS].in_flight:  # noqa: ASYNC110 - an event would cost every request
                await asyncio.sleep(POLL_SECONDS)
