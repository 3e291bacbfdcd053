"""The evaluation of one request by any number of patterns, with its limits. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from time import perf_counter
from typing import Any

from service.access.policies.regex import Program

# Time is linear, but a large program takes 1 s for a value of this size.
MAX_VALUE_BYTES = 8 * 1024
MAX_SEARCHED_BYTES = 256 * 1024
# Reading so many elements takes one to five seconds in Python, without regular expressions.
MAX_ELEMENTS = 1_000_000
# The longest time of one instruction for one byte: 21 ns were measured for the worst of 3,000 slow programs.
# Most programs take a thousandth of it, but their time cannot be known in advance.
INSTRUCTION_SECONDS = 20e-9


class UndecidableValue(Exception):
    """A value that no regular expression is applied to. ``path`` is the expression's place in the pattern."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path} cannot be decided: the value {problem}")


class TooMuchWork(Exception):
    """The policies would search too much text, or read too many list elements, for one request."""

    def __init__(self, work: str) -> None:
        super().__init__(f"the policies would {work} for it")


class TooMuchTime(Exception):
    """The evaluation may exceed its time limit. Whether the request is allowed is still open."""


@dataclass(slots=True)
class Evaluation:
    """One request and the state of its evaluation. ``seconds`` is the time limit.

    Results are shared: each regular expression searches a text once, and a long text is read once for each question.
    """

    request: Mapping[str, Any]
    seconds: float = inf
    _deadline: float = field(init=False)
    _bytes_left: int = field(default=MAX_SEARCHED_BYTES, init=False)
    _elements: int = field(default=0, init=False)
    _found: dict[tuple[str, str], bool] = field(default_factory=dict, init=False)
    _folded: dict[str, str] = field(default_factory=dict, init=False)
    _blank: dict[str, bool] = field(default_factory=dict, init=False)
    _problems: dict[str, str] = field(default_factory=dict, init=False)
    """Why no regular expression can be applied to a text; "" if one can."""

    list_texts: dict[int, frozenset[str]] = field(default_factory=dict, init=False)
    """The texts of the scalars in lists of the request, by the ``id()`` of the list."""

    def __post_init__(self) -> None:
        self._deadline = perf_counter() + self.seconds

    def continue_with(self, request: Mapping[str, Any]) -> "Evaluation":
        """Return an evaluation of another request that has the rest of the time."""
        return Evaluation(request, self._deadline - perf_counter())

    def check_time(self, needed: float = 0.0) -> None:
        """Raise TooMuchTime if fewer than ``needed`` seconds are left."""
        if perf_counter() + needed > self._deadline:
            raise TooMuchTime

    def count_elements(self, elements: int) -> None:
        """Count list elements that will be read; one with a large pattern counts as several.

        Raises TooMuchWork above MAX_ELEMENTS.
        """
        self._elements += elements
        if self._elements > MAX_ELEMENTS:
            raise TooMuchWork(
                f"look at more than {MAX_ELEMENTS} list elements (a large pattern counts each several times)"
            )

    def casefold(self, text: str) -> str:
        """Return the casefolded text. Letters that are equal for RE2's ``(?i)`` are equal in it."""
        folded = self._folded.get(text)
        if folded is None:
            folded = self._folded[text] = text.casefold()
        return folded

    def is_blank(self, text: str) -> bool:
        """Return whether a text is empty or has only white space."""
        blank = self._blank.get(text)
        if blank is None:
            blank = self._blank[text] = not text.strip()
        return blank

    def check_text(self, text: str, path: str) -> None:
        """Raise UndecidableValue unless a regular expression can be applied to ``text``."""
        problem = self._problems.get(text)
        if problem is None:
            problem = self._problems[text] = _problem(text)
        if problem:
            raise UndecidableValue(path, problem)

    def search(self, source: str, program: Program, text: str) -> bool:
        """Return whether ``program``, compiled from ``source``, matches ``text``. See ``check_text``.

        Raises:
            TooMuchWork: if the request has too much text to search.
            TooMuchTime: if the search might exceed the time limit.
        """
        key = source, text
        found = self._found.get(key)
        if found is None:
            encoded = text.encode()
            self._bytes_left -= len(encoded)
            if self._bytes_left < 0:
                raise TooMuchWork(f"search more than {MAX_SEARCHED_BYTES} bytes by regular expressions")
            self.check_time(len(encoded) * program.instructions * INSTRUCTION_SECONDS)
            found = self._found[key] = program.find(encoded) is not None
        return found


def _problem(text: str) -> str:
    if len(text) > MAX_VALUE_BYTES:
        return f"is longer than {MAX_VALUE_BYTES} bytes"
    try:
        encoded = text.encode()
    except UnicodeEncodeError:
        # Header bytes that are not UTF-8 are surrogates.
        return "is not UTF-8"
    return f"is longer than {MAX_VALUE_BYTES} bytes" if len(encoded) > MAX_VALUE_BYTES else ""
