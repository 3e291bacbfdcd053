"""How often a function lets other threads run."""

import sys
from typing import NamedTuple


class Steps(NamedTuple):
    result: object
    lines: int
    """The lines of Python that ran. In between, the interpreter can give its lock to another thread."""


def steps_of(function, *args):
    lines = 0

    def trace(_frame, event, _argument):
        nonlocal lines
        lines += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        result = function(*args)
    finally:
        sys.settrace(before)
    return Steps(result, lines)
