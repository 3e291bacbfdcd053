"""Traces by OpenTelemetry: a span for each request and for each of its calls to Redis.

Spans are written by hand, because the library's instrumentation records paths, and they contain object keys. While
traces are off, nothing of the library is imported.
"""

import asyncio
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from importlib.util import find_spec
from threading import Thread
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import service
from service.settings import SettingsError
from service.settings.environment import empty_blank_proxies, unset_blank_variables

if TYPE_CHECKING:
    from opentelemetry.trace import Span

CLOSE_SECONDS: Final = 2.0
ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
PROTOCOL: Final = "http/protobuf"

_current: ContextVar["Tracer | None"] = ContextVar("tracer", default=None)
"""The tracer of the current request."""

_OFF: Final = nullcontext()


def problem(environ: Mapping[str, str]) -> str | None:
    """Return why traces are not sent although the environment names an endpoint; None if they are, or are off."""
    if not _is_requested(environ):
        return None
    if (protocol := _first(environ, PROTOCOLS) or PROTOCOL) != PROTOCOL:
        return f"No traces are sent: the OTLP protocol is {protocol[:20]!r}, and only {PROTOCOL} is supported"
    if not _is_installed():
        return "No traces are sent, although an OTLP endpoint is set: install s3-signer with its extra `otel`"
    return None


def _is_installed() -> bool:
    try:
        return find_spec("opentelemetry.exporter.otlp.proto.http") is not None
    except ModuleNotFoundError:
        # A package above it is missing.
        return False


def _is_requested(environ: Mapping[str, str]) -> bool:
    disabled = environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    return bool(_first(environ, ENDPOINTS)) and not disabled and environ.get("OTEL_TRACES_EXPORTER") != "none"


def _first(environ: Mapping[str, str], names: tuple[str, ...]) -> str:
    return next(filter(None, (environ.get(name, "").strip() for name in names)), "")


def _check_endpoint(environ: Mapping[str, str]) -> None:
    # The exporter's error quotes such an endpoint in the log, maybe with a password.
    name = next(name for name in ENDPOINTS if environ.get(name, "").strip())
    try:
        parts = urlsplit(environ[name].strip())
        is_url = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_url = False
    if not is_url:
        raise SettingsError([f"{name} must be a URL with a host that begins with http:// or https://"])


def call(name: str) -> AbstractContextManager[None]:
    """Return a context manager that makes a span of a call to Redis if the current request is traced."""
    tracer = _current.get()
    return tracer.call(name) if tracer else _OFF


def add_ids(record: logging.LogRecord) -> bool:
    """Add ``trace_id`` and ``span_id`` to a log record of a traced request. Filters nothing out."""
    if tracer := _current.get():
        vars(record).update(tracer.ids())
    return True


class Tracer:
    """Sends spans to the endpoint of the ``OTEL_*`` variables, which the library reads, from a thread.

    Create it after a fork.
    """

    @classmethod
    def from_environment(cls) -> "Tracer | None":
        """Return a tracer, or None if the environment names no endpoint or ``problem`` gives a reason.

        Raises:
            SettingsError: for variables that the library refuses, or an endpoint that is no URL.
        """
        if not _is_requested(os.environ) or problem(os.environ):
            return None
        _check_endpoint(os.environ)
        # OpenTelemetry defines an empty variable as not set. Its SDK logs a traceback for some of them.
        unset_blank_variables("OTEL_")
        empty_blank_proxies()
        try:
            return cls()
        except (ValueError, OSError) as error:
            raise SettingsError([f"An OTEL_ variable has a wrong value: {error}"]) from None

    def __init__(self) -> None:
        # Imported on demand, because most deployments have no collector, and the libraries are an extra.
        from opentelemetry import trace  # noqa: PLC0415
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

        # In an outage of the collector, the exporter warns of each retry.
        logging.getLogger("opentelemetry").setLevel(logging.ERROR)
        own = Resource.create({"service.name": "s3-signer", "service.version": service.__version__})
        self._provider = TracerProvider(resource=own.merge(OTELResourceDetector().detect()), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("s3-signer")
        self._propagator = TraceContextTextMapPropagator()
        self._trace = trace

    async def close(self) -> None:
        """Send the last spans, for at most CLOSE_SECONDS."""
        # The exporter itself would wait for a collector for ten seconds.
        thread = Thread(target=self._provider.shutdown, daemon=True)
        thread.start()
        await asyncio.to_thread(thread.join, CLOSE_SECONDS)

    @contextmanager
    def request(self, method: str, route: str, traceparent: str | None) -> Iterator["Span"]:
        """Make a span of a request, in the trace that the W3C header ``traceparent`` of its client names."""
        # Without `tracestate`: a client may write any text to it, and the span would carry it.
        parent = self._propagator.extract({"traceparent": traceparent} if traceparent else {})
        token = _current.set(self)
        try:
            with self._tracer.start_as_current_span(
                f"{method} {route}",
                context=parent,
                kind=self._trace.SpanKind.SERVER,
                attributes={"http.request.method": method, "http.route": route},
                record_exception=False,
                set_status_on_exception=False,
            ) as span:
                yield span
        finally:
            _current.reset(token)

    @contextmanager
    def call(self, name: str) -> Iterator[None]:
        """Make a span of a call to Redis; see ``call``."""
        with self._tracer.start_as_current_span(
            name,
            kind=self._trace.SpanKind.CLIENT,
            attributes={"db.system.name": "redis", "db.operation.name": name},
            # The text of an exception may contain a key of Redis.
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield
            except Exception as error:
                self.fail(span, type(error).__name__)
                raise

    def fail(self, span: "Span", error_type: str) -> None:
        """Mark a span as failed."""
        span.set_attribute("error.type", error_type)
        span.set_status(self._trace.StatusCode.ERROR)

    def ids(self) -> dict[str, str]:
        """Return the ids of the current span in hexadecimal digits."""
        context = self._trace.get_current_span().get_span_context()
        return {
            "trace_id": self._trace.format_trace_id(context.trace_id),
            "span_id": self._trace.format_span_id(context.span_id),
        }
