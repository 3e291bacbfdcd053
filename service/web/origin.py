"""Check Host and Origin of requests from web pages, and answer CORS preflights.

Source: https://fetch.spec.whatwg.org/#http-cors-protocol
"""

from collections.abc import Mapping
from functools import lru_cache
from http import HTTPStatus
from urllib.parse import SplitResult, urlsplit

from aiohttp import hdrs, web
from multidict import CIMultiDict

from service.addresses import is_loopback
from service.errors import Forbidden
from service.web.context import CONTEXT

_PREFLIGHT: Mapping[str, str] = {
    hdrs.ACCESS_CONTROL_ALLOW_METHODS: "GET, HEAD, POST, PUT, PATCH, DELETE",
    hdrs.ACCESS_CONTROL_ALLOW_HEADERS: (
        "authorization, content-type, if-match, if-none-exist, if-none-match, x-request-id"
    ),
    hdrs.ACCESS_CONTROL_MAX_AGE: "600",
}
_EXPOSE: Mapping[str, str] = {
    hdrs.ACCESS_CONTROL_EXPOSE_HEADERS: "etag, last-modified, location, retry-after, x-duration, x-request-id",
}


def check_loopback(request: web.Request) -> None:
    """Raise Forbidden for a Host that is neither a loopback name nor that of SIGNER_PUBLIC_URL.

    A page can rebind a DNS name of its own to 127.0.0.1. A missing or empty Host cannot come from a page. Load
    balancers send such probes in HTTP/1.0.
    """
    host = request.headers.get(hdrs.HOST)
    if host and not _is_loopback(host) and _name(host) != _public_url(request).hostname:
        raise Forbidden(
            "The Host header names no loopback address, and the service is open on loopback only; "
            "SIGNER_PUBLIC_URL names another address at which clients may reach it"
        )


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
    if app.loopback_only and origin not in _own_origins(request):
        raise Forbidden("Web pages of this Origin may not call the service; SIGNER_CORS_ORIGINS names those that may")
    return None


def check_redirect(request: web.Request) -> None:
    """Raise Forbidden for a redirect that a page of another site embeds, if the service is open on loopback.

    A page can embed images and scripts of any address, and browsers send no Origin for them.
    Source: https://www.w3.org/TR/fetch-metadata/
    """
    app, headers = request[CONTEXT].app, request.headers
    is_foreign = headers.get("Sec-Fetch-Site", "none") not in {"none", "same-origin"}
    is_embedded = is_foreign and headers.get("Sec-Fetch-Mode") != "navigate"
    if app.loopback_only and is_embedded and headers.get(hdrs.ORIGIN) not in app.cors_origins:
        raise Forbidden("Web pages of other sites may not embed objects, as the service is open on loopback only")


def add_cors_headers(request: web.Request, headers: CIMultiDict[str]) -> None:
    """Add the CORS headers to those of a response. Call it only if any origins are allowed."""
    varies = headers.get(hdrs.VARY)
    headers[hdrs.VARY] = f"{varies}, {hdrs.ORIGIN}" if varies else hdrs.ORIGIN
    origin = request.headers.get(hdrs.ORIGIN)
    if origin is not None and origin in request[CONTEXT].app.cors_origins:
        headers.update(_EXPOSE)
        headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = origin


def _own_origins(request: web.Request) -> list[str]:
    addresses = [(request.scheme, request.headers.get(hdrs.HOST)), _public_url(request)[:2]]
    return [f"{scheme}://{host}" for scheme, host in addresses if host]


def _public_url(request: web.Request) -> SplitResult:
    return urlsplit(request[CONTEXT].app.settings.public_url)


def _name(host: str) -> str:
    """Return the name or address in a Host header, in lower case; empty if it is malformed."""
    try:
        return (host.isascii() and urlsplit(f"//{host}").hostname) or ""
    except ValueError:
        return ""


@lru_cache(maxsize=256)
def _is_loopback(host: str) -> bool:
    # A dot at the end marks a full DNS name, as in `localhost.`.
    name = _name(host).removesuffix(".")
    return name == "localhost" or name.endswith(".localhost") or is_loopback(name)
