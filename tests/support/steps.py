"""How often a function lets other threads run."""

import sys
from typing import NamedTuple


class Steps(NamedTuple):
    result: object
    lines: int
    """The lines of the service that ran. In between, the interpreter can give its lock to another thread.

    Lines of libraries do not count: how many run may depend on chance, as in ``secrets.choice``.
    """


def steps_of(function, *args):
    lines = 0

    def trace(frame, event, _argument):
        nonlocal lines
        if not frame.f_globals["__name__"].startswith("service."):
            return None
        lines += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        result = function(*args)
    finally:
        sys.settrace(before)
    return Steps(result, lines)
