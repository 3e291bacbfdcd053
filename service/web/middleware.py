"""The middlewares. ``MIDDLEWARES`` lists them, outermost first.

Source: https://docs.aiohttp.org/en/stable/web_advanced.html#middlewares
"""

import re
import secrets
from itertools import count
from time import perf_counter

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware
from multidict import istr

from service.errors import Invalid, Issue, NotAcceptable, Overloaded, ServiceError, drop_tracebacks
from service.stores.pacing import take_turn
from service.telemetry.metrics import METHODS, OTHER_METHOD, REQUESTS
from service.web import body, origin, target
from service.web.access import identify, require_permission
from service.web.conditional import refuse_unsupported
from service.web.context import APP, CONTEXT, AppContext, RequestContext
from service.web.error_response import error_response
from service.web.formats.negotiation import negotiated_type
from service.web.routing import UNMATCHED_ROUTE, Guard, Route

# A look-up of an istr takes half the time of a str.
_X_REQUEST_ID, _X_DURATION, _SERVER = istr("X-Request-Id"), istr("X-Duration"), istr("Server")
_NOSNIFF = istr("X-Content-Type-Options")
_REQUEST_ID = re.compile("[A-Za-z0-9._-]{1,128}")
# A hundred take two milliseconds to encode.
FEW_ISSUES = 10
_PROCESS_ID = secrets.token_hex(4)
_numbers = count()
_METHODS_WITH_BODY = frozenset({hdrs.METH_POST, hdrs.METH_PUT, hdrs.METH_PATCH})


@web.middleware
async def observe(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Assign a request id, render errors, and measure the duration."""
    started = perf_counter()
    app = request.app[APP]
    route = app.routes.get(request.match_info.route, UNMATCHED_ROUTE)
    context = request[CONTEXT] = RequestContext(app, route, _request_id(request))
    app.state.in_flight += 1
    try:
        _check_load(app, route)
        response = await handler(request)
    except Exception as error:  # noqa: BLE001 - every error becomes an OperationOutcome
        if isinstance(error, ServiceError) and len(error.issues) > FEW_ISSUES:
            await take_turn()
        response = error_response(request, error)
        drop_tracebacks(error)
    finally:
        app.state.in_flight -= 1
    _finish(request, response, context, perf_counter() - started)
    return response


@web.middleware
async def check_origin(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse web pages of foreign origins, and answer CORS preflights."""
    if request[CONTEXT].app.loopback_only:
        origin.check_loopback(request)
    if hdrs.ORIGIN in request.headers and (preflight := origin.check(request)):
        return preflight
    return await handler(request)


@web.middleware
async def negotiate(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Decode the query and negotiate the format of the response."""
    context = request[CONTEXT]
    if query := target.checked_query(request):
        context.query = target.query(query)
        if context.query.get("_pretty", "false") not in {"true", "false"}:
            raise Invalid(Issue("_pretty must be true or false", "_pretty"))
    try:
        context.response_type = negotiated_type(request)
    except NotAcceptable:
        if not context.route.fixed_media_type:
            raise
    return await handler(request)


@web.middleware
async def authenticate(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Identify the caller by Basic credentials or a Bearer token."""
    context = request[CONTEXT]
    access = context.app.access
    if access and context.route.guard is not Guard.PUBLIC and request.method != hdrs.METH_OPTIONS:
        context.caller = await identify(request, access)
    return await handler(request)


@web.middleware
async def read_body(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse unsupported conditions, and parse a YAML or JSON body."""
    context = request[CONTEXT]
    if context.route is not UNMATCHED_ROUTE:
        refuse_unsupported(request)
        if request.method in _METHODS_WITH_BODY:
            context.body = await body.read(request)
    return await handler(request)


@web.middleware
async def authorize(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Evaluate the policies for routes with ``Guard.POLICY``."""
    if request[CONTEXT].route.guard is Guard.POLICY:
        await require_permission(request, {})
    return await handler(request)


MIDDLEWARES = (observe, check_origin, negotiate, authenticate, read_body, authorize)


def middlewares_for(app: AppContext) -> list[Middleware]:
    """Return the middlewares that an application needs, because each one slows every request."""
    unused = set()
    if not (app.loopback_only or app.cors_origins):
        unused.add(check_origin)
    if app.access is None:
        unused |= {authenticate, authorize}
    return [middleware for middleware in MIDDLEWARES if middleware not in unused]


def _check_load(app: AppContext, route: Route) -> None:
    limit = app.settings.max_concurrency
    if limit and app.state.in_flight > limit and not route.operations:
        raise Overloaded


def _request_id(request: web.Request) -> str:
    given = request.headers.get(_X_REQUEST_ID)
    return given if given and _REQUEST_ID.fullmatch(given) else f"{_PROCESS_ID}{next(_numbers):08x}"


def _finish(request: web.Request, response: web.StreamResponse, context: RequestContext, seconds: float) -> None:
    app, method, headers = context.app, request.method, response.headers
    REQUESTS[context.route.pattern, method if method in METHODS else OTHER_METHOD, response.status].observe(seconds)
    headers[_X_REQUEST_ID] = context.request_id
    headers[_X_DURATION] = f"{seconds * 1000:.2f}"
    # aiohttp's default shows its version and Python's.
    headers[_SERVER] = "s3-signer"
    headers[_NOSNIFF] = "nosniff"
    if app.cors_origins:
        origin.add_cors_headers(request, headers)
    # aiohttp would parse the content after a CONNECT as the next request.
    if app.state.draining or method == hdrs.METH_CONNECT:
        response.force_close()
