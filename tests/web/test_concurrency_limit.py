"""The limit of concurrent requests, and the routes without it."""

import asyncio

import pytest

from service.web.context import APP


@pytest.fixture
async def waiting(make_client, monkeypatch):
    """A client of a service with two requests in progress and a limit of two."""
    client = await make_client(SIGNER_MAX_CONCURRENCY="2")
    go_on = asyncio.Event()
    get = client.app[APP].store.get

    async def wait(*arguments):
        await go_on.wait()
        return await get(*arguments)

    monkeypatch.setattr(client.app[APP].store, "get", wait)
    requests = [asyncio.create_task(client.get("/AwsAccount/nope")) for _ in range(2)]
    async with asyncio.timeout(5):
        while client.app[APP].state.in_flight < 2:  # noqa: ASYNC110 - a counter has no event to wait for
            await asyncio.sleep(0.01)
    yield client
    go_on.set()
    assert [response.status for response in await asyncio.gather(*requests)] == [404, 404]
    assert client.app[APP].state.in_flight == 0
    assert (await client.get("/AwsAccount/nope")).status == 404


@pytest.mark.parametrize(("method", "path"), [("GET", "/AwsAccount"), ("PUT", "/AwsAccount"), ("GET", "/nope")])
async def test_a_request_above_the_limit_is_a_503(waiting, faults, method, path):
    response = await waiting.request(method, path, json={}, headers={"Accept": "text/yaml"})

    assert int(response.headers["Retry-After"]) > 0
    assert response.content_type == "text/yaml"
    assert await faults(response, 503) == (
        "transient",
        ["The service has too many requests in progress; try again"],
    )


@pytest.mark.parametrize("path", ["/live", "/ready", "/health", "/metrics"])
async def test_operations_are_served_above_the_limit(waiting, path):
    assert (await waiting.get(path)).status == 200
    assert (await waiting.head(path)).status == 200


async def test_requests_in_flight_are_a_metric(waiting):
    shown = await (await waiting.get("/metrics")).text()

    # The third is the request for the metrics.
    assert "s3_signer_requests_in_flight 3.0\n" in shown


async def test_zero_means_no_limit(make_client):
    client = await make_client(SIGNER_MAX_CONCURRENCY="0")
    client.app[APP].state.in_flight = 1_000_000

    assert (await client.get("/AwsAccount")).status == 200
