"""The matchers that patterns are compiled to, each with a predicate. Pure.

Values are plain data: mappings of any class, lists, str, int, float, bool and None. A value of another class counts as
present, and equals no scalar, mapping or list.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from service import json_text
from service.access.policies.evaluation import MAX_VALUE_BYTES, Evaluation
from service.access.policies.regex import Regex

_MAX_SHOWN = 64
_MIN_LONG_INT = 10**json_text.MAX_NUMBER
_LITERAL = "literal"
_ENUM_COST, _NAME_COST, _PREFIX_COST, _REGEX_COST = 2, 2, 2, 16
# Reading one element takes as long as testing this many literals.
_ELEMENT_COST = 10
# Many patterns may look for plain text in a longer one.
_MAX_SHORT = 512

Predicate = Callable[[Any, Evaluation], bool]


@dataclass(frozen=True, slots=True, eq=False)
class Matcher:
    """A predicate on a value, ``test``, and the explanation of a mismatch.

    ``failure`` completes a sentence that begins with the path of the value. A value of the class ``container`` matches
    if its items match the ``parts``. Matchers with the same ``identity`` match the same values, and none of them
    matches nil. ``cost`` is the time of a test, compared to a literal. A test raises the exceptions of ``Evaluation``.
    """

    test: Predicate
    failure: str
    parts: tuple[tuple[str | int, "Matcher"], ...] = ()
    container: type | tuple[()] = ()
    identity: tuple[str, str] | None = None
    cost: int = 1

    def mismatch(self, value: Any, evaluation: Evaluation, path: str = "") -> str | None:
        """Return the path of the first mismatch in ``value`` and the reason, without the value. None if it matches.

        Does at most the work of ``test``, and raises its exceptions.
        """
        if isinstance(value, self.container):
            mismatches = (
                part.mismatch(_item(value, name), evaluation, join_path(path, name)) for name, part in self.parts
            )
            return next(filter(None, mismatches), None)
        return None if self.test(value, evaluation) else f"{path or 'the request'} {self.failure}"


class Condition(NamedTuple):
    """A necessary condition of a pattern: the value at ``path`` matches."""

    path: tuple[str, ...]
    matcher: Matcher

    @property
    def key(self) -> object:
        """Equal for equal conditions."""
        return self.path, self.matcher.identity


def necessary_conditions(matcher: Matcher, path: tuple[str, ...] = ()) -> Iterator[Condition]:
    """Return conditions without which the value at ``path`` does not match. They need not be sufficient."""
    for name, part in matcher.parts:
        if isinstance(name, str):
            inner = (*path, name)
            if part.identity:
                yield Condition(inner, part)
            else:
                yield from necessary_conditions(part, inner)


def join_path(path: str, name: str | int) -> str:
    """Return the path of an item: ``params.key``, ``body.items[0]``."""
    if isinstance(name, int):
        return f"{path}[{name}]"
    return f"{path}.{name}" if path else name


def scalar_text(value: Any) -> str | None:
    """Return the text that a scalar is compared by, as in YAML every scalar is text. None for other values."""
    if isinstance(value, str):
        return value
    if value is True or value is False:
        return "true" if value else "false"
    return _number_text(value) if isinstance(value, (int, float)) else None


# A pattern may compare a number a thousand times, and to write a float takes as long as fifty comparisons. A larger
# cache would be slow for numbers with the same hash, which a request may choose.
@lru_cache(16)
def _number_text(number: float) -> str | None:
    if isinstance(number, float):
        if not number.is_integer():
            return str(number)
        # Fields of a body read 5.0 and 5e0 as 5, too. With another text, a value under $not would escape its pattern.
        number = int(number)
    return str(number) if abs(number) < _MIN_LONG_INT else None


def literal(text: str) -> Matcher:
    def test(value: Any, _: Evaluation) -> bool:
        if type(value) is str:
            return value == text
        return scalar_text(value) == text

    return Matcher(test, f"is not {truncate(text)}", identity=(_LITERAL, text))


def _literal_text(matcher: Matcher) -> str | None:
    """Return the text of a literal. None for other matchers."""
    return matcher.identity[1] if matcher.identity and matcher.identity[0] == _LITERAL else None


def enumeration(texts: Collection[str]) -> Matcher:
    allowed = frozenset(texts)
    failure = f"is none of {truncate(', '.join(texts))}"
    return Matcher(lambda value, _: scalar_text(value) in allowed, failure, cost=_ENUM_COST)


def regex(regex: Regex, path: str) -> Matcher:
    """Return a matcher for text in which ``regex`` is found. ``path`` is its place in the pattern."""
    source, prefix, required, program, ignores_case = regex

    def test(value: Any, evaluation: Evaluation) -> bool:
        text = value if type(value) is str else scalar_text(value)
        if text is None:
            return False
        if len(text) > MAX_VALUE_BYTES or not text.isascii():
            evaluation.check_text(text, path)
        # The engine takes ten times as long to find that plain text is missing.
        comparable = evaluation.casefold(text) if ignores_case else text
        if not comparable.startswith(prefix):
            return False
        if len(comparable) > _MAX_SHORT:
            evaluation.check_time()
        for alternatives in required:
            for plain in alternatives:
                if plain in comparable:
                    break
            else:
                return False
        return program is None or evaluation.search(source, program, text)

    cost = _PREFIX_COST if program is None else _REGEX_COST
    return Matcher(test, f"does not match #{truncate(source)}", identity=("regex", source), cost=cost)


def equals_path(path: tuple[str, ...]) -> Matcher:
    """Return a matcher for the scalar that the request has at ``path``."""

    def test(value: Any, evaluation: Evaluation) -> bool:
        text = scalar_text(value)
        if text is None:
            return False
        other: Any = evaluation.request
        for name in path:
            if not isinstance(other, Mapping):
                return False
            other = other.get(name)
        return scalar_text(other) == text

    cost = _NAME_COST * (1 + len(path))
    return Matcher(test, f"is not what .{truncate('.'.join(path))} is", cost=cost)


def mapping(parts: tuple[tuple[str, Matcher], ...], *, exhaustive: bool = False) -> Matcher:
    """Return a matcher for a mapping whose entries match.

    ``exhaustive`` tests all entries even after a mismatch. This is needed under an operator: an undecidable value must
    be found in any order of the entries.
    """
    tests = tuple((name, part.test) for name, part in parts)

    def test(value: Any, evaluation: Evaluation) -> bool:
        # Nearly all values are dicts, and isinstance() with the abstract class takes five times as long.
        if type(value) is not dict and not isinstance(value, Mapping):
            return False
        if exhaustive:
            results = [part(value.get(name), evaluation) for name, part in tests]
            return all(results)
        for name, part in tests:  # noqa: SIM110 - all() takes twice as long
            if not part(value.get(name), evaluation):
                return False
        return True

    return Matcher(test, "is not a mapping", parts, Mapping, cost=_cost(part for _, part in parts))


def list_prefix(parts: tuple[Matcher, ...]) -> Matcher:
    """Return a matcher for a list whose first items match. A missing item is nil."""
    tests = tuple((index, part.test) for index, part in enumerate(parts))

    def test(value: Any, evaluation: Evaluation) -> bool:
        if not isinstance(value, list):
            return False
        results = [part(value[index] if index < len(value) else None, evaluation) for index, part in tests]
        return all(results)

    return Matcher(test, "is not a list", tuple(enumerate(parts)), list, cost=_cost(parts))


def one_of(parts: tuple[Matcher, ...]) -> Matcher:
    """Return a matcher for a value that matches one of ``parts``. All are tested, for the reason in ``mapping``."""
    texts = [text for text in map(_literal_text, parts) if text is not None]
    others = [part for part in parts if _literal_text(part) is None]
    tested = [*others, enumeration(texts)] if texts else others
    tests = tuple(part.test for part in tested)

    def test(value: Any, evaluation: Evaluation) -> bool:
        results = [part(value, evaluation) for part in tests]
        return any(results)

    return Matcher(test, "matches none of what $one-of lists", cost=_cost(tested))


def negation(part: Matcher) -> Matcher:
    test = part.test
    return Matcher(
        lambda value, evaluation: not test(value, evaluation), "matches what $not excludes", cost=_cost([part])
    )


def contains(part: Matcher) -> Matcher:
    failure = "is not a list with an element that $contains asks for"
    if (text := _literal_text(part)) is not None:
        return Matcher(
            lambda value, evaluation: isinstance(value, list) and text in _list_texts(value, evaluation), failure
        )

    def test(value: Any, evaluation: Evaluation) -> bool:
        return isinstance(value, list) and any(_test_each(part, value, evaluation))

    return Matcher(test, failure, cost=_cost([part]))


def _list_texts(value: list[Any], evaluation: Evaluation) -> frozenset[str]:
    """Return the texts of the scalars in a list. They are kept: a thousand patterns may look for one each."""
    found = evaluation.list_texts.get(id(value))
    if found is None:
        texts = (scalar_text(element) for element in value)
        found = evaluation.list_texts[id(value)] = frozenset(text for text in texts if text is not None)
    return found


def every(part: Matcher) -> Matcher:
    """Return a matcher for a list of matching elements. An empty list does not match."""

    def test(value: Any, evaluation: Evaluation) -> bool:
        return isinstance(value, list) and bool(value) and all(_test_each(part, value, evaluation))

    return Matcher(test, "is not a list whose elements are all what $every asks for", cost=_cost([part]))


NIL = Matcher(lambda value, _: value is None, "is not nil")
PRESENT = Matcher(lambda value, _: value is not None, "is nil")
NOT_BLANK = Matcher(
    lambda value, evaluation: isinstance(value, str) and not evaluation.is_blank(value), "is blank, or no text"
)


def truncate(text: str) -> str:
    """Return the beginning of a pattern's text, for a message."""
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…"


def _cost(parts: Iterable[Matcher]) -> int:
    # To find the value of a part takes as long as a literal.
    return 1 + sum(1 + part.cost for part in parts)


def _test_each(part: Matcher, items: list[Any], evaluation: Evaluation) -> list[bool]:
    results = []
    evaluation.count_elements(len(items) * (1 + part.cost // _ELEMENT_COST))
    for item in items:
        # A list may be as long as a body.
        evaluation.check_time()
        results.append(part.test(item, evaluation))
    return results


def _item(value: Any, name: str | int) -> Any:
    if isinstance(name, str):
        return value.get(name)
    return value[name] if name < len(value) else None
