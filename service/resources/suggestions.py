"""Suggest a field for a misspelt name. Pure."""

import difflib
import re
from collections.abc import Iterable

# pathStyle, path_style and patstyle are similar to path-style; key-id is not similar to access-key-id.
MIN_SIMILARITY = 0.75
MAX_LENGTH = 64
# The search for a name takes up to 0.25 ms, so only the first unknown names of a request get a suggestion.
MAX_SUGGESTIONS = 5

_NOT_A_LETTER = re.compile("[^a-z0-9]")


def suggestion(name: str, names: Iterable[str]) -> str | None:
    """Return the most similar of ``names``, ignoring case and separators, or None if none is similar."""
    if len(name) > MAX_LENGTH:
        return None
    by_letters = {_letters(known): known for known in names}
    similar = difflib.get_close_matches(_letters(name), by_letters, n=1, cutoff=MIN_SIMILARITY)
    return by_letters[similar[0]] if similar else None


def _letters(name: str) -> str:
    # _secret-access-key and secret-access-key are different fields.
    return f"{'_' * name.startswith('_')}{_NOT_A_LETTER.sub('', name.lower())}"
