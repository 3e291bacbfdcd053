"""Raw connections to a server, and the answers that come over them."""

import re
import socket
from typing import NamedTuple

Address = int | str
"""A port of 127.0.0.1, or the path of a unix socket."""

LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)\r\n", re.IGNORECASE)
LARGEST_READ = 65_536


class Answer(NamedTuple):
    """An answer in one piece."""

    status: int
    head: bytes
    body: bytes


def connect(address: Address, seconds: float) -> socket.socket:
    """Open a connection on which each operation takes at most so many seconds."""
    if isinstance(address, int):
        connection = socket.create_connection(("127.0.0.1", address), timeout=seconds)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(seconds)
    try:
        connection.connect(address)
    except OSError:
        connection.close()
        raise
    return connection


def parse(received: bytes) -> Answer | None:
    """Return the answer once it is whole. It must have a Content-Length."""
    head, end, body = received.partition(b"\r\n\r\n")
    length = LENGTH.search(head + b"\r\n") if end else None
    if length is None or len(body) < int(length[1]):
        return None
    return Answer(int(head.split(b" ", 2)[1]), head, body)


def read(connection: socket.socket) -> Answer:
    """Read one answer. Raises ConnectionError if the connection ends before."""
    received = b""
    while (answer := parse(received)) is None:
        part = connection.recv(LARGEST_READ)
        if not part:
            raise ConnectionError(f"The connection is closed after {received[:100]!r}")
        received += part
    return answer
