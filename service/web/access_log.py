"""The access log: a line per request on standard error, with the pattern of the route instead of the path."""

import logging
from http import HTTPStatus
from time import perf_counter

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from service.telemetry.logs import ACCESS_LOGGER
from service.telemetry.metrics import METHODS, OTHER_METHOD
from service.web.access import client_address
from service.web.context import CONTEXT

logger = logging.getLogger(ACCESS_LOGGER)


def middlewares(mode: str) -> list[Middleware]:
    """Return the outermost middleware for this value of ``SIGNER_ACCESS_LOG``; none if it is ``false``."""
    lowest_status = {"true": 0, "errors": HTTPStatus.BAD_REQUEST}
    return [_middleware(lowest_status[mode])] if mode in lowest_status else []


def _middleware(lowest_status: int) -> Middleware:
    @web.middleware
    async def log_access(request: web.Request, handler: Handler) -> web.StreamResponse:
        started = perf_counter()
        response = await handler(request)
        if response.status >= lowest_status:
            _log(request, response, perf_counter() - started)
        return response

    return log_access


def _log(request: web.Request, response: web.StreamResponse, seconds: float) -> None:
    context = request[CONTEXT]
    method = request.method if request.method in METHODS else OTHER_METHOD
    route = context.route.pattern
    fields = {
        "method": method,
        "route": route,
        "status": response.status,
        "milliseconds": round(seconds * 1000, 2),
        "caller": context.caller.name,
        "address": client_address(request),
        "request_id": context.request_id,
    }
    logger.info("%s %s %d", method, route, response.status, extra=fields)
