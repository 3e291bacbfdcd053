"""Requests to other servers, which may answer anything."""

import asyncio
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp.client_proto import ResponseHandler

from service.http_client import MAX_HEADER_BYTES, MAX_HEADERS, http_session

# Of TLS 1.2: DHE-RSA-AES-GCM and DHE-RSA-CHACHA20.
DHE = {b"\x00\x9e", b"\x00\x9f", b"\xcc\xaa"}


@asynccontextmanager
async def server(answer):
    """Answer each request with these bytes. Yields the authority and what has been received."""
    received = bytearray()

    async def respond(reader, writer):
        received.extend(await reader.read(65536))
        writer.write(answer)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(respond, "127.0.0.1") as listening:
        yield "{}:{}".format(*listening.sockets[0].getsockname()), received


async def test_an_answer_is_read_in_small_parts(monkeypatch):
    sizes = []
    receive = ResponseHandler.data_received

    def counted(protocol, data):
        sizes.append(len(data))
        receive(protocol, data)

    monkeypatch.setattr(ResponseHandler, "data_received", counted)
    head = b"HTTP/1.1 400 Bad Request\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with (
        server(head + b"1\r\na\r\n" * 65_000 + b"0\r\n\r\n") as (authority, _),
        http_session(5) as session,
        session.get(f"http://{authority}/") as response,
    ):
        assert len(await response.read()) == 65_000

    assert max(sizes) < 50_000


@pytest.mark.parametrize(
    "headers",
    [b"Set-Cookie: a=b\r\n" * (MAX_HEADERS + 1), b"Set-Cookie: a=" + b"b" * MAX_HEADER_BYTES + b"\r\n"],
    ids=["many", "long"],
)
async def test_headers_are_limited(headers):
    async with server(b"HTTP/1.1 200 OK\r\n" + headers + b"\r\n") as (authority, _), http_session(5) as session:
        with pytest.raises(aiohttp.ClientResponseError):
            await session.get(f"http://{authority}/")


async def test_a_server_cannot_choose_a_slow_key_exchange():
    async with server(b"") as (authority, received), http_session(5) as session:
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get(f"https://{authority}/")
    # The version, a random number, the session id, the ciphers.
    sent = bytes(received)[9:]
    begin = 2 + 32 + 1 + sent[34]
    ciphers = sent[begin + 2 : begin + 2 + int.from_bytes(sent[begin : begin + 2])]

    assert b"\xc0\x2f" in {ciphers[at : at + 2] for at in range(0, len(ciphers), 2)}
    assert not DHE & {ciphers[at : at + 2] for at in range(0, len(ciphers), 2)}
