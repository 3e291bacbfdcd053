"""Traces as a collector receives them. The collector is a server of OTLP over HTTP in this process."""

import json
import subprocess
import sys
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread

import pytest
from live.raw_http import send
from processes import clean_environment, run_to_end
from redis import Redis
from support.accounts import KEYS
from support.service import running
from support.tools import missing
from support.waiting import eventually

from service.app import create_app_from_environment
from service.settings import SettingsError
from service.telemetry import tracing

pytestmark = pytest.mark.heavy  # it starts many processes

ROOT = Path(__file__).parent.parent.parent
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SIGN = "/aws/storage/my-account/my-bucket/a-private-key?expiration=77123"
SIGN_ROUTE = "/aws/storage/{account}/{bucket}/{key}"
START = "import sys; {}; from service.__main__ import main; sys.exit(main())"
WITHOUT_EXTRA = START.format("sys.modules['opentelemetry.exporter'] = None")


class Collector:
    """Keeps the bodies that it gets. ``answers`` is cleared for a collector that does not answer."""

    def __init__(self):
        self.bodies = []
        self.answers = Event()
        self.answers.set()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                collector.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
                collector.answers.wait(60)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                """Write no log."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{self.server.server_port}"}

    def spans(self):
        """Return the spans by name, each with the id of the process that sent it."""
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (  # noqa: PLC0415 - may be missing
            ExportTraceServiceRequest,
        )

        found = {}
        for body in self.bodies:
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                for scope in resource.scope_spans:
                    for span in scope.spans:
                        found.setdefault(span.name, []).append((span, values(resource.resource)))
        return found


def values(holder):
    """Return the attributes of a span or resource."""
    fields = {"string_value", "int_value"}
    return {
        each.key: next(getattr(each.value, field) for field in fields if each.value.HasField(field))
        for each in holder.attributes
    }


@pytest.fixture
def collector():
    if tracing.problem({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}):
        missing("run: pip install opentelemetry-exporter-otlp-proto-http --constraint constraints.txt")
    collector = Collector()
    thread = Thread(target=collector.server.serve_forever, daemon=True)
    thread.start()
    yield collector
    collector.answers.set()
    collector.server.shutdown()
    collector.server.server_close()
    thread.join()


@pytest.fixture
def store(own_redis):
    """A server with one account."""
    with Redis.from_url(own_redis.url) as client:
        client.hset("AwsAccount:my-account", mapping=KEYS)
    return own_redis


@contextmanager
def traced(collector, store, **settings):
    with running(SIGNER_STORE_URL=store.url, **collector.settings, **settings) as process:
        yield process


def get(process, path, *, sampled=True, **headers):
    traceparent = f"00-{TRACE}-{PARENT}-{'01' if sampled else '00'}"
    return send(process.url + path, "GET", None, {"traceparent": traceparent, **headers}).status


@pytest.mark.slow
def test_a_request_and_its_calls_to_redis_are_spans_of_the_clients_trace(collector, store):
    with traced(collector, store) as process:
        assert get(process, SIGN, **{"X-Request-Id": "mine", "tracestate": "a=a-private-state"}) == 200
        assert process.stop() == 0

    spans = collector.spans()
    ((request, service),) = spans[f"GET {SIGN_ROUTE}"]
    ((call, _),) = spans["hgetall"]
    assert service["service.name"] == "s3-signer"
    assert (request.trace_id.hex(), request.parent_span_id.hex()) == (TRACE, PARENT)
    assert (call.trace_id, call.parent_span_id) == (request.trace_id, request.span_id)
    assert values(request) == {
        "http.request.method": "GET",
        "http.route": SIGN_ROUTE,
        "http.response.status_code": 200,
        "s3_signer.request_id": "mine",
    }
    assert values(call) == {"db.system.name": "redis", "db.operation.name": "hgetall"}
    for text in (b"a-private", b"my-bucket", b"my-account", b"77123"):
        assert not any(text in body for body in collector.bodies)


@pytest.mark.slow
def test_failures_are_marked_without_their_text(collector, store):
    with traced(collector, store, SIGNER_CACHE_SIZE="0") as process:
        store.kill()
        assert get(process, SIGN) == 503

    spans = collector.spans()
    ((request, _),) = spans[f"GET {SIGN_ROUTE}"]
    ((call, _),) = spans["hgetall"]
    assert values(request)["error.type"] == "503"
    assert values(call)["error.type"] in {"ConnectionError", "TimeoutError"}
    for span in (request, call):
        assert (span.status.code, span.status.message, list(span.events)) == (2, "", [])


@pytest.mark.slow
def test_probes_and_requests_that_the_client_does_not_sample_make_no_span(collector):
    with running(**collector.settings) as process:
        assert {get(process, path) for path in ("/live", "/ready", "/health", "/metrics")} == {200}
        assert get(process, SIGN, sampled=False) == 404
        assert get(process, "/a-private-path") == 404

    assert collector.spans().keys() == {"GET unmatched"}
    assert not any(b"a-private" in body for body in collector.bodies)


@pytest.mark.slow
def test_lines_of_the_log_have_the_ids_of_the_trace(collector):
    with running(**collector.settings, SIGNER_ACCESS_LOG="true") as process:
        assert get(process, SIGN) == 404
        process.wait_for(SIGN_ROUTE)

    line = next(entry for entry in process.log if entry.get("route") == SIGN_ROUTE)
    ((request, _),) = collector.spans()[f"GET {SIGN_ROUTE}"]
    assert (line["trace_id"], line["span_id"]) == (TRACE, request.span_id.hex())
    assert "trace_id" not in process.log[0]


@pytest.mark.slow
def test_every_worker_sends_its_spans(collector, store):
    def processes():
        return {service["service.instance.id"] for _, service in collector.spans().get(f"GET {SIGN_ROUTE}", [])}

    with traced(collector, store, SIGNER_WORKERS="2", OTEL_BSP_SCHEDULE_DELAY="100") as process:
        assert eventually(lambda: get(process, SIGN) == 200 and len(processes()) == 2)
        assert process.stop() == 0


@pytest.mark.slow
def test_a_collector_that_does_not_answer_does_not_delay_requests_or_the_end(collector, store):
    collector.answers.clear()
    # Longer than a stop may take.
    with traced(collector, store, OTEL_EXPORTER_OTLP_TIMEOUT="50", OTEL_BSP_SCHEDULE_DELAY="50") as process:
        assert {get(process, SIGN) for _ in range(5)} == {200}
        assert eventually(lambda: collector.bodies)
        assert {get(process, SIGN) for _ in range(5)} == {200}
        assert process.stop() == 0


@pytest.mark.slow
def test_without_the_extra_the_start_is_one_warning(store):
    endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    with running(code=WITHOUT_EXTRA, SIGNER_WORKERS="2", SIGNER_STORE_URL=store.url, **endpoint) as process:
        assert get(process, SIGN) == 200

    assert [message for message in process.messages if "OTLP" in message] == [
        "No traces are sent, although an OTLP endpoint is set: install s3-signer with its extra `otel`"
    ]


@pytest.mark.slow
@pytest.mark.parametrize("variable", tracing.ENDPOINTS)
@pytest.mark.parametrize("endpoint", ["user:hush@h:4318", "http://user:hush@", "ftp://hush@h", "http://h:hush", "hush"])
def test_an_endpoint_that_is_no_url_ends_the_start_without_a_quote(monkeypatch, variable, endpoint):
    monkeypatch.setenv(variable, endpoint)

    with pytest.raises(SettingsError) as refusal:
        tracing.Tracer.from_environment()
    assert refusal.value.problems == [f"{variable} must be a URL with a host that begins with http:// or https://"]


@pytest.mark.parametrize("variable", ["OTEL_BSP_MAX_QUEUE_SIZE", "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT"])
def test_a_wrong_value_ends_the_start_with_one_line(collector, variable):
    status, (line,) = run_to_end(SIGNER_PORT="0", **{variable: "-1"}, **collector.settings)

    assert (status, line.startswith("s3-signer: An OTEL_ variable has a wrong value: ")) == (2, True)


async def test_an_empty_variable_counts_as_not_set(monkeypatch, caplog):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "")
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", " ")

    await tracing.Tracer.from_environment().close()

    assert caplog.messages == []


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": " "},
        {"OTEL_SERVICE_NAME": "signer"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_SDK_DISABLED": "TRUE"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_while_traces_are_off_nothing_is_imported_and_no_middleware_is_added(environ):
    code = (
        "import sys, json; from service.app import create_app; from service.settings import load; "
        "app = create_app(load({})); "
        "print(json.dumps([[m.__name__ for m in app.middlewares], [n for n in sys.modules if 'opentelemetry' in n]]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**clean_environment(), **environ},
        capture_output=True,
        text=True,
        check=True,
    )
    middlewares, modules = json.loads(done.stdout)

    assert "trace" not in middlewares
    assert modules == []
    assert tracing.problem(environ) is None


@pytest.mark.parametrize("variable", ["OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"])
def test_a_protocol_that_is_not_supported_is_a_warning(variable):
    environ = {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:9", variable: "grpc"}

    assert tracing.problem(environ) == (
        "No traces are sent: the OTLP protocol is 'grpc', and only http/protobuf is supported"
    )


def test_another_server_gets_the_warning_from_the_factory(monkeypatch, caplog):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    create_app_from_environment()

    assert [message for message in caplog.messages if "OTLP" in message] == [
        "No traces are sent: the OTLP protocol is 'grpc', and only http/protobuf is supported"
    ]
