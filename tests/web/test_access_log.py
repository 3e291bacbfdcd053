"""The access log: a line per request, with the pattern of the route instead of the path."""

import logging

import pytest
from support.accounts import ACCOUNT

from service.app import create_operations_app
from service.telemetry.logs import ACCESS_LOGGER

SIGN = "/aws/storage/my-account/bucket/a-secret-key"
PATTERN = "/aws/storage/{account}/{bucket}/{key}"


@pytest.fixture
def logged(caplog):
    caplog.set_level(logging.INFO, ACCESS_LOGGER)
    return lambda: [record for record in caplog.records if record.name == ACCESS_LOGGER]


async def ask(client):
    await client.put("/AwsAccount", json=ACCOUNT)
    await client.get(f"{SIGN}?expiration=60", headers={"X-Request-Id": "mine"})
    await client.get("/aws/storage/other/bucket/a-secret-key")
    await client.request("PROPFIND", "/a-secret-key")


async def test_each_request_is_a_line_with_its_route(make_client, logged):
    client = await make_client(SIGNER_ACCESS_LOG="true")
    await ask(client)

    lines = logged()
    assert [(line.method, line.route, line.status) for line in lines] == [
        ("PUT", "/AwsAccount", 201),
        ("GET", PATTERN, 200),
        ("GET", PATTERN, 404),
        ("other", "unmatched", 404),
    ]
    assert lines[1].getMessage() == f"GET {PATTERN} 200"
    assert (lines[1].caller, lines[1].address, lines[1].request_id) == ("anonymous", "127.0.0.1", "mine")
    assert lines[1].milliseconds >= 0
    assert not any("secret" in str(line.__dict__) for line in lines)


async def test_only_errors_are_logged_if_asked_for(make_client, logged):
    client = await make_client(SIGNER_ACCESS_LOG="errors")
    await ask(client)

    assert [line.status for line in logged()] == [404, 404]


async def test_the_access_log_is_off_by_default(client, logged):
    await ask(client)

    assert logged() == []


async def test_the_operations_port_is_logged_too(make_client, aiohttp_client, logged):
    main = await make_client(SIGNER_ACCESS_LOG="true", SIGNER_OPS_PORT="0")
    operations = await aiohttp_client(create_operations_app(main.app))
    await operations.get("/live")

    assert [line.route for line in logged()] == ["/live"]
