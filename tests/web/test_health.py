import platform

import pytest

import service
from service.errors import StoreUnavailable
from service.mounted_files import UnusableFile
from service.web.context import APP

# Longer than SIGNER_STALE_SECONDS of the client fixture.
OUTAGE_SECONDS = 100


@pytest.fixture
def store_away(client, monkeypatch):
    """The store has been unreachable for a while."""

    async def check():
        raise StoreUnavailable("The account store cannot be reached")

    async def reached_within(seconds):
        return seconds > OUTAGE_SECONDS

    monkeypatch.setattr(client.app[APP].store, "check", check)
    monkeypatch.setattr(client.app[APP].store, "reached_within", reached_within)


ABOUT = {"version": service.__version__, "commit": "unknown", "python": platform.python_version()}


async def test_live_ready_and_health_pass(client):
    answers = [await (await client.get(path)).json() for path in ("/live", "/ready", "/health")]

    assert answers == [
        {"status": "pass"},
        {"status": "pass"},
        {"status": "pass", "description": "s3-signer", "about": ABOUT, "checks": {"store": {"status": "pass"}}},
    ]


async def test_without_its_store_the_service_is_live_but_not_ready(client, store_away, faults):
    live, ready, health = [await client.get(path) for path in ("/live", "/ready", "/health")]

    assert (live.status, health.status) == (200, 200)
    assert (await faults(ready, 503))[0] == "transient"
    assert int(ready.headers["Retry-After"]) > 0
    answer = await health.json()
    assert answer["status"] == "warn"
    assert answer["checks"] == {"store": {"status": "fail", "output": "The account store cannot be reached"}}


async def test_in_a_short_outage_a_replica_stays_ready(make_client, monkeypatch):
    client = await make_client(SIGNER_STALE_SECONDS="120")

    async def reached_within(seconds):
        return seconds > OUTAGE_SECONDS

    monkeypatch.setattr(client.app[APP].store, "reached_within", reached_within)

    assert (await client.get("/ready")).status == 200


async def test_while_draining_the_service_is_live_but_not_ready(client, faults):
    client.app[APP].state.draining = True
    live, ready = [await client.get(path) for path in ("/live", "/ready")]

    assert live.status == 200
    assert await faults(ready, 503) == ("transient", ["The service is draining"])


async def test_the_version_is_reported(make_client):
    client = await make_client(SIGNER_COMMIT="0123abc")
    answer = await (await client.get("/$version")).json()

    assert answer == {**ABOUT, "commit": "0123abc"}


@pytest.mark.parametrize("path", ["/live", "/ready", "/health", "/$version", "/%24version"])
async def test_operations_answer_in_every_format(raw, path):
    response = await raw("GET", f"{path}?_format=yaml")

    assert (response.status, response.content_type) == (200, "text/yaml")
    assert ": " in await response.text()


@pytest.mark.parametrize("path", ["/live", "/ready", "/health", "/$version"])
async def test_operations_refuse_parameters(client, faults, path):
    response = await client.get(f"{path}?x=1")

    assert await faults(response, 400) == ("invalid", ["x"])


@pytest.mark.parametrize("path", ["/live", "/ready", "/health", "/$version"])
async def test_operations_support_head(client, path):
    response = await client.head(path)

    assert (response.status, await response.read()) == (200, b"")


async def test_a_file_that_is_not_in_use_is_a_warning(client):
    def read():
        raise UnusableFile("a reason for operators")

    client.app[APP].files.follow("SIGNER_TLS_CERT", read, None)
    await client.app[APP].files.check(again=False)
    answer = await (await client.get("/health")).json()

    assert answer["status"] == "warn"
    assert answer["checks"] == {
        "store": {"status": "pass"},
        "files": {
            "status": "warn",
            "output": "The newest contents of SIGNER_TLS_CERT are not in use; the log has the reason",
        },
    }


async def test_a_replica_whose_bundle_was_not_applied_is_not_ready(client, faults):
    client.app[APP].state.bundle_pending = True

    assert await faults(await client.get("/ready"), 503) == ("transient", ["The bundle has not been applied yet"])
