"""Keys rotate in a file and behind a real server, which also answers slowly, wrongly, hugely or not at all."""

import asyncio
import gzip
import logging
import ssl
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from issuer import SigningKey, key_set
from live.certificates import make_certificates
from support.waiting import until

from service.access.jwt import jwks
from service.access.jwt.jwk import read_key_set
from service.access.jwt.jwks import MAX_BYTES, FileSource, JwksProvider, UrlSource

LOG = "service.access.jwt.jwks"
FIRST, SECOND = SigningKey("first", "ES256"), SigningKey("second", "ES256")


@pytest.fixture(autouse=True)
def log(caplog):
    caplog.set_level(logging.INFO, logger=LOG)
    return caplog


def warnings(log):
    return [record.getMessage() for record in own(log) if record.levelno >= logging.WARNING]


def own(log):
    """Without the lines of other loggers, such as asyncio's about a slow machine."""
    return [record for record in log.records if record.name == LOG]


@pytest.fixture
async def make_key_set(clock):
    sets = []

    async def make(location, *, opened=True):
        keys = JwksProvider.at(str(location))
        keys._clock = clock
        sets.append(keys)
        if opened:
            await keys.open()
        return keys

    yield make
    for keys in sets:
        await keys.close()


class Publisher:
    """A server of a JWK set: ``answer`` is what it serves, or a coroutine function that makes it."""

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
    monkeypatch.setattr(FileSource, "interval", 0.01)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "jwks.json"
    path.write_bytes(key_set(FIRST))
    return path


async def names(keys):
    return {key.kid for key in await keys.find(None)}


async def test_keys_are_found_by_name(make_key_set, publisher):
    publisher.answer = key_set(FIRST, SECOND)
    keys = await make_key_set(publisher.url)

    assert [key.kid for key in await keys.find("second")] == ["second"]


async def test_without_a_name_all_keys_are_found(make_key_set, publisher):
    publisher.answer = key_set(FIRST, SECOND)
    keys = await make_key_set(publisher.url)

    assert await names(keys) == {"first", "second"}


@pytest.mark.parametrize("kid", ["", "First", "first\0", "../first", "../../dev/null", "first' OR '1'='1", "é", "None"])
async def test_a_name_is_a_name_and_nothing_more(make_key_set, publisher, kid):
    keys = await make_key_set(publisher.url)

    assert await keys.find(kid) == []


async def test_an_unknown_name_is_looked_for_at_the_source(make_key_set, publisher):
    keys = await make_key_set(publisher.url)
    publisher.answer = key_set(SECOND)

    assert [key.kid for key in await keys.find("second")] == ["second"]
    assert await keys.find("first") == []


async def test_a_known_name_is_not_asked_for(make_key_set, publisher):
    keys = await make_key_set(publisher.url)
    for _ in range(100):
        await keys.find("first")

    assert len(publisher.requests) == 1


async def test_names_out_of_the_air_cause_one_fetch(make_key_set, publisher, clock):
    keys = await make_key_set(publisher.url)
    for n in range(500):
        await keys.find(f"one after the other {n}")
    await asyncio.gather(*(keys.find(f"all at once {n}") for n in range(500)))

    assert len(publisher.requests) == 2


async def test_an_unknown_name_is_looked_for_again_after_a_pause(make_key_set, publisher, clock):
    keys = await make_key_set(publisher.url)
    await keys.find("second")
    publisher.answer = key_set(FIRST, SECOND)
    clock.now += 9.9
    too_soon = await keys.find("second")
    clock.now += 0.1
    in_time = await keys.find("second")

    assert (len(too_soon), len(in_time)) == (0, 1)


async def test_all_who_look_at_once_wait_for_one_fetch(make_key_set, publisher):
    keys = await make_key_set(publisher.url)

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


async def test_the_generation_grows_with_each_change_and_with_nothing_else(make_key_set, publisher, clock):
    keys = await make_key_set(publisher.url)
    generations = [keys.generation]
    for document in (key_set(FIRST) + b" ", key_set(FIRST, FIRST), b"{", key_set(SECOND), key_set(SECOND, FIRST)):
        publisher.answer = document
        clock.now += 10
        await keys.find("unknown")
        generations.append(keys.generation)

    assert generations == [1, 1, 1, 1, 2, 3]


async def test_what_has_not_changed_is_not_taken_apart_again(make_key_set, publisher, clock, monkeypatch):
    taken = []
    monkeypatch.setattr(jwks, "read_key_set", lambda document: taken.append(document) or read_key_set(document))
    keys = await make_key_set(publisher.url)
    for _ in range(3):
        clock.now += 10
        await keys.find("unknown")

    assert len(publisher.requests) == 4
    assert len(taken) == 1


async def test_a_url_is_read_again_without_being_asked_for(make_key_set, publisher, monkeypatch):
    monkeypatch.setattr(UrlSource, "interval", 0.01)
    keys = await make_key_set(publisher.url)
    publisher.answer = key_set(SECOND)
    await until(lambda: keys.generation == 2)

    assert await names(keys) == {"second"}


async def test_a_key_that_was_withdrawn_is_gone_even_if_it_was_the_last(make_key_set, publisher, log):
    keys = await make_key_set(publisher.url)
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


async def no_set(_):
    return web.Response(text="<html>Please log in</html>")


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (redirect, "it answers 302"),
        (absent, "it answers 404"),
        (huge, "it is larger than 1048576 bytes"),
        (endless, "it is larger than 1048576 bytes"),
        (zipped, "what it holds is no JWK set"),
        (no_set, "what it holds is no JWK set"),
        (hang_up, "ServerDisconnectedError"),
        (hang, "TimeoutError"),
        (trickle, "TimeoutError"),
    ],
)
async def test_a_source_that_fails_leaves_the_keys_and_is_told_once(
    make_key_set, publisher, log, clock, monkeypatch, answer, told
):
    keys = await make_key_set(publisher.url)
    if told == "TimeoutError":
        monkeypatch.setattr(jwks, "FETCH_SECONDS", 0.3)
    publisher.answer = answer
    for _ in range(2):
        clock.now += 10
        assert await keys.find("second") == []

    assert await names(keys) == {"first"}
    [warning] = warnings(log)
    assert warning.removeprefix(f"The JWK set {publisher.url} cannot be read: ").startswith(told)


async def test_the_end_of_an_outage_is_told(make_key_set, publisher, log, clock):
    keys = await make_key_set(publisher.url)
    for answer in (b"{", key_set(FIRST), b"{"):
        publisher.answer = answer
        clock.now += 10
        await keys.find("unknown")

    assert [record.getMessage().removeprefix(f"The JWK set {publisher.url} ") for record in own(log)] == [
        "has changed: keys in use 1",
        "cannot be read: what it holds is no JWK set",
        "can be read again",
        "cannot be read: what it holds is no JWK set",
    ]


async def test_a_server_that_is_away_at_the_start_is_one_warning_and_is_found_later(
    make_key_set, publisher, log, monkeypatch, unused_tcp_port
):
    monkeypatch.setattr(jwks, "RETRY_SECONDS", 0.01)
    keys = await make_key_set(f"http://127.0.0.1:{unused_tcp_port}/jwks")
    absent = await names(keys)
    await asyncio.sleep(0.05)
    async with publisher.served(port=unused_tcp_port):
        await until(lambda: keys.generation == 1)

    assert not absent
    assert await names(keys) == {"first"}
    [warning] = warnings(log)
    assert f"cannot be read: Cannot connect to host 127.0.0.1:{unused_tcp_port}" in warning


async def test_a_server_whose_certificate_nobody_trusts_is_not_believed(make_key_set, publisher, log, tmp_path):
    files = make_certificates(tmp_path, "issuer.example")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(files.certificate, files.key)
    async with publisher.served(tls=tls):
        keys = await make_key_set(publisher.url)

    assert publisher.url.startswith("https:")
    assert await names(keys) == set()
    assert "CERTIFICATE_VERIFY_FAILED" in warnings(log)[0]


async def test_user_info_and_query_reach_the_server_and_no_log(make_key_set, publisher, log, clock):
    url = publisher.url.replace("http://", "http://user:hunter2@") + "?token=hunter3"
    keys = await make_key_set(url)
    for answer in (b"{", redirect, hang_up, key_set()):
        publisher.answer = answer
        clock.now += 10
        await keys.find("unknown")

    assert publisher.requests[0].headers["Authorization"].startswith("Basic ")
    assert publisher.requests[0].query["token"] == "hunter3"
    assert log.records
    assert "hunter" not in log.text


async def test_an_error_that_quotes_the_url_is_told_by_its_name_alone(make_key_set, publisher, log):
    async def garbled(request):
        request.transport.write(b"HTTP/1.1 200 user:hunter2\r\nContent-Length: hunter2\r\n\r\n")
        request.transport.close()
        return web.Response()

    publisher.answer = garbled
    await make_key_set(publisher.url)

    assert warnings(log) == [f"The JWK set {publisher.url} cannot be read: ClientResponseError"]


async def test_complaints_are_told_when_they_change(make_key_set, publisher, log, clock):
    bad = {"kty": "oct", "kid": "bad", "k": "c2VjcmV0"}
    keys = await make_key_set(publisher.url)
    for document in (key_set(FIRST, bad), key_set(bad, FIRST), key_set(FIRST, bad, SECOND)):
        publisher.answer = document
        clock.now += 10
        await keys.find("unknown")

    assert warnings(log) == [
        f"The JWK set {publisher.url}: key 'bad' is ignored, as it gives away its private part",
    ]


async def test_a_rewritten_file_is_read_again_without_being_asked_for(make_key_set, file, fast):
    keys = await make_key_set(file)
    file.write_bytes(key_set(SECOND))
    await until(lambda: keys.generation == 2)

    assert await names(keys) == {"second"}


async def test_an_unknown_name_is_looked_for_in_the_file_at_once(make_key_set, file):
    keys = await make_key_set(file)
    file.write_bytes(key_set(SECOND))

    assert len(await keys.find("second")) == 1


async def test_names_out_of_the_air_cause_one_look_into_a_file(make_key_set, file, monkeypatch):
    keys = await make_key_set(file)
    looks = []
    read = FileSource._read
    monkeypatch.setattr(FileSource, "_read", lambda source: looks.append(1) or read(source))
    for n in range(500):
        await keys.find(f"kid {n}")

    assert len(looks) == 1


async def test_a_kubernetes_volume_turns_its_symlink(make_key_set, tmp_path):
    for version, key in (("..v1", FIRST), ("..v2", SECOND)):
        (tmp_path / version).mkdir()
        (tmp_path / version / "jwks.json").write_bytes(key_set(key))
    (tmp_path / "..data").symlink_to("..v1")
    (tmp_path / "jwks.json").symlink_to("..data/jwks.json")
    keys = await make_key_set(tmp_path / "jwks.json")
    (tmp_path / "..data_tmp").symlink_to("..v2")
    (tmp_path / "..data_tmp").rename(tmp_path / "..data")

    assert len(await keys.find("second")) == 1
    assert await keys.find("first") == []


async def test_a_file_that_is_absent_at_the_start_is_one_warning_and_is_read_when_it_is_there(
    make_key_set, tmp_path, log, fast
):
    path = tmp_path / "jwks.json"
    keys = await make_key_set(path)
    absent = await names(keys)
    await asyncio.sleep(0.05)
    path.write_bytes(key_set(FIRST))
    await until(lambda: keys.generation == 1)

    assert not absent
    assert len(warnings(log)) == 1
    assert "No such file" in warnings(log)[0]


@pytest.mark.parametrize("contents", [None, b"", b"{", key_set(SECOND) + b" " * MAX_BYTES])
async def test_a_file_that_goes_wrong_leaves_the_keys_and_is_told_once(make_key_set, file, log, fast, contents):
    keys = await make_key_set(file)
    if contents is None:
        file.unlink()
    else:
        file.write_bytes(contents)
    await until(lambda: warnings(log))
    await asyncio.sleep(0.05)

    assert await names(keys) == {"first"}
    assert len(warnings(log)) == 1


@pytest.mark.parametrize("path", ["/dev/zero", "/", "/dev/null"])
async def test_what_is_no_file_is_not_waited_for(make_key_set, log, path):
    keys = await make_key_set(Path(path))

    assert warnings(log) == [f"The JWK set {path} cannot be read: it is no file"]
    assert not keys.generation


@pytest.mark.parametrize("location", ["ftp://example.com/jwks", "file:///jwks", "http://", "https:///jwks", "http://["])
def test_a_url_of_another_scheme_or_without_a_host_is_refused(location):
    with pytest.raises(ValueError, match=r"^must be an http or https URL, or the path of a file$"):
        JwksProvider.at(location)


async def test_closing_ends_a_fetch_on_its_way(make_key_set, publisher, monkeypatch):
    monkeypatch.setattr(jwks, "FETCH_SECONDS", 3600)
    keys = await make_key_set(publisher.url)
    publisher.answer = hang
    waiting = asyncio.create_task(keys.find("second"))
    await until(lambda: len(publisher.requests) == 2)
    async with asyncio.timeout(30):
        await keys.close()

    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_what_was_never_opened_can_be_closed(make_key_set, publisher):
    keys = await make_key_set(publisher.url, opened=False)
    await keys.close()

    assert not publisher.requests
