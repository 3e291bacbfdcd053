"""TLS with a certificate of the client: to Sentinels, to the Redis that they name, and to a Cluster."""

import asyncio
import ssl
import subprocess
from contextlib import AsyncExitStack, suppress
from urllib.parse import quote

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from live.certificates import make_certificates
from plugins.redis_server import RedisServer, free_port
from support.tools import tool
from support.waiting import until
from support.writes import KIND, put, reads

from service.settings.store_url import parse_store_url
from service.stores import discovery

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return make_certificates(tmp_path_factory.mktemp("tls"), "redis.test")


@pytest.fixture
def server_context(files):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=files.ca)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(files.certificate, files.key)
    return context


@pytest.fixture
async def serve_tls(server_context):
    """Serves on TLS ports that refuse clients without a certificate."""
    async with AsyncExitStack() as stack:

        async def serve(handle, port, host="127.0.0.1"):
            await stack.enter_async_context(await asyncio.start_server(handle, host, port, ssl=server_context))

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
async def sentinel_address(own_redis, serve_tls, monkeypatch):
    # The first handshakes take longer on a busy machine.
    monkeypatch.setattr(discovery, "SENTINEL_SECONDS", 3.0)
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


async def test_a_server_of_another_authority_is_refused(address, files, tmp_path, open_store):
    other = make_certificates(tmp_path, "redis.test")
    options = f"ssl_ca_certs={other.ca}&ssl_certfile={files.certificate}&ssl_keyfile={files.key}"
    store = await open_store(f"{address}?{options}", cached=False)

    assert not await put(store, "a", "one")


def with_ca_path(files, directory):
    directory.mkdir()
    command = [tool("openssl", package="openssl"), "x509", "-hash", "-noout", "-in", str(files.ca)]
    name = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    (directory / f"{name}.0").write_bytes(files.ca.read_bytes())
    return f"ssl_ca_path={directory}"


def with_encrypted_key(files, file):
    key = load_pem_private_key(files.key.read_bytes(), password=None)
    file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"hush&")))
    return f"ssl_certfile={files.certificate}&ssl_keyfile={file}&ssl_password=hush%26"


OLD_TLS, CIPHER = ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-AES128-GCM-SHA256"


@pytest.mark.parametrize(
    ("options", "version", "works"),
    [
        ("{ca}&{login}&socket_keepalive=true&client_name=one", None, True),
        ("{ca_path}&{login}", None, True),
        ("{ca_data}&{login}", None, True),
        ("{login}", None, False),
        ("ssl_cert_reqs=none&{login}", None, True),
        ("{ca}&{encrypted}", None, True),
        ("{ca}&{login}&ssl_min_version=771", OLD_TLS, True),
        ("{ca}&{login}&ssl_min_version=772", OLD_TLS, False),
        (f"{{ca}}&{{login}}&ssl_ciphers={CIPHER}", OLD_TLS, True),
        ("{ca}&{login}&ssl_ciphers=ECDHE-ECDSA-AES256-GCM-SHA384", OLD_TLS, False),
        ("{ca}&{login}&ssl_include_verify_flags=VERIFY_X509_STRICT", None, True),
        ("{ca}&{login}&ssl_include_verify_flags=VERIFY_CRL_CHECK_LEAF", None, False),
        ("{ca}&{login}&ssl_exclude_verify_flags=VERIFY_X509_TRUSTED_FIRST", None, True),
    ],
)
async def test_each_option_has_its_effect_at_sentinels_and_redis(
    sentinel_address, server_context, files, tmp_path, open_store, options, version, works
):
    if version:
        server_context.maximum_version = version
        server_context.set_ciphers(CIPHER)
    parts = {
        "ca": f"ssl_ca_certs={files.ca}",
        "ca_path": with_ca_path(files, tmp_path / "authorities"),
        "ca_data": f"ssl_ca_data={quote(files.ca.read_text())}",
        "login": f"ssl_certfile={files.certificate}&ssl_keyfile={files.key}",
        "encrypted": with_encrypted_key(files, tmp_path / "encrypted.key"),
    }
    url = parse_store_url(f"{sentinel_address}?{options.format(**parts)}")
    store = await open_store(url)

    assert bool(await put(store, "a", "one")) is works


@pytest.mark.parametrize("option", ["", "&ssl_check_hostname=true", "&ssl_check_hostname=false"])
async def test_a_name_that_the_certificate_does_not_have_is_refused_if_names_are_checked(
    own_redis, serve_tls, files, open_store, option
):
    port = free_port()
    options = f"ssl_ca_certs={files.ca}&ssl_certfile={files.certificate}&ssl_keyfile={files.key}"
    await serve_tls(front(own_redis.port), port, host="127.0.0.2")
    store = await open_store(f"rediss://127.0.0.2:{port}?{options}{option}", cached=False)

    assert bool(await put(store, "a", "one")) is ("false" in option)


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
