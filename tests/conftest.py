"""Fixtures that several rooms' tests share."""

import asyncio
import json
from functools import partial

import pytest
import yaml
from hypothesis import HealthCheck, settings
from processes import ServiceProcess
from support.accounts import ACCOUNT
from watching import WATCH, traced
from yarl import URL

from service.app import create_app
from service.settings import load
from service.signing.presigner import Presigner
from service.telemetry.audit import AuditLog

pytest_plugins = [
    "plugins.network",
    "plugins.redis_server",
    "plugins.redis_topologies",
    "plugins.secret_watch",
    "plugins.pace",
    "plugins.heavy",
    "plugins.chromium",
    "plugins.aws_environment",
]

# A busy machine takes its time, which is no fault of what is tested.
settings.register_profile("without-deadline", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("without-deadline")


class LastingPresigner(Presigner):
    """One for all tests: each would wait for aiobotocore to make its clients anew."""

    async def close(self):
        """At the end of a test there is a next one."""


@pytest.fixture(scope="session")
def lasting_presigner():
    presigner = LastingPresigner(default_use_ssl=False)
    yield presigner
    asyncio.run(Presigner.close(presigner))


@pytest.fixture
def audit_file(tmp_path):
    """Where the audit log of applications in this process goes."""
    return tmp_path / "audit"


@pytest.fixture
def audit_log(audit_file):
    with audit_file.open("ab") as file:
        yield AuditLog(file.fileno())
    WATCH.look("audit", audit_file.read_bytes())


@pytest.fixture
def aiohttp_client(aiohttp_client):
    """Clients whose requests and answers are searched for secrets."""
    return partial(aiohttp_client, trace_configs=[traced()])


@pytest.fixture
async def make_client(audit_log, aiohttp_client, lasting_presigner, monkeypatch):
    """Makes clients of new applications; settings are given as environment variables."""
    monkeypatch.setattr("service.app.Presigner", lambda **_: lasting_presigner)

    async def make(**environ):
        WATCH.keep_settings(environ)
        return await aiohttp_client(create_app(load(environ), audit=audit_log))

    return make


@pytest.fixture
async def client(make_client):
    """The application on the embedded store, empty."""
    return await make_client()


@pytest.fixture
async def account(client):
    """The specification's account, stored."""
    response = await client.put("/AwsAccount", json=ACCOUNT)
    assert response.status == 201
    return ACCOUNT


@pytest.fixture
def raw(client):
    """A request whose target goes out exactly as it is written."""

    def request(method, target, **options):
        return client.session.request(method, URL(f"http://127.0.0.1:{client.port}{target}", encoded=True), **options)

    return request


@pytest.fixture
def faults():
    """Reads an answer that must be an OperationOutcome: its code, and where each fault is (or what, if nowhere)."""

    async def read(response, status):
        body = await response.read()
        assert response.status == status, body
        outcome = yaml.safe_load(body) if "yaml" in response.content_type else json.loads(body)
        assert outcome["resourceType"] == "OperationOutcome"
        assert outcome["text"]["div"].startswith('<div xmlns="http://www.w3.org/1999/xhtml">')
        assert {(issue["severity"], issue["code"]) for issue in outcome["issue"]} == {("fatal", outcome["id"])}
        return outcome["id"], [issue.get("expression", [issue["diagnostics"]])[0] for issue in outcome["issue"]]

    return read


@pytest.fixture(scope="session")
def service():
    """The service in a process of its own, on the embedded store. Tests share it and give their accounts own ids."""
    process = ServiceProcess()
    # The last line of the start, so that tests can compare the log before and after a request.
    process.wait_for("No authentication")
    yield process
    assert process.stop() == 0
