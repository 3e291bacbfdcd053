"""matcho, the pattern language of Aidbox, compiled to matchers. Pure.

Source: https://docs.aidbox.app/reference/matcho-dsl-reference

===================== ==============================================================================================
a mapping             a mapping whose entries match the patterns of their names. A missing entry is nil
a list                a list whose first items match. A missing item is nil
``text``, 5, true     a scalar with exactly this text: in YAML, 5 and ``'5'`` are equal
null, ``nil?``        nil
``present?``          anything but nil
``not-blank?``        text that is not only white space
``#regex``            a scalar in whose text the regular expression is found, see ``regex``
``.path.to``          a scalar equal to the request's at this path
``$enum: […]``        one of these scalars, which may begin with # or . or end in ?
``$one-of: […]``      one of these patterns
``$not: …``           anything that does not match: ``jwt: {$not: {sub: eve}}`` also matches a request without jwt
``$contains: …``      a list with an element that matches
``$every: …``         a list of elements that all match, at least one
===================== ==============================================================================================

A mapping with an operator has no other name. Other patterns are refused, and so is a pattern that does not depend on
the request, such as ``{}``. Where Aidbox's documentation is ambiguous, the stricter meaning is taken. If a regular
expression cannot decide about a value (see ``evaluation``), the whole pattern does not match, even under $not.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from math import inf
from typing import Any, NamedTuple, TypeVar

from service.access.policies import matchers
from service.access.policies.evaluation import Evaluation, UndecidableValue
from service.access.policies.matchers import Condition, Matcher, join_path, scalar_text, truncate
from service.access.policies.regex import compile_regex, is_plain_prefix, least_cost
from service.resources.schemas import MAX_ISSUES

MAX_DEPTH = 16
MAX_NODES = 1000
# In bytes of UTF-8. To compile and to encode as many blocks other requests for 7 ms.
MAX_TEXT = 100_000
# Each fault and each matcher has a path of up to 15 names.
MAX_NAME = 256
# Regular expressions that need the engine, each with the memory and time of `regex`.
MAX_REGEXES = 32
# The sum of all programs. 1,000 instructions take up to 1.5 ms to compile; `[^/]{1,255}` has 2,300.
MAX_INSTRUCTIONS = 6000
# The cost of a source that RE2 refuses, in instructions: RE2 takes as long to find that a program is too large.
_REFUSED_SOURCE_COST = 3000

_T = TypeVar("_T")
_Compile = Callable[[object, str], _T]

OPERATORS = ("$enum", "$one-of", "$not", "$contains", "$every")
_SCALAR_RULE = "must be Unicode text, a number, true or false"
_INSTRUCTIONS_RULE = (
    f"must be a smaller regular expression: those of a pattern have at most {MAX_INSTRUCTIONS} instructions together, "
    "and what is repeated counts each time"
)
# A search of 1 MiB would block other requests for 40 ms.
MAX_REFERENCE = 1024
_REFERENCE_RULE = (
    f"must be a path of at most {MAX_REFERENCE} characters: names of A-Z a-z 0-9 - _ /, each after a dot, "
    "if it begins with a dot; $enum takes other text"
)
_REFERENCE = re.compile(r"(\.[A-Za-z0-9_/-]+)+")
_WORDS = {"present?": matchers.PRESENT, "nil?": matchers.NIL, "not-blank?": matchers.NOT_BLANK}


class PatternFault(NamedTuple):
    """A fault at ``path`` of a pattern, ``""`` for the whole. ``problem`` completes a sentence that begins with it."""

    path: str
    problem: str


class MalformedPattern(ValueError):
    """An invalid pattern, with all its faults."""

    def __init__(self, *faults: PatternFault) -> None:
        self.faults = faults
        super().__init__("; ".join(f"{fault.path or 'the pattern'} {fault.problem}" for fault in faults))


@dataclass(frozen=True, slots=True, eq=False)
class Pattern:
    """A compiled pattern.

    ``names`` are the parts of a request that it reads; the others may be missing. ``members`` are the names that it
    reads directly in a part, such as ``("params", "key")``.
    The ``conditions`` are necessary for a match, but may not be sufficient.
    """

    names: frozenset[str]
    members: frozenset[tuple[str, str]]
    conditions: tuple[Condition, ...] = field(repr=False)
    _root: Matcher = field(repr=False)

    def matches(self, evaluation: Evaluation) -> bool:
        """Return whether the request matches. Raises TooMuchWork and TooMuchTime, and nothing else."""
        try:
            return self._root.test(evaluation.request, evaluation)
        except UndecidableValue:
            return False

    def mismatch(self, evaluation: Evaluation) -> str | None:
        """Return the first mismatch, such as ``params.key does not match #^team-a/``. None if the request matches.

        The text quotes the pattern, and never the request. Raises the exceptions of ``matches``.
        """
        try:
            return self._root.mismatch(evaluation.request, evaluation)
        except UndecidableValue as error:
            return str(error)


def compile_pattern(pattern: object, *, stored: bool = False) -> Pattern:
    """Compile a pattern of plain data: mappings, lists, str, int, float, bool and None.

    A ``stored`` pattern may exceed MAX_INSTRUCTIONS and MAX_TEXT, which came later than some of them.

    Raises:
        MalformedPattern: if it is invalid or too large.
    """
    _check_size(pattern, inf if stored else MAX_TEXT)
    compiler = _Compiler(inf if stored else MAX_INSTRUCTIONS)
    root = compiler.compile_request(pattern, "")
    if compiler.faults:
        raise MalformedPattern(*compiler.faults)
    return Pattern(
        frozenset(compiler.names), frozenset(compiler.members), tuple(matchers.necessary_conditions(root)), root
    )


def _check_size(pattern: object, max_text: float) -> None:
    """Limit the size without recursion, before the compiler recurses."""
    nodes, text, level = 1, _text_length(pattern), [pattern]
    _check_names(level)
    for _ in range(MAX_DEPTH):
        level = [child for node in level for child in _children(node)]
        nodes += len(level)
        if nodes > MAX_NODES:
            raise MalformedPattern(PatternFault("", f"must have at most {MAX_NODES} nodes"))
        _check_names(level)
        text += sum(map(_text_length, level))
        if text > max_text:
            raise MalformedPattern(PatternFault("", f"must have at most {max_text} bytes in names and texts"))
    if any(isinstance(node, (Mapping, list)) for node in level):
        raise MalformedPattern(PatternFault("", f"must be nested at most {MAX_DEPTH} deep"))


def _check_names(level: list[object]) -> None:
    if any(len(name) > MAX_NAME for node in level for name in _names(node)):
        raise MalformedPattern(PatternFault("", f"must have at most {MAX_NAME} characters in each name"))


def _text_length(node: object) -> int:
    """Return the bytes of a text, or of the names of a mapping."""
    return sum(len(text.encode(errors="replace")) for text in ([node] if isinstance(node, str) else _names(node)))


def _names(node: object) -> list[str]:
    return [name for name in node if isinstance(name, str)] if isinstance(node, Mapping) else []


def _children(node: object) -> list[object]:
    if isinstance(node, Mapping):
        return list(node.values())
    return node if isinstance(node, list) else []


class _Compiler:
    """Compiles patterns to matchers and collects their faults. The matcher of a faulty pattern is a placeholder."""

    def __init__(self, max_instructions: float) -> None:
        self.faults: list[PatternFault] = []
        self.names: set[str] = set()
        self.members: set[tuple[str, str]] = set()
        self._regexes = 0
        self._instructions_left = max_instructions
        self._operators = 0
        """The number of operators around the pattern that is being compiled."""

    def compile_request(self, pattern: object, path: str) -> Matcher:
        """Compile a pattern of the request."""
        if not isinstance(pattern, Mapping):
            return self._reject(path, "must be a mapping, as the request is one")
        if not pattern:
            return self._reject(path, "must not be empty; use the engine allow for a policy without conditions")
        if not _operators(pattern):
            self.names.update(pattern)
        return self._mapping(pattern, path, self.compile_request)

    def _compile_part(self, part: str, pattern: object, path: str) -> Matcher:
        """Compile a pattern of a part of the request."""
        if not isinstance(pattern, Mapping):
            return self.compile_value(pattern, path)
        if not _operators(pattern):
            self.members.update((part, name) for name in pattern)
        return self._mapping(pattern, path, partial(self._compile_part, part))

    def compile_value(self, pattern: object, path: str) -> Matcher:
        """Compile a pattern of a value in the request."""
        if isinstance(pattern, Mapping):
            return self._mapping(pattern, path, self.compile_value)
        if isinstance(pattern, list):
            return matchers.list_prefix(self._list(pattern, path, self.compile_value))
        if isinstance(pattern, str):
            return self._string(pattern, path)
        return matchers.NIL if pattern is None else matchers.literal(self._text(pattern, path))

    def _mapping(self, pattern: Mapping[Any, object], path: str, compile_operand: _Compile[Matcher]) -> Matcher:
        if operators := _operators(pattern):
            return self._operator(operators, pattern, path, compile_operand)
        is_request = compile_operand == self.compile_request
        parts = []
        for name, part in pattern.items():
            if isinstance(name, str) and _is_unicode(name):
                compile_part = partial(self._compile_part, name) if is_request else self.compile_value
                parts.append((name, compile_part(part, join_path(path, name))))
            else:
                self._reject(path, "must have names of Unicode text")
        return matchers.mapping(tuple(parts), exhaustive=self._operators > 0)

    def _operator(
        self, operators: list[str], pattern: Mapping[Any, object], path: str, compile_operand: _Compile[Matcher]
    ) -> Matcher:
        """``compile_operand`` compiles a pattern for the value that the operator is applied to."""
        for name in operators:
            if name not in OPERATORS:
                return self._reject(path, f"must not have {truncate(name)!a}: the operators are {', '.join(OPERATORS)}")
        name = operators[0]
        if len(pattern) > 1:
            return self._reject(path, f"must have nothing beside {name}")
        self._operators += 1
        matcher = self._operation(name, pattern[name], join_path(path, name), compile_operand)
        self._operators -= 1
        return matcher

    def _operation(self, name: str, operand: object, path: str, compile_operand: _Compile[Matcher]) -> Matcher:
        if name == "$not":
            return matchers.negation(compile_operand(operand, path))
        if name == "$one-of":
            return matchers.one_of(self._list(operand, path, compile_operand, min_items=1))
        if compile_operand == self.compile_request:
            return self._reject(path, "must be under a name: the request is a mapping, not a scalar or a list")
        if name == "$enum":
            return matchers.enumeration(self._list(operand, path, self._text, min_items=1))
        part = self.compile_value(operand, path)
        return matchers.contains(part) if name == "$contains" else matchers.every(part)

    def _list(self, items: object, path: str, compile_item: _Compile[_T], *, min_items: int = 0) -> tuple[_T, ...]:
        if not isinstance(items, list) or len(items) < min_items:
            self._reject(path, "must be a list with at least one item")
            return ()
        return tuple(compile_item(item, join_path(path, index)) for index, item in enumerate(items))

    def _string(self, pattern: str, path: str) -> Matcher:
        if not _is_unicode(pattern):
            return self._reject(path, _SCALAR_RULE)
        if pattern in _WORDS:
            return _WORDS[pattern]
        if pattern.startswith("#"):
            return self._regex(pattern[1:], path)
        if pattern.startswith("."):
            return self._reference(pattern, path)
        if pattern.rstrip().endswith("?"):
            # A misspelt word would match no request, and under $not every request.
            return self._reject(path, f"must be one of {', '.join(_WORDS)} if it ends in ?; $enum takes other text")
        return matchers.literal(pattern)

    def _text(self, scalar: object, path: str) -> str:
        text = scalar_text(scalar)
        if text is None or not _is_unicode(text):
            self._reject(path, _SCALAR_RULE)
        return text or ""

    def _reference(self, reference: str, path: str) -> Matcher:
        if len(reference) > MAX_REFERENCE or not _REFERENCE.fullmatch(reference):
            return self._reject(path, _REFERENCE_RULE)
        names = tuple(reference[1:].split("."))
        self.names.add(names[0])
        if len(names) > 1:
            self.members.add((names[0], names[1]))
        return matchers.equals_path(names)

    def _regex(self, source: str, path: str) -> Matcher:
        if not is_plain_prefix(source):
            self._regexes += 1
            if self._regexes > MAX_REGEXES:
                return self._reject(path, f"must not be a regular expression: a pattern has at most {MAX_REGEXES}")
            if self._instructions_left < least_cost(source):
                return self._reject(path, _INSTRUCTIONS_RULE)
        try:
            regex = compile_regex(source)
        except ValueError as error:
            self._instructions_left -= _REFUSED_SOURCE_COST
            return self._reject(path, str(error))
        if regex.program:
            self._instructions_left -= regex.program.cost
            if self._instructions_left < 0:
                return self._reject(path, _INSTRUCTIONS_RULE)
        return matchers.regex(regex, path)

    def _reject(self, path: str, problem: str) -> Matcher:
        if len(self.faults) < MAX_ISSUES:
            self.faults.append(PatternFault(path, problem))
        return matchers.NIL


def _operators(pattern: Mapping[Any, object]) -> list[str]:
    return [name for name in pattern if isinstance(name, str) and name.startswith("$")]


def _is_unicode(text: str) -> bool:
    """Return whether the text has no lone surrogate, which cannot be encoded."""
    # A regular expression would take thirty times as long.
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
