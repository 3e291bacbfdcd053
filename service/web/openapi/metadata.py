"""Metadata of handlers: what the OpenAPI document and the routes need beside schemas. Knows no document."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, TypeVar

from aiohttp import hdrs
from multidict import istr

from service.errors import ServiceError
from service.resources.schemas import WireSchema

IF_ABSENT = "If-Absent"
"""The name of the parameter ``If-None-Match: *`` of writes."""

IF_NONE_EXIST = istr("If-None-Exist")
CONDITIONS = (hdrs.IF_MATCH, hdrs.IF_NONE_MATCH, hdrs.IF_UNMODIFIED_SINCE, IF_NONE_EXIST)
"""The headers that make a request conditional. Sources: RFC 9110 (section 13.1), https://hl7.org/fhir/http.html#ccreate."""

_Handler = TypeVar("_Handler", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """Metadata of one handler.

    In texts, ``{kind}`` stands for the resource type of the route, ``{one}`` and ``{many}`` for its name in sentences.

    Args:
        name: The operationId.
        summary: A short phrase that begins with a verb.
        description: What a caller needs to know, in sentences of Markdown.
        response: The name of the response's schema.
        media_types: The response's media types, if they are not negotiated.
        statuses: The statuses of successful responses.
        query: The schema of the query.
        request_body: The name of the body's schema.
        request_headers: Names of header parameters. The service refuses a conditional header that is missing here.
        response_headers: Names of headers of successful responses.
        errors: The errors that only some routes raise.
    """

    name: str
    summary: str
    description: str = ""
    response: str | None = None
    media_types: Sequence[str] = ()
    statuses: Sequence[int] = (HTTPStatus.OK,)
    query: type[WireSchema] | None = None
    request_body: str | None = None
    request_headers: Sequence[str] = ()
    response_headers: Sequence[str] = ()
    errors: Sequence[type[ServiceError]] = ()


_METADATA: dict[Callable[..., Any], Metadata] = {}


def documented(name: str, summary: str, **facts: Any) -> Callable[[_Handler], _Handler]:
    """Return a decorator that registers metadata of a handler. The arguments are those of ``Metadata``."""
    metadata = Metadata(name=name, summary=summary, **facts)

    def register(handler: _Handler) -> _Handler:
        _METADATA[handler] = metadata
        return handler

    return register


def metadata_of(handler: Callable[..., Any]) -> Metadata:
    """Return the metadata of a function or method. Raises KeyError if it has none."""
    return _METADATA[getattr(handler, "__func__", handler)]


def supported_conditions(handler: Callable[..., Any]) -> list[istr]:
    """Return the conditional headers that a handler evaluates; none for a handler without metadata."""
    metadata = _METADATA.get(getattr(handler, "__func__", handler))
    names = {hdrs.IF_NONE_MATCH if name == IF_ABSENT else name for name in metadata.request_headers} if metadata else ()
    return [name for name in CONDITIONS if name in names]
