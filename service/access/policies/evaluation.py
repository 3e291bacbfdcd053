"""The evaluation of one request by any number of patterns, with its limits. Pure: knows no policy and no HTTP."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from time import perf_counter
from typing import Any

from service.access.policies.regex import Program

# Time is linear, but a regular expression whose program is large takes 1 s for so much text.
MAX_VALUE_BYTES = 8 * 1024
MAX_SEARCHED_BYTES = 256 * 1024
# A second of Python, for elements that no regular expression is searched in.
MAX_ELEMENTS = 1_000_000
# An instruction of a program takes at most so long for a byte: 21 ns were measured for the worst of 3,000 programs that
# are made to be slow. Nearly all programs take a thousandth of that, which nobody can know before.
INSTRUCTION_SECONDS = 20e-9


class UndecidableValue(Exception):
    """A value that no regular expression is applied to. ``at`` is where the pattern asks for it."""

    def __init__(self, at: str, problem: str) -> None:
        super().__init__(f"{at} cannot be decided: the value {problem}")


class TooMuchWork(Exception):
    """The policies would search too much text, or look at too many list elements, for one request."""

    def __init__(self, what: str) -> None:
        super().__init__(f"the policies would {what} for it")


class TooMuchTime(Exception):
    """The evaluation may take longer than it was given. This says nothing of the request."""


@dataclass(slots=True)
class Evaluation:
    """One request, and what was found in it: each regular expression searches a text once, whoever asks for it.

    ``seconds`` is how long the evaluation may take.
    """

    request: Mapping[str, Any]
    seconds: float = inf
    _end: float = field(init=False)
    _remaining: int = field(default=MAX_SEARCHED_BYTES, init=False)
    _elements: int = field(default=0, init=False)
    _found: dict[tuple[str, str], bool] = field(default_factory=dict, init=False)
    texts: dict[int, frozenset[str]] = field(default_factory=dict, init=False)
    """The texts of the scalars in lists of the request, by the ``id()`` of the list."""

    def __post_init__(self) -> None:
        self._end = perf_counter() + self.seconds

    def check_time(self, needed: float = 0.0) -> None:
        """Raise TooMuchTime unless as many seconds as are ``needed`` are left."""
        if perf_counter() + needed > self._end:
            raise TooMuchTime

    def visit(self, elements: int) -> None:
        """Count list elements that are looked at. Raises TooMuchWork beyond MAX_ELEMENTS."""
        self._elements += elements
        if self._elements > MAX_ELEMENTS:
            raise TooMuchWork(f"look at more than {MAX_ELEMENTS} list elements")

    def search(self, source: str, program: Program, text: str) -> bool:
        """Whether ``program``, the regular expression ``source``, finds something in ``text``, which has been checked.

        Raises:
            TooMuchWork: with this text, it would be too much for one request.
            TooMuchTime: see ``check_time``.
        """
        key = source, text
        found = self._found.get(key)
        if found is None:
            encoded = text.encode()
            self._remaining -= len(encoded)
            if self._remaining < 0:
                raise TooMuchWork(f"search more than {MAX_SEARCHED_BYTES} bytes by regular expressions")
            self.check_time(len(encoded) * program.instructions * INSTRUCTION_SECONDS)
            found = self._found[key] = program.find(encoded) is not None
        return found


def check_text(text: str, at: str) -> None:
    """Raise UndecidableValue unless a regular expression can be applied to ``text``."""
    if len(text) > MAX_VALUE_BYTES:
        raise UndecidableValue(at, f"is longer than {MAX_VALUE_BYTES} bytes")
    try:
        encoded = text.encode()
    except UnicodeEncodeError:
        # A header keeps the bytes that are not UTF-8 as surrogates.
        raise UndecidableValue(at, "is not UTF-8") from None
    if len(encoded) > MAX_VALUE_BYTES:
        raise UndecidableValue(at, f"is longer than {MAX_VALUE_BYTES} bytes")
