"""Behind a proxy, links have the address in SIGNER_PUBLIC_URL, whatever headers a client sends."""

import json

import pytest
from aidboxpy import AsyncAidboxClient
from aiohttp import ClientSession, web
from support.accounts import ACCOUNT, KEYS

from service.commands import openapi
from service.commands.arguments import parser
from service.settings import load

PREFIX = "/team/signer"
PUBLIC_URL = f"https://s3.example.com{PREFIX}"
SPOOFED = {
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Prefix": "/evil",
    "X-Original-URL": "/evil",
    "Forwarded": "for=6.6.6.6;host=evil.example;proto=https",
}


@pytest.fixture
async def public(make_client):
    return await make_client(SIGNER_PUBLIC_URL=f"{PUBLIC_URL}/")


async def links_of(client, headers=None):
    """The places where a client learns an address of the service."""
    stored = await client.put("/fhir/AwsAccount", json=ACCOUNT, headers=headers)
    bundle = await (await client.get("/fhir/AwsAccount?_count=1", headers=headers)).json()
    start = await (await client.get("/", headers=headers)).json()
    document = await (await client.get("/openapi.json", headers=headers)).json()
    return {
        "location": stored.headers.get("Location"),
        "full_url": bundle["entry"][0]["fullUrl"],
        "links": {link["url"] for link in bundle["link"]},
        "start": {*start["links"].values()},
        "servers": document["servers"],
    }


async def test_links_have_the_path_of_the_public_url(public):
    assert await links_of(public) == {
        "location": f"{PREFIX}/AwsAccount/my-account",
        "full_url": f"{PREFIX}/AwsAccount/my-account",
        "links": {f"{PREFIX}/fhir/AwsAccount?_count=1&_page=1"},
        "start": {f"{PREFIX}{path}" for path in ("/", "/docs", "/openapi.json", "/health")},
        "servers": [{"url": PUBLIC_URL}],
    }


@pytest.mark.parametrize("trusted", ["", "127.0.0.1"], ids=["from anybody", "from a trusted proxy"])
@pytest.mark.parametrize("url", ["", PUBLIC_URL])
async def test_forwarded_headers_change_no_link(make_client, trusted, url):
    plain, spoofed = [await make_client(SIGNER_TRUSTED_PROXIES=trusted, SIGNER_PUBLIC_URL=url) for _ in range(2)]

    assert await links_of(spoofed, SPOOFED) == await links_of(plain)


async def test_forwarded_headers_do_not_pass_the_check_of_host_and_origin(make_client, faults):
    client = await make_client(SIGNER_TRUSTED_PROXIES="127.0.0.1")
    named = {"X-Forwarded-Host": "localhost", "Forwarded": "host=localhost"}
    host = await client.get("/live", headers={"Host": "evil.example", **named})
    origin = await client.get("/live", headers={"Origin": "https://evil.example", **SPOOFED})

    assert (await faults(host, 403))[0] == "forbidden"
    assert (await faults(origin, 403))[0] == "forbidden"


@pytest.mark.parametrize("host", ["s3.example.com", "S3.Example.com:443", "localhost"])
async def test_the_public_host_is_served_while_open_on_loopback(public, host):
    response = await public.get("/live", headers={"Host": host, "Origin": "https://s3.example.com"})

    assert response.status == 200


@pytest.mark.parametrize("host", ["example.com", "evil.s3.example.com", "s3.example.com.evil.example", "[", "\xe4"])
async def test_other_hosts_stay_forbidden(public, faults, host):
    assert (await faults(await public.get("/live", headers={"Host": host}), 403))[0] == "forbidden"


@pytest.mark.parametrize("origin", ["https://s3.example.com:8443", "https://evil.s3.example.com"])
async def test_other_origins_stay_forbidden(public, faults, origin):
    headers = {"Host": "s3.example.com", "Origin": origin}

    assert (await faults(await public.get("/live", headers=headers), 403))[0] == "forbidden"


@pytest.mark.filterwarnings("ignore:class var `:DeprecationWarning")
@pytest.mark.parametrize("base", ["", "/fhir"])
async def test_aidboxpy_follows_the_links_behind_a_proxy_that_strips_the_path(public, aiohttp_client, base):
    async def strip(request):
        # As a proxy does; the paths here need no escape.
        url = public.make_url(request.path_qs.removeprefix(PREFIX))
        async with ClientSession() as session, session.request(request.method, url, data=await request.read()) as found:
            return web.Response(status=found.status, body=await found.read(), content_type=found.content_type)

    proxy = web.Application()
    proxy.router.add_route("*", PREFIX + "/{path:.*}", strip)
    server = await aiohttp_client(proxy)
    for number in range(3):
        await public.put("/AwsAccount", json={"id": f"a{number}", **KEYS})
    client = AsyncAidboxClient(str(server.make_url(PREFIX)) + base)

    found = [account["id"] async for account in client.resources("AwsAccount").limit(1)]
    assert found == ["a0", "a1", "a2"]


def test_the_printed_document_has_the_public_url(capfd):
    assert openapi.run(load({"SIGNER_PUBLIC_URL": PUBLIC_URL}), parser().parse_args(["openapi"])) == 0

    assert json.loads(capfd.readouterr().out)["servers"] == [{"url": PUBLIC_URL}]
