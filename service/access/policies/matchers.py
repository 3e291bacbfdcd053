"""What a pattern can ask of a value, each a function made once. Pure: knows no grammar, no policy, no HTTP.

Values are plain data: mappings of any class, and lists, str, int, float, bool and None. What is anything else is
present, and matches nothing that asks for more.
"""

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from service import json_text
from service.access.policies.evaluation import MAX_VALUE_BYTES, Evaluation, check_text
from service.access.policies.regex import Regex

_SHOWN = 64
_TOO_LARGE = 10**json_text.MAX_NUMBER
_LITERAL = "literal"
_PREFIX_COST, _REGEX_COST = 2, 16

Test = Callable[[Any, Evaluation], bool]


@dataclass(frozen=True, slots=True, eq=False)
class Matcher:
    """``test`` says whether a value matches; ``complaint`` follows the name of a value that does not.

    A test raises what ``Evaluation`` raises.

    ``parts`` are asked of what is inside a value of the class ``container``. Two matchers of one ``identity`` match
    the same values, of which nil is none; ``cost`` is the time of a test, compared to that of a literal.
    """

    test: Test
    complaint: str
    parts: tuple[tuple[str | int, "Matcher"], ...] = ()
    container: type | tuple[()] = ()
    identity: tuple[str, str] | None = None
    cost: int = 1

    def mismatch(self, value: Any, evaluation: Evaluation, at: str = "") -> str | None:
        """Where ``value``, found at the path ``at``, first fails, without a word of what it is. None if it does not.

        Raises as ``test`` does.
        """
        if self.test(value, evaluation):
            return None
        parts = self.parts if isinstance(value, self.container) else ()
        inside = (part.mismatch(_item(value, name), evaluation, within(at, name)) for name, part in parts)
        return next(filter(None, inside), f"{at or 'the request'} {self.complaint}")


class Condition(NamedTuple):
    """What a request must meet for a pattern to match: the value at ``path`` matches.

    Conditions of one ``key`` are the same.
    """

    path: tuple[str, ...]
    matcher: Matcher
    key: str


def conditions(matcher: Matcher, path: tuple[str, ...] = ()) -> Iterator[Condition]:
    """What a value must meet to match, as far as that can be said of single parts; ``path`` is where it is found."""
    for name, part in matcher.parts:
        if isinstance(name, str):
            inner = (*path, name)
            yield from [_condition(inner, part)] if part.identity else conditions(part, inner)


def _condition(path: tuple[str, ...], matcher: Matcher) -> Condition:
    return Condition(path, matcher, json.dumps([path, matcher.identity]))


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
    def test(value: Any, _: Evaluation) -> bool:
        if type(value) is str:
            return value == text
        return text_of(value) == text

    return Matcher(test, f"is not {shown(text)}", identity=(_LITERAL, text))


def enumeration(texts: Collection[str]) -> Matcher:
    allowed = frozenset(texts)
    return Matcher(lambda value, _: text_of(value) in allowed, f"is none of {shown(', '.join(texts))}")


def regex(regex: Regex, at: str) -> Matcher:
    """Text in which ``regex`` is found; ``at`` is where the pattern has it."""
    source, beginning, needs, program = regex

    def test(value: Any, evaluation: Evaluation) -> bool:
        text = value if type(value) is str else text_of(value)
        if text is None:
            return False
        if len(text) > MAX_VALUE_BYTES or not text.isascii():
            check_text(text, at)
        # The engine takes ten times as long to say that plain text is missing.
        if not text.startswith(beginning):
            return False
        for texts in needs:
            for plain in texts:
                if plain in text:
                    break
            else:
                return False
        return program is None or evaluation.search(source, program, text)

    cost = _PREFIX_COST if program is None else _REGEX_COST
    return Matcher(test, f"does not match #{shown(source)}", identity=("regex", source), cost=cost)


def same_as(path: tuple[str, ...]) -> Matcher:
    def test(value: Any, evaluation: Evaluation) -> bool:
        text = text_of(value)
        if text is None:
            return False
        found: Any = evaluation.request
        for name in path:
            if not isinstance(found, Mapping):
                return False
            found = found.get(name)
        return text_of(found) == text

    return Matcher(test, f"is not what .{shown('.'.join(path))} is")


def mapping(parts: tuple[tuple[str, Matcher], ...], *, exhaustive: bool = False) -> Matcher:
    """A mapping whose entries match. ``exhaustive`` asks for all of them, even if the first one does not match.

    Under an operator everything is asked for: a value that no regex can decide must be found in any order.
    """
    tests = tuple((name, part.test) for name, part in parts)

    def test(value: Any, evaluation: Evaluation) -> bool:
        # The abstract class takes five times as long to ask for, and nearly all are dicts.
        if type(value) is not dict and not isinstance(value, Mapping):
            return False
        if exhaustive:
            results = [part(value.get(name), evaluation) for name, part in tests]
            return all(results)
        for name, part in tests:  # noqa: SIM110 - all() takes twice as long
            if not part(value.get(name), evaluation):
                return False
        return True

    return Matcher(test, "is not a mapping", parts, Mapping)


def beginning(parts: tuple[Matcher, ...]) -> Matcher:
    """A list that begins so; what it has no element for is asked of None."""

    def test(value: Any, evaluation: Evaluation) -> bool:
        if not isinstance(value, list):
            return False
        results = [part.test(_item(value, index), evaluation) for index, part in enumerate(parts)]
        return all(results)

    return Matcher(test, "is not a list", tuple(enumerate(parts)), list)


def either(parts: tuple[Matcher, ...]) -> Matcher:
    tests = tuple(part.test for part in parts)

    def test(value: Any, evaluation: Evaluation) -> bool:
        results = [part(value, evaluation) for part in tests]
        return any(results)

    return Matcher(test, "matches none of what $one-of lists")


def negated(part: Matcher) -> Matcher:
    test = part.test
    return Matcher(lambda value, evaluation: not test(value, evaluation), "matches what $not excludes")


def containing(part: Matcher) -> Matcher:
    complaint = "is not a list with an element that $contains asks for"
    if part.identity and part.identity[0] == _LITERAL:
        text = part.identity[1]
        return Matcher(
            lambda value, evaluation: isinstance(value, list) and text in _texts(value, evaluation), complaint
        )

    def test(value: Any, evaluation: Evaluation) -> bool:
        if not isinstance(value, list):
            return False
        results = _each(part, value, evaluation)
        return any(results)

    return Matcher(test, complaint)


def _texts(value: list[Any], evaluation: Evaluation) -> frozenset[str]:
    """The texts of the scalars in a list. A thousand policies may ask for one group each, of a caller in a thousand."""
    found = evaluation.texts.get(id(value))
    if found is None:
        texts = (text_of(element) for element in value)
        found = evaluation.texts[id(value)] = frozenset(text for text in texts if text is not None)
    return found


def every(part: Matcher) -> Matcher:
    """A list all of whose elements match. One that has none vouches for nothing, and does not."""

    def test(value: Any, evaluation: Evaluation) -> bool:
        if not isinstance(value, list):
            return False
        results = _each(part, value, evaluation)
        return bool(results) and all(results)

    return Matcher(test, "is not a list whose elements are all what $every asks for")


NIL = Matcher(lambda value, _: value is None, "is not nil")
PRESENT = Matcher(lambda value, _: value is not None, "is nil")
NOT_BLANK = Matcher(lambda value, _: isinstance(value, str) and bool(value.strip()), "is blank, or no text")


def shown(text: str) -> str:
    """As much of a pattern's text as a message can bear."""
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _each(part: Matcher, items: list[Any], evaluation: Evaluation) -> list[bool]:
    results = []
    evaluation.visit(len(items))
    for item in items:
        # A list may be as long as a body.
        evaluation.check_time()
        results.append(part.test(item, evaluation))
    return results


def _item(value: Any, name: str | int) -> Any:
    if isinstance(name, str):
        return value.get(name)
    return value[name] if name < len(value) else None
