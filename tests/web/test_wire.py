"""Responses on the wire, byte for byte."""

import re

import pytest
from aiohttp import ServerDisconnectedError, web

from service.app import create_app
from service.settings import load


def exchange(service, target="/live", version="1.1", *, close=True, method="GET"):
    fields = "Connection: close\r\n" if close else ""
    answer = service.exchange(f"{method} {target} HTTP/{version}\r\nHost: localhost\r\n{fields}\r\n".encode())
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    return first, dict(line.split(": ", 1) for line in lines), body


def test_a_head_has_every_field_once(service):
    first, fields, body = exchange(service)

    assert first == "HTTP/1.1 200 OK"
    assert list(fields) == [
        "Content-Type",
        "X-Request-Id",
        "X-Duration",
        "Server",
        "X-Content-Type-Options",
        "Content-Length",
        "Date",
        "Connection",
    ]
    assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", fields["Date"])
    assert int(fields["Content-Length"]) == len(body)


def test_head_has_the_length_of_the_body_of_get(service):
    _, fields, body = exchange(service, method="HEAD")

    assert (int(fields["Content-Length"]), body) == (len(b'{"status":"pass"}'), b"")


def test_a_response_without_content_has_no_length(service):
    first, fields, body = exchange(service, "/AwsAccount/of-nobody", method="DELETE")

    assert first == "HTTP/1.1 204 No Content"
    assert (fields.get("Content-Length"), body) == (None, b"")


def test_a_connection_of_http_1_0_ends_after_its_response(service):
    first, fields, _ = exchange(service, version="1.0", close=False)

    assert first == "HTTP/1.0 200 OK"
    assert "Connection" not in fields


def test_a_connection_of_http_1_0_is_kept_on_request(service):
    request = b"GET /live HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n"
    answers = service.exchange(request + request.replace(b"keep-alive", b"close"))

    assert answers.count(b"Connection: keep-alive\r\n") == 1
    assert answers.count(b"HTTP/1.0 200 OK\r\n") == 2


def test_a_connection_of_http_1_1_is_kept_by_default(service):
    request = b"GET /live HTTP/1.1\r\nHost: localhost\r\n"
    answers = service.exchange(request + b"\r\n" + request + b"Connection: close\r\n\r\n")

    assert answers.count(b"Connection: ") == 1
    assert answers.count(b"HTTP/1.1 200 OK\r\n") == 2


@pytest.mark.parametrize("value", ["a\r\nb", "a\nb", "a\0b"])
async def test_no_header_value_can_add_a_header(aiohttp_client, audit_log, value):
    app = create_app(load({}), audit=audit_log)

    async def handler(_):
        return web.Response(headers={"Location": value})

    app.router.add_get("/split", handler)
    client = await aiohttp_client(app)

    with pytest.raises(ServerDisconnectedError):
        await client.get("/split")
