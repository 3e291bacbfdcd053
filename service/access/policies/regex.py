"""Regular expressions in linear time, which search UTF-8. Pure.

Syntax: https://github.com/google/re2/wiki/Syntax. ``$`` is the end of the text and not before a final newline, and
``.`` does not match a newline. A message completes a sentence that begins with the field's name.
"""

import re
from collections.abc import Callable
from typing import NamedTuple

MAX_LENGTH = 1024
# For a program and its cache. `[^/]{1,255}` fits twice, `.{1000}` does not. A program that fits takes 10 ms to
# compile, and for 8 KiB of text 1 s at worst, mostly microseconds.
MAX_MEMORY_BYTES = 128 * 1024

# RE2 takes 0.15 ms to read a class such as \pL, and as long for 1,000 repetitions, even if it refuses the program.
MAX_CLASSES = 20
MAX_REPETITIONS = 5000
_CLASS = re.compile(r"\\[pP]")
# With (?i), RE2 takes 0.23 ms, the time of 150 instructions.
_CLASS_COST = 150
_REPETITION = re.compile(r"\{([0-9]{1,4})(?:,([0-9]{0,4}))?\}")

# With these limits, extracting plain text and searching for it takes less time than the engine.
MAX_TOKENS = 100
MAX_REQUIRED = 4
MAX_ALTERNATIVES = 4

_MAX_REASON_LENGTH = 80
_PLAIN_PREFIX = re.compile(rf"\^[A-Za-z0-9_/-]{{1,{MAX_LENGTH - 1}}}")
# In `ab\Q\E*` and `ab(?i)*`, RE2 repeats the b, not the empty quotation or the flags.
_QUANTIFIER = r"(?:\\Q\\E|\(\?[^():]*\))*[*+?{]"
_ANCHORED_TEXT = re.compile(rf"\^([A-Za-z0-9_/-]+)(?!{_QUANTIFIER})")
_TOKEN = re.compile(
    # Plain text without the character before a quantifier, because that character may occur zero times.
    rf"(?P<text>[A-Za-z0-9_/-]+)(?!{_QUANTIFIER})"
    r"|\{[0-9,]*\}"
    r"|\[\^?(?:[^]^[\\]|\\.)(?:[^][\\]|\\.)*\]"
    r"|\\(?:[^A-Za-z0-9]|[dDsSwWbBAz])"
    r"|(?P<open>\((?:\?:|(?!\?)))"
    rf"|(?P<close>\)(?=(?P<repeated>{_QUANTIFIER})?))|(?P<or>\|)"
    # Flags, names, and rare classes and escapes, which may change the meaning of the rest.
    r"|(?P<unknown>[(\[\\])"
)

# Makes the rest of the expression ignore case.
_IGNORE_CASE = "(?i)"

Alternatives = tuple[str, ...]


class Program(NamedTuple):
    """A program of RE2.

    ``find`` searches UTF-8; its result is None if the text does not match. At worst it runs each of the
    ``instructions`` for each byte. It releases the interpreter's lock. ``cost`` is the time that compiling took, as
    that of so many instructions.
    """

    find: Callable[[bytes], object]
    instructions: int
    cost: int


class Regex(NamedTuple):
    """A regular expression that is searched in text.

    Each match begins with ``prefix``, and contains at least one text of each of the ``required`` alternatives. With
    ``ignores_case``, this is true of the casefolded match. ``program`` decides about texts that meet both conditions.
    It is None if the two conditions are sufficient.
    """

    source: str
    prefix: str
    required: tuple[Alternatives, ...]
    program: Program | None
    ignores_case: bool = False


def is_plain_prefix(source: str) -> bool:
    """Return whether this is ``^plain/text``, the most common expression, which needs no engine."""
    return _PLAIN_PREFIX.fullmatch(source) is not None


def compile_regex(source: str) -> Regex:
    """Return the regular expression of a source.

    Raises:
        ValueError: see ``compile_program``.
    """
    if is_plain_prefix(source):
        return Regex(source, source[1:], (), None)
    program, rest = compile_program(source), source.removeprefix(_IGNORE_CASE)
    required, anchored = _required_texts(rest), _ANCHORED_TEXT.match(rest)
    # The anchored text is not a prefix of all matches if it is one of several alternatives.
    prefix = required.pop(0)[0] if anchored and required[:1] == [(anchored[1],)] else ""
    longest = sorted(required, key=_shortest, reverse=True)[:MAX_REQUIRED]
    if rest == source:
        return Regex(source, prefix, tuple(longest), program)
    folded = tuple(tuple(text.casefold() for text in alternatives) for alternatives in longest)
    return Regex(source, prefix.casefold(), folded, program, ignores_case=True)


def _required_texts(source: str) -> list[Alternatives]:
    """Return plain texts that each match contains, as far as the expression is understood."""
    # For the expression and each open group, the required texts of each branch.
    groups: list[list[list[Alternatives]]] = [[[]]]
    for number, token in enumerate(_TOKEN.finditer(source)):
        if token["unknown"] or number == MAX_TOKENS:
            return [] if "|" in source else groups[0][0]
        if token["text"]:
            groups[-1][-1].append((token["text"],))
        elif token["or"]:
            groups[-1].append([])
        elif token["open"]:
            groups.append([[]])
        elif token["close"]:
            required = _merge_branches(groups.pop())
            if not token["repeated"]:
                groups[-1][-1] += required
    return _merge_branches(groups[0])


def _merge_branches(branches: list[list[Alternatives]]) -> list[Alternatives]:
    if len(branches) == 1:
        return branches[0]
    texts = [text for required in branches for text in max(required, key=_shortest, default=())]
    return [tuple(texts)] if all(branches) and len(texts) <= MAX_ALTERNATIVES else []


def _shortest(alternatives: Alternatives) -> int:
    return min(map(len, alternatives))


def least_cost(source: str) -> int:
    """Return the least cost of a source, whether or not RE2 accepts it; see ``Program``."""
    # RE2 can merge what it has read: 500 alternatives may be one instruction.
    return min(len(source), MAX_LENGTH) // 3 + _CLASS_COST * min(_classes(source), MAX_CLASSES)


def _classes(source: str) -> int:
    return len(_CLASS.findall(source))


def compile_program(source: str) -> Program:
    """Return the program that searches ``source``.

    Raises:
        ValueError: if it is empty or too large, or if RE2 refuses it: lookaround, a backreference, too much memory.
    """
    # Services without such policies do not load the library.
    import re2  # type: ignore[import-untyped] # it has no types # noqa: PLC0415

    if not 0 < len(source) <= MAX_LENGTH:
        raise ValueError(f"must have a regular expression of 1 to {MAX_LENGTH} characters after its #")
    if _classes(source) > MAX_CLASSES:
        raise ValueError(f"must have a regular expression with at most {MAX_CLASSES} classes such as \\pL")
    if sum(max(int(least), int(most or 0)) for least, most in _REPETITION.findall(source)) > MAX_REPETITIONS:
        raise ValueError(f"must have a regular expression with at most {MAX_REPETITIONS} repetitions in all")
    options = re2.Options()
    options.log_errors = False
    options.max_mem = MAX_MEMORY_BYTES
    # Locating groups takes several times as long.
    options.never_capture = True
    try:
        compiled = re2.compile(source.encode(), options)
    except re2.error as error:
        reason = error.args[0].decode(errors="replace")[:_MAX_REASON_LENGTH]
        raise ValueError(f"must be a regular expression that RE2 takes; it says: {reason}") from None
    return Program(compiled.search, compiled.programsize, max(compiled.programsize, least_cost(source)))
