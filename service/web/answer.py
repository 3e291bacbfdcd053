"""Plain data to a response, in the format that was negotiated."""

import time
from collections.abc import Mapping
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

from aiohttp import HttpVersion10, hdrs, web
from aiohttp.abc import AbstractStreamWriter

from service.web import codec
from service.web.context import Exchange

NO_HEADERS: Mapping[str, str] = MappingProxyType({})
_BODILESS = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED})


class Answer(web.StreamResponse):
    """A whole response, whose head is a text that grows, and is sent in one piece with the body.

    aiohttp makes a table of the headers, and takes a third of a signed GET's time for it.
    """

    def __init__(self, head: str, body: bytes = b"", *, status: int = 200) -> None:
        """``head`` is the status line and header fields, as ``head_of`` writes them."""
        # aiohttp's own would make two tables that nobody asks for.
        self._status = status
        self._head = head
        self._content = body
        self._request: web.BaseRequest | None = None

    def add(self, lines: str) -> None:
        """Add header fields, whole lines each with its end, to the head."""
        self._head += lines

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        self._request = request
        if self._keep_alive is None:
            self._keep_alive = request.keep_alive
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        del data
        if (request := self._request) is None:
            return
        self._request = None
        head, content = self._head, self._content
        if not self._keep_alive:
            head += "Connection: close\r\n"
        elif request.version == HttpVersion10:
            head += "Connection: keep-alive\r\n"
        if self.status not in _BODILESS:
            head += f"Content-Length: {len(content)}\r\n"
        if request.method == hdrs.METH_HEAD:
            content = b""
        await request.writer.write_eof(f"{head}Date: {_date(int(time.time()))}\r\n\r\n".encode() + content)


def head_of(status: int, headers: Mapping[str, str]) -> str:
    """The status line and header fields of a response. ValueError for a header that would end its line."""
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n", *map(header, headers, headers.values())]
    return "".join(lines)


def header(name: str, value: str) -> str:
    """A header field as a line. ValueError for one that would be more than that."""
    if not value.isprintable():
        raise ValueError(f"The header {name} would have a control character in it")
    return f"{name}: {value}\r\n"


def respond_url(exchange: Exchange, url: str) -> Answer:
    """Answer with a signed URL alone, as ``respond`` would."""
    answer = exchange.answer_type
    if "_pretty" in exchange.query:
        return respond(exchange, {"url": url}, headers=_UNCACHED)
    # A signed URL has nothing that JSON or YAML would escape; an encoder takes longer than the signature.
    text = f"url: {url}\n" if answer.format == "yaml" else f'{{"url":"{url}"}}'
    return Answer(_signed_head(answer.content_type), text.encode())


def respond(
    exchange: Exchange, data: Mapping[str, Any], *, status: int = 200, headers: Mapping[str, str] = NO_HEADERS
) -> Answer:
    answer = exchange.answer_type
    body = (
        codec.dump_yaml(data)
        if answer.format == "yaml"
        else codec.dump_json(data, pretty=exchange.query.get("_pretty") == "true")
    )
    return Answer(head_of(status, {hdrs.CONTENT_TYPE: answer.content_type, **headers}), body, status=status)


# Who has the answer can use the URL: no cache may keep it.
_UNCACHED: Mapping[str, str] = {hdrs.CACHE_CONTROL: "no-store"}


@lru_cache(maxsize=16)
def _signed_head(content_type: str) -> str:
    return head_of(HTTPStatus.OK, {hdrs.CONTENT_TYPE: content_type, **_UNCACHED})


@lru_cache(maxsize=8)
def _date(now: int) -> str:
    return formatdate(now, usegmt=True)
