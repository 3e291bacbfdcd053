"""Limits of bodies in any format: encoding, depth, number of nodes. Knows no grammar."""

import codecs
import json

from service import json_text
from service.errors import MalformedBody

MAX_DEPTH = json_text.MAX_DEPTH
MAX_NODES = 20_000  # Keys, values and collections count.

# Reading this many bytes takes 13 ms at worst (a flow sequence of `a: ,`). A larger body must be read in a thread,
# where both readers release the interpreter lock often enough for the event loop.
LARGE_BODY = 8 * 1024

_SHOWN_KEY = 64

TOO_DEEP = f"nesting deeper than {MAX_DEPTH}"
TOO_MANY = f"more than {MAX_NODES} nodes"
NO_OBJECT = "the top level is not an object"
NO_LIST = "the top level is not a list"
EMPTY = "it is empty"
LONE_SURROGATE = "a lone surrogate"


def decode(body: bytes) -> str:
    """Return the text of a body without its byte order mark. Raises MalformedBody for invalid UTF-8."""
    body = body.removeprefix(codecs.BOM_UTF8)
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise MalformedBody("invalid UTF-8", *position(body[: error.start])) from None


def position(before: bytes) -> tuple[int, int]:
    """Return the line and column behind ``before``, in characters from 1. A line ends with CR, LF or both."""
    lines = before.count(b"\n") + before.count(b"\r") - before.count(b"\r\n") + 1
    start = max(before.rfind(b"\n"), before.rfind(b"\r")) + 1
    return lines, len(before[start:].decode(errors="replace")) + 1


def duplicate(key: str) -> str:
    """Return the problem for a duplicate key. The key is shown in ASCII, because it may contain a lone surrogate."""
    return f"duplicate key {json.dumps(key[:_SHOWN_KEY])}"
