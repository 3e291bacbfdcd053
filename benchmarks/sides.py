"""Sides that measure servers: under load, or just started."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from benchmarks import example, load, ready, servers
from benchmarks.contest import Measure, Side
from benchmarks.load import Request
from benchmarks.servers import Server

Serve = Callable[[], AbstractContextManager[Server]]
Meter = Callable[[Server, Request], float]

WARM_UP_SECONDS = 1
ROUND_SECONDS = 2


def loaded(serve: Serve, request: Request, meter: Meter) -> Side:
    """A server that answers ``request`` for a round; what it signs is compared with aiobotocore's before."""

    @contextmanager
    def side() -> Iterator[Measure]:
        with serve() as server:
            answer = load.ask(server.port, request)
            if request in example.SIGNS:
                example.check(request, answer)
            load.put(server.port, request, WARM_UP_SECONDS)
            yield lambda: meter(server, request)

    return side


def cpu_per_request(server: Server, request: Request) -> float:
    """Microseconds of the server's user and system time."""
    before = server.cpu_seconds()
    requests, _ = load.put(server.port, request, ROUND_SECONDS)
    return (server.cpu_seconds() - before) / requests * 1e6


def requests_per_second(server: Server, request: Request) -> float:
    requests, seconds = load.put(server.port, request, ROUND_SECONDS)
    return requests / seconds


@contextmanager
def first_url() -> Iterator[Measure]:
    """Seconds from the start of the service, on an empty store, to the first signed URL."""

    def measure() -> float:
        started = time.perf_counter()
        with ready.embedded() as server:
            answer = load.ask(server.port, example.GET)
            seconds = time.perf_counter() - started
            example.check(example.GET, answer)
        return seconds

    measure()
    yield measure


def script(source: str) -> Side:
    """Seconds that ``python -c source`` takes."""

    def measure() -> float:
        started = time.perf_counter()
        servers.run_to_end([sys.executable, "-c", source])
        return time.perf_counter() - started

    @contextmanager
    def side() -> Iterator[Measure]:
        measure()
        yield measure

    return side


def resident(serve: Serve, request: Request) -> Side:
    """MiB that a new process has in memory after its first answer."""

    def measure() -> float:
        with serve() as server:
            load.ask(server.port, request)
            return server.resident_mib()

    @contextmanager
    def side() -> Iterator[Measure]:
        yield measure

    return side
