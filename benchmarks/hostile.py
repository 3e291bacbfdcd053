"""Clients that mean harm, or behave as if they did, beside those that are measured."""

import select
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from itertools import cycle

from benchmarks import cores
from benchmarks.load import ASK_SECONDS, LoadError, Request
from benchmarks.sockets import Address, connect, read
from benchmarks.steady import OTHER_FILES, allow_files


@contextmanager
def unfinished(address: Address, request: Request, count: int) -> Iterator[None]:
    """Keep so many requests open that have sent their head and half of their body.

    Raises LoadError if the server answers or ends one of them meanwhile.
    """
    written = request.written()
    half = written[: len(written) - len(request.body.encode()) // 2]
    allow_files(count + OTHER_FILES)
    with ExitStack() as stack:
        connections = [stack.enter_context(connect(address, ASK_SECONDS)) for _ in range(count)]
        for connection in connections:
            connection.sendall(half)
        yield
        poll = select.poll()
        for connection in connections:
            poll.register(connection, select.POLLIN)
        # An answer and the end of a connection are something to read alike.
        if answered := len(poll.poll(0)):
            raise LoadError(f"The server has not waited for {answered} of {count} bodies")


@contextmanager
def insisting(address: Address, requests: Sequence[Request], digit: int, connections: int) -> Iterator[None]:
    """Send ``requests`` meanwhile, over so many connections, the next of them whenever one has been answered.

    Raises LoadError if the status of an answer does not begin with ``digit``, or if there is none.
    """
    ended = threading.Event()
    statuses: list[int] = []

    def insist() -> None:
        # A connection that breaks off ends the thread, which is seen at the end.
        with suppress(OSError), connect(address, ASK_SECONDS) as connection:
            for written in cycle(request.written() for request in requests):
                if ended.is_set():
                    return
                connection.sendall(written)
                statuses.append(read(connection).status)

    threads = [threading.Thread(target=insist) for _ in range(connections)]
    with cores.pinned(cores.LOAD):
        for thread in threads:
            thread.start()
    try:
        yield
    finally:
        broken = sum(not thread.is_alive() for thread in threads)
        ended.set()
        for thread in threads:
            thread.join()
    if broken or {status // 100 for status in statuses} != {digit}:
        raise LoadError(
            f"Hostile requests are answered {sorted({*statuses})}, not {digit}xx; {broken} connections ended"
        )
