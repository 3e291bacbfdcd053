"""Characters that nobody sees in a pasted key. Pure."""

import re
import unicodedata

# Control characters, spaces and line ends; what Unicode has as Default_Ignorable_Code_Point (zero width characters, the
# byte order mark, fillers); the blank Braille pattern. The inside of a character class, in every dialect of patterns.
# Source: https://www.unicode.org/Public/UCD/latest/ucd/DerivedCoreProperties.txt
INVISIBLE = (
    r"\x00-\x20\x7f-\xa0\xad\u034f\u061c\u115f\u1160\u1680\u17b4\u17b5\u180b-\u180f\u2000-\u200f\u2028-\u202f"
    r"\u205f-\u206f\u2800\u3000\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
    # Not every dialect has an escape for those beyond U+FFFF: they stand for themselves.
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)

MAX_NAMED = 3

_INVISIBLE = re.compile(f"[{INVISIBLE}]")
# Unicode gives control characters no name.
_CONTROLS = {
    "\0": "NULL",
    "\t": "TAB",
    "\n": "LINE FEED",
    "\r": "CARRIAGE RETURN",
    "\x7f": "DELETE",
    "\x85": "NEXT LINE",
}


def invisible_characters(text: str) -> str | None:
    """The invisible characters of a text by code point and name, such as U+00A0 NO-BREAK SPACE; None without any."""
    found = [*dict.fromkeys(_INVISIBLE.findall(text))]
    return ", ".join(map(_described, found[:MAX_NAMED])) or None


def invisible_hint(text: str) -> str:
    """The end of a message about a text: the invisible characters that its reader would look for in vain, if any."""
    culprits = invisible_characters(text)
    return f"; it has {culprits}" if culprits else ""


def _described(character: str) -> str:
    name = _CONTROLS.get(character) or unicodedata.name(character, "CONTROL CHARACTER")
    return f"U+{ord(character):04X} {name}"
