"""Sides that measure servers: under load, or just started."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace

from benchmarks import cores, example, hold, hostile, load, ready, servers, steady
from benchmarks.contest import Party, Rounds, Side
from benchmarks.load import Request
from benchmarks.ready import Serve
from benchmarks.servers import KIB_PER_MIB, Server

Meter = Callable[[Server, load.Turns], Party]
TwoSides = tuple[Side, Side]
Expected = tuple[Request, int]
"""A request, and the first digit of the status of its answer."""

TURN_SECONDS = 0.2
LOOK_SECONDS = 0.002
# Whoever takes less of the time than this has nothing left to answer.
IDLE_SHARE = 0.2
DRIVEN_REQUESTS = 4000
PEAK_SECONDS = 1
DELAY_SECONDS = 2
SHARE_OF_PEAK = 0.7
# A tenth of what is served where nothing else is asked.
RATE = 500
UNFINISHED, INSISTING = 400, 8
ATTEMPTS = 4


class Loaded:
    """A server that answers in its turns, for as long as wrk asks and then until it has answered all.

    Turns are short, as machines that are shared change their pace from second to second.
    """

    def __init__(self, server: Server, turns: load.Turns) -> None:
        self._server = server
        self._turns = turns
        self._before = server.cpu_seconds()
        self.seconds = 0.0

    def turn(self) -> None:
        started = time.perf_counter()
        workers = {*self._server.workers()}
        # Workers that share a core take turns in their turn.
        rests = [workers - {worker} for worker in workers] if len(workers) > len(cores.WORKERS) else [set()]
        for rest in rests:
            with servers.resting(rest), self._turns.turn():
                time.sleep(TURN_SECONDS / len(rests))
        _settle(self._server)
        self.seconds += time.perf_counter() - started

    def end(self) -> tuple[int, float]:
        """How many requests were answered, to the last, and the CPU seconds that they took."""
        started = time.perf_counter()
        requests = self._turns.end()
        self.seconds += time.perf_counter() - started
        return requests, self._server.cpu_seconds() - self._before


def _settle(server: Server) -> None:
    """Wait until the server has answered what it was asked."""
    used, share = server.cpu_seconds(), 1.0
    end = time.perf_counter() + load.ASK_SECONDS
    while share > IDLE_SHARE:
        looked = time.perf_counter()
        if looked > end:
            raise load.LoadError(f"The server is still busy {load.ASK_SECONDS} seconds after the last request")
        time.sleep(LOOK_SECONDS)
        before, used = used, server.cpu_seconds()
        share = (used - before) / (time.perf_counter() - looked)


class CpuPerRequest(Loaded):
    """Microseconds of the server's user and system time."""

    def figure(self) -> float:
        requests, cpu_seconds = self.end()
        return cpu_seconds / requests * 1e6


class RequestsPerSecond(Loaded):
    """Of the time that the server took for its turns."""

    def figure(self) -> float:
        requests, _ = self.end()
        return requests / self.seconds


def loaded(
    serve: Serve, request: Request, meter: Meter, *, visits: int = 0, idle: int = 0, closes: bool = False
) -> Side:
    """A server that answers ``request``; what it signs is compared with aiobotocore's before.

    ``visits`` says how many accounts have been asked for, once each, by then; ``idle``, how many connections are open
    beside those that ask; ``closes``, whether each request has a connection of its own.
    """

    @contextmanager
    def side() -> Iterator[Party]:
        with serve() as server:
            asked = replace(request, authorization=server.authorization, closes=closes)
            _check(server, request)
            steady.visit(server.port, replace(asked, closes=False), visits)
            with steady.idle(server.port, replace(asked, closes=False), idle):
                load.warm_up(server.port, asked)
                with load.in_turns(server.port, asked) as turns:
                    yield meter(server, turns)

    return side


def driven(serve: Serve, request: Request, *, requests: int = DRIVEN_REQUESTS, items: int = 1) -> Side:
    """Microseconds of the server's CPU for one of the items of a request, sent by our own generator.

    wrk knows no unix sockets, and sends no more than it can have answered in its turn.
    """

    @contextmanager
    def side() -> Iterator[Party]:
        with serve() as server:
            asked = replace(request, authorization=server.authorization)
            _check(server, request)

            def measure() -> float:
                before = server.cpu_seconds()
                steady.visit(server.address, asked, requests)
                return (server.cpu_seconds() - before) / (requests * items) * 1e6

            measure()
            yield Rounds(measure)

    return side


def _check(server: Server, request: Request) -> None:
    """Ask once, and compare what is signed with aiobotocore's."""
    answer = load.ask(server.address, replace(request, authorization=server.authorization))
    if server.signs and request in example.SIGNS:
        example.check(request, answer.body)


@contextmanager
def first_url() -> Iterator[Party]:
    """Seconds from the start of the service, on an empty store, to the first signed URL."""

    def measure() -> float:
        started = time.perf_counter()
        with ready.embedded() as server:
            answer = load.ask(server.port, example.GET)
            seconds = time.perf_counter() - started
            example.check(example.GET, answer.body)
        return seconds

    measure()
    yield Rounds(measure)


def script(source: str) -> Side:
    """Seconds that ``python -c source`` takes."""

    def measure() -> float:
        started = time.perf_counter()
        servers.run_to_end([sys.executable, "-c", source])
        return time.perf_counter() - started

    @contextmanager
    def side() -> Iterator[Party]:
        measure()
        yield Rounds(measure)

    return side


def resident(serve: Serve, request: Request) -> Side:
    """MiB that a new process has in memory after its first answer."""

    def measure() -> float:
        with serve() as server:
            _check(server, request)
            return server.resident_mib()

    @contextmanager
    def side() -> Iterator[Party]:
        yield Rounds(measure)

    return side


def delays(serve: Serve, request: Request) -> TwoSides:
    """Microseconds that an answer takes at a share of the peak load: the p99, and the p50."""

    @contextmanager
    def round_() -> Iterator[Callable[[], tuple[float, float]]]:
        with serve() as server:
            _check(server, request)
            load.warm_up(server.port, request)

            def measure() -> tuple[float, float]:
                requests, seconds = load.put(server.port, request, PEAK_SECONDS)
                rate = SHARE_OF_PEAK * requests / seconds
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


def beside_hostile(serve: Serve, request: Request) -> TwoSides:
    """The p99 in microseconds of the time an answer takes at a low rate: beside hostile clients, and alone."""

    @contextmanager
    def clients(server: Server) -> Iterator[None]:
        body = replace(example.UNFINISHED_BODY, authorization=server.authorization)
        with hostile.unfinished(server.port, body, UNFINISHED):
            _settle(server)
            with hostile.insisting(server.port, example.HOSTILE_FORMS, 4, INSISTING):
                yield

    return _beside(serve, request, clients)


def beside_batches(serve: Serve, request: Request) -> TwoSides:
    """The same beside a client that signs one batch after the other."""

    @contextmanager
    def clients(server: Server) -> Iterator[None]:
        batch = replace(example.BATCH, authorization=server.authorization)
        with hostile.insisting(server.port, [batch], 2, 1):
            yield

    return _beside(serve, request, clients)


def _beside(serve: Serve, request: Request, clients: Callable[[Server], AbstractContextManager[None]]) -> TwoSides:
    @contextmanager
    def round_() -> Iterator[Callable[[], tuple[float, float]]]:
        with serve() as server:
            asked = replace(request, authorization=server.authorization)
            _check(server, request)
            load.warm_up(server.port, asked)

            def p99(least: float) -> float:
                port = server.port
                return load.delays(port, asked, rate=RATE, seconds=DELAY_SECONDS, connections=INSISTING, least=least)[1]

            def measure() -> tuple[float, float]:
                _settle(server)
                alone = p99(load.LEAST_OF_RATE)
                with clients(server):
                    # What slows the generator down here is what is measured.
                    return p99(0), alone

            yield lambda: _at_length(measure)

    return _of_the_same_round(round_)


def remembering(serve: Serve, request: Request, *, many: int, few: int) -> TwoSides:
    """KiB that a process has in memory when it has signed for ``many`` accounts, and for ``few``."""

    @contextmanager
    def round_() -> Iterator[Callable[[], tuple[float, float]]]:
        def measure() -> tuple[float, float]:
            with serve() as server:
                _check(server, request)
                steady.visit(server.port, request, few)
                less = server.resident_mib()
                steady.visit(server.port, request, many)
                return server.resident_mib() * KIB_PER_MIB, less * KIB_PER_MIB

        yield measure

    return _of_the_same_round(round_)


def holding(serve: Serve, requests: Sequence[Expected]) -> TwoSides:
    """Milliseconds that the slowest probe takes beside the worst of the requests, and beside none."""

    @contextmanager
    def round_() -> Iterator[Callable[[], tuple[float, float]]]:
        with serve() as server:
            sent = [
                (replace(request, authorization=request.authorization or server.authorization), digit)
                for request, digit in requests
            ]
            yield lambda: (
                max(hold.longest(server.address, *each) for each in sent) * 1e3,
                hold.undisturbed(server.address) * 1e3,
            )

    return _of_the_same_round(round_)


def _of_the_same_round(round_: Callable[[], AbstractContextManager[Callable[[], tuple[float, float]]]]) -> TwoSides:
    """Ours, which is measured first in each round, and what comes out of that beside it."""
    measured = [0.0]

    @contextmanager
    def ours() -> Iterator[Party]:
        with round_() as measure_both:

            def measure() -> float:
                figure, measured[0] = measure_both()
                return figure

            yield Rounds(measure)

    @contextmanager
    def beside() -> Iterator[Party]:
        yield Rounds(lambda: measured[0])

    return ours, beside
