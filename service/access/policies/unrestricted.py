"""Patterns that restrict nothing, or less than they show. Pure.

A policy without conditions must use the engine ``allow`` instead.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

from service.access.policies.matchers import join_path
from service.access.policies.matcho import PatternFault
from service.invisible import pasted_hint
from service.resources.suggestions import suggestion

# Every request has these parts.
_TEXTS = frozenset({"request-method", "uri"})
_PRESENT = _TEXTS | {"params", "headers", "body"}
# What never has an invisible character. A text with one never matches, and so forbids nothing under $not.
_VISIBLE = frozenset({("request-method",), ("client", "id"), ("client", "resourceType")})
# The other `params` are ids, words, numbers and headers.
_ANY_TEXT = frozenset({"key", "key-prefix", "prefix", "delimiter", "start-after", "continuation-token", "tagging"})
# These have spaces inside, where a regular expression may end: '#^attachment; '.
_WITH_SPACES = re.compile("response-.*|content-(type|encoding|disposition)|cache-control|metadata")

# Values that are one of a few words. Another word, such as GET, never matches.
_WORDS: Mapping[tuple[str, ...], Sequence[str]] = {
    ("request-method",): ("get", "head", "post", "put", "patch", "delete", "options"),
    ("params", "operation"): ("upload", "download", "head", "delete", "list", "multipart", "form"),
    ("params", "resource/type"): ("AwsAccount", "Client", "AccessPolicy"),
    ("client", "resourceType"): ("Client",),
}
# A regular expression, a reference to another value, or nil?, present? and not-blank?.
_NO_WORD = re.compile(r"[#.].*|.*[?]", re.DOTALL)

_EMPTY = "must not be empty: every mapping matches it; name what must be in it"
_UNRESTRICTED = "matches every request; name what a request must have, or use the engine allow with a link"


def unrestricted_faults(pattern: object) -> Sequence[PatternFault]:
    """Return the faults of a valid pattern that may match too much.

    These are empty mappings, texts that no request has, or a match of every request. A text never matches if it was
    pasted with an invisible character, or is another word than the value can be. A pattern matches every request if it
    only asks for the presence of parts that every request has.
    """
    faults = [
        PatternFault(path, problem) for path, names, part in _parts(pattern) if (problem := _problem(part, names))
    ]
    return faults or ([PatternFault("", _UNRESTRICTED)] if _decide(pattern, _decide_request) else [])


def _parts(
    pattern: object, path: str = "", names: tuple[str, ...] = ()
) -> Iterator[tuple[str, tuple[str, ...], object]]:
    """Yield the pattern and all in it: the path, the names that lead to the value in the request, and the part."""
    yield path, names, pattern
    if isinstance(pattern, Mapping):
        for name, part in pattern.items():
            yield from _parts(part, join_path(path, name), names if name.startswith("$") else (*names, name))
    elif isinstance(pattern, list):
        for index, part in enumerate(pattern):
            yield from _parts(part, join_path(path, index), names)


def _problem(part: object, names: tuple[str, ...]) -> str:
    """Return why a part by itself is a fault, or ""."""
    if isinstance(part, Mapping) and not part:
        return _EMPTY
    if isinstance(part, str) and _is_visible(part, names) and (hint := pasted_hint(part)):
        return f"must have no invisible character, and no space at an end{hint}"
    words = _WORDS.get(names, ())
    if words and isinstance(part, str) and part not in words and not _NO_WORD.fullmatch(part):
        similar = suggestion(part, words)
        return f"must be one of {', '.join(words)}{f'; did you mean {similar}?' if similar else ''}"
    return ""


def _is_visible(pattern: str, names: tuple[str, ...]) -> bool:
    """Return whether each value that the pattern can match has no invisible character, and no space at an end."""
    match names:
        case ("params", name, *_):
            return name not in _ANY_TEXT and not (pattern.startswith("#") and _WITH_SPACES.fullmatch(name))
    return names in _VISIBLE


def _decide(pattern: object, decide_operand: Callable[[object], bool | None]) -> bool | None:
    """Return True if every request matches, False if none does, and None if it depends on the request."""
    match pattern:
        case {"$not": inner}:
            decision = _decide(inner, decide_operand)
            return None if decision is None else not decision
        case {"$one-of": [*choices]}:
            decisions = [_decide(choice, decide_operand) for choice in choices]
            return True if True in decisions else None if None in decisions else False
    return decide_operand(pattern)


def _decide_request(pattern: object) -> bool | None:
    if not isinstance(pattern, Mapping):
        return None
    decisions = [
        _decide(part, partial(_decide_part, name)) if name in _PRESENT else None for name, part in pattern.items()
    ]
    return False if False in decisions else None if None in decisions else True


def _decide_part(name: str, pattern: object) -> bool | None:
    match pattern:
        case "present?":
            return True
        case "nil?" | None:
            return False
        case "not-blank?":
            return name in _TEXTS
    return None
