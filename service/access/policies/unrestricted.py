"""Patterns that restrict nothing: such a policy may be stored only with the engine that says so, ``allow``. Pure."""

from collections.abc import Iterator, Mapping, Sequence

from service.access.policies.matchers import within
from service.access.policies.matcho import PatternFault

# Every request has them.
_TEXTS = frozenset({"request-method", "uri"})
_PRESENT = _TEXTS | {"params", "headers", "body"}

_EMPTY = "must not be empty: every mapping matches it; name what must be in it"
_UNRESTRICTED = "matches every request; name what a request must have, or use the engine allow with a link"


def unrestricted_faults(pattern: object) -> Sequence[PatternFault]:
    """What of a valid pattern matches everything: an empty mapping anywhere, and a pattern that every request matches.

    A pattern is found to do so where it asks for nothing but the presence of what every request has.
    """
    if empty := [PatternFault(at, _EMPTY) for at in _empty_mappings(pattern, "")]:
        return empty
    return [PatternFault("", _UNRESTRICTED)] if _of_request(pattern) else []


def _empty_mappings(pattern: object, at: str) -> Iterator[str]:
    if isinstance(pattern, Mapping):
        if not pattern:
            yield at
        for name, part in pattern.items():
            yield from _empty_mappings(part, within(at, name))
    elif isinstance(pattern, list):
        for index, part in enumerate(pattern):
            yield from _empty_mappings(part, within(at, index))


def _of_request(pattern: object) -> bool | None:
    """Whether a pattern of the request matches always (True) or never (False); None if that depends on the request."""
    match pattern:
        case {"$not": inner}:
            return _opposite(_of_request(inner))
        case {"$one-of": [*choices]}:
            return _any([_of_request(choice) for choice in choices])
        case Mapping():
            return _all([_of_part(part, name) if name in _PRESENT else None for name, part in pattern.items()])
    return None


def _of_part(pattern: object, name: str) -> bool | None:
    """The same for a pattern of a part that every request has."""
    match pattern:
        case "present?":
            return True
        case "nil?" | None:
            return False
        case "not-blank?":
            return name in _TEXTS
        case {"$not": inner}:
            return _opposite(_of_part(inner, name))
        case {"$one-of": [*choices]}:
            return _any([_of_part(choice, name) for choice in choices])
    return None


def _opposite(known: bool | None) -> bool | None:  # noqa: FBT001 - the value of a pattern
    return None if known is None else not known


def _any(known: Sequence[bool | None]) -> bool | None:
    return True if True in known else None if None in known else False


def _all(known: Sequence[bool | None]) -> bool | None:
    return False if False in known else None if None in known else True
