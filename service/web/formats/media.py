"""Media types of requests and responses. Pure functions on header text.

Sources: https://www.rfc-editor.org/rfc/rfc9110#section-12.5.1, https://hl7.org/fhir/http.html#mime-type
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal, NamedTuple

from service.errors import NotAcceptable, UnsupportedMediaType
from service.web.formats.codec import Format

DEFAULT_TYPES: Final[dict[Format, str]] = {"json": "application/json", "yaml": "text/yaml"}
# The order of preference for clients without one.
RESPONSE_TYPES: Final[dict[str, Format]] = {
    "application/json": "json",
    "text/yaml": "yaml",
    "application/fhir+json": "json",
    "application/json+fhir": "json",
    "application/yaml": "yaml",
    "application/x-yaml": "yaml",
    "text/x-yaml": "yaml",
}
MERGE_PATCH = "application/merge-patch+json"
JSON_PATCH: Final = "application/json-patch+json"
BODY_TYPES: Final[dict[str, Format]] = {**RESPONSE_TYPES, MERGE_PATCH: "json"}

FORM: Final = "application/x-www-form-urlencoded"

_CACHE_SIZE = 64  # Clients use few different headers. A header has at most 8 KiB, which bounds the memory.
_MAX_RANGES = 64  # Joined header lines could contain hundreds of thousands.

# Names of UTF-8 and of its subset ASCII. An empty charset counts as missing.
# Source: https://www.iana.org/assignments/character-sets/
_CHARSETS = frozenset(
    {
        *("", "utf-8", "utf8", "utf_8", "csutf8"),
        *("us-ascii", "ascii", "csascii", "us", "iso646-us", "iso_646.irv:1991", "iso-ir-6", "ibm367", "cp367"),
        *("ansi_x3.4-1968", "ansi_x3.4-1986"),
    }
)
_CHARSET = re.compile(r';\s*charset\s*=\s*(?:"([^"]*)"|([^\s;]*))', re.IGNORECASE)
_RANGE = re.compile(r"[^\s/;,]+/[^\s/;,]+")
# The first parameter q of a range. A header can have tens of thousands of parameters, so nothing loops over them.
_Q = re.compile(r";\s*+q\s*+(?:=([^;]*+))?(?:;|\Z)", re.IGNORECASE)
_QUALITY = re.compile(r"0(\.\d*)?|\.\d+|1(\.0*)?")  # Java's own client sends `q=.2`.
_ADVICE = "send it with Content-Type: application/json or Content-Type: text/yaml"
_FORM_ADVICE = f"send it with Content-Type: {FORM}, application/json or text/yaml"

BodyFormat = Format | Literal["form", "json-patch"]


@dataclass(frozen=True, slots=True)
class ResponseType:
    """The Content-Type of a response, and the format of its body."""

    content_type: str
    format: Format


class _Range(NamedTuple):
    """The rank of a media range: by quality, then by exactness, then by position in the header."""

    quality: float
    exactness: int
    position: int


@lru_cache(_CACHE_SIZE)
def body_format(content_type: str, *, takes_form: bool = False, takes_json_patch: bool = False) -> BodyFormat:
    """Return the format of a body with this Content-Type.

    Raises:
        UnsupportedMediaType: for another type or charset. The message names the header to send.
    """
    name, advice = _essence(content_type), _FORM_ADVICE if takes_form else _ADVICE
    found: BodyFormat | None = BODY_TYPES.get(name)
    if takes_form and name == FORM:
        found = "form"
    if takes_json_patch and name == JSON_PATCH:
        found = "json-patch"
    if found is None:
        raise UnsupportedMediaType(f"A body of this Content-Type cannot be read; {advice}")
    for quoted, plain in _CHARSET.findall(content_type):
        if (quoted or plain).lower() not in _CHARSETS:
            raise UnsupportedMediaType(f"A body in this charset cannot be read; {advice}, in UTF-8")
    return found


@lru_cache(_CACHE_SIZE)
def response_type(format_parameter: str | None, accept: str | None, body_type: str | None) -> ResponseType:
    """Return the type of a response: by ``_format``, else by Accept (lines joined by comma), else by the body's type.

    Raises:
        NotAcceptable: if the service supports none of the types that the client accepts.
    """
    if format_parameter is not None:
        return _answer(_by_name(format_parameter))
    own = _essence(body_type or "")
    offers = dict.fromkeys([own, *RESPONSE_TYPES] if own in RESPONSE_TYPES else RESPONSE_TYPES)
    ranges = _ranges(accept or "")
    return _answer(_best(list(offers), ranges) if ranges else next(iter(offers)))


def _answer(name: str) -> ResponseType:
    return ResponseType(f"{name}; charset=utf-8", RESPONSE_TYPES[name])


def _by_name(format_parameter: str) -> str:
    # The query decoder turned the + of application/fhir+json into a space.
    name = _essence(format_parameter).replace(" ", "+")
    name = {"json": DEFAULT_TYPES["json"], "yaml": DEFAULT_TYPES["yaml"]}.get(name, name)
    if name not in RESPONSE_TYPES:
        raise NotAcceptable(f"This _format cannot be sent; use json, yaml or one of {', '.join(RESPONSE_TYPES)}")
    return name


def _best(offers: list[str], ranges: dict[str, _Range]) -> str:
    """Return the offer of the highest rank, of equal ones the first."""
    acceptable = {offer: found for offer in offers if (found := _match(offer, ranges)) and found.quality > 0}
    if not acceptable:
        raise NotAcceptable(f"Nothing that Accept allows can be sent; allow one of {', '.join(RESPONSE_TYPES)}")
    return max(acceptable, key=acceptable.__getitem__)


def _match(offer: str, ranges: dict[str, _Range]) -> _Range | None:
    """Return the most exact range that matches: ``text/yaml;q=0, */*`` accepts anything except YAML."""
    return ranges.get(offer) or ranges.get(f"{offer.partition('/')[0]}/*") or ranges.get("*/*")


def _ranges(accept: str) -> dict[str, _Range]:
    """Parse an Accept header. Malformed ranges are ignored."""
    ranges: dict[str, _Range] = {}
    for position, piece in enumerate(accept.split(",", _MAX_RANGES)[:_MAX_RANGES]):
        name, quality = _essence(piece), _quality(piece)
        if quality is not None and _RANGE.fullmatch(name):
            ranges.setdefault(name, _Range(quality, -name.count("*"), -position))
    return ranges


def _quality(piece: str) -> float | None:
    """Return the quality of a range, or None if it is malformed."""
    if not (parameter := _Q.search(piece)):
        return 1.0
    value = (parameter[1] or "").strip()
    return float(value) if _QUALITY.fullmatch(value) else None


def _essence(header: str) -> str:
    return header.partition(";")[0].strip().lower()
