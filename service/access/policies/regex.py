"""Regular expressions whose time is linear, searched in UTF-8. Pure.

Syntax: https://github.com/google/re2/wiki/Syntax. ``$`` is the end of the text, not a newline before it, and ``.``
is no newline. A message completes a sentence that begins with the field's name.
"""

import re
from collections.abc import Callable
from typing import NamedTuple

MAX_LENGTH = 1024
# For a program and what it remembers of the texts it has seen. `[^/]{1,255}` fits twice, `.{1000}` does not; what
# fits takes 10 ms to compile and 1 s for 8 KiB of text at the very worst, and mostly microseconds.
MAX_MEMORY_BYTES = 128 * 1024

# So that neither finding plain text in an expression, nor looking for it in a long value, takes as long as the engine.
MAX_TOKENS = 100
MAX_NEEDS = 4
MAX_ALTERNATIVES = 4

_SHOWN_REASON = 80
_PREFIX = re.compile(rf"\^[A-Za-z0-9_/-]{{1,{MAX_LENGTH - 1}}}")
# In `ab\Q\E*` and `ab(?i)*`, RE2 repeats the b: an empty quotation and flags are nothing that could be repeated.
_REPETITION = r"(?:\\Q\\E|\(\?[^():]*\))*[*+?{]"
_BEGINNING = re.compile(rf"\^([A-Za-z0-9_/-]+)(?!{_REPETITION})")
_TOKEN = re.compile(
    # What is repeated does not count, as none may be enough: the last character, or the group.
    rf"(?P<text>[A-Za-z0-9_/-]+)(?!{_REPETITION})"
    r"|\{[0-9,]*\}"
    r"|\[\^?(?:[^]^[\\]|\\.)(?:[^][\\]|\\.)*\]"
    r"|\\(?:[^A-Za-z0-9]|[dDsSwWbBAz])"
    r"|(?P<open>\((?:\?:|(?!\?)))"
    rf"|(?P<close>\)(?=(?P<repeated>{_REPETITION})?))|(?P<or>\|)"
    # Flags, names, and rarer classes and escapes, which may change what follows.
    r"|(?P<unknown>[(\[\\])"
)

_Need = tuple[str, ...]


class Program(NamedTuple):
    """What RE2 makes of a regular expression.

    ``find`` searches UTF-8; its result is None if the text does not match. At worst it does each of the
    ``instructions`` for each byte. It releases the interpreter's lock.
    """

    find: Callable[[bytes], object]
    instructions: int


class Regex(NamedTuple):
    """A regular expression that is searched in text.

    Every text that matches begins with ``beginning``, and holds one of the texts of each of the ``needs``.
    ``program`` decides about the texts that do; None if there is no more to find.
    """

    source: str
    beginning: str
    needs: tuple[_Need, ...]
    program: Program | None


def is_prefix(source: str) -> bool:
    """Whether it is ``^plain/text``, which most policies ask for and which needs no engine."""
    return _PREFIX.fullmatch(source) is not None


def compile_regex(source: str) -> Regex:
    """A regular expression from its source.

    Raises:
        ValueError: see ``compile_program``.
    """
    if is_prefix(source):
        return Regex(source, source[1:], (), None)
    program, needs = compile_program(source), _needs(source)
    begins = _BEGINNING.match(source)
    # If it is an alternative, it is needed together with others.
    beginning = needs.pop(0)[0] if begins and needs[:1] == [(begins[1],)] else ""
    return Regex(source, beginning, tuple(sorted(needs, key=_shortest, reverse=True)[:MAX_NEEDS]), program)


def _needs(source: str) -> list[_Need]:
    # The alternatives of the whole, and of each group that is open.
    groups: list[list[list[_Need]]] = [[[]]]
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
            needs = _of_any(groups.pop())
            if not token["repeated"]:
                groups[-1][-1] += needs
    return _of_any(groups[0])


def _of_any(alternatives: list[list[_Need]]) -> list[_Need]:
    if len(alternatives) == 1:
        return alternatives[0]
    texts = [text for needs in alternatives for text in max(needs, key=_shortest, default=())]
    return [tuple(texts)] if all(alternatives) and len(texts) <= MAX_ALTERNATIVES else []


def _shortest(need: _Need) -> int:
    return min(map(len, need))


def compile_program(source: str) -> Program:
    """The program that searches ``source``.

    Raises:
        ValueError: it is empty, too long, or nothing that RE2 takes: lookaround, a backreference, too much memory.
    """
    # A service whose policies have no regular expression does without the library.
    import re2  # type: ignore[import-untyped] # it has no types # noqa: PLC0415

    if not 0 < len(source) <= MAX_LENGTH:
        raise ValueError(f"must have a regular expression of 1 to {MAX_LENGTH} characters after its #")
    options = re2.Options()
    options.log_errors = False
    options.max_mem = MAX_MEMORY_BYTES
    # Whether it is there is all that is asked; finding where its groups are takes several times as long.
    options.never_capture = True
    try:
        compiled = re2.compile(source.encode(), options)
    except re2.error as error:
        reason = error.args[0].decode(errors="replace")
        raise ValueError(f"must be a regular expression that RE2 takes; it says: {reason[:_SHOWN_REASON]}") from None
    return Program(compiled.search, compiled.programsize)
