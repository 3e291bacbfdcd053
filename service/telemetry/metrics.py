"""Every metric once: its name, kind, meaning, labels and buckets."""

import platform
from bisect import bisect_left
from collections.abc import Mapping
from typing import Any, Final, Generic, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client import exposition as prometheus
from prometheus_client.openmetrics import exposition as openmetrics

import service
from service.telemetry import multiprocess

Metric = TypeVar("Metric", bound=Counter | Gauge | Histogram)

# A signature takes 0.1 ms, Redis 0.5, and an outage at most 1 s. Each bucket is a series for every route and status.
BUCKETS_SECONDS: Final = (0.0005, 0.001, 0.0025, 0.01, 0.05, 0.25, 1, 5)

# Anything else that a client sends as a method would be a series of its own.
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
OTHER_METHOD: Final = "other"
UNMATCHED: Final = "unmatched"


class Tally(Counter):
    """A counter that does not ask at each count whether it has labels: what counts is a child."""

    def inc(self, amount: float = 1, exemplar: Mapping[str, str] | None = None) -> None:
        del exemplar
        self._value.inc(amount)


class Timing(Histogram):
    """A histogram that finds its bucket at once, for the same reason."""

    def observe(self, amount: float, exemplar: Mapping[str, str] | None = None) -> None:
        del exemplar
        self._sum.inc(amount)
        self._buckets[bisect_left(self._upper_bounds, amount)].inc(1)


_registry = CollectorRegistry()
# They would double the number of series, and are not there with several workers.
disable_created_metrics()  # type: ignore[no-untyped-call]


class Family(dict[tuple[object, ...], Metric], Generic[Metric]):
    """The children of one metric by their label values: ``REQUESTS["/live", "GET", 200]``.

    Kept here, as the library's ``labels()`` takes a lock and twice the time.
    """

    def __init__(
        self, kind: type[Metric], name: str, meaning: str, labels: Mapping[str, str] | None = None, **options: Any
    ) -> None:
        super().__init__()
        self.name = name
        self.kind: str = kind._type  # noqa: SLF001 - as the exposition says it
        self.meaning = meaning
        self.labels = labels or {}
        self._parent: Any = kind(name, meaning, tuple(self.labels), registry=_registry, **options)
        TABLE.append(self)

    def __missing__(self, values: tuple[object, ...]) -> Metric:
        child: Metric = self._parent.labels(*values) if values else self._parent
        self[values] = child
        return child


TABLE: list[Family[Any]] = []
"""All metrics, in the order of the reference page."""

REQUESTS = Family(
    Timing,
    "s3_signer_request_duration_seconds",
    "Time that requests took; its `_count` is their number.",
    {
        "route": f"the route's pattern, such as `/AwsAccount/{{id}}`; `{UNMATCHED}` where there is none",
        "method": f"the HTTP method; `{OTHER_METHOD}` for an uncommon one",
        "status": "the HTTP status",
    },
    buckets=BUCKETS_SECONDS,
)
SIGNED = Family(Tally, "s3_signer_urls_signed_total", "URLs signed.", {"operation": "such as `get_object`"})
AUDIT_EVENTS = Family(
    Tally,
    "s3_signer_audit_events_total",
    "Events written to the audit log.",
    {"event": "`signed`, `denied` or `changed`"},
)
CACHE_HITS = Family(
    Tally, "s3_signer_cache_hits_total", "Lookups that the cache has answered, of which a request takes one or more."
)[()]
CACHE_MISSES = Family(Tally, "s3_signer_cache_misses_total", "Lookups that the cache could not answer at once.")[()]
CACHE_INVALIDATIONS = Family(
    Tally,
    "s3_signer_cache_invalidations_total",
    "Entries that left the cache because of a change, or an attempt at one.",
)[()]
CACHE_LIVE = Family(
    Gauge,
    "s3_signer_cache_live",
    "1 while the cache of every process is told of changes; 0 while one is bypassed, or there is none.",
    multiprocess_mode="livemin",
)[()]
STORE_CALLS = Family(
    Timing,
    "s3_signer_store_call_duration_seconds",
    "Time that calls to Redis took, with all their tries.",
    {"call": "a command of Redis, such as `hgetall`, or what several are for, such as `compare_and_set`"},
    buckets=BUCKETS_SECONDS,
)
STORE_ERRORS = Family(
    Tally,
    "s3_signer_store_errors_total",
    "Calls to Redis that failed.",
    {"call": "as above", "reason": "`unreachable`, or `refused` by Redis itself"},
)
WORKER_RESTARTS = Family(
    Tally,
    "s3_signer_worker_restarts_total",
    "Worker processes that were started in place of another.",
    {"reason": "why the other had to go: it `exited`, or it was `unresponsive` for ten seconds and was killed"},
)
PROCESSES = Family(Gauge, "s3_signer_processes", "Processes that serve.", multiprocess_mode="livesum")[()]
BUILD = Family(
    Gauge,
    "s3_signer_build_info",
    "Always 1; the labels tell what runs.",
    {"version": "of s3-signer", "commit": "`SIGNER_COMMIT`", "python": "version of Python"},
    multiprocess_mode="max",
)


def describe(commit: str) -> None:
    """Tell what runs, and that it does."""
    BUILD[service.__version__, commit or "unknown", platform.python_version()].set(1)
    PROCESSES.set(1)


def exposition(accept: str) -> tuple[bytes, str]:
    """All metrics as text, and its media type: OpenMetrics if ``accept`` asks for it, else Prometheus' own format."""
    shown = multiprocess.source(_registry)
    # The library's own choice repeats what a client says of versions in a header, or fails on it.
    if "application/openmetrics-text" in accept.lower():
        text: bytes = openmetrics.generate_latest(shown)  # type: ignore[no-untyped-call]
        return text, openmetrics.CONTENT_TYPE_LATEST
    return prometheus.generate_latest(shown), prometheus.CONTENT_TYPE_PLAIN_0_0_4
