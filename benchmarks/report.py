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
HEADER = ("what", "beside it", "ours", "beside", "figure", "bar", "")
PACKAGES = (
    *("aiohttp", "uvloop", "redis", "hiredis", "aiobotocore", "botocore"),
    *("boto3", "minio", "fastapi", "uvicorn", "httptools"),
)

INTRODUCTION = """\
# Benchmarks

Made by `make bench`, or `python -m benchmarks`; not written by hand.

Absolute figures move with the machine, so each is compared with something that is measured beside it in the same run,
in turns: of a fifth of a second where both sides are under load, as a machine that is shared changes its pace from
second to second. Where a bar is near, both sides are started three or five times, and what is shown are medians over
the starts: of ours, of what is beside it, and of the figure that each start makes of the two.

CPU is the user and system time of the server's processes over the requests that they served, loaded by wrk over 32
connections that are kept alive. The service runs as it ships, with default settings but where a row says otherwise.
What is signed is compared with aiobotocore's before the clock starts, and any answer but 2xx fails the run.

Two workers have a core each where there are four. Where they share one, they take turns as well: left to the scheduler,
they would measure how fast the core's caches are filled again, 250 times a second. Two bare handlers of aiohttp that
share one core, with 16 connections each, take 13 to 20 % more CPU than one with 32, and our two workers took as much.

p50 and p99 are hey's, at 70 % of the peak that wrk has found just before. Its workers beat in step, so that an answer
waits for those of the same beat; a bare handler, measured alike, gives about the same multiple.
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
            f"![How much of its bar each row takes]({PLOT.name})",
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
    if result.row.awaits:
        return f"not judged before {result.row.awaits}"
    return "MISSED" if result.missed else "ok"


def machine() -> str:
    """What the figures depend on, and how busy it is before the run."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    models = [text.partition(": ")[2] for text in lines if text.startswith("model name")]
    cpu = f"{os.cpu_count()} cores of {models[0] if models else platform.machine()}"
    return f"{cpu}, {platform.system()}, load average {os.getloadavg()[0]:.1f} before; {cores.described()}"


def _versions() -> Iterator[str]:
    yield f"Python {platform.python_version()}"
    for name in PACKAGES:
        # Not all peers need be installed.
        with suppress(PackageNotFoundError):
            yield f"{name} {version(name)}"
    yield servers.redis_version()
    yield load.wrk_version()


def _figures(result: Result) -> str:
    _, _, ours, beside, figure, bar, _ = _cells(result)
    return f"{ours:>12} {beside:>12} {figure:>12}   bar {bar:12}"


def _cells(result: Result) -> tuple[str, ...]:
    row = result.row
    what = (row.what, row.against)
    if not result.measured:
        return (*what, "", "", "", str(row.bar), f"{verdict(result)} {result.note.splitlines()[-1]}".strip())
    ours, beside = (_amount(amount, row.unit) for amount in (result.ours, result.beside))
    return (*what, ours, beside, row.bar.written(result.figure), str(row.bar), verdict(result))


def _amount(amount: float, unit: str) -> str:
    digits = max(0, 3 - len(str(int(amount))))
    return f"{amount:,.{digits}f} {unit}"


def _table_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"
