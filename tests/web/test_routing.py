"""Routing, and requests that match no route."""

from types import SimpleNamespace

import pytest

from service.app import create_operations_app
from service.web.routing import Route


async def handler(request):
    del request


@pytest.mark.parametrize(
    ("path", "pattern"),
    [
        ("/live", "/live"),
        ("/AwsAccount/{id:[^/]+}", "/AwsAccount/{id}"),
        (r"/aws/storage/{account:[^/]+}/{bucket:[^/]{2,}}/{key:[\s\S]*}", "/aws/storage/{account}/{bucket}/{key}"),
    ],
)
def test_the_pattern_of_a_route_has_no_expressions(path, pattern):
    assert Route("GET", path, handler).pattern == pattern


@pytest.mark.parametrize("target", ["/$version/", "/x$version", "/AwsAccount//", "/aws/storage/a//k/"])
async def test_the_whole_path_must_match(raw, target, faults):
    assert (await faults(await raw("GET", target), 404))[0] == "not-found"


@pytest.mark.parametrize(
    "path",
    ["/" * 7900, f"/AwsAccount{'/a' * 1100}", f"/aws/storage/a/bucket/{'/' * 1450}", f"/{'b' * 5600}{'/a' * 1000}"],
)
async def test_a_path_of_too_many_segments_is_unknown_without_a_search(client, raw, faults, path):
    # aiohttp would search for each beginning of `path_safe`, which this URL does not have.
    match = await client.app.router.resolve(SimpleNamespace(rel_url=SimpleNamespace(raw_path=path)))

    assert match.route.resource.canonical == "/{path}"
    assert (await faults(await raw("GET", path), 404))[0] == "not-found"


@pytest.mark.usefixtures("account")
@pytest.mark.parametrize("key", ["/" * 1024, f"{'/' * 768}{'%01' * 256}"])
async def test_the_longest_key_may_have_many_slashes(raw, key):
    answer = await raw("GET", f"/fhir/aws/storage/my-account/my-bucket/{key}")

    assert answer.status == 200
    assert f"/{key}?" in await answer.text()


@pytest.mark.slow
@pytest.mark.parametrize("target", ["*", "/"])
async def test_options_serves_as_a_probe_of_load_balancers(service, target):
    plain = service.exchange(f"OPTIONS {target} HTTP/1.0\r\n\r\n".encode())
    named = service.exchange(f"OPTIONS {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())

    assert [answer.split(b" ")[1] for answer in (plain, named)] == [b"204", b"204"]


async def test_options_serves_as_a_probe_on_the_operations_port(client, aiohttp_client):
    operations = await aiohttp_client(create_operations_app(client.app))
    probed = await operations.options("/")
    unknown = await operations.options("/AwsAccount")

    assert (probed.status, unknown.status) == (204, 404)


@pytest.mark.slow
async def test_a_get_of_the_target_asterisk_is_refused(service):
    answer = service.exchange(b"GET * HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")

    assert answer.split(b" ")[1] in {b"400", b"404"}


async def test_the_methods_of_a_path_are_those_of_all_its_routes(client, faults):
    answer = await client.request("PROPFIND", "/AwsAccount/x")

    assert (await faults(answer, 405))[0] == "not-supported"
    assert answer.headers["Allow"] == "DELETE, GET, HEAD, PATCH, PUT"
