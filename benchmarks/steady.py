"""A load generator of our own: requests one by one, over TCP or a unix socket, as fast as the server answers."""

import resource
import select
import socket
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager

from benchmarks import cores
from benchmarks.load import ASK_SECONDS, CONNECTIONS, LoadError, Request
from benchmarks.sockets import LARGEST_READ, Address, connect, parse, read

# What a process has open beside its connections.
OTHER_FILES = 100


def visit(address: Address, request: Request, accounts: int) -> None:
    """Send ``request`` once for each of the first ``accounts`` accounts, or so often where it names none."""
    _drive(address, (request.written(number) for number in range(1, accounts + 1)))


@contextmanager
def idle(address: Address, request: Request, count: int) -> Iterator[None]:
    """Keep so many connections open, each of which has had one answer.

    Raises LoadError if the server ends one of them meanwhile.
    """
    allow_files(count + OTHER_FILES)
    with ExitStack() as stack:
        connections = [stack.enter_context(connect(address, ASK_SECONDS)) for _ in range(count)]
        for connection in connections:
            connection.sendall(request.written())
            read(connection)
        yield
        if ended := sum(map(_is_ended, connections)):
            raise LoadError(f"The server has ended {ended} of {count} idle connections")


def allow_files(count: int) -> None:
    """Let this process have so many files open, as far as the system does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(count, hard), hard))


def _is_ended(connection: socket.socket) -> bool:
    connection.setblocking(False)  # noqa: FBT003 - the standard library's
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


def _drive(address: Address, requests: Iterable[bytes]) -> None:
    with cores.pinned(cores.LOAD), ExitStack() as stack:
        poll = stack.enter_context(select.epoll())
        connections = {}
        for _ in range(CONNECTIONS):
            connection = stack.enter_context(connect(address, ASK_SECONDS))
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


def _is_whole(received: bytes) -> bool:
    if not received:
        raise LoadError("The connection is closed")
    answer = parse(received)
    if answer is not None and answer.status // 100 != 2:  # noqa: PLR2004 - the class of success
        raise LoadError(f"Not every answer is 2xx: {received.decode(errors='replace')}")
    return answer is not None
