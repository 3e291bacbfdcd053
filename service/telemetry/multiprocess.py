"""Metrics of several worker processes, by prometheus_client's multiprocess mode: one set of files for each process id.

The library chooses its mode when it is imported, so `enable` and `disable` run before any import of it.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"


def enable(directory: Path) -> None:
    """Write the metrics of this process and of its children to ``directory``."""
    os.environ[VARIABLE] = str(directory)


def disable() -> None:
    """Keep metrics in memory, even if the environment of another program names a directory."""
    for name in (VARIABLE, VARIABLE.lower()):
        os.environ.pop(name, None)


def ignore_blank() -> None:
    """Treat an empty variable as a missing one. The library would write to the working directory."""
    if not any(os.environ.get(name, "").strip() for name in (VARIABLE, VARIABLE.lower())):
        disable()


def take_over(directory: Path, predecessor: int) -> None:
    """Continue the counts of the dead process ``predecessor``; call it before this process declares a metric.

    Without this, each restart of a worker would add files to the directory and time to each scrape.
    """
    for file in directory.glob(f"*_{predecessor}.db"):
        kind = file.name.removesuffix(f"_{predecessor}.db")
        file.rename(directory / f"{kind}_{os.getpid()}.db")


def mark_dead(directory: Path, pid: int) -> None:
    """Remove the gauges of a dead process, such as its share of the number of processes. Its counts stay."""
    from prometheus_client.multiprocess import mark_process_dead  # noqa: PLC0415 - see the module's docstring

    mark_process_dead(pid, str(directory))  # type: ignore[no-untyped-call]


def all_processes(own: "CollectorRegistry") -> "CollectorRegistry":
    """Return a registry with the sums over all processes; ``own`` if this process is the only one."""
    if VARIABLE not in os.environ:
        return own
    from prometheus_client import CollectorRegistry  # noqa: PLC0415
    from prometheus_client.multiprocess import MultiProcessCollector  # noqa: PLC0415

    summed = CollectorRegistry()
    MultiProcessCollector(summed)  # type: ignore[no-untyped-call]
    return summed


def process_ids() -> list[str]:
    """Return the ids of the processes that have set a gauge and are not marked as dead."""
    files = Path(os.environ[VARIABLE]).glob("gauge_livesum_*.db")
    return sorted(file.stem.removeprefix("gauge_livesum_") for file in files)
