"""Results as a table, on a terminal or as a page with a plot."""

import os
import platform
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks import chart, cores, load, servers
from benchmarks.contest import Result
from benchmarks.servers import ROOT

PAGE = ROOT / "docs" / "benchmarks.md"
PLOT = PAGE.with_suffix(".svg")
HEADER = ("what", "beside it", "ours", "beside", "figure", "target", "")
PACKAGES = (
    *("aiohttp", "uvloop", "redis", "hiredis", "aiobotocore", "botocore"),
    *("boto3", "minio", "fastapi", "uvicorn", "httptools"),
)

INTRODUCTION = """\
# Benchmarks

Made by `make bench`, or `python -m benchmarks`; not written by hand.

Absolute figures depend on the machine, so each figure is compared with one measured in the same run. Both sides run
in turns of a fifth of a second under load, because the speed of a shared machine changes from second to second. If a
figure is near its target, both sides are started several times. The table shows medians over the starts.

CPU is the user and system time of the server's processes, divided by the number of requests. wrk sends the requests
over 32 connections. The connections are kept alive and the service has default settings, unless a row says otherwise.
Before the measurement, each signed URL is compared with aiobotocore's. Any answer other than 2xx fails the run.

The bare handler is a handler in an aiohttp application with one middleware. It gets the same requests as the service,
on a route with the same variables. It answers a constant of the same size, with the same number of headers. Until
November 2026 it answered `/`, which takes aiohttp about 9 % less.

wrk cannot send requests over unix sockets, so a generator of our own (benchmarks/steady.py) loads both sides of that
row.

The longest hold of the event loop is the duration of the slowest small request beside a large one. The small requests
are sent one after another over a separate connection. The duration without the large request is shown beside it.

With four or more cores, two workers have a core each. On fewer cores they run in turns as well. Without turns, the
figure would mostly measure cold caches: two bare handlers on one core take 13 to 20 % more CPU than one.

hey measures p50 and p99, at 70 % of the peak that wrk has found just before. The workers of hey send at the same time,
so an answer waits for others; a bare handler shows about the same ratio.

Beside hostile clients, hey holds a fixed rate over 8 connections. Halves of 400 bodies have arrived by then. Eight more
connections send forms of 8 KiB that take long to read, one after another.
"""


def line(result: Result) -> str:
    """One row for a terminal."""
    row = result.row
    return f"{row.name:16} {result.note or _figures(result)}  {verdict(result)}".rstrip()


def write(results: Sequence[Result], seconds: float, setting: str) -> None:
    """The page and its plot."""
    PLOT.write_text(chart.svg([result for result in results if result.measured]), encoding="utf-8")
    PAGE.write_text(page(results, seconds, setting), encoding="utf-8")


def page(results: Sequence[Result], seconds: float, setting: str) -> str:
    return "\n".join(
        [
            INTRODUCTION,
            *(_table_row(cells) for cells in (HEADER, ("---",) * len(HEADER), *map(_cells, results))),
            "",
            f"![How much of its target each row takes]({PLOT.name})",
            "",
            f"Measured on {datetime.now(UTC):%Y-%m-%d} in {seconds:.0f} s, on {setting}.",
            f"{', '.join(_versions())}.",
            "",
        ]
    )


def verdict(result: Result) -> str:
    if result.failed:
        return "FAILED"
    if not result.measured:
        return ""
    return "MISSED" if result.missed else "ok"


def machine() -> str:
    """What the figures depend on, and how busy it is before the run."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    models = [text.partition(": ")[2] for text in lines if text.startswith("model name")]
    cpu = f"{os.cpu_count()} cores of {models[0] if models else platform.machine()}"
    return f"{cpu}, {platform.system()}, load average {os.getloadavg()[0]:.1f} before; {cores.documented()}"


def _versions() -> Iterator[str]:
    yield f"Python {platform.python_version()}"
    for name in PACKAGES:
        # Not all peers need be installed.
        with suppress(PackageNotFoundError):
            yield f"{name} {version(name)}"
    yield servers.redis_version()
    yield load.wrk_version()


def _figures(result: Result) -> str:
    _, _, ours, beside, figure, target, _ = _cells(result)
    return f"{ours:>12} {beside:>12} {figure:>12}   target {target:12}"


def _cells(result: Result) -> tuple[str, ...]:
    row = result.row
    what = (row.what, row.against)
    if not result.measured:
        return (*what, "", "", "", str(row.target), f"{verdict(result)} {result.note.splitlines()[-1]}".strip())
    ours, beside = (_amount(amount, row.unit) for amount in (result.ours, result.beside))
    return (*what, ours, beside, row.target.written(result.figure), str(row.target), verdict(result))


def _amount(amount: float, unit: str) -> str:
    digits = max(0, 3 - len(str(int(amount))))
    return f"{amount:,.{digits}f} {unit}"


def _table_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"
