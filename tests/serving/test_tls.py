"""TLS as clients see it: the certificate, protocol versions, and reloading."""

import asyncio
import http.client
import json
import logging
import os
import shutil
import socket
import ssl
import time
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from live.certificates import make_certificates
from processes import ServiceProcess, run_to_end
from support.service import running
from support.waiting import eventually

from service.mounted_files import MountedFiles
from service.serving import tls

pytestmark = pytest.mark.heavy  # it starts many processes

DOMAIN = "signer.test"


@pytest.fixture(scope="session")
def pairs(tmp_path_factory):
    """Two pairs of certificate and key, from two authorities."""
    return [make_certificates(tmp_path_factory.mktemp(f"pair{number}"), DOMAIN) for number in range(2)]


@pytest.fixture
def mounted(tmp_path, pairs):
    """A volume as Kubernetes mounts a Secret: a symlink to a directory, replaced on each change."""
    turn(tmp_path, pairs[0])
    return tmp_path


def turn(directory, pair):
    """Replace the pair in one step."""
    made = directory / f"..{time.monotonic_ns()}"
    made.mkdir()
    shutil.copy(pair.certificate, made / "tls.crt")
    shutil.copy(pair.key, made / "tls.key")
    (directory / "..new").symlink_to(made.name)
    (directory / "..new").rename(directory / "..data")
    for name in ("tls.crt", "tls.key"):
        if not (directory / name).is_symlink():
            (directory / name).symlink_to(f"..data/{name}")


def named(directory):
    return {"SIGNER_TLS_CERT": str(directory / "tls.crt"), "SIGNER_TLS_KEY": str(directory / "tls.key")}


@contextmanager
def over_tls(directory, **settings):
    with running(**named(directory), **settings) as process:
        yield process
        assert process.stop() == 0


def connection_to(process, pair, **options):
    context = ssl.create_default_context(cafile=pair.ca)
    # At a higher security level, OpenSSL would not offer old versions.
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    for name, value in options.items():
        setattr(context, name, value)
    connection = http.client.HTTPSConnection("localhost", urlsplit(process.url).port, timeout=5, context=context)
    connection.connect()
    return connection


def answer(connection, path="/live"):
    connection.request("GET", path)
    response = connection.getresponse()
    response.read()
    return response.status


def shown(process):
    """Return the serial number of the certificate of a new connection."""
    port = urlsplit(process.url).port
    return x509.load_pem_x509_certificate(ssl.get_server_certificate(("127.0.0.1", port)).encode()).serial_number


def serial(pair):
    return x509.load_pem_x509_certificate(pair.certificate.read_bytes()).serial_number


def test_the_service_serves_over_tls_and_logs_an_https_url(mounted, pairs):
    with over_tls(mounted, measured=False) as process:
        connection = connection_to(process, pairs[0])

        assert process.url.startswith("https://127.0.0.1:")
        assert (answer(connection), answer(connection, "/AwsAccount")) == (200, 200)
        assert connection.sock.version() == "TLSv1.3"
        connection.close()


async def test_aiohttp_clients_can_send_a_body_of_many_tls_records(mounted, pairs):
    process = await asyncio.to_thread(ServiceProcess, measured=False, **named(mounted), SIGNER_MAX_BODY="1048576")
    context = ssl.create_default_context(cafile=pairs[0].ca)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:
        url = process.url.replace("127.0.0.1", "localhost")
        async with session.put(f"{url}/AwsAccount", json={"id": "a", "x": "y" * 900_000}) as response:
            status, body = response.status, await response.json()
        # The service's own origin has the scheme https.
        origin = {"Origin": url}
        async with session.get(f"{url}/live", headers=origin) as response:
            own = response.status
        async with session.get(f"{url}/live", headers={"Origin": url.replace("https", "http")}) as response:
            other = response.status
    await asyncio.to_thread(process.stop)

    assert (status, body["resourceType"]) == (422, "OperationOutcome")
    assert (own, other) == (200, 403)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
def test_tls_1_1_and_older_are_refused(mounted, pairs):
    with over_tls(mounted, measured=False) as process:
        connection = connection_to(process, pairs[0], maximum_version=ssl.TLSVersion.TLSv1_2)
        assert (answer(connection), connection.sock.version()) == (200, "TLSv1.2")
        connection.close()

        with pytest.raises(ssl.SSLError, match=r"(?i)protocol|version|alert"):
            connection_to(
                process, pairs[0], minimum_version=ssl.TLSVersion.TLSv1, maximum_version=ssl.TLSVersion.TLSv1_1
            )


def test_only_a_fast_key_exchange_is_accepted(mounted, pairs):
    context = ssl.create_default_context(cafile=pairs[0].ca)
    with over_tls(mounted, measured=False) as process:

        def connect(curve):
            context.set_ecdh_curve(curve)
            port = urlsplit(process.url).port
            with closing(http.client.HTTPSConnection("localhost", port, timeout=5, context=context)) as connection:
                connection.connect()

        connect("prime256v1")
        with pytest.raises(ssl.SSLError):
            connect("secp521r1")


def test_plain_http_on_the_tls_port_gets_no_response_and_logs_no_traceback(mounted):
    with over_tls(mounted, measured=False) as process:
        before = len(process.log)
        for garbage in (b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n", b"\x16\x03\x01" + b"\xff" * 400, b""):
            with socket.create_connection(("127.0.0.1", urlsplit(process.url).port), timeout=5) as connection:
                connection.sendall(garbage)
                connection.shutdown(socket.SHUT_WR)
                assert b"HTTP" not in connection.recv(1000)

        assert not [entry for entry in process.log[before:] if "exc_info" in entry or "level" not in entry]


def test_an_invalid_pair_is_ignored_and_a_new_pair_is_loaded_with_connections_open(mounted, pairs):
    with over_tls(mounted) as process:
        old = connection_to(process, pairs[0])
        assert answer(old) == 200
        (mounted / "..data" / "tls.key").write_bytes(pairs[1].key.read_bytes())
        process.wait_for("SIGNER_TLS_CERT has new contents that cannot be used; what was in use stays: SIGNER_TLS_KEY")
        assert shown(process) == serial(pairs[0])
        turn(mounted, pairs[1])
        assert eventually(lambda: shown(process) == serial(pairs[1]))
        new = connection_to(process, pairs[1])

        assert (answer(old), answer(new)) == (200, 200)
        assert process.wait_for("SIGNER_TLS_CERT has new contents, which are in use now")
        old.close()
        new.close()


async def test_an_invalid_pair_is_logged_once_and_the_pair_before_stays(mounted, pairs, caplog):
    certificate, files = followed(mounted)
    used = certificate._current
    (mounted / "..data" / "tls.key").write_bytes(pairs[1].key.read_bytes())
    for _ in range(3):
        await files.check()

    (record,) = caplog.records
    assert (record.levelname, "what was in use stays: SIGNER_TLS_KEY names a key" in record.message) == (
        "WARNING",
        True,
    )
    assert certificate._current is used


def followed(directory):
    certificate = tls.ServerCertificate(directory / "tls.crt", directory / "tls.key")
    files = MountedFiles()
    files.follow("SIGNER_TLS_CERT", certificate.read, certificate.use, used=certificate.used)
    return certificate, files


def test_every_worker_reloads_the_pair(mounted, pairs, redis_url):
    with over_tls(
        mounted, measured=False, SIGNER_WORKERS="2", SIGNER_STORE_URL=redis_url, SIGNER_OPS_PORT="0"
    ) as process:
        assert process.url.startswith("https://")
        assert "; operations: http://127.0.0.1:" in process.wait_for("listens on")
        turn(mounted, pairs[1])
        message = "SIGNER_TLS_CERT has new contents, which are in use now"

        assert eventually(lambda: process.messages.count(message) == 2)
        assert {shown(process) for _ in range(20)} == {serial(pairs[1])}


def test_the_operations_port_has_no_tls(mounted):
    with over_tls(mounted, measured=False, SIGNER_OPS_PORT="0") as process:
        operations = process.wait_for("operations: ").rpartition("operations: ")[2]
        connection = http.client.HTTPConnection(urlsplit(operations).netloc, timeout=5)

        assert (operations.startswith("http://"), answer(connection)) == (True, 200)
        connection.close()


def test_a_request_in_progress_is_finished_over_tls(mounted, pairs):
    process = ServiceProcess(measured=False, **named(mounted))
    body = json.dumps({"id": "a"}).encode()
    connection = connection_to(process, pairs[0])
    connection.putrequest("PUT", "/AwsAccount")
    connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body[:5])
    time.sleep(0.1)
    os.kill(process.pid, 15)
    process.wait_for("Stopping on SIGTERM")
    connection.send(body[5:])

    assert connection.getresponse().status == 201
    assert process.stop() == 0


def test_a_connection_in_its_tls_handshake_at_shutdown_may_send_its_first_request(mounted, pairs):
    process = ServiceProcess(measured=False, **named(mounted))
    context = ssl.create_default_context(cafile=pairs[0].ca)
    with process.connect(seconds=10) as plain:
        # A response on a later connection shows that this one is accepted.
        with closing(connection_to(process, pairs[0])) as later:
            assert answer(later) == 200
        os.kill(process.pid, 15)
        process.wait_for("Stopping on SIGTERM")
        time.sleep(0.4)
        with context.wrap_socket(plain, server_hostname="localhost") as connection:
            connection.sendall(b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n")
            received = connection.recv(65536)

    assert received.startswith(b"HTTP/1.1 200 ")
    assert b"Connection: close\r\n" in received
    assert process.ended() == 0


def encrypted(pair):
    key = serialization.load_pem_private_key(pair.key.read_bytes(), None)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"s3cr3t")
    )


BROKEN = {
    "no such certificate": (lambda d, _: (d / "tls.crt").unlink(), "SIGNER_TLS_CERT", "No such file"),
    "no such key": (lambda d, _: (d / "tls.key").unlink(), "SIGNER_TLS_KEY", "No such file"),
    "a directory": (lambda d, _: swap(d / "tls.crt", Path.mkdir), "SIGNER_TLS_CERT", "not a regular file"),
    "a pipe": (lambda d, _: swap(d / "tls.key", os.mkfifo), "SIGNER_TLS_KEY", "not a regular file"),
    "no PEM for a certificate": (lambda d, _: (d / "tls.crt").write_text("x"), "SIGNER_TLS_CERT", "no certificate"),
    "no PEM for a key": (lambda d, _: (d / "tls.key").write_text("s3cr3t"), "SIGNER_TLS_KEY", "no private key"),
    "another's key": (lambda d, o: (d / "tls.key").write_bytes(o.key.read_bytes()), "SIGNER_TLS_KEY", "is not that of"),
    "a key with a password": (lambda d, o: (d / "tls.key").write_bytes(encrypted(o)), "SIGNER_TLS_KEY", "password"),
    "a key for a certificate": (
        lambda d, o: (d / "tls.crt").write_bytes(o.key.read_bytes()),
        "SIGNER_TLS_CERT",
        "no certificate",
    ),
}


def swap(path, make):
    path.unlink()
    make(path)


@pytest.mark.parametrize(("breaks", "variable", "reason"), BROKEN.values(), ids=BROKEN)
def test_an_invalid_pair_is_refused_with_the_reason(mounted, pairs, breaks, variable, reason):
    breaks(mounted, pairs[1])
    with pytest.raises(tls.TlsError) as refusal:
        tls.ServerCertificate(mounted / "tls.crt", mounted / "tls.key")

    assert str(refusal.value).startswith(f"{variable} names ")
    assert reason in str(refusal.value)
    assert "s3cr3t" not in str(refusal.value)


def test_an_invalid_pair_ends_the_start_with_one_line(mounted):
    (mounted / "tls.key").write_text("s3cr3t")
    status, (line,) = run_to_end(**named(mounted), SIGNER_PORT="0")

    assert status == 2
    assert line.startswith("s3-signer: SIGNER_TLS_KEY names ")
    assert "no private key" in line
    assert "s3cr3t" not in line


async def test_a_pair_stays_in_use_while_its_files_are_missing(mounted, caplog):
    caplog.set_level(logging.INFO)
    _, files = followed(mounted)
    (mounted / "..data").rename(mounted / "away")
    for _ in range(3):
        await files.check()
    (mounted / "away").rename(mounted / "..data")
    for _ in range(2):
        await files.check()

    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


async def test_unchanged_files_are_not_loaded_again(mounted, monkeypatch):
    _, files = followed(mounted)
    monkeypatch.setattr(tls, "_load_context", None)
    await files.check()
    await files.check()

    assert not files.warnings()


def test_a_client_that_sends_close_notify_logs_nothing(mounted, pairs):
    with over_tls(mounted) as process:
        connection = connection_to(process, pairs[0])
        connection.request("GET", "/live")
        assert connection.getresponse().read()
        before = len(process.log)
        # unwrap() sends close_notify and waits for that of the server.
        connection.sock.unwrap().close()
        assert eventually(lambda: b"200" in over_a_new_connection(process, pairs[0]))

        assert process.log[before:] == []


def over_a_new_connection(process, pair):
    connection = connection_to(process, pair)
    connection.request("GET", "/live")
    status = str(connection.getresponse().status).encode()
    connection.close()
    return status
