"""Limits for the memory that bodies of clients take."""

import asyncio
import json
import re
import threading
import time
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

import pytest
from support.accounts import KEYS
from support.service import running
from support.waiting import eventually

from service.web import body as bodies
from service.web import target
from service.web.context import APP

ROOT = {"SIGNER_ROOT_CLIENT_ID": "root", "SIGNER_ROOT_CLIENT_SECRET": "root-secret-0123456789"}
FORM = "application/x-www-form-urlencoded"
# 32 MiB of bodies, and the part of the others that is read before they are refused. Without a limit, it is 150.
GROWTH_MIB = 90
LEFT_MIB = 20


@pytest.mark.parametrize(("size", "status"), [(8192, 422), (8193, 413)])
@pytest.mark.parametrize("content_type", [FORM, "application/json", "text/yaml"])
@pytest.mark.parametrize("chunked", [False, True], ids=["sized", "chunked"])
async def test_a_body_without_credentials_has_at_most_8_kib(make_client, size, status, content_type, chunked):
    client = await make_client(**ROOT)
    body = {FORM: b"a=", "application/json": b'{"a": "', "text/yaml": b'a: "'}[content_type]
    end = b"" if content_type == FORM else b'"}' if content_type.endswith("json") else b'"'
    body += b"x" * (size - len(body) - len(end)) + end

    async def chunks():
        yield body[:5000]
        yield body[5000:]

    data = chunks() if chunked else body
    response = await client.post("/auth/token", data=data, headers={"Content-Type": content_type})

    assert response.status == status


@pytest.mark.parametrize(("size", "apart"), [(2000, True), (500, False)])
async def test_large_bodies_without_credentials_do_not_block_the_loop(make_client, monkeypatch, size, apart):
    client = await make_client(**ROOT)
    turns, parsed, parse = 0, [], target.form

    async def count():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    def slow(body):
        time.sleep(0.01)
        parsed.append(turns)
        return parse(body)

    monkeypatch.setattr(target, "form", slow)
    monkeypatch.setattr(bodies, "_receive", arrived_at_once(6))
    counter = asyncio.create_task(count())
    posts = [client.post("/auth/token", data="a=" + "x" * size, headers={"Content-Type": FORM}) for _ in range(6)]
    statuses = {response.status for response in await asyncio.gather(*posts)}
    counter.cancel()
    gaps = [later - earlier for earlier, later in pairwise(parsed)]

    assert statuses == {422}
    assert all(gap > 2 for gap in gaps) is apart


def arrived_at_once(count):
    """Return a substitute for ``_receive`` that waits for this many requests."""
    together, read = asyncio.Barrier(count), bodies._receive

    async def arrived(*args):
        body = await read(*args)
        await together.wait()
        return body

    return arrived


def resident_mib(process):
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024


def small_upload():
    body = b"filename: k"
    head = b"POST /aws/storage/a/bucket HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
    return head % len(body) + body


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from Linux' /proc")
@pytest.mark.slow
def test_the_sum_of_unfinished_bodies_is_limited_and_memory_is_returned():
    unfinished = b"PUT /AwsAccount HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000001\r\n\r\n{" + b" " * 999_999
    with running(measured=False) as process:
        account = json.dumps({"id": "a", **KEYS}).encode()
        put = b"PUT /AwsAccount HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
        process.exchange(put % len(account) + account)
        before = resident_mib(process)
        with ExitStack() as stack:
            opened = [stack.enter_context(process.connect()) for _ in range(120)]
            for connection in opened:
                connection.sendall(unfinished)
            refused = set()

            def so_many_are_refused():
                refused.update(filter(is_refused, opened))
                return len(refused) >= 120 - bodies.MAX_ARRIVING_BYTES // 1_000_001

            assert eventually(so_many_are_refused)
            during, signed = resident_mib(process), process.exchange(small_upload())
            so_many_are_refused()

        assert 120 - len(refused) == bodies.MAX_ARRIVING_BYTES // 1_000_001
        assert signed.startswith(b"HTTP/1.1 200 ")
        assert during - before < GROWTH_MIB
        assert eventually(lambda: resident_mib(process) - before < LEFT_MIB)


async def test_a_body_that_waits_to_be_parsed_counts_as_one_that_arrives(make_client, monkeypatch):
    client = await make_client(SIGNER_MAX_BODY="65536")
    monkeypatch.setattr(bodies, "MAX_ARRIVING_BYTES", 65_536)
    may_parse, parsing, parse = threading.Event(), threading.Event(), bodies._parse

    def parse_later(*arguments):
        parsing.set()
        may_parse.wait(10)
        return parse(*arguments)

    monkeypatch.setattr(bodies, "_parse", parse_later)

    async def send():
        response = await client.put("/AwsAccount/a", json={"host": "h" * 40_000})
        return response.status

    first = asyncio.create_task(send())
    await asyncio.to_thread(parsing.wait, 10)
    second = await send()
    may_parse.set()

    assert (second, await first, await send()) == (503, 422, 422)
    assert client.app[APP].state.large_body_bytes == 0


def is_refused(connection):
    connection.setblocking(False)  # noqa: FBT003 - the standard library's
    try:
        return connection.recv(4096).startswith(b"HTTP/1.1 503 ")
    except BlockingIOError:
        return False
