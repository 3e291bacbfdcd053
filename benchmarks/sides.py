"""Sides that measure servers: under load, or just started."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace

from benchmarks import example, load, ready, servers, steady
from benchmarks.contest import Measure, Side
from benchmarks.load import Request
from benchmarks.ready import Serve
from benchmarks.servers import KIB_PER_MIB, Server

Meter = Callable[[Server, Request], float]
TwoSides = tuple[Side, Side]

WARM_UP_SECONDS = 1
# wrk takes whole seconds; more rounds tell more than longer ones.
ROUND_SECONDS = 1
DELAY_SECONDS = 2
SHARE_OF_PEAK = 0.7
ATTEMPTS = 4


def loaded(serve: Serve, request: Request, meter: Meter, *, visits: int = 0) -> Side:
    """A server that answers ``request`` for a round; what it signs is compared with aiobotocore's before.

    ``visits`` says how many accounts have been asked for, once each, by then.
    """

    @contextmanager
    def side() -> Iterator[Measure]:
        with serve() as server:
            asked = replace(request, authorization=server.authorization)
            answer = load.ask(server.port, asked)
            if request in example.SIGNS:
                example.check(request, answer)
            steady.visit(server.port, asked, visits)
            load.put(server.port, asked, WARM_UP_SECONDS)
            yield lambda: meter(server, asked)

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


def delays(serve: Serve, request: Request) -> TwoSides:
    """Microseconds that an answer takes at a share of the peak load: the p99, and the p50."""

    @contextmanager
    def round_() -> Iterator[Callable[[], tuple[float, float]]]:
        with serve() as server:
            load.put(server.port, request, WARM_UP_SECONDS)

            def measure() -> tuple[float, float]:
                rate = SHARE_OF_PEAK * requests_per_second(server, request)
                p50, p99 = load.delays(server.port, request, rate=rate, seconds=DELAY_SECONDS)
                return p99, p50

            yield lambda: _at_length(measure)

    return _of_the_same_round(round_)


def _at_length(measure: Callable[[], tuple[float, float]]) -> tuple[float, float]:
    """What comes of it as soon as the rate is held: a machine that was busy elsewhere has also found another peak."""
    for _ in range(ATTEMPTS - 1):
        with suppress(load.RateError):
            return measure()
    return measure()


def remembering(serve: Serve, request: Request, *, many: int, few: int) -> TwoSides:
    """KiB that a process has in memory when it has signed for ``many`` accounts, and for ``few``."""

    @contextmanager
    def round_() -> Iterator[Callable[[], tuple[float, float]]]:
        def measure() -> tuple[float, float]:
            with serve() as server:
                steady.visit(server.port, request, few)
                less = server.resident_mib()
                steady.visit(server.port, request, many)
                return server.resident_mib() * KIB_PER_MIB, less * KIB_PER_MIB

        yield measure

    return _of_the_same_round(round_)


def _of_the_same_round(round_: Callable[[], AbstractContextManager[Callable[[], tuple[float, float]]]]) -> TwoSides:
    """Ours, which is measured first in each round, and what comes out of that beside it."""
    measured = [0.0]

    @contextmanager
    def ours() -> Iterator[Measure]:
        with round_() as measure_both:

            def measure() -> float:
                figure, measured[0] = measure_both()
                return figure

            yield measure

    @contextmanager
    def beside() -> Iterator[Measure]:
        yield lambda: measured[0]

    return ours, beside
