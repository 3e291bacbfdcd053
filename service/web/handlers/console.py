"""The console: a page at the root, and its files."""

from dataclasses import replace
from functools import cache
from http import HTTPStatus
from pathlib import Path

from aiohttp import hdrs, web

import service
from service.web import target
from service.web.context import CONTEXT
from service.web.formats.media import RESPONSE_TYPES
from service.web.links import base_path
from service.web.openapi.metadata import documented
from service.web.rendering import render
from service.web.routing import Guard, Route
from service.web.static_files import static_response

# The browser sends files to the S3 servers of the accounts, which may have any address, and previews them as blobs.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self' http: https:; img-src 'self' blob:; "
    "frame-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
_DIRECTORY = Path(__file__).parent.parent / "console"
_HTML = "text/html"
_MEDIA_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


@documented(
    "start",
    "Open the console",
    description="Returns the console to a browser. Programs get the name, the version and the links of the service.",
    response="Start",
    media_types=(_HTML, *RESPONSE_TYPES),
    statuses=(HTTPStatus.OK, HTTPStatus.NOT_MODIFIED),
    request_headers=(hdrs.IF_NONE_MATCH,),
    # A page has an ETag, and data has none.
    response_headers=(hdrs.CACHE_CONTROL,),
)
async def start(request: web.Request) -> web.Response:
    """Return the console to a browser, and data to a program."""
    target.reject_unknown_parameters(request[CONTEXT].query)
    is_browser = _HTML in ",".join(request.headers.getall(hdrs.ACCEPT, ())) and "_format" not in request[CONTEXT].query
    response = _page(request) if is_browser else _links(request)
    response.headers[hdrs.VARY] = hdrs.ACCEPT
    return response


def _page(request: web.Request) -> web.Response:
    # Relative links are right under any prefix that ends in a slash, also one that no setting names.
    base = f"{base_path(request)}/" if request[CONTEXT].app.settings.public_url else ""
    return static_response(request, _HTML, _read("index.html").replace(b"{base}", base.encode()), policy=_POLICY)


def _links(request: web.Request) -> web.Response:
    base, access = base_path(request), request[CONTEXT].app.access
    paths = {"console": "/", "documentation": "/docs", "openapi": "/openapi.json", "health": "/health"}
    # Only a service with authentication issues tokens.
    paths |= {"token": "/auth/token"} if access else {}
    links = {name: f"{base}{path}" for name, path in paths.items()}
    about = {"name": "s3-signer", "version": service.__version__, "links": links}
    return render(request, about, headers={"Cache-Control": "no-cache"})


async def file(request: web.Request) -> web.Response:
    """Return a script, style or image of the console."""
    name = request.match_info["file"]
    if name not in _files():
        raise web.HTTPNotFound
    return static_response(request, _MEDIA_TYPES[Path(name).suffix], _read(name), policy=_POLICY)


@cache
def _files() -> frozenset[str]:
    return frozenset(path.name for path in _DIRECTORY.iterdir() if path.suffix in _MEDIA_TYPES)


@cache
def _read(name: str) -> bytes:
    return (_DIRECTORY / name).read_bytes()


START = Route(hdrs.METH_GET, "/", start, fixed_media_type=True, guard=Guard.PUBLIC)
ALIAS = replace(START, path="/console", in_document=False)
FILES = Route(
    hdrs.METH_GET, "/console/{file:[^/]+}", file, fixed_media_type=True, guard=Guard.PUBLIC, in_document=False
)
