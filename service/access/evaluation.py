"""The evaluation of one request by any number of patterns, with its limits. Pure: knows no policy and no HTTP."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from service.access.regex import Find

# Time is linear, but a regular expression whose program is large takes 0.1 s for so much text.
MAX_VALUE_BYTES = 8 * 1024
MAX_SEARCHED_BYTES = 256 * 1024


class UndecidableValue(Exception):
    """A value that no regular expression is applied to. ``at`` is where the pattern asks for it."""

    def __init__(self, at: str, problem: str) -> None:
        super().__init__(f"{at} cannot be decided: the value {problem}")


class TooMuchText(Exception):
    """The regular expressions of the policies would search too much text for one request."""

    def __init__(self) -> None:
        super().__init__(
            f"regular expressions of the policies would search more than {MAX_SEARCHED_BYTES} bytes for this request"
        )


@dataclass(slots=True)
class Evaluation:
    """One request, and what was found in it: each regular expression searches a text once, whoever asks for it."""

    request: Mapping[str, Any]
    _remaining: int = field(default=MAX_SEARCHED_BYTES, init=False)
    _found: dict[tuple[str, str], bool] = field(default_factory=dict, init=False)

    def search(self, source: str, find: Find, text: str) -> bool:
        """Whether ``find``, the regular expression ``source``, finds something in ``text``, which has been checked.

        Raises:
            TooMuchText: with this text, it would be too much for one request.
        """
        key = source, text
        found = self._found.get(key)
        if found is None:
            encoded = text.encode()
            self._remaining -= len(encoded)
            if self._remaining < 0:
                raise TooMuchText
            found = self._found[key] = find(encoded) is not None
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
