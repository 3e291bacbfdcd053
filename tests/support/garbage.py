"""What stays in memory until a collection."""

import gc
import weakref
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from aiohttp import web

import service
from service.errors import ServiceError
from support.waiting import PerTurn

SERVICE = Path(service.__file__).parent


@contextmanager
def no_errors_in_cycles():
    """Fail if an error of the service is garbage in a cycle at the end, or a traceback that keeps its frames."""
    gc.collect()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        yield
        gc.collect()
        found = [each for each in gc.garbage if isinstance(each, ServiceError | web.HTTPException) or _is_ours(each)]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
    assert not found


def _is_ours(each):
    # Python 3.12 and later leave tracebacks of asyncio itself.
    return isinstance(each, TracebackType) and Path(each.tb_frame.f_code.co_filename).is_relative_to(SERVICE)


class Frees(PerTurn):
    """Counts objects that are freed."""

    def watch(self, objects):
        for each in objects:
            weakref.finalize(each, self.count)
