"""A load generator of our own: many different requests, once each, as fast as the server answers."""

import re
import select
import socket
from collections import deque
from collections.abc import Iterable
from contextlib import ExitStack

from benchmarks import cores
from benchmarks.load import ASK_SECONDS, CONNECTIONS, LoadError, Request

LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)\r\n", re.IGNORECASE)
LARGEST_READ = 65_536


def visit(port: int, request: Request, accounts: int) -> None:
    """Send ``request`` once for each of the first ``accounts`` accounts, as fast as the server answers."""
    _drive(port, (_bytes(request, number) for number in range(1, accounts + 1)))


def _bytes(request: Request, number: int) -> bytes:
    caller = f"Authorization: {request.authorization}\r\n" if request.authorization else ""
    return f"{request.method} {request.target(number)} HTTP/1.1\r\nHost: 127.0.0.1\r\n{caller}\r\n".encode()


def _drive(port: int, requests: Iterable[bytes]) -> None:
    with cores.pinned(cores.LOAD), ExitStack() as stack:
        poll = stack.enter_context(select.epoll())
        connections = {}
        for _ in range(CONNECTIONS):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=ASK_SECONDS))
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            poll.register(connection.fileno(), select.EPOLLIN)
            connections[connection.fileno()] = connection
        _exchange(poll, connections, requests)


def _exchange(poll: "select.epoll", connections: dict[int, socket.socket], requests: Iterable[bytes]) -> None:
    free, parts = deque(connections), dict.fromkeys(connections, b"")
    upcoming = iter(requests)
    request = next(upcoming, None)
    while request is not None or len(free) < len(connections):
        while free and request is not None:
            connections[free.popleft()].sendall(request)
            request = next(upcoming, None)
        events = poll.poll(ASK_SECONDS)
        if not events:
            raise LoadError(f"No answer within {ASK_SECONDS} seconds")
        for number, _ in events:
            parts[number] += connections[number].recv(LARGEST_READ)
            if _is_whole(parts[number]):
                parts[number] = b""
                free.append(number)


def _is_whole(answer: bytes) -> bool:
    head, end, body = answer.partition(b"\r\n\r\n")
    if not answer or (end and not answer.startswith(b"HTTP/1.1 2")):
        raise LoadError(f"Not every answer is 2xx: {answer.decode(errors='replace') or 'the connection is closed'}")
    length = LENGTH.search(head + b"\r\n") if end else None
    return length is not None and len(body) >= int(length[1])
