"""A load generator of our own: many different requests once each; or a rate that is held, whatever the server does."""

import re
import select
import socket
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from itertools import repeat
from math import inf
from statistics import quantiles
from time import perf_counter

from benchmarks import cores
from benchmarks.load import ASK_SECONDS, CONNECTIONS, LoadError, Request

LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)\r\n", re.IGNORECASE)
LARGEST_READ = 65_536


def visit(port: int, request: Request, accounts: int) -> None:
    """Send ``request`` once for each of the first ``accounts`` accounts, as fast as the server answers."""
    for _ in _drive(port, (_bytes(request, number) for number in range(1, accounts + 1))):
        pass


def delays(port: int, request: Request, *, rate: float, seconds: float) -> tuple[float, float]:
    """The 50th and 99th percentile, in microseconds, of the time from when a request was due to its answer.

    A request that finds no connection free waits for one, and its time runs all the same: a server that stalls is not
    spared the requests that would have come meanwhile.
    """
    percentiles = quantiles(_drive(port, repeat(_bytes(request, 1), int(rate * seconds)), rate), n=100)
    return percentiles[49] * 1e6, percentiles[98] * 1e6


def _bytes(request: Request, number: int) -> bytes:
    return f"{request.method} {request.target(number)} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()


def _drive(port: int, requests: Iterable[bytes], rate: float = inf) -> Iterator[float]:
    """Seconds from when each request was due to its answer."""
    with cores.pinned(cores.LOAD), ExitStack() as stack:
        poll = stack.enter_context(select.epoll())
        connections = {}
        for _ in range(CONNECTIONS):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=ASK_SECONDS))
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            poll.register(connection.fileno(), select.EPOLLIN)
            connections[connection.fileno()] = connection
        yield from _exchange(poll, connections, requests, rate)


def _exchange(
    poll: select.epoll, connections: dict[int, socket.socket], requests: Iterable[bytes], rate: float
) -> Iterator[float]:
    free, due, parts = deque(connections), dict.fromkeys(connections, 0.0), dict.fromkeys(connections, b"")
    upcoming = iter(requests)
    request = next(upcoming, None)
    started, sent = perf_counter(), 0
    while request is not None or len(free) < len(connections):
        while free and request is not None and started + sent / rate <= perf_counter():
            number = free.popleft()
            due[number] = started + sent / rate
            connections[number].sendall(request)
            sent += 1
            request = next(upcoming, None)
        # It sleeps for whole milliseconds only, in which many requests would become due.
        events = poll.poll(0 if free and request is not None else ASK_SECONDS)
        if not events and not (free and request is not None):
            raise LoadError(f"No answer within {ASK_SECONDS} seconds")
        for number, _ in events:
            parts[number] += connections[number].recv(LARGEST_READ)
            if _is_whole(parts[number]):
                parts[number] = b""
                free.append(number)
                yield perf_counter() - due[number]


def _is_whole(answer: bytes) -> bool:
    head, end, body = answer.partition(b"\r\n\r\n")
    if not answer or (end and not answer.startswith(b"HTTP/1.1 2")):
        raise LoadError(f"Not every answer is 2xx: {answer.decode(errors='replace') or 'the connection is closed'}")
    length = LENGTH.search(head + b"\r\n") if end else None
    return length is not None and len(body) >= int(length[1])
