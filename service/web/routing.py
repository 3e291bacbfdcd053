"""Routes as data: aiohttp's route definitions, with what middlewares and the OpenAPI document need."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from enum import Enum

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler
from aiohttp.web_urldispatcher import Domain, MatchedSubAppResource
from multidict import istr

from service.telemetry.metrics import UNMATCHED
from service.web.openapi.metadata import CONDITIONS, supported_conditions

# aiohttp's search copies a path for each of its segments. No key needs more than 1.2 million characters of copies, as
# one of 768 slashes and 256 escaped bytes does.
MAX_COPIED = 2_000_000
_EXPRESSION = re.compile(r"\{(\w+):.+?\}(?=/|$)")
# A cache sends it to validate its copy, and a server may always answer in full.
# Source: https://www.rfc-editor.org/rfc/rfc9110#section-13.1.2
_IGNORABLE_ON_GET = frozenset({hdrs.IF_NONE_MATCH})


class Guard(Enum):
    """How a request to a route is authorized."""

    PUBLIC = "the route needs no credentials"
    POLICY = "a policy must allow the request before its handler runs"
    HANDLER = "the handler evaluates the policies, with the ``params`` that it will use"


@dataclass(frozen=True, slots=True)
class Route(web.AbstractRouteDef):
    """A handler for ``method`` on ``path``. A GET route also serves HEAD.

    Args:
        path: In aiohttp's syntax, with an expression for each variable: ``/AwsAccount/{id:[^/]+}``.
        guard: How a request is authorized.
        fixed_media_type: The media type of the response does not depend on Accept. Errors are still negotiated.
        form: The body may also be form-encoded.
        oauth: Errors also carry the members of an OAuth error.
        operations: The route works even when the service is overloaded.
        policy_method: The method that policies see, if it is not the method of the request.
        operation: The operation's name in the audit log.
        in_document: The OpenAPI document describes the route.
        max_body: The limit of the body in bytes, if it is not ``SIGNER_MAX_BODY``.
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
    in_document: bool = True
    max_body: int | None = None
    pattern: str = field(init=False)
    """The path without expressions, as metrics and OpenAPI show it: ``/AwsAccount/{id}``."""

    unsupported_conditions: Sequence[istr] = field(init=False)
    """The conditional headers that the service refuses, because the handler does not evaluate them."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "pattern", _EXPRESSION.sub(r"{\1}", self.path))
        allowed = {*supported_conditions(self.handler), *(_IGNORABLE_ON_GET if self.method == hdrs.METH_GET else ())}
        object.__setattr__(self, "unsupported_conditions", tuple(name for name in CONDITIONS if name not in allowed))

    def register(self, router: web.UrlDispatcher) -> list[web.AbstractRoute]:
        methods = (hdrs.METH_GET, hdrs.METH_HEAD) if self.method == hdrs.METH_GET else (self.method,)
        return [router.add_route(method, self.path, self.handler, expect_handler=_defer_continue) for method in methods]


async def _defer_continue(request: web.Request) -> None:
    """Send no ``100 Continue``: ``service.web.body`` sends it once the headers are accepted."""


async def _raise_unmatched(request: web.Request) -> web.StreamResponse:
    """Raise what aiohttp raises for an unknown path or method."""
    allowed = set[str]()
    for resource in request.app.router.resources():
        if resource is not request.match_info.route.resource:
            allowed |= (await resource.resolve(request))[1]
    # A path of too many segments may match a route.
    if allowed and request.method not in allowed:
        raise web.HTTPMethodNotAllowed(request.method, allowed)
    raise web.HTTPNotFound


UNMATCHED_ROUTE = Route(hdrs.METH_ANY, UNMATCHED, _raise_unmatched, guard=Guard.HANDLER)


def add_routes(app: web.Application, routes: Iterable[Route]) -> Mapping[web.AbstractRoute, Route]:
    """Add routes to an application and return them by aiohttp's route object."""
    added = {registered: route for route in routes for registered in app.router.add_routes([route])}
    # For a request without a route, aiohttp makes a route that is garbage in a cycle afterwards.
    unmatched = app.router.add_route(hdrs.METH_ANY, "/{path:.*}", _raise_unmatched, expect_handler=_defer_continue)
    too_many_segments = _TooManySegments(unmatched)
    app.router.register_resource(too_many_segments)
    # Without it, ``add_subapp`` of this application fails.
    app.router.index_resource(too_many_segments)
    return added


class _TooManySegments(MatchedSubAppResource):
    """Leads paths with more segments than any route or key has to the route for unknown paths.

    aiohttp asks such a resource first. Otherwise it looks for each beginning of a path: 8 ms for 8,000 slashes.
    """

    def __init__(self, route: web.AbstractRoute) -> None:
        super().__init__(Domain("unused"), web.Application())
        self._route = route

    async def resolve(self, request: web.Request) -> tuple[web.UrlMappingMatchInfo | None, set[str]]:
        path = request.rel_url.raw_path
        if path.count("/") * len(path) <= MAX_COPIED:
            return None, set()
        return web.UrlMappingMatchInfo({}, self._route), set()


def mount_prefix(request: web.Request, route: Route) -> str:
    """Return the path under which ``add_subapp`` mounted the application of ``route``; empty if it is not mounted.

    Source: https://docs.aiohttp.org/en/stable/web_advanced.html#nested-applications
    """
    resource = request.match_info.route.resource
    pattern = "/{path}" if route is UNMATCHED_ROUTE else route.pattern
    return resource.canonical.removesuffix(pattern) if resource else ""
