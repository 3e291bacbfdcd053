"""The OpenAPI document, and a page on which Scalar shows it. All are built or read on first use, and cached."""

import asyncio
import gzip
from collections.abc import Sequence
from functools import cache, partial
from http import HTTPStatus
from importlib.metadata import distribution
from pathlib import Path

from aiohttp import hdrs, web

from service.web.background import in_background
from service.web.formats import codec
from service.web.formats.codec import Format
from service.web.formats.media import DEFAULT_TYPES
from service.web.handlers import console
from service.web.links import base_url
from service.web.openapi.metadata import documented
from service.web.routing import Guard, Route
from service.web.static_files import static_response

_STATIC = Path(__file__).parent.parent / "static"
# Scalar writes styles into its elements, so a policy cannot forbid inline styles. They can load nothing from elsewhere.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'unsafe-inline'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
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
        "openApiJson",
        "Read this document as JSON",
        description="Returns the OpenAPI document.",
        response="OpenApi",
        media_types=(DEFAULT_TYPES["json"],),
    )
    async def as_json(self, request: web.Request) -> web.Response:
        return await self._response(request, "json")

    @_documented_static(
        "openApiYaml",
        "Read this document as YAML",
        description="Returns the OpenAPI document.",
        response="OpenApi",
        media_types=(DEFAULT_TYPES["yaml"],),
    )
    async def as_yaml(self, request: web.Request) -> web.Response:
        return await self._response(request, "yaml")

    async def _response(self, request: web.Request, format_: Format) -> web.Response:
        # To build it takes 25 ms as JSON, and 50 ms as YAML.
        content = await in_background(partial(self._document, format_, server=base_url(request)))
        return static_response(request, DEFAULT_TYPES[format_], content)


@_documented_static(
    "docs",
    "Open the API page",
    description="Returns a page for browsers that shows this document and sends requests.",
    response="Text",
    media_types=("text/html",),
)
async def page(request: web.Request) -> web.Response:
    return static_response(request, "text/html", _read("docs.html"), policy=_POLICY)


async def script(request: web.Request) -> web.Response:
    """Return the script that starts Scalar."""
    return static_response(request, "text/javascript", _read("docs.js"))


async def viewer(request: web.Request) -> web.Response:
    """Return Scalar, compressed. Every browser accepts gzip, which makes a quarter of its 5 MB."""
    response = static_response(request, "text/javascript", await asyncio.to_thread(_viewer))
    response.headers[hdrs.CONTENT_ENCODING] = "gzip"
    return response


@cache
def _read(file: str) -> bytes:
    return (_STATIC / file).read_bytes()


@cache
def _viewer() -> bytes:
    # An import of offapi would keep all of its viewers in memory.
    file = distribution("offapi").locate_file("offapi/scalar.js")
    return gzip.compress(Path(str(file)).read_bytes(), mtime=0)


_public = partial(Route, hdrs.METH_GET, fixed_media_type=True, guard=Guard.PUBLIC)
PAGES = (
    console.START,
    _public("/docs", page),
    _public("/static/docs.js", script, in_document=False),
    _public("/static/scalar.js", viewer, in_document=False),
)


def routes(api: Sequence[Route]) -> list[Route]:
    """Return the routes of the pages and of the document, which describes the routes in ``api`` and these."""
    return [*DocumentHandlers(api).routes(), *PAGES, console.ALIAS, console.FILES]
