"""Surrogate pairs in escapes, as in JSON (RFC 8259 section 7), which libyaml refuses. Pure."""

import re
import secrets
from io import StringIO

MAX_PIECE = 64 * 4096
"""The characters that one search of ``mark`` passes at most, because a search holds the interpreter lock."""

# The start of an escape of a surrogate, or a piece of text without one. A backslash may be escaped itself.
_ESCAPE_OR_PIECE = re.compile(r"((?:[^\\]{1,4096}|\\(?!u[dD][89a-fA-F][0-9a-fA-F]{2}).?){1,64})|\\u", re.DOTALL)
_PRIVATE_USE = [chr(code) for code in range(0xE000, 0xF900)]


def mark(text: str) -> tuple[str, str | None]:
    """Replace the two characters that begin an escape of a surrogate by a marker.

    Only libyaml knows which of them are in double quotes. A marker has two characters, too, so that positions stay
    correct. It is returned beside the text; None if there is none.
    """
    if "\\ud" not in text and "\\uD" not in text:
        return text, None
    # The marker is random, so that no client can send it.
    while (marker := secrets.choice(_PRIVATE_USE) + secrets.choice(_PRIVATE_USE)) in text:
        pass
    marked = StringIO()
    for found in _ESCAPE_OR_PIECE.finditer(text):
        marked.write(found[1] or marker)
    return marked.getvalue(), marker


def decode(text: str, marker: str) -> str:
    """Return the text of a scalar in double quotes, whose escapes are marked.

    Raises:
        UnicodeDecodeError: for a lone surrogate.
    """
    # Runs have whole pairs, and are short because decoding holds the interpreter lock. A pattern that starts with a
    # group would hold it for 80 ms in 4 MiB without markers.
    unit = f"{marker}[0-9a-fA-F]{{4}}"
    decoded, end = StringIO(), 0
    for found in re.finditer(f"{unit}(?:{unit}){{0,255}}", text):
        decoded.write(text[end : found.start()])
        decoded.write(_decode_run(found[0], marker))
        end = found.end()
    decoded.write(text[end:])
    return decoded.getvalue()


def _decode_run(run: str, marker: str) -> str:
    units = run.replace(marker, r"\u").encode("ascii").decode("unicode_escape")
    return units.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
