"""The OpenAPI document and the page that shows it: made or read when first asked for, and kept."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from http import HTTPStatus
from pathlib import Path

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from service.web import target
from service.web.context import CONTEXT
from service.web.formats import codec
from service.web.formats.codec import Format
from service.web.formats.media import DEFAULT_TYPES
from service.web.openapi.metadata import documented
from service.web.routing import Guard, Route, mount_prefix

# The page runs its own script on the service's own document, and nothing else.
_SECURITY: Mapping[str, str] = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_STATIC = Path(__file__).parent.parent / "static"
_described = partial(
    documented,
    statuses=(HTTPStatus.OK, HTTPStatus.NOT_MODIFIED),
    heeds=(hdrs.IF_NONE_MATCH,),
    headers=(hdrs.ETAG, hdrs.CACHE_CONTROL),
)


def document(table: Sequence[Route], form: Format, *, prefix: str = "") -> bytes:
    """The OpenAPI document for these routes, of a service that is mounted under ``prefix``."""
    # A process that is never asked for it need not load what makes it.
    from service.web.openapi.document import document as make  # noqa: PLC0415

    made = make(table, server=prefix or "/")
    return codec.dump_yaml(made) if form == "yaml" else codec.dump_json(made)


class DocumentHandlers:
    """The handlers of the document for the routes in ``table`` and for those of this module."""

    def __init__(self, table: Sequence[Route]) -> None:
        self._routes = [*table, *self.routes(), *PAGES]
        self._bytes = cache(partial(document, self._routes))

    def routes(self) -> list[Route]:
        return [_own("/openapi.json", self.as_json), _own("/openapi.yaml", self.as_yaml)]

    @_described("openApiJson", "This document as JSON", answer="OpenApi", media=(DEFAULT_TYPES["json"],))
    async def as_json(self, request: web.Request) -> web.Response:
        return self._answer(request, "json")

    @_described("openApiYaml", "This document as YAML", answer="OpenApi", media=(DEFAULT_TYPES["yaml"],))
    async def as_yaml(self, request: web.Request) -> web.Response:
        return self._answer(request, "yaml")

    def _answer(self, request: web.Request, form: Format) -> web.Response:
        prefix = mount_prefix(request, request[CONTEXT].route)
        return _static(request, DEFAULT_TYPES[form], partial(self._bytes, form, prefix=prefix))


@documented("start", "Leads to the documentation", statuses=(HTTPStatus.TEMPORARY_REDIRECT,))
async def start(request: web.Request) -> web.Response:
    target.reject_unknown_parameters(request[CONTEXT].query)
    # Relative, for a gateway that serves this under a prefix.
    return web.Response(status=HTTPStatus.TEMPORARY_REDIRECT, headers={hdrs.LOCATION: "docs"})


def _page(name: str, summary: str, file: str, media_type: str) -> Handler:
    @_described(name, summary, answer="Text", media=(media_type,))
    async def page(request: web.Request) -> web.Response:
        return _static(request, media_type, partial(_read, file))

    return page


@cache
def _read(file: str) -> bytes:
    return (_STATIC / file).read_bytes()


def _static(request: web.Request, media_type: str, content: Callable[[], bytes]) -> web.Response:
    target.reject_unknown_parameters(request[CONTEXT].query)
    body = content()
    tag = _hash(body)
    headers = {hdrs.CACHE_CONTROL: "no-cache", **_SECURITY}
    response = web.Response(body=body, headers=headers, content_type=media_type, charset="utf-8")
    if any(known.value in {tag, "*"} for known in request.if_none_match or ()):
        response = web.Response(status=HTTPStatus.NOT_MODIFIED, headers=headers)
    response.etag = tag
    return response


@cache
def _hash(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()[:32]


def _own(path: str, handler: Handler) -> Route:
    return Route(hdrs.METH_GET, path, handler, fixed_media_type=True, guard=Guard.PUBLIC)


PAGES = (
    _own("/", start),
    _own("/docs", _page("docs", "A page that shows this document", "docs.html", "text/html")),
    _own("/static/docs.css", _page("docsStyle", "The page's style", "docs.css", "text/css")),
    _own("/static/docs.js", _page("docsScript", "The page's script", "docs.js", "text/javascript")),
)


def routes(table: Sequence[Route]) -> list[Route]:
    """The routes of the page and of the document, which is for those in ``table`` and for these."""
    return [*DocumentHandlers(table).routes(), *PAGES]
