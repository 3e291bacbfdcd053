"""Where metrics are kept: in this process, or in files from which any worker process can tell the sum."""

import asyncio
import os
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, values
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

# What a worker has counted is told by the others so much later, and lost if it is killed meanwhile.
BEHIND_SECONDS = 0.1

_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"


_counted: set[Any] = set()
"""What counts, and is not in its file yet."""


class OwnValue(values.MutexValue):
    """A number that only this process' event loop counts, and so without a lock."""

    def inc(self, amount: float) -> None:
        self._value += amount


# The variable may be there for another program, and must not make a process that runs alone write files.
values.ValueClass = OwnValue


def share(directory: Path, worker: int) -> None:
    """Keep all metrics that are declared from now on in ``directory``, beside those of the other workers.

    Files are named by ``worker``, not by process id: another process in a dead one's place counts on where that ended,
    and a crash loop leaves no trail of files.
    """
    os.environ[_VARIABLE] = str(directory)
    kept: Any = values.MultiProcessValue(worker.__index__)  # type: ignore[no-untyped-call]

    class SharedValue(kept):  # type: ignore[misc] # the library makes the class at run time
        """A number that goes into its file a moment later: a write takes ten times as long as counting."""

        def inc(self, amount: float) -> None:
            self._value += amount
            is_first = not _counted
            _counted.add(self)
            if is_first:
                _write_soon()

    values.ValueClass = SharedValue


def _write_soon() -> None:
    try:
        asyncio.get_running_loop().call_later(BEHIND_SECONDS, flush)
    except RuntimeError:
        # There is no loop yet, or none any more.
        flush()


def flush() -> None:
    """Put into files what was counted, as who ends must."""
    for value in _counted:
        value.set(value.get())
    _counted.clear()


def forget(directory: Path, worker: int) -> None:
    """Drop what is true of living workers alone; what the dead one has counted stays."""
    mark_process_dead(worker, str(directory))  # type: ignore[no-untyped-call]


def source(own: CollectorRegistry) -> CollectorRegistry:
    """The registry to show: ``own``, or one that sums over all workers."""
    if values.ValueClass is OwnValue:
        return own
    flush()
    summed = CollectorRegistry()
    MultiProcessCollector(summed)  # type: ignore[no-untyped-call]
    return summed
