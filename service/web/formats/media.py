"""Media types: which format a body is in, which type an answer gets. Pure functions on header text.

Sources: https://www.rfc-editor.org/rfc/rfc9110#section-12.5.1, https://hl7.org/fhir/http.html#mime-type
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal, NamedTuple

from service.errors import NotAcceptable, UnsupportedMediaType
from service.web.formats.codec import Format

DEFAULT_TYPES: Final[dict[Format, str]] = {"json": "application/json", "yaml": "text/yaml"}
# In the order in which they are offered to a client that leaves the choice to the service.
ANSWERS: Final[dict[str, Format]] = {
    "application/json": "json",
    "text/yaml": "yaml",
    "application/fhir+json": "json",
    "application/json+fhir": "json",
    "application/yaml": "yaml",
    "application/x-yaml": "yaml",
    "text/x-yaml": "yaml",
}
MERGE_PATCH = "application/merge-patch+json"
BODIES: Final[dict[str, Format]] = {**ANSWERS, MERGE_PATCH: "json"}

FORM: Final = "application/x-www-form-urlencoded"

_REMEMBERED = 64  # Clients use few different ones. A header has at most 8 KiB, which bounds the memory.
_MAX_RANGES = 64  # Header lines, joined, could hold hundreds of thousands.

# Names of UTF-8, and of the part of it that is ASCII. An empty one names nothing.
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
_QUALITY = re.compile(r"0(\.\d*)?|\.\d+|1(\.0*)?")  # Java's own client sends `q=.2`.
_ADVICE = "send it with Content-Type: application/json or Content-Type: text/yaml"
_FORM_ADVICE = f"send it with Content-Type: {FORM}, application/json or text/yaml"

BodyFormat = Format | Literal["form"]


@dataclass(frozen=True, slots=True)
class AnswerType:
    """What an answer is: ``content_type`` is the header's value, ``format`` how to write the body."""

    content_type: str
    format: Format


class _Range(NamedTuple):
    """How much a client wants a media range: first by ``quality``, then by how exactly and how early it is named."""

    quality: float
    exactness: int
    earliness: int


@lru_cache(_REMEMBERED)
def body_format(content_type: str, *, takes_form: bool = False) -> BodyFormat:
    """Tell the format of a body by its Content-Type header.

    Raises:
        UnsupportedMediaType: for another type or charset; the text names the header to send.
    """
    name, advice = _essence(content_type), _FORM_ADVICE if takes_form else _ADVICE
    found: BodyFormat | None = "form" if takes_form and name == FORM else BODIES.get(name)
    if found is None:
        raise UnsupportedMediaType(f"A body of this Content-Type cannot be read; {advice}")
    for quoted, plain in _CHARSET.findall(content_type):
        if (quoted or plain).lower() not in _CHARSETS:
            raise UnsupportedMediaType(f"A body in this charset cannot be read; {advice}, in UTF-8")
    return found


@lru_cache(_REMEMBERED)
def answer_type(format_parameter: str | None, accept: str | None, body_type: str | None) -> AnswerType:
    """Settle the answer's type: ``_format`` beats Accept (headers joined by comma) beats the body's own Content-Type.

    Raises:
        NotAcceptable: when none of what the client would take can be sent.
    """
    if format_parameter is not None:
        return _answer(_by_name(format_parameter))
    own = _essence(body_type or "")
    offers = dict.fromkeys([own, *ANSWERS] if own in ANSWERS else ANSWERS)
    ranges = _ranges(accept or "")
    return _answer(_best(list(offers), ranges) if ranges else next(iter(offers)))


def _answer(name: str) -> AnswerType:
    return AnswerType(f"{name}; charset=utf-8", ANSWERS[name])


def _by_name(format_parameter: str) -> str:
    # Query parsing has made a space of the + in application/fhir+json.
    name = _essence(format_parameter).replace(" ", "+")
    name = {"json": DEFAULT_TYPES["json"], "yaml": DEFAULT_TYPES["yaml"]}.get(name, name)
    if name not in ANSWERS:
        raise NotAcceptable(f"This _format cannot be sent; use json, yaml or one of {', '.join(ANSWERS)}")
    return name


def _best(offers: list[str], ranges: dict[str, _Range]) -> str:
    """Choose what is wanted most; among equals, the service's own order decides."""
    wanted = {offer: found for offer in offers if (found := _match(offer, ranges)) and found.quality > 0}
    if not wanted:
        raise NotAcceptable(f"Nothing that Accept allows can be sent; allow one of {', '.join(ANSWERS)}")
    return max(wanted, key=wanted.__getitem__)


def _match(offer: str, ranges: dict[str, _Range]) -> _Range | None:
    """Find the most exact range for a type: ``text/yaml;q=0, */*`` takes anything but that."""
    return ranges.get(offer) or ranges.get(f"{offer.partition('/')[0]}/*") or ranges.get("*/*")


def _ranges(accept: str) -> dict[str, _Range]:
    """Read an Accept header: by media range, without the pieces that are malformed."""
    ranges: dict[str, _Range] = {}
    for position, piece in enumerate(accept.split(",", _MAX_RANGES)[:_MAX_RANGES]):
        name, quality = _essence(piece), _quality(piece)
        if quality is not None and _RANGE.fullmatch(name):
            ranges.setdefault(name, _Range(quality, -name.count("*"), -position))
    return ranges


def _quality(piece: str) -> float | None:
    for parameter in piece.split(";")[1:]:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "q":
            return float(value) if _QUALITY.fullmatch(value.strip()) else None
    return 1.0


def _essence(header: str) -> str:
    return header.partition(";")[0].strip().lower()
