"""Formats an event as a line of ASCII JSON that is short enough for one atomic write to a pipe."""

from base64 import b64encode
from collections.abc import Mapping
from json import JSONEncoder
from typing import Any, Final

# PIPE_BUF: a write of at most this size to a pipe is atomic.
# Source: https://man7.org/linux/man-pages/man7/pipe.7.html
PIPE_BYTES: Final = 4096
# The longest key in S3.
KEY_BYTES: Final = 1024

encode = JSONEncoder(separators=(",", ":")).encode


def truncate(fields: Mapping[str, Any]) -> str:
    """Return the line of an event: at most PIPE_BYTES, and without surrogates, which strict JSON parsers refuse."""
    line = f"{encode(fields)}\n"
    if len(line) <= PIPE_BYTES and "\\ud" not in line:
        return line
    fields = {name: _escape_surrogates(value) for name, value in fields.items()}
    line = f"{encode(fields)}\n"
    return line if len(line) <= PIPE_BYTES else f"{encode(_shorten_fields(fields))}\n"


def shorten(text: str, characters: int) -> str:
    """Return the text if it takes at most ``characters`` in a line, else its beginning and an ellipsis."""
    if len(encode(text)) <= characters:
        return text
    text = text[:characters]
    while len(encode(text)) > characters:
        text = text[: len(text) // 2]
    return f"{text}..."


def _escape_surrogates(value: Any) -> Any:
    if isinstance(value, list):
        return [_escape_surrogates(entry) for entry in value]
    return value.encode(errors="backslashreplace").decode() if isinstance(value, str) else value


def _shorten_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Write the key in base64, up to its longest valid length, and cut the other fields, the longest first.

    The field ``cut`` lists the names of the cut fields.
    """
    shown = dict(fields)
    cut = shown["cut"] = [name for name, value in fields.items() if isinstance(value, str) and len(value) > PIPE_BYTES]
    for name in cut:
        shown[name] = shown[name][:PIPE_BYTES]
    if "key" in shown:
        key = shown.pop("key").encode()
        if len(key) > KEY_BYTES and "key" not in cut:
            cut.append("key")
        shown["key_base64"] = b64encode(key[:KEY_BYTES]).decode()
    # Lists may contain names from a hash that an operator has edited in Redis, of any number and length.
    texts = [
        name for name, value in shown.items() if isinstance(value, str | list) and name not in {"key_base64", "cut"}
    ]
    while len(encode(shown)) >= PIPE_BYTES:
        longest = max(texts, key=lambda name: len(encode(shown[name])))
        shown[longest] = shown[longest][: len(shown[longest]) // 2]
        cut += [longest] if longest not in cut else []
    return shown
