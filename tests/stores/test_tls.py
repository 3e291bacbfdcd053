"""TLS with a certificate of the client: to Sentinels, to the Redis that they name, and to a Cluster."""

import asyncio
import ssl
from contextlib import AsyncExitStack, suppress

import pytest
from live.certificates import make_certificates
from plugins.redis_server import RedisServer, free_port
from support.waiting import until
from support.writes import KIND, put, reads

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return make_certificates(tmp_path_factory.mktemp("tls"), "redis.test")


@pytest.fixture
async def serve_tls(files):
    """Serves on TLS ports that refuse clients without a certificate."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=files.ca)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(files.certificate, files.key)
    async with AsyncExitStack() as stack:

        async def serve(handle, port):
            await stack.enter_async_context(await asyncio.start_server(handle, "127.0.0.1", port, ssl=context))

        yield serve


def front(port):
    """Return a handler that passes a connection on to a plain port."""

    async def copy(reader, writer):
        with suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
        writer.close()

    async def handle(reader, writer):
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(copy(reader, server_writer), copy(server_reader, writer))

    return handle


def sentinel_of(port):
    """Return a handler that answers as a Sentinel whose service ``accounts`` has its primary at ``port``."""
    state = ["name", "accounts", "ip", "127.0.0.1", "port", str(port), "flags", "master"]
    state += ["num-slaves", "0", "num-other-sentinels", "0", "config-epoch", "0"]
    answers = {b"MASTERS": f"*1\r\n{array(state)}", b"GET-MASTER-ADDR": array(["127.0.0.1", str(port)])}

    async def handle(reader, writer):
        with suppress(OSError):
            while request := await reader.read(65536):
                for command in request.split(b"*")[1:]:
                    answer = next((answers[name] for name in answers if name in command), "+PONG\r\n")
                    writer.write(answer.encode())
        writer.close()

    return handle


def array(words):
    return f"*{len(words)}\r\n" + "".join(f"${len(word)}\r\n{word}\r\n" for word in words)


@pytest.fixture
async def sentinel_address(own_redis, serve_tls):
    ports = free_port(), free_port()
    await serve_tls(front(own_redis.port), ports[0])
    await serve_tls(sentinel_of(ports[0]), ports[1])
    return f"rediss+sentinel://127.0.0.1:{ports[1]}/accounts"


@pytest.fixture
async def cluster_address(redis_binary, tmp_path, serve_tls):
    port = free_port()
    bus = ("--cluster-enabled", "yes", "--cluster-port", str(free_port()), "--cluster-announce-port", str(port))
    node = RedisServer(redis_binary, tmp_path, *bus)
    node.start()
    await serve_tls(front(node.port), port)
    node_client = await asyncio.open_connection("127.0.0.1", node.port)
    node_client[1].write(b"CLUSTER ADDSLOTSRANGE 0 16383\r\n")
    assert await node_client[0].readline() == b"+OK\r\n"
    node_client[1].close()
    yield f"rediss+cluster://127.0.0.1:{port}"
    node.kill()


@pytest.fixture(params=["sentinel", "cluster"])
def address(request):
    return request.getfixturevalue(f"{request.param}_address")


async def test_the_certificates_of_the_url_are_used_for_all_connections(address, files, open_store):
    options = f"ssl_ca_certs={files.ca}&ssl_certfile={files.certificate}&ssl_keyfile={files.key}"
    store = await open_store(f"{address}?{options}")

    # A new node of a Cluster is down for two seconds.
    await until(lambda: put(store, "a", "one"))
    assert await reads(store, "a", "one")
    assert store.warnings() == []


async def test_without_a_certificate_of_the_client_nothing_is_reached(address, files, open_store, caplog):
    store = await open_store(f"{address}?ssl_ca_certs={files.ca}", cached=False)

    assert not await put(store, "a", "one")
    assert "does not find its primaries" in caplog.text
    assert KIND not in caplog.text


async def test_new_connections_load_no_certificates_again(own_redis, serve_tls, files, open_store, monkeypatch):
    port, opened = free_port(), []

    async def handle(reader, writer):
        opened.append(writer)
        await front(own_redis.port)(reader, writer)

    await serve_tls(handle, port)
    options = f"ssl_ca_certs={files.ca}&ssl_certfile={files.certificate}&ssl_keyfile={files.key}"
    store = await open_store(f"rediss://127.0.0.1:{port}?{options}")
    assert await put(store, "a", "one")
    before = len(opened)
    # Loading the certificates of the system holds the event loop for about 40 ms.
    monkeypatch.setattr(ssl, "create_default_context", lambda *_: pytest.fail("certificates are loaded again"))

    assert all(await asyncio.gather(*(put(store, f"a{number}", "one") for number in range(20))))
    assert len(opened) > before
