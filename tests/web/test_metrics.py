"""Metrics of requests, and the route that serves them."""

import asyncio
import random
import string
import threading

import pytest
from prometheus_client.parser import text_string_to_metric_families
from redis.asyncio import Redis

from service.app import create_app, create_operations_app
from service.errors import StoreUnavailable
from service.settings import load
from service.stores.redis import RedisStore
from service.telemetry import metrics
from service.web.context import APP
from service.web.handlers import health


def samples():
    """Return all values by name and label values, in the order of the labels' names."""
    text, _ = metrics.exposition("")
    return {
        (sample.name.removeprefix("s3_signer_"), *(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


@pytest.fixture
def counted():
    """Return the increments since the start of the test, without zeros."""
    before = samples()

    def since(name):
        grown = {key: value - before.get(key, 0) for key, value in samples().items() if key[0] == name}
        return {key[1:]: value for key, value in grown.items() if value}

    return since


async def test_a_scrape_does_not_hold_the_event_loop(client, monkeypatch):
    go_on = threading.Event()

    def exposition(accept):
        assert go_on.wait(5)
        return metrics.exposition(accept)

    monkeypatch.setattr(health, "exposition", exposition)
    scrape = asyncio.ensure_future(client.get("/metrics"))
    try:
        assert (await client.get("/live")).status == 200
        assert not scrape.done()
    finally:
        go_on.set()
    response = await scrape

    assert response.status == 200
    assert "s3_signer_requests_in_flight" in await response.text()


async def test_requests_are_counted_by_method_route_and_status(client, account, counted):
    for method, path in [
        ("GET", "/live"),
        ("GET", "/AwsAccount/my-account"),
        ("GET", "/AwsAccount/nope"),
        ("GET", "/fhir/AwsAccount/my-account"),
        ("HEAD", "/live"),
        ("GET", "/aws/storage/my-account/my-bucket/a/b/c"),
        ("POST", "/live"),
        ("PROPFIND", "/live"),
        ("GET", "/nope"),
        ("GET", "/live?x=1"),
    ]:
        await client.request(method, path)

    assert counted("request_duration_seconds_count") == {
        ("GET", "/live", "200"): 1,
        ("GET", "/AwsAccount/{id}", "200"): 1,
        ("GET", "/AwsAccount/{id}", "404"): 1,
        ("GET", "/fhir/AwsAccount/{id}", "200"): 1,
        ("HEAD", "/live", "200"): 1,
        ("GET", "/aws/storage/{account}/{bucket}/{key}", "200"): 1,
        ("POST", "unmatched", "405"): 1,
        ("other", "unmatched", "405"): 1,
        ("GET", "unmatched", "404"): 1,
        ("GET", "/live", "400"): 1,
    }


@pytest.mark.slow
async def test_no_path_of_a_client_becomes_a_label(client, raw, counted):
    choose = random.Random(0)  # noqa: S311
    for _ in range(100):
        word = "".join(choose.choices(string.ascii_letters + string.digits + "%-_.", k=12)).replace("%", "%25")
        for path in (f"/{word}", f"/AwsAccount/{word}", f"/aws/storage/{word}/{word}/{word}", f"/live?{word}={word}"):
            await raw(choose.choice(["GET", "DELETE", "PROPFIND", "MKCOL", "SEARCH"]), path)

    routes = {"/AwsAccount/{id}", "/aws/storage/{account}/{bucket}/{key}", "/live", "unmatched"}
    counts = counted("request_duration_seconds_count")
    assert {route for _, route, _ in counts} <= routes
    assert {method for method, _, _ in counts} == {"GET", "DELETE", "other"}
    assert sum(counts.values()) == 400


@pytest.mark.slow
async def test_a_request_that_fails_is_counted_as_answered(client, account, counted, monkeypatch):
    async def fail(*_, **__):
        raise ZeroDivisionError

    monkeypatch.setattr(client.app[APP].store, "get", fail)
    await client.get("/AwsAccount/my-account")

    assert counted("request_duration_seconds_count") == {("GET", "/AwsAccount/{id}", "500"): 1}


@pytest.mark.slow
async def test_urls_are_counted_by_operation_when_they_are_signed(client, account, counted):
    target = "/aws/storage/my-account/my-bucket"
    for answered in [
        await client.get(f"{target}/k"),
        await client.get(f"{target}/k?expiration=5"),
        await client.delete(f"{target}/k"),
        await client.post(target, json={"filename": "k"}),
    ]:
        assert answered.status == 200
    await client.get(f"{target}/k?expiration=0")
    await client.get("/aws/storage/nobody/my-bucket/k")

    assert counted("urls_signed_total") == {("get_object",): 2, ("delete_object",): 1, ("put_object",): 1}


@pytest.mark.slow
async def test_calls_to_redis_are_counted_by_command(redis_url, counted):
    store = RedisStore.at(redis_url)
    await store.open()
    created = await store.replace("AwsAccount", "a", {"region": "eu-west-1"}, expected=None)
    await store.get("AwsAccount", "a")
    await store.page("AwsAccount", offset=0, count=1)
    await store.remove(created)
    await store.close()

    counts = counted("store_call_duration_seconds_count")
    assert counts.keys() >= {("hgetall",), ("compare_and_set",), ("zadd",), ("zrem",), ("page",)}
    assert counts["compare_and_set",] == 2
    assert counted("store_errors_total") == {}


@pytest.mark.slow
async def test_calls_that_redis_refuses_are_counted(own_redis, counted):
    store = RedisStore.at(own_redis.url)
    await store.open()
    async with Redis.from_url(own_redis.url) as operator:
        await operator.config_set("maxmemory", "1")
        with pytest.raises(StoreUnavailable):
            await store.replace("AwsAccount", "a", {}, expected=None)
    await store.close()

    # The index entry and the record.
    assert sum(counted("store_errors_total").values()) == 2
    assert {reason for _, reason in counted("store_errors_total")} == {"refused"}


@pytest.mark.slow
async def test_failed_calls_to_redis_are_counted_even_if_none_is_sent(own_redis, counted):
    store = RedisStore.at(own_redis.url)
    await store.open()
    own_redis.kill()
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            await store.get("AwsAccount", "a")
    await store.close()

    assert counted("store_errors_total") == {("hgetall", "unreachable"): 3}
    assert counted("store_call_duration_seconds_count")["hgetall",] < 3


@pytest.mark.parametrize(
    "accept", [None, "text/plain", "text/plain;version=0.0.4;q=1", "application/openmetrics-text", "image/png"]
)
async def test_metrics_are_served_for_any_accept_header(client, accept):
    response = await client.get("/metrics", headers={"Accept": accept} if accept else {})
    expected = "application/openmetrics-text" if accept and "openmetrics" in accept else "text/plain"

    assert (response.status, response.content_type, response.charset) == (200, expected, "utf-8")
    assert "s3_signer_build_info{" in await response.text()


async def test_metrics_are_a_route_like_others(client, faults):
    head = await client.head("/metrics")
    refused = await client.get("/metrics?x=1", headers={"Accept": "text/plain"})

    assert (head.status, await head.read()) == (200, b"")
    assert await faults(refused, 400) == ("invalid", ["x"])


async def test_the_build_is_a_metric(make_client):
    client = await make_client(SIGNER_COMMIT="0123abc")

    assert 'commit="0123abc"' in await (await client.get("/metrics")).text()


@pytest.fixture
async def operations(audit_log, aiohttp_client):
    """The application on the embedded store, and the application of its operations port."""
    main = create_app(load({"SIGNER_OPS_PORT": "0"}), audit=audit_log)
    client = await aiohttp_client(main)
    return client, await aiohttp_client(create_operations_app(main))


async def test_the_operations_port_has_four_routes_and_the_main_one_no_metrics(operations, faults):
    main, ops = operations
    served = {path: (await ops.get(path)).status for path in ("/live", "/ready", "/health", "/metrics")}

    assert set(served.values()) == {200}
    assert (await main.get("/live")).status == 200
    assert (await faults(await main.get("/metrics"), 404))[0] == "not-found"
    for method, path in [("GET", "/$version"), ("PUT", "/AwsAccount"), ("GET", "/aws/storage/a/bb/k"), ("GET", "/")]:
        assert (await faults(await ops.request(method, path, json={}), 404))[0] == "not-found"


async def test_the_operations_port_accepts_any_host_and_shares_the_state(operations):
    main, ops = operations
    host = {"Host": "10.1.2.3:9090"}
    before = (await ops.get("/ready", headers=host)).status
    main.app[APP].state.draining = True

    assert (before, (await ops.get("/ready", headers=host)).status) == (200, 503)
    assert (await main.get("/live", headers=host)).status == 403
