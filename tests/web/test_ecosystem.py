"""The service is an ordinary aiohttp application for other servers, applications and instrumentations."""

import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress

import pytest
import requests
from aiohttp import encode_basic_auth, web
from opentelemetry.instrumentation import aiohttp_server
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from processes import clean_environment

from service.app import create_app
from service.settings import load

KEYS = {"access-key-id": "AKIAIOSFODNN7EXAMPLE", "secret-access-key": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"}
START_SECONDS = 30


@pytest.fixture
async def mounted(audit_log, aiohttp_client):
    """A client of an application that mounts the service under ``/s3``, with a small limit on bodies."""
    outer = web.Application()
    outer.add_subapp("/s3", create_app(load({"SIGNER_MAX_BODY": "1024"}), audit=audit_log))
    return await aiohttp_client(outer)


async def test_a_mounted_service_stores_and_signs(mounted):
    stored = await mounted.put("/s3/AwsAccount", json={"id": "a", **KEYS})
    signed = await mounted.get("/s3/aws/storage/a/bucket/some%2Fkey")

    assert (stored.status, signed.status) == (201, 200)
    assert (await signed.json())["url"].startswith("http://bucket.s3.amazonaws.com/some/key?X-Amz-Algorithm=")


async def test_the_links_of_a_mounted_service_have_its_prefix(mounted):
    stored = await mounted.put("/s3/fhir/AwsAccount", json={"id": "a", **KEYS})
    bundle = await (await mounted.get("/s3/AwsAccount?_count=1")).json()

    assert stored.headers["Location"] == "/s3/AwsAccount/a"
    assert (await mounted.get(stored.headers["Location"])).status == 200
    assert bundle["entry"][0]["fullUrl"] == "/s3/AwsAccount/a"
    assert {link["url"] for link in bundle["link"]} == {"/s3/AwsAccount?_count=1&_page=1"}


async def test_the_documentation_of_a_mounted_service_is_found_under_its_prefix(mounted):
    start = await (await mounted.get("/s3/")).json()
    page = await mounted.get(start["links"]["documentation"])
    document = await (await mounted.get("/s3/openapi.json")).json()

    assert (page.status, page.url.path) == (200, "/s3/docs")
    for file in ("docs.js", "scalar.js"):
        assert f'"static/{file}"' in await page.text()
        assert (await mounted.get(f"/s3/static/{file}")).status == 200
    assert document["servers"] == [{"url": "/s3"}]


async def test_a_mounted_service_keeps_its_own_limit_on_bodies(mounted, faults):
    headers = {"Content-Type": "application/json"}
    large = await mounted.put("/s3/AwsAccount", data=b"{" + b" " * 1024, headers=headers)

    async def chunks():
        yield b"{" + b" " * 1024

    assert (await faults(large, 413))[0] == "too-long"
    assert (await faults(await mounted.put("/s3/AwsAccount", data=chunks(), headers=headers), 413))[0] == "too-long"


async def test_errors_of_a_mounted_service_are_outcomes(mounted, faults):
    assert (await faults(await mounted.get("/s3/nope"), 404))[0] == "not-found"
    assert (await faults(await mounted.patch("/s3/live"), 405))[0] == "not-supported"
    assert (await faults(await mounted.get("/s3/AwsAccount/%e9"), 400))[0] == "invalid"
    assert (await mounted.get("/nope")).content_type == "text/plain"


async def test_policies_of_a_mounted_service_see_paths_without_its_prefix(audit_log, aiohttp_client):
    outer = web.Application()
    root = {"SIGNER_ROOT_CLIENT_ID": "root", "SIGNER_ROOT_CLIENT_SECRET": "root-secret-0123456789"}
    outer.add_subapp("/s3", create_app(load(root), audit=audit_log))
    client = await aiohttp_client(outer)
    policy = {"engine": "matcho", "matcho": {"uri": "/$version"}, "link": [{"reference": "Client/a"}]}

    async def call(method, path, user, secret, **options):
        headers = {"Authorization": encode_basic_auth(user, secret)}
        return (await client.request(method, f"/s3{path}", headers=headers, **options)).status

    credentials = {"secret": "a-secret-0123456789abc", "grant_types": ["basic"]}
    assert await call("PUT", "/Client/a", "root", "root-secret-0123456789", json=credentials) == 201
    assert await call("PUT", "/AccessPolicy/p", "root", "root-secret-0123456789", json=policy) == 201

    assert await call("GET", "/$version", "a", credentials["secret"]) == 200
    assert await call("GET", "/metrics", "a", credentials["secret"]) == 403


@pytest.fixture
def spans():
    """The spans of OpenTelemetry's instrumentation of aiohttp servers."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    instrumentor = aiohttp_server.AioHttpServerInstrumentor()
    instrumentor.instrument(tracer_provider=provider)
    yield exporter
    instrumentor.uninstrument()


@pytest.mark.filterwarnings("ignore:Inheritance class:DeprecationWarning")
async def test_opentelemetry_names_spans_by_the_route(spans, audit_log, aiohttp_client):
    client = await aiohttp_client(create_app(load({}), audit=audit_log))
    await client.get("/AwsAccount/some-account")
    await client.get("/aws/storage/some-account/bucket/a/secret/key")

    assert [span.name for span in spans.get_finished_spans()] == [
        "GET /AwsAccount/{id}",
        "GET /aws/storage/{account}/{bucket}/{key}",
    ]


@pytest.mark.heavy
def test_gunicorn_serves_the_application_with_aiohttps_worker():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    factory, worker = "service.app:create_app_from_environment()", "aiohttp.GunicornUVLoopWebWorker"
    gunicorn = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", factory, "-k", worker, "-b", f"127.0.0.1:{port}", "--no-control-socket"],
        env={**clean_environment(), "SIGNER_COMMIT": "0123abc"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        answer = eventually_read(f"http://127.0.0.1:{port}/$version", gunicorn)
    finally:
        gunicorn.send_signal(signal.SIGTERM)

    assert '"commit":"0123abc"' in answer
    assert gunicorn.wait(START_SECONDS) == 0


def eventually_read(url, process):
    end = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < end:
        with suppress(requests.ConnectionError):
            return requests.get(url, timeout=5).text
        time.sleep(0.1)
    raise AssertionError("the server never answered")
