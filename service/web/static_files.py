"""Responses with files of the package: with an ETag, and a policy for what a page may load and run."""

import hashlib
import io
from functools import cache
from http import HTTPStatus

from aiohttp import hdrs, web

from service.web import target
from service.web.context import CONTEXT

# aiohttp takes 2 ms to parse the longest header.
MAX_IF_NONE_MATCH = 1024

# A page may run only scripts of the service, and no other site may show it in a frame.
STRICT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def static_response(request: web.Request, media_type: str, body: bytes, *, policy: str = STRICT_POLICY) -> web.Response:
    """Return ``body``, or a 304 if the client has it. ``policy`` is the Content-Security-Policy."""
    target.reject_unknown_parameters(request[CONTEXT].query)
    tag = _hash(body)
    headers = {
        hdrs.CACHE_CONTROL: "no-cache",
        "Content-Security-Policy": policy,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
    }
    # As a file it goes out in parts, so that a client that reads slowly holds no copy of it.
    response = web.Response(body=io.BytesIO(body), headers=headers, content_type=media_type, charset="utf-8")
    if _is_known(request, tag):
        response = web.Response(status=HTTPStatus.NOT_MODIFIED, headers=headers)
    response.etag = tag
    return response


def _is_known(request: web.Request, tag: str) -> bool:
    """Return whether the client has this version. A long header counts as not sent: the answer is in full."""
    if len(request.headers.get(hdrs.IF_NONE_MATCH, "")) > MAX_IF_NONE_MATCH:
        return False
    return any(known.value in {tag, "*"} for known in request.if_none_match or ())


@cache
def _hash(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()[:32]
