"""Patterns that restrict nothing. A policy without conditions must use the engine ``allow`` instead. Pure."""

from collections.abc import Iterator, Mapping, Sequence

from service.access.policies.matchers import join_path
from service.access.policies.matcho import PatternFault

# Every request has these parts.
_TEXTS = frozenset({"request-method", "uri"})
_PRESENT = _TEXTS | {"params", "headers", "body"}

_EMPTY = "must not be empty: every mapping matches it; name what must be in it"
_UNRESTRICTED = "matches every request; name what a request must have, or use the engine allow with a link"


def unrestricted_faults(pattern: object) -> Sequence[PatternFault]:
    """Return the faults of a valid pattern that matches too much: empty mappings, or a match of every request.

    A pattern matches every request if it only asks for the presence of parts that every request has.
    """
    if empty := [PatternFault(path, _EMPTY) for path in _empty_mappings(pattern, "")]:
        return empty
    return [PatternFault("", _UNRESTRICTED)] if _of_request(pattern) else []


def _empty_mappings(pattern: object, path: str) -> Iterator[str]:
    if isinstance(pattern, Mapping):
        if not pattern:
            yield path
        for name, part in pattern.items():
            yield from _empty_mappings(part, join_path(path, name))
    elif isinstance(pattern, list):
        for index, part in enumerate(pattern):
            yield from _empty_mappings(part, join_path(path, index))


def _of_request(pattern: object) -> bool | None:
    """Return True if the pattern matches every request, False if none, and None if it depends on the request."""
    match pattern:
        case {"$not": inner}:
            return _not(_of_request(inner))
        case {"$one-of": [*choices]}:
            return _any([_of_request(choice) for choice in choices])
        case Mapping():
            return _all([_of_part(part, name) if name in _PRESENT else None for name, part in pattern.items()])
    return None


def _of_part(pattern: object, name: str) -> bool | None:
    """Return the same for a pattern of a part that every request has."""
    match pattern:
        case "present?":
            return True
        case "nil?" | None:
            return False
        case "not-blank?":
            return name in _TEXTS
        case {"$not": inner}:
            return _not(_of_part(inner, name))
        case {"$one-of": [*choices]}:
            return _any([_of_part(choice, name) for choice in choices])
    return None


def _not(decision: bool | None) -> bool | None:  # noqa: FBT001 - a decision of three values
    return None if decision is None else not decision


def _any(decisions: Sequence[bool | None]) -> bool | None:
    return True if True in decisions else None if None in decisions else False


def _all(decisions: Sequence[bool | None]) -> bool | None:
    return False if False in decisions else None if None in decisions else True
