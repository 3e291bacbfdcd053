"""Keys rotate in a file and on a real server, which also fails in many ways."""

import asyncio
import gzip
import logging
import ssl
import threading
import time
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from issuer import SigningKey, key_set
from live.certificates import make_certificates
from support.metrics import value_of
from support.waiting import until

from service import mounted_files
from service.access.jwt import jwks
from service.access.jwt.jwk import parse_jwks
from service.access.jwt.jwks import MAX_BYTES, JwksProvider, UrlSource
from service.mounted_files import MountedFiles, read_file
from service.telemetry.metrics import JWKS_READ

LOG = "service.access.jwt.jwks"
FIRST, SECOND = SigningKey("first", "ES256"), SigningKey("second", "ES256")


@pytest.fixture(autouse=True)
def log(caplog):
    caplog.set_level(logging.INFO, logger=LOG)
    caplog.set_level(logging.INFO, logger=mounted_files.__name__)
    return caplog


def warnings(log):
    return [record.getMessage() for record in own(log) if record.levelno >= logging.WARNING]


def own(log):
    """Return the records of the provider and of the files that the service follows, without those of asyncio."""
    return [record for record in log.records if record.name in {LOG, mounted_files.__name__}]


@pytest.fixture
async def make_provider(clock):
    sets = []

    async def make(location, *, opened=True):
        keys = JwksProvider.at(str(location))
        keys._clock = clock
        sets.append(keys)
        if opened:
            await keys.open()
        if opened and keys.path:
            keys_file.follow("SIGNER_JWT_JWKS", partial(keys.read_file, keys.path), keys.use)
            await keys_file.open()
        return keys

    keys_file = MountedFiles()
    yield make
    await keys_file.close()
    for keys in sets:
        await keys.close()


class Publisher:
    """A server of a JWK set. ``answer`` is its body, or a coroutine function that returns a response."""

    def __init__(self):
        self.answer = key_set(FIRST)
        self.requests = []
        self.slow = asyncio.Event()

    async def handle(self, request):
        self.requests.append(request)
        if callable(self.answer):
            return await self.answer(request)
        return web.Response(body=self.answer, content_type="application/jwk-set+json")

    @asynccontextmanager
    async def served(self, *, tls=None, **options):
        app = web.Application()
        app.router.add_get("/{path:.*}", self.handle)
        server = TestServer(app, scheme="https" if tls else "http", **options)
        await server.start_server(ssl=tls)
        self.url = str(server.make_url("/jwks"))
        try:
            yield
        finally:
            await server.close()


@pytest.fixture
async def publisher():
    publisher = Publisher()
    async with publisher.served():
        yield publisher


@pytest.fixture
def fast(monkeypatch):
    monkeypatch.setattr(mounted_files, "POLL_SECONDS", 0.01)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "jwks.json"
    path.write_bytes(key_set(FIRST))
    return path


async def kids(keys):
    return {key.kid for key in await keys.find(None)}


async def test_a_set_is_parsed_in_a_thread_and_the_last_one_counts(make_provider, file, monkeypatch):
    threads, sets = [], {key_set(FIRST): 0.2, key_set(SECOND): 0}

    def slow(document):
        threads.append(threading.current_thread())
        time.sleep(sets[document])
        return parse_jwks(document)

    monkeypatch.setattr(jwks, "parse_jwks", slow)
    keys = await make_provider(file, opened=False)
    await asyncio.gather(*map(keys.use, sets))

    assert threading.main_thread() not in threads
    assert await kids(keys) == {"second"}


async def test_keys_are_found_by_kid(make_provider, publisher):
    publisher.answer = key_set(FIRST, SECOND)
    keys = await make_provider(publisher.url)

    assert [key.kid for key in await keys.find("second")] == ["second"]


async def test_without_a_kid_all_keys_are_found(make_provider, publisher):
    publisher.answer = key_set(FIRST, SECOND)
    keys = await make_provider(publisher.url)

    assert await kids(keys) == {"first", "second"}


@pytest.mark.parametrize("kid", ["", "First", "first\0", "../first", "../../dev/null", "first' OR '1'='1", "é", "None"])
async def test_a_kid_is_compared_exactly(make_provider, publisher, kid):
    keys = await make_provider(publisher.url)

    assert await keys.find(kid) == []


async def test_an_unknown_kid_refreshes_the_keys(make_provider, publisher):
    keys = await make_provider(publisher.url)
    publisher.answer = key_set(SECOND)

    assert [key.kid for key in await keys.find("second")] == ["second"]
    assert await keys.find("first") == []


async def test_a_known_kid_reads_no_source(make_provider, publisher):
    keys = await make_provider(publisher.url)
    for _ in range(100):
        await keys.find("first")

    assert len(publisher.requests) == 1


async def test_many_unknown_kids_cause_one_fetch(make_provider, publisher, clock):
    keys = await make_provider(publisher.url)
    for n in range(500):
        await keys.find(f"sequential {n}")
    await asyncio.gather(*(keys.find(f"concurrent {n}") for n in range(500)))

    assert len(publisher.requests) == 2


async def test_an_unknown_kid_refreshes_the_keys_again_after_a_pause(make_provider, publisher, clock):
    keys = await make_provider(publisher.url)
    await keys.find("second")
    publisher.answer = key_set(FIRST, SECOND)
    clock.now += 9.9
    too_soon = await keys.find("second")
    clock.now += 0.1
    in_time = await keys.find("second")

    assert (len(too_soon), len(in_time)) == (0, 1)


async def test_concurrent_lookups_share_one_fetch(make_provider, publisher):
    keys = await make_provider(publisher.url)

    async def slowly(_):
        await publisher.slow.wait()
        return web.Response(body=key_set(SECOND))

    publisher.answer = slowly
    waiting = [asyncio.create_task(keys.find("second")) for _ in range(100)]
    await until(lambda: len(publisher.requests) == 2)
    waiting[0].cancel()
    publisher.slow.set()
    found = await asyncio.gather(*waiting, return_exceptions=True)

    assert isinstance(found[0], asyncio.CancelledError)
    assert [len(keys) for keys in found[1:]] == [1] * 99
    assert len(publisher.requests) == 2


async def test_the_generation_grows_only_with_changes(make_provider, publisher, clock):
    keys = await make_provider(publisher.url)
    generations = [keys.generation]
    for document in (key_set(FIRST) + b" ", key_set(FIRST, FIRST), b"{", key_set(SECOND), key_set(SECOND, FIRST)):
        publisher.answer = document
        clock.now += 10
        await keys.find("unknown")
        generations.append(keys.generation)

    assert generations == [1, 1, 1, 1, 2, 3]


async def test_an_unchanged_document_is_not_parsed_again(make_provider, publisher, clock, monkeypatch):
    parsed = []
    monkeypatch.setattr(jwks, "parse_jwks", lambda document: parsed.append(document) or parse_jwks(document))
    keys = await make_provider(publisher.url)
    for _ in range(3):
        clock.now += 10
        await keys.find("unknown")

    assert len(publisher.requests) == 4
    assert len(parsed) == 1


async def test_a_url_is_read_periodically(make_provider, publisher, monkeypatch):
    monkeypatch.setattr(UrlSource, "interval", 0.01)
    keys = await make_provider(publisher.url)
    publisher.answer = key_set(SECOND)
    await until(lambda: keys.generation == 2)

    assert await kids(keys) == {"second"}


async def test_a_withdrawn_key_is_removed_even_if_it_is_the_last(make_provider, publisher, log):
    keys = await make_provider(publisher.url)
    publisher.answer = key_set()
    await keys.find("unknown")

    assert await keys.find("first") == []
    assert warnings(log) == [f"The JWK set {publisher.url}: it has no key that could verify a signature"]


async def redirect(request):
    if request.path == "/elsewhere":
        return web.Response(body=key_set(SECOND))
    raise web.HTTPFound("/elsewhere")


async def hang_up(request):
    request.transport.close()
    return web.Response()


async def huge(_):
    return web.Response(body=key_set(SECOND) + b" " * MAX_BYTES)


async def zipped(_):
    body = gzip.compress(key_set(SECOND) + b" " * MAX_BYTES)
    return web.Response(body=body, headers={"Content-Encoding": "gzip"})


async def endless(request):
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b" " * 65536)


async def trickle(request):
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b" ")
        await asyncio.sleep(0.01)


async def hang(_):
    await asyncio.sleep(60)


async def absent(_):
    return web.Response(status=404, body=key_set(SECOND))


async def html(_):
    return web.Response(text="<html>Please log in</html>")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (redirect, "it answers 302"),
        (absent, "it answers 404"),
        (huge, "it is larger than 1048576 bytes"),
        (endless, "it is larger than 1048576 bytes"),
        (zipped, "it is not a JWK set"),
        (html, "it is not a JWK set"),
        (hang_up, "ServerDisconnectedError"),
        (hang, "TimeoutError"),
        (trickle, "TimeoutError"),
    ],
)
async def test_a_failing_source_keeps_the_keys_and_is_logged_once(
    make_provider, publisher, log, clock, monkeypatch, answer, reason
):
    keys = await make_provider(publisher.url)
    if reason == "TimeoutError":
        monkeypatch.setattr(jwks, "FETCH_SECONDS", 0.3)
    publisher.answer = answer
    for _ in range(2):
        clock.now += 10
        assert await keys.find("second") == []

    assert await kids(keys) == {"first"}
    [warning] = warnings(log)
    assert warning.removeprefix(f"The JWK set {publisher.url} cannot be read: ").startswith(reason)


async def test_the_end_of_an_outage_is_logged(make_provider, publisher, log, clock):
    keys = await make_provider(publisher.url)
    for answer in (b"{", key_set(FIRST), b"{"):
        publisher.answer = answer
        clock.now += 10
        await keys.find("unknown")

    assert [record.getMessage().removeprefix(f"The JWK set {publisher.url} ") for record in own(log)] == [
        "has changed: keys in use 1",
        "cannot be read: it is not a JWK set",
        "can be read again",
        "cannot be read: it is not a JWK set",
    ]


async def test_a_server_that_is_unavailable_at_the_start_is_one_warning_and_is_retried(
    make_provider, publisher, log, monkeypatch, unused_tcp_port
):
    monkeypatch.setattr(jwks, "RETRY_SECONDS", 0.01)
    keys = await make_provider(f"http://127.0.0.1:{unused_tcp_port}/jwks")
    absent = await kids(keys)
    await asyncio.sleep(0.05)
    async with publisher.served(port=unused_tcp_port):
        await until(lambda: keys.generation == 1)

    assert not absent
    assert await kids(keys) == {"first"}
    [warning] = warnings(log)
    assert f"cannot be read: Cannot connect to host 127.0.0.1:{unused_tcp_port}" in warning


async def test_the_time_of_the_last_successful_read_is_a_metric(make_provider, publisher):
    before = time.time()
    publisher.answer = b"no key set"
    keys = await make_provider(publisher.url)
    started = value_of(JWKS_READ)
    await keys.find("first")
    failed = value_of(JWKS_READ)
    publisher.answer = key_set(FIRST)
    await keys._read()

    assert before <= started == failed < value_of(JWKS_READ) <= time.time()


async def test_a_server_with_an_untrusted_certificate_is_refused(make_provider, publisher, log, tmp_path):
    files = make_certificates(tmp_path, "issuer.example")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(files.certificate, files.key)
    async with publisher.served(tls=tls):
        keys = await make_provider(publisher.url)

    assert publisher.url.startswith("https:")
    assert await kids(keys) == set()
    assert "CERTIFICATE_VERIFY_FAILED" in warnings(log)[0]


async def test_user_info_and_query_are_sent_but_not_logged(make_provider, publisher, log, clock):
    url = publisher.url.replace("http://", "http://user:hunter2@") + "?token=hunter3"
    keys = await make_provider(url)
    for answer in (b"{", redirect, hang_up, key_set()):
        publisher.answer = answer
        clock.now += 10
        await keys.find("unknown")

    assert publisher.requests[0].headers["Authorization"].startswith("Basic ")
    assert publisher.requests[0].query["token"] == "hunter3"
    assert log.records
    assert "hunter" not in log.text


async def test_an_error_that_quotes_the_url_is_logged_by_its_class(make_provider, publisher, log):
    async def garbled(request):
        request.transport.write(b"HTTP/1.1 200 user:hunter2\r\nContent-Length: hunter2\r\n\r\n")
        request.transport.close()
        return web.Response()

    publisher.answer = garbled
    await make_provider(publisher.url)

    assert warnings(log) == [f"The JWK set {publisher.url} cannot be read: ClientResponseError"]


async def test_warnings_are_logged_when_they_change(make_provider, publisher, log, clock):
    bad = {"kty": "oct", "kid": "bad", "k": "c2VjcmV0"}
    keys = await make_provider(publisher.url)
    for document in (key_set(FIRST, bad), key_set(bad, FIRST), key_set(FIRST, bad, SECOND)):
        publisher.answer = document
        clock.now += 10
        await keys.find("unknown")

    assert warnings(log) == [
        f"The JWK set {publisher.url}: key 'bad' is ignored, as it contains its private part",
    ]


async def test_a_rewritten_file_is_read_periodically(make_provider, file, fast):
    keys = await make_provider(file)
    file.write_bytes(key_set(SECOND))
    await until(lambda: keys.generation == 2)

    assert await kids(keys) == {"second"}


async def test_an_unknown_kid_reads_the_file(make_provider, file):
    keys = await make_provider(file)
    file.write_bytes(key_set(SECOND))

    assert len(await keys.find("second")) == 1


async def test_many_unknown_kids_cause_one_read_of_a_file(make_provider, file, monkeypatch):
    keys = await make_provider(file)
    reads = []
    monkeypatch.setattr(jwks, "read_file", lambda path, **_: reads.append(1) or read_file(path))
    for n in range(500):
        await keys.find(f"kid {n}")

    assert len(reads) == 1


async def test_a_changed_symlink_is_followed(make_provider, tmp_path):
    for version, key in (("..v1", FIRST), ("..v2", SECOND)):
        (tmp_path / version).mkdir()
        (tmp_path / version / "jwks.json").write_bytes(key_set(key))
    (tmp_path / "..data").symlink_to("..v1")
    (tmp_path / "jwks.json").symlink_to("..data/jwks.json")
    keys = await make_provider(tmp_path / "jwks.json")
    (tmp_path / "..data_tmp").symlink_to("..v2")
    (tmp_path / "..data_tmp").rename(tmp_path / "..data")

    assert len(await keys.find("second")) == 1
    assert await keys.find("first") == []


async def test_a_missing_file_is_one_warning_and_is_read_later(make_provider, tmp_path, log, fast):
    path = tmp_path / "jwks.json"
    keys = await make_provider(path)
    absent = await kids(keys)
    await asyncio.sleep(0.05)
    path.write_bytes(key_set(FIRST))
    await until(lambda: keys.generation == 1)

    assert not absent
    assert len(warnings(log)) == 1
    assert "No such file" in warnings(log)[0]


@pytest.mark.parametrize("contents", [None, b"", b"{", key_set(SECOND) + b" " * MAX_BYTES])
async def test_an_invalid_file_keeps_the_keys_and_is_logged_once(make_provider, file, log, fast, contents):
    keys = await make_provider(file)
    if contents is None:
        file.unlink()
    else:
        file.write_bytes(contents)
    await until(lambda: warnings(log))
    await asyncio.sleep(0.05)

    assert await kids(keys) == {"first"}
    assert len(warnings(log)) == 1


@pytest.mark.parametrize("path", ["/dev/zero", "/", "/dev/null"])
async def test_only_a_regular_file_is_read(make_provider, log, path):
    keys = await make_provider(Path(path))

    (warning,) = warnings(log)
    assert warning.startswith("SIGNER_JWT_JWKS has new contents that cannot be used")
    assert ("not a regular file" in warning) or ("directory" in warning)
    assert not keys.generation


@pytest.mark.parametrize(
    "location",
    [
        *("ftp://example.com/jwks", "file:///jwks", "http://", "https:///jwks", "http://["),
        *("https:/example.com/jwks", "HTTPS:example.com", "https://a.example,https://b.example"),
    ],
)
def test_a_url_of_another_scheme_or_without_one_host_is_refused(location):
    with pytest.raises(ValueError, match=r"^must be one http:// or https:// URL, or the path of a file$"):
        JwksProvider.at(location)


async def test_closing_cancels_a_fetch(make_provider, publisher, monkeypatch):
    monkeypatch.setattr(jwks, "FETCH_SECONDS", 3600)
    keys = await make_provider(publisher.url)
    publisher.answer = hang
    waiting = asyncio.create_task(keys.find("second"))
    await until(lambda: len(publisher.requests) == 2)
    async with asyncio.timeout(30):
        await keys.close()

    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_a_provider_that_was_not_opened_can_be_closed(make_provider, publisher):
    keys = await make_provider(publisher.url, opened=False)
    await keys.close()

    assert not publisher.requests


async def test_the_time_of_the_last_read_of_a_followed_file_is_a_metric(make_provider, file, fast):
    await make_provider(file)
    started = value_of(JWKS_READ)
    await until(lambda: value_of(JWKS_READ) > started)
    file.write_bytes(b"no key set")
    await asyncio.sleep(0.05)
    failed = value_of(JWKS_READ)
    await asyncio.sleep(0.05)

    assert value_of(JWKS_READ) == failed
