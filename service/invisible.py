"""What a pasted text has too much, such as invisible characters and quotes, and placeholders for a text. Pure."""

import re
import unicodedata
from itertools import islice

# Not every dialect of patterns has an escape for characters beyond U+FFFF.
_NONCHARACTERS = r"\ufdd0-\ufdef\ufffe\uffff" + "".join(
    f"{chr(plane + 0xFFFE)}-{chr(plane + 0xFFFF)}" for plane in range(0x10000, 0x110000, 0x10000)
)
# Control characters, spaces, line ends; Unicode's Default_Ignorable_Code_Point (zero width characters, fillers), which
# unicodedata lacks; the blank Braille pattern; noncharacters. The inside of a character class, in any dialect of
# patterns.
# Source: https://www.unicode.org/Public/UCD/latest/ucd/DerivedCoreProperties.txt
INVISIBLE = (
    r"\x00-\x20\x7f-\xa0\xad\u034f\u061c\u115f\u1160\u1680\u17b4\u17b5\u180b-\u180f\u2000-\u200f\u2028-\u202f"
    r"\u205f-\u206f\u2800\u3000\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff" + _NONCHARACTERS
)

# YAML and a shell remove them; `docker run --env-file`, an ini file of AWS, jq without -r and a paste leave them. For
# any dialect of patterns.
_IN_QUOTES = "\".*\"|'.*'|`.*`|\u201c.*\u201d|\u2018.*\u2019"
# Kubernetes leaves $(NAME) as it is if it does not know the name, and an env file of Docker leaves ${NAME}.
_PLACEHOLDER = r"\$\{.*\}|\$\(.*\)|\{\{.*\}\}"

PLACEHOLDER = "${NAME}"
"""The example of a placeholder in messages."""

NOT_A_VALUE = f"(?:{_IN_QUOTES}|{_PLACEHOLDER})"
"""A pattern for a text in quotes, and for a placeholder that nothing has replaced."""

MAX_NAMED = 3
# The longest valid text. A search of 1 MiB would block other requests for up to 90 ms.
MAX_SEARCHED = 8192
# A message names a few, so the search stops after so many invisible characters.
MAX_FOUND = 10

# A paste leaves no more at an end.
_MAX_AROUND = 64

_NONCHARACTER = re.compile(f"[{_NONCHARACTERS}]")
_INVISIBLE = re.compile(f"[{INVISIBLE}]")
_VISIBLE = re.compile(f"[^{INVISIBLE}]")
_NOT_A_VALUE = re.compile(NOT_A_VALUE, re.DOTALL)
# Unicode gives control characters no name.
_CONTROLS = {
    "\0": "NULL",
    "\t": "TAB",
    "\n": "LINE FEED",
    "\r": "CARRIAGE RETURN",
    "\x7f": "DELETE",
    "\x85": "NEXT LINE",
}


def invisible_hint(text: str) -> str:
    """Return the end of a message that names the invisible characters of a text, such as U+00A0 NO-BREAK SPACE.

    It is empty without such characters in the first ``MAX_SEARCHED``. Others behind ``MAX_FOUND`` are not named.
    """
    matches = islice(_INVISIBLE.finditer(text, 0, MAX_SEARCHED), MAX_FOUND)
    found = [*dict.fromkeys(match[0] for match in matches)]
    return f"; it has {', '.join(map(_name, found[:MAX_NAMED]))}" if found else ""


def pasted_hint(text: str) -> str:
    """Return the same for a text that may have spaces, but only inside."""
    at_an_end = invisible_hint(text) if text != text.strip() else ""
    # Most texts need no search, which takes a hundred times as long.
    is_visible = text.isascii() and text.isprintable()
    return at_an_end if is_visible else invisible_hint(text.replace(" ", "")) or at_an_end


def seen_ends(text: str) -> tuple[str, str]:
    """Return the first and the last character that a reader sees in a text, a full-width one as ASCII; "" for none."""
    first, last = text[:1], text[-1:]
    # Most texts need no search.
    if not "!" <= first <= "~":
        first = _seen(text[:_MAX_AROUND])[:1]
    if not "!" <= last <= "~":
        last = _seen(text[: -_MAX_AROUND - 1 : -1])[-1:]
    return first, last


def _seen(text: str) -> str:
    """Return the first visible character of a text in the form NFKC, "" for none."""
    found = _VISIBLE.search(text)
    return unicodedata.normalize("NFKC", found[0]) if found else ""


def no_value_reason(text: str) -> str:
    """Return the end of a sentence about a text in quotes or a placeholder, "" for any other text."""
    if not _NOT_A_VALUE.fullmatch(text):
        return ""
    return (
        f"is a placeholder such as {PLACEHOLDER}; write the value"
        if text[0] in "${"
        else "is in quotes; leave them out"
    )


def _name(character: str) -> str:
    unnamed = "NONCHARACTER" if _NONCHARACTER.match(character) else "CONTROL CHARACTER"
    name = _CONTROLS.get(character) or unicodedata.name(character, unnamed)
    return f"U+{ord(character):04X} {name}"
