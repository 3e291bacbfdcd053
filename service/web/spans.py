"""One more middleware, for traces: a span with the pattern of the route instead of the path."""

from http import HTTPStatus

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from service.telemetry.metrics import METHODS, OTHER_METHOD
from service.telemetry.tracing import Tracer
from service.web.context import APP, CONTEXT
from service.web.routing import UNMATCHED_ROUTE


def middlewares(tracer: Tracer | None) -> list[Middleware]:
    """Return the outermost middleware, around the access log; none while traces are off."""
    return [_middleware(tracer)] if tracer else []


def _middleware(tracer: Tracer) -> Middleware:
    @web.middleware
    async def trace(request: web.Request, handler: Handler) -> web.StreamResponse:
        route = request.app[APP].routes.get(request.match_info.route, UNMATCHED_ROUTE)
        if route.operations:
            # Probes would be most of all traces.
            return await handler(request)
        method = request.method if request.method in METHODS else OTHER_METHOD
        with tracer.request(method, route.pattern, request.headers.get("traceparent")) as span:
            response = await handler(request)
            span.set_attribute("http.response.status_code", response.status)
            span.set_attribute("s3_signer.request_id", request[CONTEXT].request_id)
            if response.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                tracer.fail(span, str(response.status))
            return response

    return trace
