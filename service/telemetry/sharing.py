"""Where metrics are kept: in this process, or in files from which any worker process can tell the sum."""

import os
from pathlib import Path

from prometheus_client import CollectorRegistry, values
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"


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
    # It is called at each change of a value, and a lambda would take a quarter of that time.
    values.ValueClass = values.MultiProcessValue(worker.__index__)  # type: ignore[no-untyped-call]


def forget(directory: Path, worker: int) -> None:
    """Drop what is true of living workers alone; what the dead one has counted stays."""
    mark_process_dead(worker, str(directory))  # type: ignore[no-untyped-call]


def source(own: CollectorRegistry) -> CollectorRegistry:
    """The registry to show: ``own``, or one that sums over all workers."""
    if values.ValueClass is OwnValue:
        return own
    summed = CollectorRegistry()
    MultiProcessCollector(summed)  # type: ignore[no-untyped-call]
    return summed
