"""Content negotiation for a request."""

from aiohttp import hdrs, web

from service.web.context import CONTEXT
from service.web.formats import media
from service.web.formats.media import ResponseType


def negotiated_type(request: web.Request, *, body_type: str | None = None) -> ResponseType:
    """Return the type of the response: by ``_format``, else by Accept, else by the type of the body.

    Args:
        request: A request whose context has the query.
        body_type: The media type of the body; by default its Content-Type header.

    Raises:
        NotAcceptable: if the service supports none of the types that the client accepts.
    """
    headers = request.headers
    # The header may have several lines.
    accept = ",".join(headers.getall(hdrs.ACCEPT)) if hdrs.ACCEPT in headers else None
    format_parameter = request[CONTEXT].query.get("_format")
    return media.response_type(format_parameter, accept, body_type or headers.get(hdrs.CONTENT_TYPE))
