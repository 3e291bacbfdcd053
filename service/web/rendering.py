"""Render plain data as a response in the negotiated format."""

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from functools import lru_cache, partial
from types import MappingProxyType
from typing import Any

from aiohttp import hdrs, web
from multidict import CIMultiDict, CIMultiDictProxy

from service.stores.pacing import paced
from service.web.background import in_background
from service.web.context import CONTEXT, RequestContext
from service.web.formats import codec
from service.web.target import NOTHING

# A longer body is joined and sent in pieces: 25 MB at once hold the event loop for 30 ms, and 1 MiB over TLS for 3 ms.
MAX_PIECE = 256 * 1024
NO_STORE: Mapping[str, str] = MappingProxyType({hdrs.CACHE_CONTROL: "no-store"})


def render(
    request: web.Request, data: Mapping[str, Any], *, status: int = 200, headers: Mapping[str, str] = NOTHING
) -> web.Response:
    """Return ``data`` as YAML or JSON, with the negotiated media type."""
    context = request[CONTEXT]
    response_type = context.response_type
    if response_type.format == "yaml":
        body = codec.dump_yaml(data)
    else:
        body = codec.dump_json(data, pretty=context.query.get("_pretty") == "true")
    return web.Response(status=status, body=body, headers={hdrs.CONTENT_TYPE: response_type.content_type, **headers})


def render_url(request: web.Request, context: RequestContext, url: str) -> web.Response:
    """Render a signed URL, with ``Cache-Control: no-store``. The body equals that of ``render``."""
    if "_pretty" in context.query:
        return render(request, {"url": url}, headers=NO_STORE)
    # A signed URL has no characters to escape, and an encoder takes as long as the signature.
    text = f"url: {url}\n" if context.response_type.format == "yaml" else f'{{"url":"{url}"}}'
    return web.Response(body=text.encode(), headers=_url_headers(context.response_type.content_type))


class ItemsRenderer:
    """Renders ``{"items": […]}`` item by item, so that a long list does not block the event loop.

    ``before`` are members in front of the list, ``name`` is its name. The body equals that of ``render`` for the whole,
    for at least one item.
    """

    def __init__(self, request: web.Request, *, before: Mapping[str, Any] = NOTHING, name: str = "items") -> None:
        context = request[CONTEXT]
        self._content_type = context.response_type.content_type
        self._dump: Callable[[object], bytes] = codec.dump_yaml
        if context.response_type.format == "json":
            self._dump = partial(codec.dump_json, pretty=context.query.get("_pretty") == "true")
        # The list comes last, so its item is the last 0 in each format.
        self._head, _, self._tail = self._dump({**before, name: [0]}).rpartition(b"0")
        self._item_head, _, item_tail = self._dump({name: [0]}).rpartition(b"0")
        self._separator = self._dump({name: [0, 0]})[len(self._item_head) + 1 : -len(item_tail) - 1]
        self._name = name
        self._items: list[bytes] = []
        self.add({"url": "x"})
        self._url_head, self._url_tail = self._items.pop().split(b"x")

    def add_url(self, url: str) -> None:
        """Add ``{"url": url}`` without an encoder; see ``render_url``."""
        self._items.append(self._url_head + url.encode() + self._url_tail)

    def add(self, item: Mapping[str, Any]) -> None:
        self._items.append(self._dump({self._name: [item]})[len(self._item_head) : -len(self._tail)])

    def response(self, *, headers: Mapping[str, str] = NOTHING) -> web.Response:
        headers = {hdrs.CONTENT_TYPE: self._content_type, **headers}
        size = len(self._head) + len(self._tail) + sum(map(len, self._items))
        size += len(self._separator) * (len(self._items) - 1)
        if size <= MAX_PIECE:
            return web.Response(body=b"".join(self._pieces()), headers=headers)
        return web.Response(body=self._written_in_turns(), headers={**headers, hdrs.CONTENT_LENGTH: str(size)})

    def _pieces(self) -> Iterator[bytes]:
        """Yield the body in pieces of about MAX_PIECE. The items are gone afterwards."""
        piece, size = [self._head], 0
        self._items.reverse()
        while self._items:
            # To free 100 MB at once would hold the event loop for 17 ms.
            item = self._items.pop()
            if size > MAX_PIECE:
                yield b"".join(piece)
                piece, size = [], 0
            piece.append(item)
            piece.append(self._separator)
            size += len(item)
        piece[-1] = self._tail
        yield b"".join(piece)

    async def _written_in_turns(self) -> AsyncIterator[bytes]:
        async for piece in paced(self._pieces()):
            yield piece


async def render_list(
    request: web.Request, before: Mapping[str, Any], name: str, items: Iterable[Mapping[str, Any]], *, is_long: bool
) -> web.Response:
    """Return ``before`` and the list ``name`` as ``render`` does. A long one is encoded in a thread.

    ``items`` may make them there, too. A long list has at least one item.
    """
    if not is_long:
        return render(request, {**before, name: [*items]})

    def response() -> web.Response:
        # One call of an encoder for all would hold the interpreter lock throughout.
        renderer = ItemsRenderer(request, before=before, name=name)
        for item in items:
            renderer.add(item)
        return renderer.response()

    return await in_background(response)


# Copying a header dict takes a third of the time of building one.
@lru_cache(maxsize=16)
def _url_headers(content_type: str) -> CIMultiDictProxy[str]:
    return CIMultiDictProxy(CIMultiDict({hdrs.CONTENT_TYPE: content_type, **NO_STORE}))
