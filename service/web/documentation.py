"""The OpenAPI document and the page that shows it: made or read when first asked for, and kept."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from http import HTTPStatus
from pathlib import Path

from aiohttp import hdrs

from service.web import codec, target
from service.web.answer import Answer, head_of
from service.web.codec import Format
from service.web.context import Exchange
from service.web.description import described
from service.web.media import DEFAULT_TYPES
from service.web.routing import Guard, Handler, Route

# The page runs its own script on the service's own document, and nothing else.
_SECURITY: Mapping[str, str] = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_STATIC = Path(__file__).parent / "static"
_described = partial(
    described,
    statuses=(HTTPStatus.OK, HTTPStatus.NOT_MODIFIED),
    heeds=(hdrs.IF_NONE_MATCH,),
    headers=(hdrs.ETAG, hdrs.CACHE_CONTROL),
)


def document(table: Sequence[Route], form: Format) -> bytes:
    """The OpenAPI document for these routes."""
    # A process that is never asked for it need not load what makes it.
    from service.web.openapi.document import document as make  # noqa: PLC0415

    return codec.dump_yaml(make(table)) if form == "yaml" else codec.dump_json(make(table))


class DocumentHandlers:
    """The handlers of the document for the routes in ``table`` and for those of this module."""

    def __init__(self, table: Sequence[Route]) -> None:
        self._routes = [*table, *self.routes(), *PAGES]
        self._bytes = cache(partial(document, self._routes))

    def routes(self) -> list[Route]:
        return [_own("/openapi.json", self.as_json), _own("/openapi.yaml", self.as_yaml)]

    @_described("openApiJson", "This document as JSON", answer="OpenApi", media=(DEFAULT_TYPES["json"],))
    async def as_json(self, exchange: Exchange) -> Answer:
        return _static(exchange, DEFAULT_TYPES["json"], partial(self._bytes, "json"))

    @_described("openApiYaml", "This document as YAML", answer="OpenApi", media=(DEFAULT_TYPES["yaml"],))
    async def as_yaml(self, exchange: Exchange) -> Answer:
        return _static(exchange, DEFAULT_TYPES["yaml"], partial(self._bytes, "yaml"))


@described("start", "Leads to the documentation", statuses=(HTTPStatus.TEMPORARY_REDIRECT,))
async def start(exchange: Exchange) -> Answer:
    target.only(exchange.query)
    # Relative, for a gateway that serves this under a prefix.
    head = head_of(HTTPStatus.TEMPORARY_REDIRECT, {hdrs.LOCATION: "docs"})
    return Answer(head, status=HTTPStatus.TEMPORARY_REDIRECT)


def _page(name: str, summary: str, file: str, media_type: str) -> Callable[[Exchange], Answer]:
    @_described(name, summary, answer="Text", media=(media_type,))
    def page(exchange: Exchange) -> Answer:
        return _static(exchange, media_type, partial(_read, file))

    return page


@cache
def _read(file: str) -> bytes:
    return (_STATIC / file).read_bytes()


def _static(exchange: Exchange, media_type: str, content: Callable[[], bytes]) -> Answer:
    target.only(exchange.query)
    body = content()
    headers = {
        hdrs.CONTENT_TYPE: f"{media_type}; charset=utf-8",
        hdrs.ETAG: f'"{_hash(body)}"',
        hdrs.CACHE_CONTROL: "no-cache",
        **_SECURITY,
    }
    if _is_known(exchange, headers[hdrs.ETAG]):
        return Answer(head_of(HTTPStatus.NOT_MODIFIED, headers), status=HTTPStatus.NOT_MODIFIED)
    return Answer(head_of(HTTPStatus.OK, headers), body)


@cache
def _hash(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()[:32]


def _is_known(exchange: Exchange, tag: str) -> bool:
    given = ",".join(exchange.request.headers.getall(hdrs.IF_NONE_MATCH, ()))
    return any(known.strip().removeprefix("W/") in {tag, "*"} for known in given.split(","))


def _own(path: str, handler: Handler) -> Route:
    return Route(hdrs.METH_GET, path, handler, own_type=True, guard=Guard.NOBODY)


PAGES = (
    _own("/", start),
    _own("/docs", _page("docs", "A page that shows this document", "docs.html", "text/html")),
    _own("/static/docs.css", _page("docsStyle", "The page's style", "docs.css", "text/css")),
    _own("/static/docs.js", _page("docsScript", "The page's script", "docs.js", "text/javascript")),
)


def routes(table: Sequence[Route]) -> list[Route]:
    """The routes of the page and of the document, which is for those in ``table`` and for these."""
    return [*DocumentHandlers(table).routes(), *PAGES]
