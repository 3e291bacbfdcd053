"""Patterns that restrict nothing, or less than they show. Pure.

A policy without conditions must use the engine ``allow`` instead.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice

from service.access.policies.matchers import join_path, scalar_text
from service.access.policies.matcho import OPERATORS, PatternFault
from service.access.policies.values import value_problem
from service.invisible import pasted_hint, seen_ends
from service.resources.schemas import MAX_ISSUES
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

# The other parts of a request are texts, and so are the values in these, except in `jwt` and `body`.
_MAPPINGS = frozenset(
    {("params",), ("params", "metadata"), ("params", "tagging"), ("client",), ("jwt",), ("headers",), ("body",)}
)
_PRESENCE = frozenset({"present?", "nil?"})
# The name of what is in a list.
_ITEM = "[]"

_EMPTY = "must not be empty: every mapping matches it; name what must be in it"
_DISGUISED = (
    "must begin with its # or . and end with its ?, in ASCII: an invisible character there or a full-width sign makes a"
    " plain text of it; $enum takes such a text"
)
_DISGUISED_OPERATOR = "must not have a name with an invisible character in front of its $, or with a full-width one"
_NO_MAPPING = "must be a text or have an operator, because no request has a mapping here"
_NO_TEXT = "must be a mapping, because no request has a text here"
_NO_LIST = (
    "must not be a list or have $contains or $every, because no request has a list here; $one-of takes several patterns"
)
_UNRESTRICTED = "matches every request; name what a request must have, or use the engine allow with a link"


def unrestricted_faults(pattern: object) -> Sequence[PatternFault]:
    """Return the faults of a valid pattern that may match too much, at most MAX_ISSUES.

    These are empty mappings, values that no request has, or a match of every request. A text never matches if it was
    pasted with an invisible character, is none of the words, ids or numbers that the value can be, or stands for a
    mapping. A mapping never matches a text, and a list matches neither. A pattern matches every request if it only asks
    for the presence of parts that every request has.
    """
    found = (
        PatternFault(path, problem)
        for path, names, part, is_text in _parts(pattern)
        if (problem := _problem(part, names, is_text=is_text))
    )
    faults = [*islice(found, MAX_ISSUES)]
    return faults or ([PatternFault("", _UNRESTRICTED)] if _decide(pattern, _decide_request) else [])


def _parts(
    pattern: object, path: str = "", names: tuple[str, ...] = (), *, is_text: bool = False
) -> Iterator[tuple[str, tuple[str, ...], object, bool]]:
    """Yield the pattern and all in it.

    These are the path, the names that lead to the value in the request, the part, and whether it is of an $enum.
    """
    yield path, names, pattern, is_text
    if isinstance(pattern, Mapping):
        for name, part in pattern.items():
            inner_path = join_path(path, name)
            if name in {"$enum", "$one-of"}:
                yield from _items(part, inner_path, names, is_text=name == "$enum")
            elif name in {"$contains", "$every"}:
                yield from _parts(part, inner_path, (_ITEM,))
            else:
                yield from _parts(part, inner_path, names if name == "$not" else (*names, name))
    elif isinstance(pattern, list):
        yield from _items(pattern, path, (_ITEM,))


def _items(
    items: Iterable[object], path: str, names: tuple[str, ...], *, is_text: bool = False
) -> Iterator[tuple[str, tuple[str, ...], object, bool]]:
    for index, item in enumerate(items):
        yield from _parts(item, join_path(path, index), names, is_text=is_text)


def _problem(part: object, names: tuple[str, ...], *, is_text: bool) -> str:
    """Return why a part by itself is a fault, or ""."""
    if isinstance(part, Mapping):
        return _mapping_problem(part, names)
    if isinstance(part, list):
        return _list_problem(names)
    if isinstance(part, str):
        return _text_problem(part, names, is_text=is_text)
    text = scalar_text(part)
    return _text_problem(text, names, is_text=True) if text else ""


def _mapping_problem(part: Mapping[str, object], names: tuple[str, ...]) -> str:
    if any(map(_is_disguised_operator, part)):
        return _DISGUISED_OPERATOR
    if not part:
        return _EMPTY
    if "$contains" in part or "$every" in part:
        return _list_problem(names)
    if not _is_always_text(names) or any(name.startswith("$") for name in part):
        return ""
    # An operator has nothing beside it.
    similar = suggestion(next(iter(part)), OPERATORS) if len(part) == 1 else None
    return f"{_NO_MAPPING}{f'; did you mean {similar}?' if similar else ''}"


def _list_problem(names: tuple[str, ...]) -> str:
    return _NO_LIST if names in _MAPPINGS or _is_always_text(names) else ""


def _is_always_text(names: tuple[str, ...]) -> bool:
    """Return whether the value at ``names`` is a text, a number or nil in each request."""
    match names:
        case ("client" | "headers", _) | ("params", "metadata" | "tagging", _):
            return True
        case ("params", _):
            return names not in _MAPPINGS
        case (name,):
            return name in _TEXTS
    return False


def _text_problem(text: str, names: tuple[str, ...], *, is_text: bool) -> str:
    if names in _MAPPINGS and (is_text or text not in _PRESENCE):
        return _NO_TEXT
    if _is_visible(text, names) and (hint := pasted_hint(text)):
        return f"must have no invisible character, and no space at an end{hint}"
    if not is_text and _is_disguised(text):
        return _DISGUISED
    return value_problem(text, names, is_text=is_text)


def _is_disguised(text: str) -> bool:
    """Return whether a text looks like a regular expression, a path or a word, and is none."""
    first, last = seen_ends(text)
    return not text.startswith(("#", ".")) and (first in {"#", "."} or (last == "?" and not text.endswith("?")))


def _is_disguised_operator(name: str) -> bool:
    return not name.startswith("$") and seen_ends(name)[0] == "$"


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
    decisions = [_decide(part, _decide_part) if name in _PRESENT else None for name, part in pattern.items()]
    return False if False in decisions else None if None in decisions else True


def _decide_part(pattern: object) -> bool | None:
    match pattern:
        case "present?" | "not-blank?":
            return True
        case "nil?" | None:
            return False
    return None
