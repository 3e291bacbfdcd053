"""What ten replicas and 100,000 requests a second take, reckoned from measured figures: ``make docs``.

Reads docs/benchmarks.md and the parts in docs/reliability.md, and writes its table into docs/reliability.md.
"""

import re

from benchmarks import markers, report
from service.settings import load
from service.stores.health import PROBE_INTERVAL_SECONDS
from service.stores.server import PROBE_KEYS
from service.stores.shard import CONNECTIONS
from service.stores.topology import CHECK_SECONDS
from service.stores.tracking_connection import HEARTBEAT_SECONDS

REPLICAS, WORKERS, REQUESTS, CHANGES, PRIMARIES = 10, 3, 100_000, 100, 3
PROCESSES = REPLICAS * WORKERS
# Besides those for calls: one for probes, one for tracking.
MORE_CONNECTIONS = 2
# The names of the figures. benchmarks.scale writes the first four.
READ = f"CPU of Redis for one read, with {PROCESSES} reads at a time"
CHANGE = "CPU of Redis for one change with its read and its update of the index, without trackers"
TRACKED = f"the same with {PROCESSES} trackers"
INVALIDATION = "bytes of invalidations for one change, to one tracker"
SIGNED = "CPU per signed GET, 2 worker processes"
OPEN = "CPU per signed GET, embedded store"
POLICY = "CPU per signed GET, embedded store, Bearer token and a matcho policy"
MISSES = "the same with a cache of 10,000, 90 % misses"
SECOND = 1e6
"""In µs."""


def table() -> str:
    """Return the rows: what, how it is reckoned, and the figure."""
    read, change, tracked, invalidation = (_part(name) for name in (READ, CHANGE, TRACKED, INVALIDATION))
    signed, misses = _benchmark(SIGNED), _benchmark(MISSES)
    policy = _benchmark(POLICY) - _benchmark(OPEN)
    size, seconds = load({}).cache_size, load({}).cache_ttl
    connections = CONNECTIONS + MORE_CONNECTIONS
    refreshed = PROCESSES * size / seconds
    invalidations = max(tracked - change, 0)
    worst = REQUESTS * read / SECOND
    # A heartbeat of tracking, two questions for the layout of a Cluster, and the commands of a probe and of its new
    # connection.
    idle = PROCESSES * (1 / HEARTBEAT_SECONDS + 2 / CHECK_SECONDS + (PROBE_KEYS + 5) / PROBE_INTERVAL_SECONDS)
    rows = [
        ("CPU of the service", _product(REQUESTS, f"{signed:.0f} µs"), _cores(REQUESTS * signed / SECOND)),
        (
            "the same with a token and a policy",
            _product(REQUESTS, f"({signed:.0f} µs + {policy:.0f} µs)"),
            _cores(REQUESTS * (signed + policy) / SECOND),
        ),
        (
            "the same without them, if 90 % of the accounts are not in the cache",
            f"{REQUESTS:,} in all, {misses:,.0f} from one busy process",
            _cores(REQUESTS / misses),
        ),
        (
            "connections to one Redis",
            _product(PROCESSES, f"({CONNECTIONS} for calls + 1 for probes + 1 for tracking)"),
            f"{PROCESSES * connections:,}",
        ),
        (
            "connections to one primary of a Cluster",
            f"the same, and {PROCESSES} to ask for the layout",
            f"{PROCESSES * (connections + 1):,}",
        ),
        ("connections to one Sentinel", "one of each process", f"{PROCESSES}"),
        (
            "reads, if all accounts are in the caches",
            f"{_product(PROCESSES, size)} accounts in {seconds:.0f} s, each {read:.1f} µs",
            f"{refreshed:,.0f} a second, {_share(refreshed * read)}",
        ),
        (
            "reads, if no account is in a cache",
            _product(REQUESTS, f"{read:.1f} µs"),
            f"{worst:.1f} cores of Redis, {_percent(worst / PRIMARIES)} of each of {PRIMARIES} primaries",
        ),
        (
            "reads after a failover",
            f"{_product(PROCESSES, size)} accounts, each {read:.1f} µs",
            f"{PROCESSES * size:,}, {PROCESSES * size * read / SECOND:.1f} s of a core of Redis",
        ),
        (f"{CHANGES} changes a second", _product(CHANGES, f"{change:.1f} µs"), _share(CHANGES * change)),
        (
            "their invalidations",
            _product(CHANGES, f"({tracked:.1f} µs - {change:.1f} µs)"),
            f"{_share(CHANGES * invalidations)}, {CHANGES * PROCESSES * invalidation / 1000:.0f} kB a second",
        ),
        (
            "reads after them",
            _product(CHANGES, PROCESSES, f"{read:.1f} µs"),
            f"{CHANGES * PROCESSES:,} a second, {_share(CHANGES * PROCESSES * read)}",
        ),
        (
            "probes, heartbeats and questions for the layout",
            f"{idle:.0f} commands a second, each {read:.1f} µs",
            _share(idle * read),
        ),
    ]
    head = markers.row(["what", "reckoned", "figure"]) + markers.row(["---"] * 3)
    return head + "".join(markers.row([*row]) for row in rows)


def write() -> None:
    markers.write("reckoning", table())


def _cores(count: float) -> str:
    return f"{count:.1f} cores, {_percent(count / PROCESSES)} of {PROCESSES} processes"


def _share(microseconds: float) -> str:
    return f"{100 * microseconds / SECOND:.1f} % of a core of Redis"


def _percent(part: float) -> str:
    return f"{100 * part:.0f} %"


def _product(*factors: int | str) -> str:
    texts = [factor if isinstance(factor, str) else f"{factor:,}" for factor in factors]
    return " × ".join(texts)  # noqa: RUF001 - the sign it should be


def _part(name: str) -> float:
    return _number(re.search(rf"^\| {re.escape(name)} \| (.+) \|$", markers.part("parts"), re.MULTILINE), name)


def _benchmark(name: str) -> float:
    page = report.PAGE.read_text(encoding="utf-8")
    return _number(re.search(rf"^\| {re.escape(name)} \| [^|]+ \| ([^|]+) \|", page, re.MULTILINE), name)


def _number(found: re.Match[str] | None, name: str) -> float:
    if found is None:
        raise ValueError(f"There is no figure of: {name}")
    return float(found[1].split()[0].replace(",", ""))


if __name__ == "__main__":
    write()
