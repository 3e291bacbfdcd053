"""Plain data to a response, in the format that was negotiated."""

from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache
from typing import Any

from aiohttp import hdrs, web
from multidict import CIMultiDict, CIMultiDictProxy

from service.web import codec
from service.web.context import EXCHANGE

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_own_types: set[Handler] = set()


def own_type(handler: Handler) -> Handler:
    """Mark a handler that answers in a media type of its own, whatever Accept says; its errors are negotiated still."""
    _own_types.add(handler)
    return handler


def has_own_type(request: web.Request) -> bool:
    return request.match_info.handler in _own_types


def respond_url(request: web.Request, url: str) -> web.Response:
    """Answer with a signed URL alone, as ``respond`` would."""
    exchange = request[EXCHANGE]
    answer = exchange.answer_type
    if "_pretty" in exchange.query:
        return respond(request, {"url": url}, headers=_signed_headers(answer.content_type))
    # A signed URL has nothing that JSON or YAML would escape; an encoder takes longer than the signature.
    text = f"url: {url}\n" if answer.format == "yaml" else f'{{"url":"{url}"}}'
    return web.Response(body=text.encode(), headers=_signed_headers(answer.content_type))


# To copy headers costs a third of making them.
@lru_cache(maxsize=16)
def _signed_headers(content_type: str) -> CIMultiDictProxy[str]:
    # Who has the answer can use the URL: no cache may keep it.
    return CIMultiDictProxy(CIMultiDict({hdrs.CONTENT_TYPE: content_type, hdrs.CACHE_CONTROL: "no-store"}))


def respond(
    request: web.Request, data: Mapping[str, Any], *, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    answer = request[EXCHANGE].answer_type
    body = (
        codec.dump_yaml(data)
        if answer.format == "yaml"
        else codec.dump_json(data, pretty=request[EXCHANGE].query.get("_pretty") == "true")
    )
    return web.Response(body=body, status=status, headers={hdrs.CONTENT_TYPE: answer.content_type, **(headers or {})})
