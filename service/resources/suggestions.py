"""The field that a misspelt name stands for. Pure."""

import re
from collections.abc import Iterable

# As pathStyle, path_style and patstyle are to path-style; key-id is too far from access-key-id.
MIN_SIMILARITY = 0.75
MAX_LENGTH = 64

_NOT_A_LETTER = re.compile("[^a-z0-9]")


def suggestion(name: str, names: Iterable[str]) -> str | None:
    """The one of ``names`` that is spelt most like ``name``, whatever its case and separators; None if none is."""
    if len(name) > MAX_LENGTH:
        return None
    # Nobody needs it at the start.
    import difflib  # noqa: PLC0415

    by_letters = {_letters(known): known for known in names}
    similar = difflib.get_close_matches(_letters(name), by_letters, n=1, cutoff=MIN_SIMILARITY)
    return by_letters[similar[0]] if similar else None


def _letters(name: str) -> str:
    # A marker such as _secret-access-key is another field than its secret.
    return f"{'_' * name.startswith('_')}{_NOT_A_LETTER.sub('', name.lower())}"
