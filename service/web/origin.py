"""Check Host and Origin of requests from web pages, and answer CORS preflights.

Source: https://fetch.spec.whatwg.org/#http-cors-protocol
"""

from collections.abc import Mapping
from functools import lru_cache
from http import HTTPStatus
from ipaddress import ip_address
from urllib.parse import urlsplit

from aiohttp import hdrs, web

from service.errors import Forbidden
from service.web.context import CONTEXT

_PREFLIGHT: Mapping[str, str] = {
    hdrs.ACCESS_CONTROL_ALLOW_METHODS: "GET, HEAD, POST, PUT, PATCH, DELETE",
    hdrs.ACCESS_CONTROL_ALLOW_HEADERS: (
        "authorization, content-type, if-match, if-none-exist, if-none-match, x-request-id"
    ),
    hdrs.ACCESS_CONTROL_MAX_AGE: "600",
}
_VARY: Mapping[str, str] = {hdrs.VARY: "Origin"}
_EXPOSE: Mapping[str, str] = {
    **_VARY,
    hdrs.ACCESS_CONTROL_EXPOSE_HEADERS: "etag, last-modified, location, retry-after, x-duration, x-request-id",
}


def check_loopback(request: web.Request) -> None:
    """Raise Forbidden for a Host that is no loopback name, because a page can rebind a DNS name to 127.0.0.1.

    A missing or empty Host cannot come from a page. Load balancers send such probes in HTTP/1.0.
    """
    host = request.headers.get(hdrs.HOST)
    if host and not _is_loopback(host):
        raise Forbidden("The Host header names no loopback address, and the service is open on loopback only")


def check(request: web.Request) -> web.Response | None:
    """Return the response to a preflight of an allowed origin, None for other allowed requests.

    Raises:
        Forbidden: for a page of another site, if the service is open on loopback.
    """
    app, headers = request[CONTEXT].app, request.headers
    origin = headers[hdrs.ORIGIN]
    if origin in app.cors_origins:
        preflight = request.method == hdrs.METH_OPTIONS and hdrs.ACCESS_CONTROL_REQUEST_METHOD in headers
        return web.Response(status=HTTPStatus.NO_CONTENT, headers=_PREFLIGHT) if preflight else None
    if app.loopback_only and origin != f"{request.scheme}://{headers.get(hdrs.HOST)}":
        raise Forbidden("Web pages of this Origin may not call the service; SIGNER_CORS_ORIGINS names those that may")
    return None


def cors_headers(request: web.Request) -> Mapping[str, str]:
    """Return the CORS headers of a response, if any origins are allowed."""
    origin = request.headers.get(hdrs.ORIGIN)
    if origin is None or origin not in request[CONTEXT].app.cors_origins:
        return _VARY
    return {**_EXPOSE, hdrs.ACCESS_CONTROL_ALLOW_ORIGIN: origin}


@lru_cache(maxsize=256)
def _is_loopback(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname if host.isascii() else None
    except ValueError:
        return False
    if name is None:
        return False
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False
