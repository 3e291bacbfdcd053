"""The request target: path segments and query parameters, percent-decoded once and strictly."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from urllib.parse import unquote_to_bytes

from aiohttp import web

from service.errors import InvalidRequest, Issue
from service.resources.invisible import invisible_hint
from service.resources.schemas import MAX_ISSUES, MAX_NAME_IN_MESSAGE, MAX_SUGGESTIONS
from service.resources.suggestions import suggestion

_LONGEST_REMEMBERED = 256
MAX_PAIRS = 100
NO_PARAMETERS: Mapping[str, str] = MappingProxyType({})
_EVERY_ROUTES = frozenset({"_format", "_pretty"})
_PLAIN = re.compile(r"/[A-Za-z0-9._~/-]*").fullmatch
_MALFORMED_ESCAPE = re.compile("%(?![0-9A-Fa-f]{2})")


def checked_query(request: web.BaseRequest) -> str:
    """Return the query as it was sent. Raises InvalidRequest for a target that is malformed before its query."""
    # Nearly all targets are plain, and to take one apart takes three times as long.
    if _PLAIN(request.raw_path):
        return ""
    path, query = split(request)
    check(path)
    return query


def split(request: web.BaseRequest) -> tuple[str, str]:
    """The path and the query as they were sent. Raises InvalidRequest for a fragment."""
    raw = request.raw_path
    if "#" in raw:
        raise InvalidRequest("The request target has a fragment; write # in a key as %23")
    if not raw.startswith("/"):
        return request.rel_url.raw_path, request.rel_url.raw_query_string
    # The parts of a URL that aiohttp has not seen before take longer.
    path, _, query = raw.partition("?")
    return path, query


def check(path: str) -> None:
    """Raise InvalidRequest for a malformed escape, or escapes that are not UTF-8, in a path as it was sent.

    aiohttp decodes a path more leniently: its ``match_info`` reads ``%e9`` and ``%25e9`` alike.
    """
    if "%" in path or not path.isascii():
        decode(path, "path")


def query(sent: str) -> Mapping[str, str]:
    """The decoded parameters of a query, ``+`` being a space, as in a form.

    Raises:
        InvalidRequest: where there are too many parameters, or one twice, or an escape or its UTF-8 is malformed.
    """
    if not sent:
        return NO_PARAMETERS
    return _parameters(sent) if len(sent) <= _LONGEST_REMEMBERED else _parameters.__wrapped__(sent)


def form(body: bytes) -> Mapping[str, str]:
    """The fields of a form-encoded body. Raises InvalidRequest as ``query`` does."""
    # What is no UTF-8 becomes surrogates, which are refused as escapes that are none.
    return _pairs(body.decode(errors="surrogateescape"), "form", "Form field")


def header_query(sent: str, header: str) -> Mapping[str, str]:
    """The decoded parameters of a header that holds a query. Raises InvalidRequest as ``query`` does."""
    return _pairs(sent, f"{header} header", f"{header} parameter")


# Authenticator use few different queries, such as expiration=43200.
@lru_cache(maxsize=256)
def _parameters(raw: str) -> Mapping[str, str]:
    return _pairs(raw, "query", "Query parameter")


def _pairs(raw: str, part: str, field: str) -> Mapping[str, str]:
    parameters: dict[str, str] = {}
    if raw.count("&") >= MAX_PAIRS:
        # Nobody needs a tenth of them, and thousands take milliseconds.
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
    """Return the parameters but for ``_format`` and ``_pretty``, which every route takes.

    Args:
        parameters: The query.
        known: The parameters that this route takes.
        fields: The fields of the body, which clients may send as parameters by mistake.

    Raises:
        InvalidRequest: with an issue for each unknown parameter.
    """
    own = {name: value for name, value in parameters.items() if name not in _EVERY_ROUTES}
    if unknown := [name for name in own if name not in known]:

        def problem(name: str, similar: str | None) -> str:
            advice = f"; did you mean {similar}?" if similar else ""
            if similar in fields:
                advice = f"; {'it' if similar == name else similar} is a field of the body"
            return f"Query parameter {_shown(name)} is not known here{invisible_hint(_shown(name))}{advice}"

        # Who sends an id where there is a parameter _id means that one.
        others = [name for name in fields if f"_{name}" not in known]
        raise InvalidRequest(*unknown_issues(unknown, [*others, *known, *_EVERY_ROUTES], problem))
    return own


def unknown_issues(
    names: Sequence[str], known: Sequence[str], problem: Callable[[str, str | None], str]
) -> list[Issue]:
    """An issue for each unknown name, of the first MAX_ISSUES.

    ``problem`` gets the name, and the one of ``known`` that it was meant for: looking for that takes 50 µs.
    """
    issues = [
        Issue(problem(name, suggestion(name, known) if position < MAX_SUGGESTIONS else None), _shown(name))
        for position, name in enumerate(names[:MAX_ISSUES])
    ]
    more = len(names) - len(issues)
    return [*issues, Issue(f"And {more} more are not known")] if more else issues


def _shown(name: str) -> str:
    return name if len(name) <= MAX_NAME_IN_MESSAGE else f"{name[:MAX_NAME_IN_MESSAGE]}…"


def decode(text: str, part: str) -> str:
    if _MALFORMED_ESCAPE.search(text):
        raise InvalidRequest(f"Malformed percent-encoding in the {part}")
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeError:
        raise InvalidRequest(f"The {part} is not UTF-8 when percent-decoded") from None
