"""Routes as data: aiohttp's own, with the facts that middlewares and the OpenAPI document need."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from enum import Enum

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler
from multidict import istr

from service.telemetry.metrics import UNMATCHED
from service.web.openapi.metadata import CONDITIONS, conditions_of

_EXPRESSION = re.compile(r"\{(\w+):.+?\}(?=/|$)")
# What a cache knows already. A server may always answer a GET in full.
# Source: https://www.rfc-editor.org/rfc/rfc9110#section-13.1.2
_OF_CACHES = frozenset({hdrs.IF_NONE_MATCH})


class Guard(Enum):
    """How a request to a route is authorized."""

    PUBLIC = "anyone may call it, without credentials"
    POLICY = "a policy must allow the request before its handler runs"
    HANDLER = "the handler asks the policies, because it knows the account, bucket and key"


@dataclass(frozen=True, slots=True)
class Route(web.AbstractRouteDef):
    """A handler for ``method`` on ``path``; a GET route answers HEAD too.

    Args:
        path: In aiohttp's syntax, with an expression for each variable: ``/AwsAccount/{id:[^/]+}``.
        guard: How a request is authorized.
        fixed_media_type: The answer has a media type of its own, whatever Accept says. Errors are still negotiated.
        form: The body may also be form-encoded.
        oauth: Errors also carry the members of an OAuth error.
        operations: Answered even when the service is overloaded.
        policy_method: The method that policies see, for a POST that only reads.
        operation: The operation's name in the audit log.
    """

    method: str
    path: str
    handler: Handler
    _: KW_ONLY
    guard: Guard = Guard.POLICY
    fixed_media_type: bool = False
    form: bool = False
    oauth: bool = False
    operations: bool = False
    policy_method: str | None = None
    operation: str | None = None
    pattern: str = field(init=False)
    """The path without expressions, as metrics and OpenAPI show it: ``/AwsAccount/{id}``."""

    refused_conditions: Sequence[istr] = field(init=False)
    """The conditional headers that a request may not have: those that the handler is not documented to heed."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "pattern", _EXPRESSION.sub(r"{\1}", self.path))
        allowed = {*conditions_of(self.handler), *(_OF_CACHES if self.method == hdrs.METH_GET else ())}
        object.__setattr__(self, "refused_conditions", tuple(name for name in CONDITIONS if name not in allowed))

    def register(self, router: web.UrlDispatcher) -> list[web.AbstractRoute]:
        methods = (hdrs.METH_GET, hdrs.METH_HEAD) if self.method == hdrs.METH_GET else (self.method,)
        return [router.add_route(method, self.path, self.handler, expect_handler=_expect_later) for method in methods]


async def _expect_later(request: web.Request) -> None:
    """Send no ``100 Continue`` yet: ``service.web.body`` does, once the headers are accepted."""


async def _not_found(_: web.Request) -> web.StreamResponse:
    raise web.HTTPNotFound


UNMATCHED_ROUTE = Route(hdrs.METH_ANY, UNMATCHED, _not_found, guard=Guard.HANDLER)


def add_routes(app: web.Application, routes: Iterable[Route]) -> Mapping[web.AbstractRoute, Route]:
    """Add routes to an application, and return them by aiohttp's route."""
    return {registered: route for route in routes for registered in app.router.add_routes([route])}


def mount_prefix(request: web.Request, route: Route) -> str:
    """The path under which the application of ``route`` is mounted by ``add_subapp``; empty where it is not.

    Source: https://docs.aiohttp.org/en/stable/web_advanced.html#nested-applications
    """
    resource = request.match_info.route.resource
    return resource.canonical.removesuffix(route.pattern) if resource else ""
