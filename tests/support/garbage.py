"""What stays in memory until a collection."""

import gc
from contextlib import contextmanager
from types import TracebackType


@contextmanager
def no_tracebacks_in_cycles():
    """Fail if a traceback is garbage in a cycle at the end: it keeps frames, and so whole requests."""
    gc.collect()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        yield
        gc.collect()
        found = [each.tb_frame for each in gc.garbage if isinstance(each, TracebackType)]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
    assert not found
