"""TLS handshakes that take long or fail count towards the limit of connections, until they end."""

import asyncio
import gc
import resource
import socket
import ssl
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import pytest
import uvloop
from aiohttp import web
from live.certificates import make_certificates
from support.service import running
from support.waiting import eventually, until

from service.serving import listener as listener_module
from service.serving import tls
from service.serving.client_hello import is_short_hello

GET = b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n"
LIMIT = 3
FULL = "The limit of 3 connections is reached; new connections are rejected until some close"


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    return make_certificates(tmp_path_factory.mktemp("pair"), "signer.test")


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def serve(request, pair):
    """Return a function that calls ``use`` with the address of a service over TLS, and its listener."""

    async def start(use):
        async def live(_):
            return web.Response()

        app = web.Application()
        app.router.add_get("/live", live)
        runner = web.AppRunner(app, shutdown_timeout=1)
        await runner.setup()
        bound = socket.create_server(("127.0.0.1", 0))
        context = tls.ServerCertificate(pair.certificate, pair.key).context
        listener = listener_module.Listener(runner, bound, limit=LIMIT, opening=set(), ssl_context=context)
        await listener.start()
        try:
            async with asyncio.timeout(30):
                await use(bound.getsockname(), listener)
        finally:
            listener.close()
            await runner.cleanup()

    def run(use):
        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(start(use))

    return run


def connect(stack, address):
    """Return a connection that sends nothing."""
    connection = stack.enter_context(socket.create_connection(address, timeout=5))
    connection.setblocking(False)  # noqa: FBT003 - the standard library's
    return connection


def is_closed(connection):
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


async def status(address, pair, protocols=()):
    """Return the start of the response to a client that completes its handshake."""
    context = ssl.create_default_context(cafile=pair.ca)
    context.set_alpn_protocols([*protocols, "http/1.1"])
    reader, writer = await asyncio.open_connection(*address[:2], ssl=context)
    with closing(writer):
        writer.write(GET)
        return (await reader.readuntil(b"\r\n\r\n"))[:12]


def test_silent_clients_above_the_limit_are_closed_at_once(serve, pair, monkeypatch, caplog):
    monkeypatch.setattr(listener_module, "TLS_HANDSHAKE_SECONDS", 3600.0)

    async def use(address, listener):
        before = sockets_of("self")
        with ExitStack() as stack:
            silent = [connect(stack, address) for _ in range(40)]
            await until(lambda: sum(map(is_closed, silent)) == 40 - LIMIT)
            # The test has the other end of each connection.
            assert sockets_of("self") - before == 40 + LIMIT
            with pytest.raises(OSError):  # noqa: PT011 - a reset, or an end before the handshake
                await status(address, pair)
            assert listener.is_opening
        await until(lambda: not listener.is_opening)
        assert await status(address, pair) == b"HTTP/1.1 200"

    serve(use)
    assert [record.message for record in caplog.records] == [FULL]


def test_a_client_can_send_only_some_kilobytes_in_one_turn(serve):
    async def use(address, _):
        with ExitStack() as stack:
            client = connect(stack, address)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            sent = 0
            # The service accepts nothing meanwhile, because its event loop does not run.
            with suppress(BlockingIOError):
                while sent < 1_000_000:
                    sent += client.send(bytes(1000))

        assert sent < 50_000

    serve(use)


def test_a_client_hello_of_more_than_8_kib_is_refused(serve, pair, caplog):
    async def use(address, listener):
        before = sockets_of("self")
        assert await status(address, pair, ["x" * 250] * 30) == b"HTTP/1.1 200"
        with pytest.raises(OSError):  # noqa: PT011 - an end before the handshake
            await status(address, pair, ["x" * 250] * 33)
        await until(lambda: not listener.is_opening)
        await until(lambda: sockets_of("self") == before)

    serve(use)
    assert caplog.records == []


@pytest.mark.parametrize("guesses_curve", [True, False], ids=["one hello", "two hellos"])
def test_a_client_hello_may_arrive_byte_by_byte(serve, pair, guesses_curve):
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context(cafile=pair.ca)
    if guesses_curve:
        context.set_ecdh_curve("prime256v1")
    tls_client = context.wrap_bio(incoming, outgoing, server_hostname="localhost")

    async def use(address, _):
        reader, writer = await asyncio.open_connection(*address)
        with closing(writer):
            while True:
                with suppress(ssl.SSLWantReadError):
                    tls_client.do_handshake()
                    break
                for byte in outgoing.read():
                    writer.write(bytes([byte]))
                    await asyncio.sleep(0)
                incoming.write(await reader.read(65536))
        assert tls_client.version() == "TLSv1.3"

    serve(use)


def long_hello():
    """Return a message of 9 KB without its record's header."""
    outgoing, context = ssl.MemoryBIO(), ssl.create_default_context()
    context.set_alpn_protocols(["x" * 250] * 33)
    with suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost").do_handshake()
    return outgoing.read()[5:]


def in_record(message):
    return b"\x16\x03\x01" + len(message).to_bytes(2) + message


HIDDEN_HELLOS = {
    "behind an alert": b"\x15\x03\x01\x00\x02\x01\x00" + in_record(long_hello()),
    "with a divided header": in_record(long_hello()[:2]) + in_record(long_hello()[2:]),
}


@pytest.mark.parametrize("sent", HIDDEN_HELLOS.values(), ids=HIDDEN_HELLOS)
def test_a_long_client_hello_cannot_be_hidden(serve, sent):
    async def use(address, _):
        reader, writer = await asyncio.open_connection(*address)
        with closing(writer):
            writer.write(sent)
            # The end may overtake bytes that are on their way, which makes it a reset.
            with suppress(ConnectionResetError):
                assert await reader.read() == b""

    serve(use)


@pytest.mark.parametrize(
    ("start", "is_accepted"),
    [
        (b"\x16\x03\x01\x20\x04\x01\x00\x20\x00", True),
        (b"\x16\x03\x01\x20\x05\x01\x00\x20\x01", False),
        (b"\x16\x03\x01\x00\x04\x01\x00\x01\x00", True),  # a record that ends behind the message's header
        (b"\x16\x03\x01\x00\x03\x01\x00\x01\x16", False),
        (b"\x16\x03\x01\x00\x04\x02\x00\x01\x00", False),  # a ServerHello
        (b"\x80\x2e\x01\x03\x03\x01\x00\x00\x00", False),  # SSL 2
        (b"\x16\x03\x01\x00\x04\x01", False),
        (b"", False),
    ],
)
def test_a_connection_must_begin_with_a_short_client_hello(start, is_accepted):
    assert is_short_hello(start) is is_accepted


def test_handshakes_that_take_too_long_make_room(serve, pair, monkeypatch):
    monkeypatch.setattr(listener_module, "TLS_HANDSHAKE_SECONDS", 0.2)

    async def use(address, listener):
        before = sockets_of("self")
        with ExitStack() as stack:
            silent = [connect(stack, address) for _ in range(LIMIT)]
            await until(lambda: all(map(is_closed, silent)))
            await until(lambda: not listener.is_opening)
            await until(lambda: sockets_of("self") == before + LIMIT)
            monkeypatch.setattr(listener_module, "TLS_HANDSHAKE_SECONDS", 20.0)
            assert await status(address, pair) == b"HTTP/1.1 200"

    serve(use)


@pytest.mark.parametrize("sent", [b"", GET, b"\x16\x03\x01" + b"\xff" * 400], ids=["nothing", "HTTP", "no TLS"])
def test_failed_handshakes_make_room_before_they_are_collected(serve, pair, monkeypatch, caplog, sent):
    monkeypatch.setattr(listener_module, "TLS_HANDSHAKE_SECONDS", 3600.0)

    async def use(address, listener):
        before = sockets_of("self")
        for _ in range(5):
            with ExitStack() as stack:
                opened = [connect(stack, address) for _ in range(LIMIT)]
                await until(lambda: listener.is_opening)
                for connection in opened:
                    connection.sendall(sent)
                    connection.shutdown(socket.SHUT_WR)
                await until(lambda: not listener.is_opening)
        assert await status(address, pair) == b"HTTP/1.1 200"
        await until(lambda: sockets_of("self") == before)

    gc.disable()
    try:
        serve(use)
    finally:
        gc.enable()
    assert caplog.records == []


def test_clients_that_send_their_request_late_or_slowly_are_served(serve, pair):
    async def use(address, listener):
        context = ssl.create_default_context(cafile=pair.ca)
        opened = [await asyncio.open_connection(*address, ssl=context) for _ in range(LIMIT)]
        await until(lambda: not listener.is_opening)
        for reader, writer in opened:
            with closing(writer):
                writer.write(GET[:5])
                await asyncio.sleep(0.01)
                writer.write(GET[5:])
                assert (await reader.readuntil(b"\r\n\r\n"))[:12] == b"HTTP/1.1 200"

    serve(use)


def test_connections_wait_while_the_process_has_no_files_left(serve, pair, caplog):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    async def use(address, listener):
        with socket.socket() as client:
            client.setblocking(False)  # noqa: FBT003 - the standard library's
            resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
            try:
                await asyncio.get_running_loop().sock_connect(client, address)
                await until(lambda: caplog.records)
                assert not listener.is_opening
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            await until(lambda: listener.is_opening)
        assert await status(address, pair) == b"HTTP/1.1 200"

    serve(use)
    assert {record.message for record in caplog.records} == {"New connections wait for 1 second: Too many open files"}


def sockets_of(process):
    """Return the number of open sockets. uvloop opens other files when it needs them."""
    links = []
    for file in Path(f"/proc/{process}/fd").iterdir():
        with suppress(FileNotFoundError):
            links.append(str(file.readlink()))
    return sum(link.startswith("socket:") for link in links)


def test_a_process_limits_silent_connections(pair):
    named = {"SIGNER_TLS_CERT": str(pair.certificate), "SIGNER_TLS_KEY": str(pair.key)}
    with running(**named, SIGNER_MAX_CONNECTIONS="10", measured=False) as process, ExitStack() as stack:
        before = sockets_of(process.pid)
        address = ("127.0.0.1", int(process.url.rpartition(":")[2]))
        silent = [connect(stack, address) for _ in range(40)]

        assert eventually(lambda: sum(map(is_closed, silent)) == 30)
        assert sockets_of(process.pid) - before == 10
        assert process.wait_for("The limit of 10 connections is reached")
