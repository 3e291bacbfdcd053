"""Parse JSON within the service's own limits, as those of interpreters differ between versions. Pure.

Source: https://www.rfc-editor.org/rfc/rfc8259#section-9
"""

import json
import re
from collections.abc import Callable
from typing import Any

MAX_DEPTH = 16
MAX_NUMBER = 64
"""The characters of a number."""

# A possessive quantifier prevents backtracking. The end of the text closes a string, too.
_STRING_WITHOUT_ESCAPES = re.compile(rb'"[^"]*+"?')
_DEPTH_CHANGES = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_NO_BRACKET = bytes(set(range(256)) - set(_DEPTH_CHANGES))


def loads(document: bytes, *, parse_constant: Callable[[str], Any] | None = None) -> Any:
    """Return plain data from JSON in UTF-8; the hook is that of ``json.loads``.

    Raises:
        ValueError: the text is not JSON, is nested deeper than ``MAX_DEPTH``, has a number over ``MAX_NUMBER``, or an
            object with a name twice, of which other parsers might take the first.
    """
    if is_too_deep(document):
        raise ValueError(f"nesting deeper than {MAX_DEPTH}")
    return json.loads(
        # By default, the library accepts UTF-16, and bytes of half a surrogate pair.
        document.decode("utf-8-sig"),
        object_pairs_hook=_unique_members,
        parse_int=lambda number: int(bounded(number)),
        parse_float=lambda number: float(bounded(number)),
        parse_constant=parse_constant,
    )


def _unique_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a name is given twice")
    return members


def is_too_deep(document: bytes) -> bool:
    """Return whether brackets are nested deeper than ``MAX_DEPTH``, in any text."""
    if document.count(b"{") + document.count(b"[") <= MAX_DEPTH:
        return False
    depth = 0
    for bracket in replace_strings(document, b"")[0].translate(None, _NO_BRACKET):
        depth += _DEPTH_CHANGES[bracket]
        if depth > MAX_DEPTH:
            return True
        if depth < 0:
            # The text is not JSON, and can have millions of further brackets.
            break
    return False


def replace_strings(document: bytes, replacement: bytes, *, limit: int = 0) -> tuple[bytes, int]:
    """Return the text with ``replacement`` for at most ``limit`` strings (0: for all), and the number of these."""
    # A pattern for escapes takes 40 ms for 4 MiB of them. Without these two, a string ends at the next quote.
    plain = document.replace(rb"\\", b"").replace(rb"\"", b"")
    # A template instead of a function would hold the interpreter lock for all strings together.
    return _STRING_WITHOUT_ESCAPES.subn(lambda _: replacement, plain, count=limit)


def bounded(number: str) -> str:
    """Return the text of a number. Raises ValueError if it is longer than ``MAX_NUMBER``."""
    # int() takes quadratic time, and its own limit depends on an environment variable.
    if len(number) > MAX_NUMBER:
        raise ValueError(f"a number of more than {MAX_NUMBER} characters")
    return number
