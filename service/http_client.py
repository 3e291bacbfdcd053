"""Requests to other HTTP servers. Whatever they answer, the event loop is held for milliseconds."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import cache

import aiohttp
from aiohttp.abc import AbstractResolver

# Of an answer, in one turn of the event loop; Linux doubles it. 256 KB in chunks of one byte take 20 ms.
RECEIVED_BYTES = 4096
# By default, 128 headers of 8 KB each: as cookies with escapes, they take 21 ms.
MAX_HEADERS, MAX_HEADER_BYTES = 64, 4096
# Of TLS 1.2. With DHE, the server chooses the numbers, and those of 10,000 bits take 0.9 s.
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"


@asynccontextmanager
async def http_session(
    seconds: float, *, headers: Mapping[str, str] | None = None, resolver: AbstractResolver | None = None
) -> AsyncIterator[aiohttp.ClientSession]:
    """Return a session without proxies or environment, in which a request has ``seconds`` in all."""
    # The certificates of the system take 30 ms to load.
    tls = await asyncio.to_thread(_tls_context)
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(resolver=resolver, socket_factory=_socket, ssl=tls),
        timeout=aiohttp.ClientTimeout(total=seconds),
        headers=headers,
        # A small compressed body could take much memory.
        auto_decompress=False,
        max_headers=MAX_HEADERS,
        max_field_size=MAX_HEADER_BYTES,
    ) as session:
        yield session


@cache
def _tls_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_ciphers(_CIPHERS)
    return context


def _socket(address: aiohttp.AddrInfoType) -> socket.socket:
    family, type_, protocol, _, _ = address
    made = socket.socket(family, type_, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVED_BYTES)
    return made
