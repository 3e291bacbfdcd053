"""What any body may be, whatever its format: UTF-8, so deep, so many nodes. Knows no grammar."""

import codecs
import json

from service import json_text
from service.errors import MalformedBody

MAX_DEPTH = json_text.MAX_DEPTH
MAX_NODES = 20_000  # Every key, every value, every collection is one.

# InFlightRead up to here takes 13 ms at worst (a flow sequence of `a: ,` from end to end); anything larger belongs in
# an executor, where both readers let go of the interpreter lock often enough for a loop to tick.
LARGE_BODY = 8 * 1024

_SHOWN_KEY = 64

TOO_DEEP = f"nesting deeper than {MAX_DEPTH}"
TOO_MANY = f"more than {MAX_NODES} nodes"
NO_OBJECT = "the top level is not an object"
EMPTY = "it is empty"
LONE_SURROGATE = "a lone surrogate"


def decode(body: bytes) -> str:
    """The text of a body, without a byte order mark."""
    body = body.removeprefix(codecs.BOM_UTF8)
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise MalformedBody("invalid UTF-8", *position(body[: error.start])) from None


def position(before: bytes) -> tuple[int, int]:
    """Line and column, in characters from 1, of what follows ``before``; a line ends with CR, LF or both."""
    before = before.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    line = before.rpartition(b"\n")[2]
    return before.count(b"\n") + 1, len(line.decode(errors="replace")) + 1


def duplicate(key: str) -> str:
    """Tell of a key that is there twice. It is shown in ASCII, for it may hold a lone surrogate."""
    return f"duplicate key {json.dumps(key[:_SHOWN_KEY])}"
