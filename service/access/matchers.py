"""What a pattern can ask of a value, each a function made once. Pure: knows no grammar, no policy, no HTTP.

Values are plain data: mappings of any class, and lists, str, int, float, bool and None. What is anything else is
present, and matches nothing that asks for more.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from service import json_text
from service.access.regex import Find

_SHOWN = 64
_TOO_LARGE = 10**json_text.MAX_NUMBER

Test = Callable[[Any, Mapping[str, Any]], bool]


@dataclass(frozen=True, slots=True, eq=False)
class Matcher:
    """``test`` judges a value, given the whole request; ``complaint`` follows the name of a value that fails.

    ``parts`` are asked of what is inside a value of the class ``container``.
    """

    test: Test
    complaint: str
    parts: tuple[tuple[str | int, "Matcher"], ...] = ()
    container: type | tuple[()] = ()

    def mismatch(self, value: Any, request: Mapping[str, Any], at: str = "") -> str | None:
        """Where ``value``, found at the path ``at``, first fails, without a word of what it is. None if it does not."""
        if self.test(value, request):
            return None
        parts = self.parts if isinstance(value, self.container) else ()
        inside = (part.mismatch(_item(value, name), request, within(at, name)) for name, part in parts)
        return next(filter(None, inside), f"{at or 'the request'} {self.complaint}")


def within(at: str, name: str | int) -> str:
    """The path of an item of what is at ``at``: ``params.key``, ``body.items[0]``."""
    if isinstance(name, int):
        return f"{at}[{name}]"
    return f"{at}.{name}" if at else name


def text_of(value: Any) -> str | None:
    """What a scalar is compared by: YAML carries every scalar as text, so text it is. None for what is no scalar."""
    if isinstance(value, str):
        return value
    if value is True or value is False:
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value) if abs(value) < _TOO_LARGE else None
    return str(value) if isinstance(value, float) else None


def literal(text: str) -> Matcher:
    def test(value: Any, _: Mapping[str, Any]) -> bool:
        if type(value) is str:
            return value == text
        return text_of(value) == text

    return Matcher(test, f"is not {shown(text)}")


def enumeration(texts: Collection[str]) -> Matcher:
    allowed = frozenset(texts)
    return Matcher(lambda value, _: text_of(value) in allowed, f"is none of {shown(', '.join(texts))}")


def regex(source: str, find: Find) -> Matcher:
    def test(value: Any, _: Mapping[str, Any]) -> bool:
        text = text_of(value)
        if text is None:
            return False
        try:
            encoded = text.encode()
        except UnicodeEncodeError:  # Bytes of a header that are no UTF-8.
            return False
        return bool(find(encoded))

    return Matcher(test, f"does not match #{shown(source)}")


def same_as(path: tuple[str, ...]) -> Matcher:
    def test(value: Any, request: Mapping[str, Any]) -> bool:
        text = text_of(value)
        if text is None:
            return False
        found: Any = request
        for name in path:
            if not isinstance(found, Mapping):
                return False
            found = found.get(name)
        return text_of(found) == text

    return Matcher(test, f"is not what .{shown('.'.join(path))} is")


def mapping(parts: tuple[tuple[str, Matcher], ...]) -> Matcher:
    tests = tuple((name, part.test) for name, part in parts)

    def test(value: Any, request: Mapping[str, Any]) -> bool:
        # The abstract class takes five times as long to ask for, and nearly all are dicts.
        if type(value) is not dict and not isinstance(value, Mapping):
            return False
        for name, part in tests:  # noqa: SIM110 - all() takes twice as long
            if not part(value.get(name), request):
                return False
        return True

    return Matcher(test, "is not a mapping", parts, Mapping)


def beginning(parts: tuple[Matcher, ...]) -> Matcher:
    """A list that begins so; what it has no element for is asked of None."""

    def test(value: Any, request: Mapping[str, Any]) -> bool:
        return isinstance(value, list) and all(
            part.test(_item(value, index), request) for index, part in enumerate(parts)
        )

    return Matcher(test, "is not a list", tuple(enumerate(parts)), list)


def either(parts: tuple[Matcher, ...]) -> Matcher:
    tests = tuple(part.test for part in parts)
    return Matcher(
        lambda value, request: any(test(value, request) for test in tests), "matches none of what $one-of lists"
    )


def negated(part: Matcher) -> Matcher:
    test = part.test
    return Matcher(lambda value, request: not test(value, request), "matches what $not excludes")


def containing(part: Matcher) -> Matcher:
    def test(value: Any, request: Mapping[str, Any]) -> bool:
        return isinstance(value, list) and any(part.test(item, request) for item in value)

    return Matcher(test, "is not a list with an element that $contains asks for")


def every(part: Matcher) -> Matcher:
    """A list all of whose elements match. One that has none vouches for nothing, and does not."""

    def test(value: Any, request: Mapping[str, Any]) -> bool:
        return isinstance(value, list) and bool(value) and all(part.test(item, request) for item in value)

    return Matcher(test, "is not a list whose elements are all what $every asks for")


NIL = Matcher(lambda value, _: value is None, "is not nil")
PRESENT = Matcher(lambda value, _: value is not None, "is nil")
NOT_BLANK = Matcher(lambda value, _: isinstance(value, str) and bool(value.strip()), "is blank, or no text")


def shown(text: str) -> str:
    """As much of a pattern's text as a message can bear."""
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _item(value: Any, name: str | int) -> Any:
    if isinstance(name, str):
        return value.get(name)
    return value[name] if name < len(value) else None
