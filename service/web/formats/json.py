"""Decode and encode JSON within the limits of a body."""

import json
import math
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from typing import Any, NoReturn

import msgspec

from service import json_text
from service.errors import MalformedBody
from service.web.formats.limits import (
    EMPTY,
    LONE_SURROGATE,
    MAX_DEPTH,
    MAX_NODES,
    NO_LIST,
    NO_OBJECT,
    TOO_DEEP,
    TOO_MANY,
    decode,
    duplicate,
)

_BLANK = b" \t\r\n"


def load_json(body: bytes) -> dict[str, Any]:
    """Read one JSON object. Numbers, booleans and null keep their types.

    Raises:
        MalformedBody: for anything else, beyond the limits, and for what RFC 8259 (sections 4, 6, 8) discourages.
    """
    data = _load(body)
    if type(data) is not dict:
        raise MalformedBody(NO_OBJECT, 1, 1)
    return data


def load_json_list(body: bytes) -> list[Any]:
    """Read one JSON array. See ``load_json``."""
    data = _load(body)
    if type(data) is not list:
        raise MalformedBody(NO_LIST, 1, 1)
    return data


def _load(body: bytes) -> Any:
    text = decode(body)
    _check_limits(body)
    try:
        data = _decoder.decode(text)
    except json.JSONDecodeError as error:
        if not text.strip():
            raise MalformedBody(EMPTY) from None
        raise MalformedBody(error.msg.removesuffix(" at").rstrip(": "), error.lineno, error.colno) from None
    if b"\\ud" in body or b"\\uD" in body:
        _reject_lone_surrogates(data)
    return data


def dump_json(data: object, *, pretty: bool = False) -> bytes:
    """Encode as JSON, compact or indented by 2, without escapes. Raises ValueError for NaN and infinities."""
    compact = _encoder.encode(data).encode()
    return msgspec.json.format(compact, indent=2) if pretty else compact


def _check_limits(body: bytes) -> None:
    """Check depth and number of nodes before decoding, which would recurse and allocate first."""
    opened = body.count(b"{") + body.count(b"[")
    if opened <= MAX_DEPTH and opened + body.count(b",") + body.count(b":") < MAX_NODES:
        return
    # Most of these characters may be inside strings. Each string is a node.
    skeleton, strings = json_text.replace_strings(body, b"0", limit=MAX_NODES + 1)
    skeleton = skeleton.translate(None, _BLANK)
    if strings > MAX_NODES or _nodes(skeleton) > MAX_NODES:
        raise MalformedBody(TOO_MANY)
    if json_text.is_too_deep(skeleton):
        raise MalformedBody(TOO_DEEP)


def _nodes(skeleton: bytes) -> int:
    """Count keys and values: the root, and one after each comma, colon and bracket that is not closed at once."""
    opened = skeleton.count(b"{") + skeleton.count(b"[")
    empty = skeleton.count(b"{}") + skeleton.count(b"[]")
    return 1 + skeleton.count(b",") + skeleton.count(b":") + opened - empty


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        counts = Counter(key for key, _ in pairs)
        raise MalformedBody(duplicate(counts.most_common(1)[0][0]))
    return members


def _integer(text: str) -> int:
    return int(_number(text))


def _float(text: str) -> float:
    number = float(_number(text))
    if math.isinf(number):
        raise MalformedBody("a number too large")
    return number


def _number(text: str) -> str:
    try:
        return json_text.bounded(text)
    except ValueError as error:
        raise MalformedBody(str(error)) from None


def _constant(name: str) -> NoReturn:
    raise MalformedBody(f"{name} is not JSON")


def _reject_lone_surrogates(data: object) -> None:
    try:
        # To encode the whole holds the interpreter lock for 30 ms.
        for text in _texts(data):
            text.encode()
    except UnicodeEncodeError:
        raise MalformedBody(LONE_SURROGATE) from None


def _texts(data: object) -> Iterator[str]:
    if isinstance(data, str):
        yield data
    elif isinstance(data, dict):
        yield from data
        yield from chain.from_iterable(map(_texts, data.values()))
    elif isinstance(data, list):
        yield from chain.from_iterable(map(_texts, data))


_decoder = json.JSONDecoder(object_pairs_hook=_object, parse_int=_integer, parse_float=_float, parse_constant=_constant)
_encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False, check_circular=False, separators=(",", ":"))
