"""JSON text within bounds of the service's own: those of interpreters differ from version to version. Pure.

Source: https://www.rfc-editor.org/rfc/rfc8259#section-9
"""

import json
import re
from collections.abc import Callable
from typing import Any

MAX_DEPTH = 16
MAX_NUMBER = 64  # Characters of a number.

# Possessive, and satisfied by the end of the text in place of a closing quote: it never tries a quote twice.
STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_STEPS = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_NO_BRACKET = bytes(set(range(256)) - set(_STEPS))


def loads(
    document: bytes,
    *,
    object_pairs_hook: Callable[[list[tuple[str, Any]]], Any] | None = None,
    parse_constant: Callable[[str], Any] | None = None,
) -> Any:
    """Plain data from JSON in UTF-8; the hooks are those of ``json.loads``.

    Raises:
        ValueError: for anything else, a nesting deeper than ``MAX_DEPTH``, or a number longer than ``MAX_NUMBER``.
    """
    if is_too_deep(document):
        raise ValueError(f"nesting deeper than {MAX_DEPTH}")
    return json.loads(
        # By itself, the library would take UTF-16, and bytes of half a surrogate pair.
        document.decode("utf-8-sig"),
        object_pairs_hook=object_pairs_hook,
        parse_int=lambda number: int(bounded(number)),
        parse_float=lambda number: float(bounded(number)),
        parse_constant=parse_constant,
    )


def is_too_deep(document: bytes) -> bool:
    """Whether collections stand within each other deeper than ``MAX_DEPTH``, in what need not be JSON."""
    if document.count(b"{") + document.count(b"[") <= MAX_DEPTH:
        return False
    depth = 0
    for bracket in STRING.sub(b"", document).translate(None, _NO_BRACKET):
        depth += _STEPS[bracket]
        if depth > MAX_DEPTH:
            return True
        if depth < 0:
            # No JSON goes on here, and there may be millions more.
            break
    return False


def bounded(number: str) -> str:
    """The number as it was written. Raises ValueError if it is longer than ``MAX_NUMBER``."""
    # int() takes quadratic time, and has a limit of its own, which an environment variable changes.
    if len(number) > MAX_NUMBER:
        raise ValueError(f"a number of more than {MAX_NUMBER} characters")
    return number
