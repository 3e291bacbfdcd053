"""How long one request keeps the event loop from all others: what a probe beside it waits for its answer."""

import socket
import threading
import time
from contextlib import suppress

from benchmarks import cores
from benchmarks.load import ASK_SECONDS, LoadError, Request
from benchmarks.sockets import Address, connect, read

PROBE = Request("/live").written()
PROBES = 50


def longest(address: Address, request: Request, digit: int) -> float:
    """Return the seconds that the slowest probe took while ``request`` was sent and answered.

    Raises LoadError if the status of the answer does not begin with ``digit``.
    """
    answered = []

    def exchange() -> None:
        # A connection that breaks off leaves no status.
        with suppress(OSError), connect(address, ASK_SECONDS) as connection:
            connection.sendall(request.written())
            answered.append(read(connection).status)

    with cores.pinned(cores.LOAD), connect(address, ASK_SECONDS) as connection:
        _probe(connection)
        thread = threading.Thread(target=exchange)
        thread.start()
        slowest = 0.0
        while thread.is_alive():
            slowest = max(slowest, _probe(connection))
        thread.join()
    if [status // 100 for status in answered] != [digit]:
        raise LoadError(f"{request.method} {request.path} answers {answered}, not {digit}xx")
    return slowest


def undisturbed(address: Address) -> float:
    """Return the seconds that the slowest of some probes takes when nothing else is asked."""
    with cores.pinned(cores.LOAD), connect(address, ASK_SECONDS) as connection:
        _probe(connection)
        return max(_probe(connection) for _ in range(PROBES))


def _probe(connection: socket.socket) -> float:
    started = time.perf_counter()
    connection.sendall(PROBE)
    read(connection)
    return time.perf_counter() - started
