"""What a handler does, beside what its route and its schemas say: for the OpenAPI document, and for its routes.

Knows no document.
"""

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

_DESCRIPTIONS: dict[Any, "Description"] = {}
_Described = TypeVar("_Described", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """In texts, ``{kind}`` stands for the resource type of the route.

    ``name`` becomes the operationId. ``answer`` and ``body`` are names of schemas in the document, ``media`` are the
    types of an answer that is not negotiated. ``heeds`` and ``headers`` are names of request and response headers,
    ``errors`` those that are not every route's. A conditional header that is not in ``heeds`` is refused.
    """

    name: str
    summary: str
    answer: str | None = None
    media: Sequence[str] = ()
    statuses: Sequence[int] = (HTTPStatus.OK,)
    query: type[WireSchema] | None = None
    body: str | None = None
    heeds: Sequence[str] = ()
    headers: Sequence[str] = ()
    errors: Sequence[type[ServiceError]] = ()


def documented(name: str, summary: str, **facts: Any) -> Callable[[_Described], _Described]:
    """Describe the handler that follows; the arguments are those of ``Description``."""
    description = Description(name=name, summary=summary, **facts)

    def keep(handler: _Described) -> _Described:
        _DESCRIPTIONS[handler] = description
        return handler

    return keep


def description_of(handler: Callable[..., Any]) -> Description:
    """What was said of a handler, a function or a method. KeyError if nothing was."""
    return _DESCRIPTIONS[getattr(handler, "__func__", handler)]


def conditions_of(handler: Callable[..., Any]) -> list[istr]:
    """The conditional headers that a handler evaluates; none if nothing was said of it."""
    description = _DESCRIPTIONS.get(getattr(handler, "__func__", handler))
    heeded = {hdrs.IF_NONE_MATCH if name == IF_ABSENT else name for name in description.heeds} if description else ()
    return [name for name in CONDITIONS if name in heeded]
