"""matcho, Aidbox's language of patterns: compiled once, judged in microseconds. Pure: no policy, no HTTP.

Source: https://docs.aidbox.app/reference/matcho-dsl-reference

===================== ==============================================================================================
a mapping             a mapping in which every name's pattern matches; what is missing is nil. Never nil itself
a list                a list that begins so; what is missing is nil
``text``, 5, true     a scalar of that text, to the letter: a body in YAML makes no difference between 5 and ``'5'``
null, ``nil?``        nil
``present?``          anything but nil
``not-blank?``        text with something else than white space
``#regex``            a scalar in whose text it is found, see ``regex``
``.path.to``          the same scalar as in the request there; never nil, a mapping or a list
``$enum: […]``        one of these scalars, literally: so is written what begins with # or . or ends in ?
``$one-of: […]``      one of these patterns
``$not: …``           whatever does not match, what is missing too: ``jwt: {$not: {sub: eve}}`` lets in who has no jwt
``$contains: …``      a list with an element that matches
``$every: …``         a list of elements that all match, at least one
===================== ==============================================================================================

An operator stands alone in its mapping. What is none of these is refused, and so is a pattern that would judge the
request without looking into it, such as ``{}``. Where Aidbox leaves something open, the answer is the one that denies:
a value that a regular expression cannot decide, see ``evaluation``, makes the whole pattern not match, under $not too.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from service.access.policies import matchers
from service.access.policies.evaluation import Evaluation, UndecidableValue
from service.access.policies.matchers import Condition, Matcher, shown, text_of, within
from service.access.policies.regex import compile_regex, is_prefix

MAX_DEPTH = 16
MAX_NODES = 1000
# Those that need the engine, each of which has its memory and its time; see `regex`.
MAX_REGEXES = 32
# Of the programs of all of them: 1,000 take up to 1.5 ms to compile. `[^/]{1,255}` has 2,300.
MAX_INSTRUCTIONS = 6000
# It takes so long to see that a program would be too large.
_REFUSED_INSTRUCTIONS = 600

_T = TypeVar("_T")
_Compile = Callable[[object, str], _T]

_OPERATORS = ("$enum", "$one-of", "$not", "$contains", "$every")
_SCALAR_RULE = "must be Unicode text, a number, true or false"
_INSTRUCTIONS_RULE = (
    f"must be a smaller regular expression: those of a pattern have at most {MAX_INSTRUCTIONS} instructions together, "
    "and what is repeated counts each time"
)
_PATH_RULE = "a path: names of A-Z a-z 0-9 - _ /, each after a dot"
_PATH = re.compile(r"(\.[A-Za-z0-9_/-]+)+")
_WORDS = {"present?": matchers.PRESENT, "nil?": matchers.NIL, "not-blank?": matchers.NOT_BLANK}


class PatternFault(NamedTuple):
    """``path`` is where in the pattern, ``""`` for the whole; ``problem`` completes a sentence that it begins."""

    path: str
    problem: str


class MalformedPattern(ValueError):
    """No pattern of matcho, with all its faults at once."""

    def __init__(self, *faults: PatternFault) -> None:
        self.faults = faults
        super().__init__("; ".join(f"{fault.path or 'the pattern'} {fault.problem}" for fault in faults))


@dataclass(frozen=True, slots=True, eq=False)
class Pattern:
    """A compiled pattern. ``names`` are the request's that it looks at: nobody need build the others.

    A request that does not meet each of the ``conditions`` does not match. There may be more to match than these.
    """

    names: frozenset[str]
    conditions: tuple[Condition, ...] = field(repr=False)
    _root: Matcher = field(repr=False)

    def matches(self, evaluation: Evaluation) -> bool:
        """Whether the request is what the pattern asks for. Raises TooMuchWork alone, whatever the request holds."""
        try:
            return self._root.test(evaluation.request, evaluation)
        except UndecidableValue:
            return False

    def mismatch(self, evaluation: Evaluation) -> str | None:
        """Where the request first fails, None if it matches: ``params.key does not match #^team-a/``.

        It quotes the pattern, so it is for those who may read that, and never what the request holds.
        Raises as ``matches`` does.
        """
        try:
            return self._root.mismatch(evaluation.request, evaluation)
        except UndecidableValue as undecidable:
            return str(undecidable)


def compile_pattern(pattern: object, *, max_instructions: float = MAX_INSTRUCTIONS) -> Pattern:
    """A pattern from plain data: mappings, lists, str, int, float, bool and None.

    ``max_instructions`` bounds the programs of its regular expressions together, and so the time that this takes.

    Raises:
        MalformedPattern: it is none, or is too large.
    """
    _check_size(pattern)
    compiler = _Compiler(max_instructions)
    root = compiler.whole(pattern, "")
    if compiler.faults:
        raise MalformedPattern(*compiler.faults)
    return Pattern(frozenset(compiler.names), tuple(matchers.conditions(root)), root)


def _check_size(pattern: object) -> None:
    """Before anything that recurses."""
    nodes, level = 1, [pattern]
    for _ in range(MAX_DEPTH):
        level = [child for node in level for child in _children(node)]
        nodes += len(level)
        if nodes > MAX_NODES:
            raise MalformedPattern(PatternFault("", f"must have at most {MAX_NODES} nodes"))
    if any(isinstance(node, (Mapping, list)) for node in level):
        raise MalformedPattern(PatternFault("", f"must be nested at most {MAX_DEPTH} deep"))


def _children(node: object) -> list[object]:
    if isinstance(node, Mapping):
        return list(node.values())
    return node if isinstance(node, list) else []


class _Compiler:
    """Patterns to matchers; it gathers faults, and makes a stand-in where there is one."""

    def __init__(self, max_instructions: float) -> None:
        self.faults: list[PatternFault] = []
        self.names: set[str] = set()
        self._regexes = 0
        self._instructions_left = max_instructions
        self._operators = 0
        """How many operators the pattern that is being compiled stands under."""

    def whole(self, pattern: object, at: str) -> Matcher:
        """What judges the request itself."""
        if not isinstance(pattern, Mapping):
            return self._refuse(at, "must be a mapping, for the request is one")
        if not pattern:
            return self._refuse(at, "must not be empty: the engine that lets everybody in is allow")
        if not _operators(pattern):
            self.names.update(pattern)
        return self._mapping(pattern, at, self.whole)

    def part(self, pattern: object, at: str) -> Matcher:
        """What judges something in the request."""
        if isinstance(pattern, Mapping):
            return self._mapping(pattern, at, self.part)
        if isinstance(pattern, list):
            return matchers.beginning(self._list(pattern, at, self.part))
        if isinstance(pattern, str):
            return self._string(pattern, at)
        return matchers.NIL if pattern is None else matchers.literal(self._text(pattern, at))

    def _mapping(self, pattern: Mapping[Any, object], at: str, again: _Compile[Matcher]) -> Matcher:
        if operators := _operators(pattern):
            return self._operator(operators, pattern, at, again)
        parts = []
        for name, part in pattern.items():
            if isinstance(name, str) and _is_unicode(name):
                parts.append((name, self.part(part, within(at, name))))
            else:
                self._refuse(at, "must have names of Unicode text")
        return matchers.mapping(tuple(parts), exhaustive=self._operators > 0)

    def _operator(
        self, operators: list[str], pattern: Mapping[Any, object], at: str, again: _Compile[Matcher]
    ) -> Matcher:
        """``again`` compiles a pattern for the same value as the operator's."""
        for name in operators:
            if name not in _OPERATORS:
                return self._refuse(at, f"must not have {shown(name)!a}: the operators are {', '.join(_OPERATORS)}")
        name = operators[0]
        if len(pattern) > 1:
            return self._refuse(at, f"must have nothing beside {name}")
        self._operators += 1
        matcher = self._operation(name, pattern[name], within(at, name), again)
        self._operators -= 1
        return matcher

    def _operation(self, name: str, operand: object, at: str, again: _Compile[Matcher]) -> Matcher:
        if name == "$not":
            return matchers.negated(again(operand, at))
        if name == "$one-of":
            return matchers.either(self._list(operand, at, again, at_least=1))
        if again == self.whole:
            return self._refuse(at, "must stand under a name: the request is a mapping, no scalar and no list")
        if name == "$enum":
            return matchers.enumeration(self._list(operand, at, self._text, at_least=1))
        part = self.part(operand, at)
        return matchers.containing(part) if name == "$contains" else matchers.every(part)

    def _list(self, items: object, at: str, compiled: _Compile[_T], *, at_least: int = 0) -> tuple[_T, ...]:
        if not isinstance(items, list) or len(items) < at_least:
            self._refuse(at, "must be a list with at least one item")
            return ()
        return tuple(compiled(item, within(at, index)) for index, item in enumerate(items))

    def _string(self, pattern: str, at: str) -> Matcher:
        if not _is_unicode(pattern):
            return self._refuse(at, _SCALAR_RULE)
        if pattern in _WORDS:
            return _WORDS[pattern]
        if pattern.startswith("#"):
            return self._regex(pattern[1:], at)
        if pattern.startswith("."):
            return self._path(pattern, at)
        if pattern.rstrip().endswith("?"):
            # Misspelt, it would be text that nobody sends; within $not, it would let everybody in.
            return self._refuse(at, f"must be one of {', '.join(_WORDS)} if it ends in ?; $enum takes other text")
        return matchers.literal(pattern)

    def _text(self, scalar: object, at: str) -> str:
        text = text_of(scalar)
        if text is None or not _is_unicode(text):
            self._refuse(at, _SCALAR_RULE)
        return text or ""

    def _path(self, pattern: str, at: str) -> Matcher:
        if not _PATH.fullmatch(pattern):
            return self._refuse(at, f"must be {_PATH_RULE}, if it begins with a dot; $enum takes other text")
        path = tuple(pattern[1:].split("."))
        self.names.add(path[0])
        return matchers.same_as(path)

    def _regex(self, source: str, at: str) -> Matcher:
        if not is_prefix(source) and (limit := self._limit()):
            return self._refuse(at, limit)
        try:
            regex = compile_regex(source)
        except ValueError as error:
            self._instructions_left -= _REFUSED_INSTRUCTIONS
            return self._refuse(at, str(error))
        if regex.program:
            self._instructions_left -= regex.program.instructions
            if self._instructions_left < 0:
                return self._refuse(at, _INSTRUCTIONS_RULE)
        return matchers.regex(regex, at)

    def _limit(self) -> str | None:
        """Why there can be no further regular expression that needs the engine."""
        self._regexes += 1
        if self._regexes > MAX_REGEXES:
            return f"must do without a regular expression: a pattern has at most {MAX_REGEXES}"
        return _INSTRUCTIONS_RULE if self._instructions_left < 0 else None

    def _refuse(self, at: str, problem: str) -> Matcher:
        self.faults.append(PatternFault(at, problem))
        return matchers.NIL


def _operators(pattern: Mapping[Any, object]) -> list[str]:
    return [name for name in pattern if isinstance(name, str) and name.startswith("$")]


def _is_unicode(text: str) -> bool:
    """Whether it can be told to anybody: a lone surrogate cannot be encoded."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
