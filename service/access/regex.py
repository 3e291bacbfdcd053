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

_SHOWN_REASON = 80
_PREFIX = re.compile(rf"\^[A-Za-z0-9_/-]{{1,{MAX_LENGTH - 1}}}")
# The last character does not count if it is repeated, as none may be enough.
_LITERAL = re.compile(r"\^?([A-Za-z0-9_/-]+)(?![*+?{])")


class Program(NamedTuple):
    """What RE2 makes of a regular expression.

    ``find`` searches UTF-8; its result is None if the text does not match. At worst it does each of the
    ``instructions`` for each byte. It releases the interpreter's lock.
    """

    find: Callable[[bytes], object]
    instructions: int


class Regex(NamedTuple):
    """A regular expression that is searched in text.

    Every text that matches has ``literal`` in it, at its beginning if ``anchored``. ``program`` decides about the
    others; None if the literal is all there is to find.
    """

    source: str
    literal: str
    anchored: bool
    program: Program | None


def is_prefix(source: str) -> bool:
    """Whether it is ``^plain/text``, which most policies ask for and which needs no engine."""
    return _PREFIX.fullmatch(source) is not None


def compile_regex(source: str) -> Regex:
    """A regular expression from its source.

    Raises:
        ValueError: see ``compile_program``.
    """
    literal, anchored = _literal(source), source.startswith("^")
    return Regex(source, literal, anchored, None if is_prefix(source) else compile_program(source))


def _literal(source: str) -> str:
    # One of several alternatives need not be in the text.
    found = None if "|" in source else _LITERAL.match(source)
    return found[1] if found else ""


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
