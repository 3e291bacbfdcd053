"""The address of the service in links of its responses.

Headers such as X-Forwarded-Host and X-Forwarded-Prefix never change it: a client could send them.
"""

from urllib.parse import urlsplit

from aiohttp import web

from service.web.context import CONTEXT
from service.web.routing import mount_prefix


def base_path(request: web.Request) -> str:
    """Return the path in front of every route: that of SIGNER_PUBLIC_URL, or else of ``add_subapp``; often empty."""
    context = request[CONTEXT]
    public_url = context.app.settings.public_url
    return urlsplit(public_url).path if public_url else mount_prefix(request, context.route)


def own_path(request: web.Request) -> str:
    """Return the path of the request, without its query, as a link to itself."""
    return base_path(request) + request.path.removeprefix(mount_prefix(request, request[CONTEXT].route))


def base_url(request: web.Request) -> str:
    """Return the URL in front of every route: SIGNER_PUBLIC_URL, or else a path."""
    return request[CONTEXT].app.settings.public_url or base_path(request) or "/"
