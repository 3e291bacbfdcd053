"""The OpenAPI document and the page that shows it. Both are built or read on first use, and cached."""

from collections.abc import Sequence
from functools import cache, partial
from http import HTTPStatus
from pathlib import Path

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from service.web.formats import codec
from service.web.formats.codec import Format
from service.web.formats.media import DEFAULT_TYPES
from service.web.handlers import console
from service.web.links import base_url
from service.web.openapi.metadata import documented
from service.web.routing import Guard, Route
from service.web.static_files import static_response

_STATIC = Path(__file__).parent.parent / "static"
_documented_static = partial(
    documented,
    statuses=(HTTPStatus.OK, HTTPStatus.NOT_MODIFIED),
    request_headers=(hdrs.IF_NONE_MATCH,),
    response_headers=(hdrs.ETAG, hdrs.CACHE_CONTROL),
)


def document(routes: Sequence[Route], format_: Format, *, server: str = "/") -> bytes:
    """Return the OpenAPI document for these routes. ``server`` is the URL in front of their paths."""
    # Most processes never need the module.
    from service.web.openapi.document import document as build  # noqa: PLC0415

    data = build(routes, server=server)
    return codec.dump_yaml(data) if format_ == "yaml" else codec.dump_json(data)


class DocumentHandlers:
    """The handlers of the document, which describes ``routes`` and the routes of this module."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._document = cache(partial(document, [*routes, *self.routes(), *PAGES]))

    def routes(self) -> list[Route]:
        return [_public("/openapi.json", self.as_json), _public("/openapi.yaml", self.as_yaml)]

    @_documented_static(
        "openApiJson", "This document as JSON", response="OpenApi", media_types=(DEFAULT_TYPES["json"],)
    )
    async def as_json(self, request: web.Request) -> web.Response:
        return self._response(request, "json")

    @_documented_static(
        "openApiYaml", "This document as YAML", response="OpenApi", media_types=(DEFAULT_TYPES["yaml"],)
    )
    async def as_yaml(self, request: web.Request) -> web.Response:
        return self._response(request, "yaml")

    def _response(self, request: web.Request, format_: Format) -> web.Response:
        return static_response(request, DEFAULT_TYPES[format_], self._document(format_, server=base_url(request)))


def _page(name: str, summary: str, file: str, media_type: str) -> Handler:
    @_documented_static(name, summary, response="Text", media_types=(media_type,))
    async def page(request: web.Request) -> web.Response:
        return static_response(request, media_type, _read(file))

    return page


@cache
def _read(file: str) -> bytes:
    return (_STATIC / file).read_bytes()


def _public(path: str, handler: Handler) -> Route:
    return Route(hdrs.METH_GET, path, handler, fixed_media_type=True, guard=Guard.PUBLIC)


PAGES = (
    console.START,
    _public("/docs", _page("docs", "A page that shows this document", "docs.html", "text/html")),
    _public("/static/docs.css", _page("docsStyle", "The page's style", "docs.css", "text/css")),
    _public("/static/docs.js", _page("docsScript", "The page's script", "docs.js", "text/javascript")),
)


def routes(api: Sequence[Route]) -> list[Route]:
    """Return the routes of the pages and of the document, which describes the routes in ``api`` and these."""
    return [*DocumentHandlers(api).routes(), *PAGES, console.FILES]
