"""Regular expressions whose time is linear, found in UTF-8. Pure.

Syntax: https://github.com/google/re2/wiki/Syntax. ``$`` is the end of the text, not a newline before it, and ``.``
is no newline. A message completes a sentence that begins with the field's name.
"""

import re
from collections.abc import Callable
from operator import methodcaller

MAX_LENGTH = 1024
# For a program and what it remembers of the texts it has seen. `[^/]{1,255}` fits twice, `.{1000}` does not; what
# fits takes 25 ms to compile and 0.1 s for 8 KB of text at the very worst, and mostly microseconds.
MAX_MEMORY_BYTES = 128 * 1024

_SHOWN_REASON = 80
_PREFIX = re.compile(rf"\^([A-Za-z0-9_/-]{{1,{MAX_LENGTH - 1}}})")

Find = Callable[[bytes], object]


def find_prefix(source: str) -> Find | None:
    """What finds ``^plain/text``, which most policies ask for and needs no engine; None for any other source."""
    prefix = _PREFIX.fullmatch(source)
    return methodcaller("startswith", prefix[1].encode()) if prefix else None


def find_regex(source: str) -> Find:
    """What finds ``source`` anywhere in UTF-8: its answer is true if it is there.

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
        find: Find = re2.compile(source.encode(), options).search
    except re2.error as error:
        reason = error.args[0].decode(errors="replace")
        raise ValueError(f"must be a regular expression that RE2 takes; it says: {reason[:_SHOWN_REASON]}") from None
    return find
