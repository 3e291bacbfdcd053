"""Decode the request target: percent-decoding is strict and happens once."""

import re
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Any
from urllib.parse import unquote_to_bytes

from aiohttp import web

from service.errors import InvalidRequest, Issue
from service.invisible import invisible_hint
from service.resources.schemas import MAX_ISSUES, shortened
from service.resources.suggestions import MAX_SUGGESTIONS, suggestion

_MAX_CACHED_LENGTH = 256
MAX_PAIRS = 100
NOTHING: Mapping[str, Any] = MappingProxyType({})
_COMMON_PARAMETERS = frozenset({"_format", "_pretty"})
_PLAIN = re.compile(r"/[A-Za-z0-9._~/-]*").fullmatch
_MALFORMED_ESCAPE = re.compile("%(?![0-9A-Fa-f]{2})")


def checked_query(request: web.BaseRequest) -> str:
    """Return the query as it was sent. Raises InvalidRequest for a target that is malformed before its query."""
    # Nearly all targets match. Splitting takes three times as long as the match.
    if _PLAIN(request.raw_path):
        return ""
    path, query = split(request)
    check(path)
    return query


def split(request: web.BaseRequest) -> tuple[str, str]:
    """Return the path and the query as they were sent. Raises InvalidRequest for a fragment."""
    raw = request.raw_path
    if "#" in raw:
        raise InvalidRequest("The request target has a fragment; write # in a key as %23")
    if not raw.startswith("/"):
        return request.rel_url.raw_path, request.rel_url.raw_query_string
    # For a new URL, ``rel_url`` takes longer.
    path, _, query = raw.partition("?")
    return path, query


def check(path: str) -> None:
    """Raise InvalidRequest for a malformed escape, or escapes that are not UTF-8, in a path as it was sent.

    aiohttp decodes a path more leniently: its ``match_info`` reads ``%e9`` and ``%25e9`` alike.
    """
    if "%" in path or not path.isascii():
        decode(path, "path")


def query(sent: str) -> Mapping[str, str]:
    """Return the decoded parameters of a query. ``+`` is a space, as in a form.

    Raises:
        InvalidRequest: for too many parameters, a repeated one, a malformed escape, or invalid UTF-8.
    """
    if not sent:
        return NOTHING
    return _parameters(sent) if len(sent) <= _MAX_CACHED_LENGTH else _parameters.__wrapped__(sent)


def form(body: bytes) -> Mapping[str, str]:
    """Return the fields of a form-encoded body. Raises InvalidRequest as ``query`` does."""
    # Bytes that are not UTF-8 become surrogates, which ``_pairs`` refuses.
    return _pairs(body.decode(errors="surrogateescape"), "form", "Form field")


def header_query(sent: str, header: str) -> Mapping[str, str]:
    """Return the parameters of a header that contains a query. Raises InvalidRequest as ``query`` does."""
    return _pairs(sent, f"{header} header", f"{header} parameter")


# Clients use few different queries, such as expiration=43200.
@lru_cache(maxsize=256)
def _parameters(raw: str) -> Mapping[str, str]:
    return _pairs(raw, "query", "Query parameter")


def _pairs(raw: str, part: str, field: str) -> Mapping[str, str]:
    parameters: dict[str, str] = {}
    if raw.count("&") >= MAX_PAIRS:
        # No client needs a tenth of them, and thousands take milliseconds.
        raise InvalidRequest(f"The {part} has more than {MAX_PAIRS} {field.lower()}s")
    for pair in raw.split("&"):
        if not pair:
            continue
        name, _, value = (decode(text.replace("+", " "), part) for text in pair.partition("="))
        if name in parameters:
            raise InvalidRequest(Issue(f"{field} {name} is given twice", name))
        parameters[name] = value
    return MappingProxyType(parameters)


def reject_unknown_parameters(
    parameters: Mapping[str, str], *known: str, fields: Collection[str] = ()
) -> dict[str, str]:
    """Return the parameters without ``_format`` and ``_pretty``, which every route supports.

    Args:
        parameters: The query.
        known: The parameters of this route.
        fields: The fields of the body, which clients may send as parameters by mistake.

    Raises:
        InvalidRequest: with an issue for each unknown parameter.
    """
    own = {name: value for name, value in parameters.items() if name not in _COMMON_PARAMETERS}
    if unknown := [name for name in own if name not in known]:
        issues = [
            Issue(
                f"Query parameter {shortened(name)} is not known here"
                f"{_advice(name, known, fields) if position < MAX_SUGGESTIONS else ''}",
                shortened(name),
            )
            for position, name in enumerate(unknown[:MAX_ISSUES])
        ]
        more = len(unknown) - len(issues)
        raise InvalidRequest(*issues, *([f"And {more} more are not known"] if more else ()))
    return own


def _advice(name: str, known: Sequence[str], fields: Collection[str]) -> str:
    # A client that sends ``id`` to a route with the parameter ``_id`` means that one.
    others = [field for field in fields if f"_{field}" not in known]
    similar = suggestion(name, [*others, *known, *_COMMON_PARAMETERS])
    hint = invisible_hint(shortened(name))
    if similar in fields:
        return f"{hint}; {'it' if similar == name else similar} is a field of the body"
    return f"{hint}; did you mean {similar}?" if similar else hint


def decode(text: str, part: str) -> str:
    """Percent-decode a part of the target. Raises InvalidRequest for a malformed escape or invalid UTF-8."""
    if _MALFORMED_ESCAPE.search(text):
        raise InvalidRequest(f"Malformed percent-encoding in the {part}")
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeError:
        raise InvalidRequest(f"The {part} is not UTF-8 when percent-decoded") from None
