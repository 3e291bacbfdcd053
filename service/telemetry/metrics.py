"""Declarations of all metrics: name, kind, meaning, labels and buckets."""

import platform
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Final, Generic, TypeVar

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client import exposition as prometheus
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

import service
from service.telemetry import multiprocess

M = TypeVar("M", bound=Counter | Gauge | Histogram)

# A signature takes 0.1 ms, a call to Redis 0.5 ms, an outage at most 1 s. Each bucket is a series per route and status.
BUCKETS_SECONDS: Final = (0.0005, 0.001, 0.0025, 0.01, 0.05, 0.25, 1, 5)

# Other methods share one label value, so clients cannot add series.
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
OTHER_METHOD: Final = "other"
UNMATCHED: Final = "unmatched"

# A scrape that renamed files interrupt is repeated so many times. All workers may restart together.
MAX_RENAMES: Final = 20

_registry = CollectorRegistry()
ProcessCollector(registry=_registry)
# Timestamps of creation would double the number of series, and multiprocess mode has none.
disable_created_metrics()  # type: ignore[no-untyped-call]


class Family(dict[tuple[object, ...], M], Generic[M]):
    """The children of one metric by their label values: ``REQUESTS["/live", "GET", 200]``.

    Children are kept because ``labels()`` takes a lock and twice the time of ``inc()``.
    """

    def __init__(
        self, metric: type[M], name: str, meaning: str, labels: Mapping[str, str] | None = None, **options: Any
    ) -> None:
        super().__init__()
        self.name = name
        self.kind = metric.__name__.lower()
        self.meaning = meaning
        self.labels = labels or {}
        self._parent: Any = metric(name, meaning, tuple(self.labels), registry=_registry, **options)
        TABLE.append(self)

    def __missing__(self, values: tuple[object, ...]) -> M:
        child: M = self._parent.labels(*values) if values else self._parent
        self[values] = child
        return child


TABLE: list[Family[Any]] = []
"""All metrics, in the order of the reference page."""

REQUESTS = Family(
    Histogram,
    "s3_signer_request_duration_seconds",
    "Duration of requests; its `_count` is their number.",
    {
        "route": f"the route's pattern, such as `/AwsAccount/{{id}}`; `{UNMATCHED}` for an unknown path",
        "method": f"the HTTP method; `{OTHER_METHOD}` for an uncommon one",
        "status": "the HTTP status",
    },
    buckets=BUCKETS_SECONDS,
)
IN_FLIGHT = Family(
    Gauge,
    "s3_signer_requests_in_flight",
    "Requests in progress, with the one that reads the metrics. Other processes report theirs each second.",
    multiprocess_mode="livesum",
)[()]
SIGNED = Family(Counter, "s3_signer_urls_signed_total", "URLs signed.", {"operation": "such as `get_object`"})
AUDIT_EVENTS = Family(
    Counter,
    "s3_signer_audit_events_total",
    "Events written to the audit log.",
    {"event": "`signed`, `denied` or `changed`"},
)
AUDIT_PENDING = Family(
    Gauge,
    "s3_signer_audit_pending_events",
    "Events that the last write to the audit log left over. If one is left for a second, signing stops.",
    multiprocess_mode="livesum",
)[()]
LOGINS_THROTTLED = Family(
    Counter, "s3_signer_logins_throttled_total", "Logins that were refused after too many wrong secrets."
)[()]
CACHE_HITS = Family(Counter, "s3_signer_cache_hits_total", "Cache hits. A request makes one lookup or more.")[()]
CACHE_MISSES = Family(Counter, "s3_signer_cache_misses_total", "Cache misses.")[()]
CACHE_STALE_HITS = Family(
    Counter, "s3_signer_cache_stale_hits_total", "Cache misses that a stale entry answered, because Redis failed."
)[()]
CACHE_INVALIDATIONS = Family(
    Counter,
    "s3_signer_cache_invalidations_total",
    "Cache entries dropped because of a change, or of an attempt at a change.",
)[()]
CACHE_LIVE = Family(
    Gauge,
    "s3_signer_cache_live",
    "1 while the cache of every process receives invalidations; 0 while a process bypasses its cache or has none.",
    multiprocess_mode="livemin",
)[()]
STORE_CALLS = Family(
    Histogram,
    "s3_signer_store_call_duration_seconds",
    "Duration of calls to Redis, with their retries.",
    {"call": "a command of Redis, such as `hgetall`, or the purpose of several, such as `compare_and_set`"},
    buckets=BUCKETS_SECONDS,
)
STORE_ERRORS = Family(
    Counter,
    "s3_signer_store_errors_total",
    "Calls to Redis that failed.",
    {"call": "as above", "reason": "`unreachable`, or `refused` by Redis itself"},
)
JWKS_READ = Family(
    Gauge,
    "s3_signer_jwks_last_read_timestamp_seconds",
    "Unix time of the last successful read of the JWK set; at first the time of the start, and 0 without JWTs.",
    multiprocess_mode="livemin",
)[()]
MOUNTED_FILE_CURRENT = Family(
    Gauge,
    "s3_signer_mounted_file_current",
    "1 while every process uses the newest contents of a file; 0 while one keeps earlier ones, or has none.",
    {"setting": "the setting that names the file, such as `SIGNER_INIT_BUNDLE`"},
    multiprocess_mode="livemin",
)
MOUNTED_FILE_CHANGES = Family(
    Counter,
    "s3_signer_mounted_file_changes_total",
    "New contents of such files. Every process counts them.",
    {"setting": "as above", "outcome": "`used`, or `refused` because they are not valid"},
)
WORKER_RESTARTS = Family(
    Counter,
    "s3_signer_worker_restarts_total",
    "Worker processes that replaced another.",
    {"reason": "the other worker `exited`, or was killed as `unresponsive` after ten seconds (a minute at its start)"},
)
PROCESSES = Family(Gauge, "s3_signer_processes", "Processes that serve requests.", multiprocess_mode="livesum")[()]
BUILD = Family(
    Gauge,
    "s3_signer_build_info",
    "Always 1; the labels describe the build.",
    {"version": "version of s3-signer", "commit": "`SIGNER_COMMIT`", "python": "version of Python"},
    multiprocess_mode="max",
)


def describe(commit: str) -> None:
    """Set the gauges that describe this process."""
    BUILD[service.__version__, commit or "unknown", platform.python_version()].set(1)
    PROCESSES.set(1)


def exposition(accept: str) -> tuple[bytes, str]:
    """Return all metrics as text, and its media type: OpenMetrics if ``accept`` names it, else Prometheus' format."""
    # The library's own negotiation copies a version from the client into a header, or raises for one that is no number.
    if "application/openmetrics-text" in accept.lower():
        return _collect(openmetrics.generate_latest), openmetrics.CONTENT_TYPE_LATEST
    return _collect(prometheus.generate_latest), prometheus.CONTENT_TYPE_PLAIN_0_0_4


class _WorkerProcesses(Collector):
    """The `process_*` metrics of each process, with its id as a label: a sum of CPU times would drop at a restart."""

    def collect(self) -> Iterable[Metric]:
        families: dict[str, Metric] = {}
        for pid in multiprocess.process_ids():
            for own in ProcessCollector(pid=partial(str, pid), registry=None).collect():
                family = families.setdefault(own.name, Metric(own.name, own.documentation, own.type))
                for sample in own.samples:
                    family.add_sample(sample.name, {"pid": pid}, sample.value)
        return families.values()


def _collect(generate: Callable[[CollectorRegistry], bytes]) -> bytes:
    registry = multiprocess.all_processes(_registry)
    if registry is not _registry:
        registry.register(_WorkerProcesses())
    for _ in range(MAX_RENAMES):
        # A new worker renames the files of the worker that it replaces, and several may do so during one scrape.
        with suppress(FileNotFoundError):
            return generate(registry)
    return generate(registry)
