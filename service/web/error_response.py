"""Render any exception as an OperationOutcome: ours, aiohttp's, and unexpected ones."""

import logging
from contextlib import suppress
from http import HTTPStatus

from aiohttp import hdrs, web

from service.errors import (
    DecryptionFailed,
    Forbidden,
    Internal,
    MethodNotAllowed,
    NotAcceptable,
    RouteNotFound,
    ServiceError,
    Throttled,
    Unauthenticated,
)
from service.web.access import challenge
from service.web.audit import audit_denial
from service.web.context import CONTEXT, DEFAULT_RESPONSE_TYPE
from service.web.formats.negotiation import negotiated_type
from service.web.outcome import oauth_error, outcome
from service.web.rendering import render

logger = logging.getLogger(__name__)


def error_response(request: web.Request, error: Exception) -> web.Response:
    """Return the response for ``error``. Denials are audited; unexpected errors are logged."""
    if request.method == hdrs.METH_OPTIONS and (options := _options(request, error)):
        return options
    reported = _service_error(request, error)
    if isinstance(reported, Forbidden | Unauthenticated | Throttled):
        reported = audit_denial(request, reported)
    context = request[CONTEXT]
    if context.response_type is DEFAULT_RESPONSE_TYPE:
        # The error may have occurred before negotiation.
        with suppress(NotAcceptable):
            context.response_type = negotiated_type(request)
    body = outcome(reported)
    if context.route.oauth:
        body |= oauth_error(reported)
    headers = challenge(request) if isinstance(reported, Unauthenticated) else reported.headers
    return render(request, body, status=reported.status, headers=headers)


def _options(request: web.Request, error: Exception) -> web.Response | None:
    """Return the response to OPTIONS on a known path, ``/`` or ``*``; None for other errors. No route handles OPTIONS.

    Load balancers send ``OPTIONS /`` as a liveness probe, also to the operations port, which has no such path.
    Source: https://www.rfc-editor.org/rfc/rfc9110#section-9.3.7
    """
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted({*error.allowed_methods, hdrs.METH_OPTIONS}))
        return web.Response(status=HTTPStatus.NO_CONTENT, headers={hdrs.ALLOW: allowed})
    if isinstance(error, web.HTTPNotFound) and request.raw_path in {"/", "*"}:
        return web.Response(status=HTTPStatus.NO_CONTENT)
    return None


def _service_error(request: web.Request, error: Exception) -> ServiceError:
    """Convert an error of aiohttp or an unexpected one.

    Source: https://docs.aiohttp.org/en/stable/web_exceptions.html
    """
    request_id = request[CONTEXT].request_id
    match error:
        case DecryptionFailed():
            logger.error("Request %s failed: %s", request_id, error)
            return error
        case ServiceError():
            return error
        case web.HTTPMethodNotAllowed():
            return MethodNotAllowed(request.method, request.path, error.allowed_methods)
        case web.HTTPNotFound():
            return RouteNotFound(request.path)
    logger.error("Request %s failed", request_id, exc_info=error)
    return Internal(request_id)
