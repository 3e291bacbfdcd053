"""Limits on connections and heads, and half-closed clients."""

import asyncio
import errno
import json
import re
import resource
import socket
import time
from contextlib import AsyncExitStack, ExitStack, suppress

import pytest
import uvloop
from aiohttp import StreamReader, web
from processes import ServiceProcess, read_to_end
from support.garbage import no_errors_in_cycles
from support.waiting import eventually, until

from service import app
from service.serving import connections
from service.serving import listener as listener_module

GET = b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n"
LAST = b"GET /nope HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
PUT = b"PUT /AwsAccount HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n"
IDLE_SECONDS = 2


@pytest.fixture(scope="module")
def strict():
    """The service with a short idle time."""
    process = ServiceProcess(SIGNER_IDLE_SECONDS=str(IDLE_SECONDS))
    yield process
    assert process.stop() == 0


@pytest.fixture
async def serve():
    """Return a function that serves a handler behind our connections and returns the port."""
    async with asyncio.timeout(30):
        async with AsyncExitStack() as stack:

            async def start(handler, *, limit=10, idle_seconds=60, **handler_args):
                application = web.Application()
                application.router.add_get("/{any:.*}", handler)
                runner = web.AppRunner(application, shutdown_timeout=1)
                stack.push_async_callback(runner.cleanup)
                await runner.setup()
                bound = socket.create_server(("127.0.0.1", 0))
                listener = listener_module.Listener(
                    runner, bound, limit=limit, opening=set(), keepalive_timeout=idle_seconds, **handler_args
                )
                stack.callback(listener.close)
                await listener.start()
                return bound.getsockname()[1]

            yield start


def statuses(answer):
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d+) ", answer)]


def drip(opened, octet):
    for connection in opened:
        with suppress(OSError):
            connection.sendall(octet)


def closed(connection):
    with suppress(BlockingIOError):
        connection.setblocking(False)  # noqa: FBT003 - the standard library's
        try:
            return connection.recv(1) == b""
        except ConnectionResetError:
            return True
    return False


@pytest.mark.heavy
def test_slow_heads_are_closed_in_time_and_other_clients_are_served(strict):
    with ExitStack() as stack:
        silent, partial, in_a_header, second = (
            [stack.enter_context(strict.connect()) for _ in range(50)] for _ in range(4)
        )
        drip(partial, b"GET /li")
        drip(in_a_header, b"GET /live HTTP/1.1\r\nX: a")
        drip(second, GET + b"GET /li")
        assert all(statuses(connection.recv(4096)) == [200] for connection in second)

        def all_are_closed():
            # Further bytes do not extend the time limit.
            drip(partial + in_a_header + second, b"a")
            assert statuses(strict.exchange(LAST)) == [404]
            return all(map(closed, silent + partial + in_a_header + second))

        assert eventually(all_are_closed)
        assert statuses(strict.exchange(LAST)) == [404]


@pytest.fixture
async def echo(serve):
    """The port of a service that responds with the length of the body."""

    async def handler(request):
        return web.Response(text=str(len(await request.read())))

    return await serve(handler)


@pytest.mark.parametrize("before", [b"", GET, PUT.replace(b"PUT /AwsAccount", b"GET /x") + b"x" * 100])
async def test_a_head_above_the_limit_gets_a_431(echo, before):
    reader, writer = await asyncio.open_connection("127.0.0.1", echo)
    writer.write(before)
    if before:
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        await reader.read(100)
    writer.write(b"GET /x HTTP/1.1\r\nHost: localhost\r\n")
    for number in range(9):
        writer.write(b"X-%d: %s\r\n" % (number, b"a" * 4000))
        await asyncio.sleep(0.01)
    answer = await asyncio.wait_for(reader.read(), 5)

    assert answer.startswith(b"HTTP/1.1 431 ")
    assert b"X-Content-Type-Options: nosniff" in answer
    writer.close()


async def test_a_head_below_the_limit_is_read_in_any_pieces(echo):
    reader, writer = await asyncio.open_connection("127.0.0.1", echo)
    for _ in range(3):
        head = b"GET /x HTTP/1.1\r\nHost: localhost\r\n" + b"".join(
            b"X-%d: %s\r\n" % (n, b"a" * 4000) for n in range(7)
        )
        for start in range(0, len(head), 5000):
            writer.write(head[start : start + 5000])
            await asyncio.sleep(0.01)
        writer.write(b"\r\n")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        await reader.read(100)
    writer.close()


@pytest.mark.parametrize("chunked", [False, True])
async def test_bytes_of_bodies_do_not_count_as_head(echo, chunked):
    piece, times = b"x" * 50_000, 8
    head = b"GET /x HTTP/1.1\r\nHost: localhost\r\n"
    head += b"Transfer-Encoding: chunked\r\n\r\n" if chunked else b"Content-Length: %d\r\n\r\n" % (len(piece) * times)
    reader, writer = await asyncio.open_connection("127.0.0.1", echo)
    for _ in range(2):
        writer.write(head)
        for _ in range(times):
            writer.write(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece)
            await asyncio.sleep(0.01)
        writer.write(b"0\r\n\r\n" if chunked else b"")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        assert await reader.read(100) == b"400000"
    writer.close()


@pytest.mark.parametrize("reads", [True, False], ids=["a body that is read", "a body that nobody reads"])
async def test_chunks_of_one_byte_are_parsed_in_turns_with_other_requests(serve, monkeypatch, reads):
    in_one_turn, most, read_any = 0, 0, StreamReader.readany

    async def count(stream):
        nonlocal in_one_turn, most
        piece = await read_any(stream)
        in_one_turn += len(piece)
        most = max(most, in_one_turn)
        return piece

    monkeypatch.setattr(StreamReader, "readany", count)

    async def handler(request):
        return web.Response(text=str(len(await request.read()) if reads else 0))

    port = await serve(handler, read_bufsize=app.READ_BUFFER_BYTES, lingering_time=app.LINGER_SECONDS)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = b"GET /x HTTP/1.1\r\nHost: localhost\r\n"
    # A half-closed client gets the answer to a request behind the chunks, too.
    writer.write(head + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\na\r\n" * 40_000 + b"0\r\n\r\n" + head + b"\r\n")
    writer.write_eof()
    answers = asyncio.ensure_future(reader.read())
    while not answers.done():
        in_one_turn = 0
        await asyncio.sleep(0)

    assert statuses(await answers) == [200, 200]
    assert (b"40000" in await answers) == reads
    # aiohttp stops parsing after 1024 chunks.
    assert 0 < most < 4000
    writer.close()


@pytest.mark.parametrize(
    "before",
    [
        b"\0",
        b"GET /x",
        GET + b"\0",
        PUT + b"x" * 100,
        PUT.replace(b"Content-Length: 100", b"Transfer-Encoding:chunked"),
    ],
    ids=["no request", "half a head", "a request", "a body longer than its length", "a chunk without a size"],
)
async def test_bytes_behind_a_malformed_request_are_not_parsed(echo, monkeypatch, before):
    opened, parsed = [], 0
    connection_made, data_received = connections.Connection.connection_made, web.RequestHandler.data_received

    def capture(connection, transport):
        opened.append(connection)
        connection_made(connection, transport)

    def count(connection, data):
        nonlocal parsed
        parsed += 1
        data_received(connection, data)

    monkeypatch.setattr(connections.Connection, "connection_made", capture)
    monkeypatch.setattr(web.RequestHandler, "data_received", count)
    reader, writer = await asyncio.open_connection("127.0.0.1", echo)
    await until(lambda: opened)
    # uvloop delivers up to 32 reads in one turn, in which the connection is not closed.
    for data in [before + b"\0" * 10_000, *[b"\0" * 10_000] * 9]:
        opened[0].data_received(data)

    assert parsed == 1
    assert b"HTTP/1.0 400 " in await asyncio.wait_for(reader.read(), 5)
    writer.close()


async def test_a_malformed_request_leaves_nothing_to_the_garbage_collection(echo):
    async def refuse():
        reader, writer = await asyncio.open_connection("127.0.0.1", echo)
        writer.write(b"NONSENSE\r\n\r\n")
        assert b"HTTP/1.0 400 " in await asyncio.wait_for(reader.read(), 5)
        writer.close()

    await refuse()
    with no_errors_in_cycles():
        await refuse()


async def test_pipelined_requests_do_not_count_as_one_head(echo):
    reader, writer = await asyncio.open_connection("127.0.0.1", echo)
    writer.write(GET * 5000 + LAST)
    answers = await asyncio.wait_for(reader.read(), 20)

    assert statuses(answers) == [200] * 5001
    writer.close()


async def test_only_the_first_request_has_the_head_time_limit(serve, monkeypatch):
    async def handler(request):
        return web.Response()

    over, expect_first = [], connections.Connection._on_head_timeout
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.05)

    def note(connection):
        over.append(connection)

    monkeypatch.setattr(connections.Connection, "_on_head_timeout", note)
    port = await serve(handler)
    (first, silent), (second, asking) = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
    asking.write(GET)
    assert statuses(await second.readuntil(b"\r\n\r\n")) == [200]
    await until(lambda: len(over) == 2)
    for connection in over:
        expect_first(connection)

    assert await first.read() == b""
    asking.write(GET)
    assert statuses(await second.readuntil(b"\r\n\r\n")) == [200]
    silent.close()
    asking.close()


def test_a_half_closed_client_gets_all_responses_in_order(service):
    with service.connect() as connection:
        connection.sendall(GET * 20 + PUT.replace(b"100", b"2") + b"{}" + GET)
        connection.shutdown(socket.SHUT_WR)

        assert statuses(read_to_end(connection)) == [200] * 20 + [422, 200]


async def test_a_half_closed_client_gets_a_slow_response(serve):
    async def handler(request):
        await asyncio.sleep(0.2)
        return web.Response(text=request.path)

    port = await serve(handler)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(GET + GET.replace(b"/live", b"/next"))
    writer.write_eof()
    answer = await reader.read()
    writer.close()

    assert statuses(answer) == [200, 200]
    assert answer.endswith(b"/next")


@pytest.mark.parametrize("sent", [b"", b"GET /li", b"GET /live HTTP/1.1\r\nHost: localhost\r\n"])
async def test_an_incomplete_head_of_a_half_closed_client_closes_the_connection(echo, monkeypatch, sent):
    monkeypatch.setattr(connections, "HEAD_SECONDS", 3600)
    reader, writer = await asyncio.open_connection("127.0.0.1", echo)
    writer.write(sent)
    writer.write_eof()

    assert await asyncio.wait_for(reader.read(), 20) == b""
    writer.close()


CHUNKED = PUT.replace(b"Content-Length: 100", b"Transfer-Encoding: chunked")


@pytest.mark.parametrize(
    "sent", [PUT + b"{", PUT, CHUNKED + b"5\r\n{}", CHUNKED + b"2\r\n{}\r\n", CHUNKED + b"2\r\n{}\r\n0\r\n"]
)
@pytest.mark.parametrize("pause", [0, 0.1])
def test_an_incomplete_body_of_a_half_closed_client_is_rejected_at_once(service, sent, pause):
    before = len(service.log)
    with service.connect() as connection:
        connection.sendall(GET + sent)
        time.sleep(pause)
        connection.shutdown(socket.SHUT_WR)
        answer = read_to_end(connection)

    # After the time-out, the status would be 408.
    assert statuses(answer) == [200, 400]
    assert json.loads(answer.rpartition(b"\r\n\r\n")[2])["issue"][0]["diagnostics"].startswith(
        "Malformed body: it ends"
    )
    assert service.log[before:] == []


async def test_connections_above_the_limit_get_a_503_until_others_close(serve, caplog):
    async def handler(request):
        return web.Response()

    port = await serve(handler, limit=2)
    held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
    for _ in range(2):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        answer = await reader.read()
        writer.close()
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"Retry-After: 1\r\n" in answer
        assert b"X-Content-Type-Options: nosniff\r\n" in answer
    held[0][1].close()
    tries = []

    async def has_room():
        tries.append(await asyncio.open_connection("127.0.0.1", port))
        reader, writer = tries[-1]
        writer.write(GET)
        with suppress(ConnectionError):
            return statuses(await reader.readuntil(b"\r\n\r\n")) == [200]

    await until(has_room)
    assert [record.message for record in caplog.records] == [
        "The limit of 2 connections is reached; new connections are rejected until some close"
    ]
    full_again = await asyncio.open_connection("127.0.0.1", port)

    assert (await full_again[0].read()).startswith(b"HTTP/1.1 503 ")
    assert len(caplog.records) == 2
    for _, opened in (*held, *tries, full_again):
        opened.close()


async def test_the_head_timer_is_cancelled_when_the_connection_closes(serve, monkeypatch):
    made, connection_made = [], connections.Connection.connection_made
    monkeypatch.setattr(connections, "HEAD_SECONDS", 3600)

    def make(connection, transport):
        connection_made(connection, transport)
        made.append(connection)

    monkeypatch.setattr(connections.Connection, "connection_made", make)

    async def handler(request):
        return web.Response()

    port = await serve(handler)
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    await until(lambda: made)
    assert not made[0]._head_timer.cancelled()
    writer.close()

    await until(made[0]._head_timer.cancelled)


@pytest.mark.parametrize(("files", "most"), [(200, 100), (10, 1), (2000, 1000), (resource.RLIM_INFINITY, 1000)])
def test_the_connection_limit_leaves_file_descriptors_for_the_store(monkeypatch, files, most):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (files, resource.RLIM_INFINITY))

    assert listener_module.connection_limit(1000) == most


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="the system has no such option")
def test_the_kernel_drops_a_client_that_does_not_read(monkeypatch):
    monkeypatch.setattr(listener_module, "UNREAD_SECONDS", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener_module.drop_stalled_clients(listener)
        with socket.create_connection(listener.getsockname()) as client:
            accepted, _ = listener.accept()
            with accepted:
                accepted.settimeout(10)
                client.settimeout(10)
                with pytest.raises(TimeoutError) as dropped:
                    accepted.sendall(bytes(50_000_000))

    # The time-out of the socket module has no number.
    assert dropped.value.errno == errno.ETIMEDOUT


def test_a_process_that_gets_no_cpu_while_it_drains_accepts_the_connections_in_its_backlog():
    async def serve_one():
        async def live(_):
            return web.Response()

        app = web.Application()
        app.router.add_get("/live", live)
        runner = web.AppRunner(app)
        await runner.setup()
        bound = socket.create_server(("127.0.0.1", 0))
        listener = listener_module.Listener(runner, bound, limit=10, opening=set())
        await listener.start()
        with ExitStack() as stack:
            clients = [stack.enter_context(socket.create_connection(bound.getsockname())) for _ in range(3)]
            draining = asyncio.create_task(listener.drain())
            await asyncio.sleep(0)
            # The process stands still until the time to drain is over.
            time.sleep(2 * listener_module.TCP_HANDSHAKE_DRAIN_SECONDS)  # noqa: ASYNC251
            await draining
            for client in clients:
                client.sendall(GET)
            answers = [await asyncio.to_thread(client.recv, 1000) for client in clients]
        await runner.cleanup()
        return answers

    # The loop of asyncio accepts before it runs timers, and that of uvloop after it.
    answers = uvloop.run(serve_one())

    assert [answer[:12] for answer in answers] == [b"HTTP/1.1 200"] * 3
