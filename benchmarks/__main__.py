"""The command line: all rows, which also writes docs/benchmarks.md, or one of them."""

import argparse
import compileall
import signal
import sys
import time
from collections.abc import Sequence

from benchmarks import cores, crowd, load, reckoning, report, servers
from benchmarks.contest import Result, Row, hold
from benchmarks.rows import ROWS


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", nargs="?", choices=[row.name for row in ROWS], help="the row to measure; all without")
    name = parser.parse_args(arguments).name
    try:
        prepare()
        setting = report.machine()
    except load.LoadError as error:
        sys.stderr.write(f"benchmarks: {error}\n")
        return 2
    print(setting, flush=True)
    started = time.monotonic()
    with crowd.SHARED:
        results = _measure([row for row in ROWS if name in {None, row.name}])
    if name is None:
        report.write(results, time.monotonic() - started, setting)
        reckoning.write()
        print(f"{report.PAGE} is written, after {time.monotonic() - started:.0f} s")
    return int(any(result.missed for result in results))


def prepare() -> None:
    if not cores.CORES:
        raise load.LoadError("CPU time is read from /proc, so this runs on Linux alone")
    load.require()
    # The service is measured as it is installed, which pip does with bytecode.
    compileall.compile_dir(servers.ROOT / "service", quiet=1)
    # Servers are ended by context managers, which SIGTERM would not leave.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))


def _measure(rows: Sequence[Row]) -> list[Result]:
    results = []
    for row in rows:
        results.append(hold(row))
        print(report.line(results[-1]), flush=True)
    return results


if __name__ == "__main__":
    sys.exit(main())
