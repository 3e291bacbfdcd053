"""An event as a line of JSON that is ASCII, and short enough to go into a pipe in one piece. Pure."""

from base64 import b64encode
from collections.abc import Mapping
from json import JSONEncoder
from typing import Any, Final

# How much goes into a pipe in one piece, whoever else writes there.
# Source: https://man7.org/linux/man-pages/man7/pipe.7.html
PIPE_BYTES: Final = 4096
# No key in S3 is longer.
KEY_BYTES: Final = 1024

encoded = JSONEncoder(separators=(",", ":")).encode


def truncate(fields: Mapping[str, Any]) -> str:
    """The line of an event, not longer than PIPE_BYTES, and with nothing in it that a strict reader refuses."""
    line = f"{encoded(fields)}\n"
    if len(line) <= PIPE_BYTES and "\\ud" not in line:
        return line
    fields = {name: _unicode(value) for name, value in fields.items()}
    line = f"{encoded(fields)}\n"
    return line if len(line) <= PIPE_BYTES else f"{encoded(_cut(fields))}\n"


def shorten(text: str, characters: int) -> str:
    """The text if it takes at most ``characters`` in a line, else its beginning and an ellipsis."""
    if len(encoded(text)) <= characters:
        return text
    text = text[:characters]
    while len(encoded(text)) > characters:
        text = text[: len(text) // 2]
    return f"{text}..."


def _unicode(value: Any) -> Any:
    # Half of a surrogate pair is no character: some readers would drop the line, and the event with it.
    if isinstance(value, list):
        return [_unicode(entry) for entry in value]
    return value.encode(errors="backslashreplace").decode() if isinstance(value, str) else value


def _cut(fields: Mapping[str, Any]) -> dict[str, Any]:
    """What fits: a key that S3 can hold is there in full, in base64; others are cut, the longest first."""
    shown = dict(fields)
    cut = shown["cut"] = [name for name, value in fields.items() if isinstance(value, str) and len(value) > PIPE_BYTES]
    for name in cut:
        shown[name] = shown[name][:PIPE_BYTES]
    if "key" in shown:
        key = shown.pop("key").encode()
        if len(key) > KEY_BYTES and "key" not in cut:
            cut.append("key")
        shown["key_base64"] = b64encode(key[:KEY_BYTES]).decode()
    # A list may be of names that an operator has written into Redis, of any number and length.
    texts = [
        name for name, value in shown.items() if isinstance(value, str | list) and name not in {"key_base64", "cut"}
    ]
    while len(encoded(shown)) >= PIPE_BYTES:
        longest = max(texts, key=lambda name: len(encoded(shown[name])))
        shown[longest] = shown[longest][: len(shown[longest]) // 2]
        cut += [longest] if longest not in cut else []
    return shown
