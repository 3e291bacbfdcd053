"""A listening socket that shows the secret watch every byte that the server sends."""

import socket

from aiohttp.test_utils import get_port_socket
from watching import LONGEST_SECRET, WATCH


class _Connection(socket.socket):
    """``send`` is the one call that asyncio's transports write with."""

    _tail = b""

    def send(self, data, *flags):
        sent = super().send(data, *flags)
        # A secret may begin in one piece of an answer and end in the next one.
        answer = self._tail + bytes(data[:sent])
        WATCH.look("answer", answer)
        self._tail = answer[-LONGEST_SECRET:]
        return sent


class _Listener(socket.socket):
    def accept(self):
        connection, address = super().accept()
        watched = _Connection(connection.family, connection.type, connection.proto, fileno=connection.detach())
        return watched, address


def watched_socket(host, port, family):
    """A ``socket_factory`` for ``aiohttp.test_utils.TestServer``."""
    bound = get_port_socket(host, port, family)
    return _Listener(bound.family, bound.type, bound.proto, fileno=bound.detach())
