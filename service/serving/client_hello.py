"""The first message of a TLS connection, checked before OpenSSL reads it."""

import asyncio
import socket

# OpenSSL 3.0 compares each group of a ClientHello with each key share: 58 ms for 64 KB of them, 1 ms for 8 KiB.
MAX_HELLO_BYTES = 8192
_RECORD_HEADER, _MESSAGE_HEADER = 5, 4
_HEADER_BYTES = _RECORD_HEADER + _MESSAGE_HEADER
_HANDSHAKE, _CLIENT_HELLO = 22, 1


async def wait_for_client_hello(client: socket.socket) -> None:
    """Wait until a non-blocking connection begins with a ClientHello, and leave all bytes in it.

    Raises ConnectionAbortedError if it begins with anything else, or if the ClientHello has more than
    ``MAX_HELLO_BYTES``. The connection is closed after an exception or cancellation.
    """
    try:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, _HEADER_BYTES)
        await _until_readable(client)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
        _check(client)
    except BaseException:
        client.close()
        raise


async def _until_readable(client: socket.socket) -> None:
    readable, loop = asyncio.Event(), asyncio.get_running_loop()
    loop.add_reader(client, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(client)


def _check(client: socket.socket) -> None:
    if not is_short_hello(client.recv(_HEADER_BYTES, socket.MSG_PEEK)):
        # With unread bytes, the kernel would reset the connection.
        client.recv(65536)
        raise ConnectionAbortedError


def is_short_hello(start: bytes) -> bool:
    """Return whether the first bytes of a connection begin a ClientHello of at most ``MAX_HELLO_BYTES``.

    A header that is divided between two records counts as none; no client sends it.
    Source: https://www.rfc-editor.org/rfc/rfc8446#section-4 and #section-5.1
    """
    if len(start) < _HEADER_BYTES:
        return False
    content_type, record_length = start[0], int.from_bytes(start[3:5])
    message_type, message_length = start[5], int.from_bytes(start[6:])
    is_client_hello = content_type == _HANDSHAKE and message_type == _CLIENT_HELLO and record_length >= _MESSAGE_HEADER
    return is_client_hello and message_length <= MAX_HELLO_BYTES
