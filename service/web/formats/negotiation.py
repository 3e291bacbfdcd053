"""The format of an answer, from the headers and query of a request."""

from aiohttp import hdrs, web

from service.web.context import CONTEXT
from service.web.formats import media
from service.web.formats.media import AnswerType


def negotiated_type(request: web.Request, *, body_type: str | None = None) -> AnswerType:
    """Return the type that ``_format``, Accept or the body's type asks for, in this order of precedence.

    Args:
        request: Its query must have been read.
        body_type: The body's media type; by default its Content-Type header.

    Raises:
        NotAcceptable: when the service can send none of the types that the client accepts.
    """
    headers = request.headers
    # A client may send the header in several lines.
    accept = ",".join(headers.getall(hdrs.ACCEPT)) if hdrs.ACCEPT in headers else None
    format_parameter = request[CONTEXT].query.get("_format")
    return media.answer_type(format_parameter, accept, body_type or headers.get(hdrs.CONTENT_TYPE))
