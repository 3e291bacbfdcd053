"""The client's address over the wire, for the audit log and the rate limits of logins."""

import json

import pytest
from aiohttp import ClientSession, UnixConnector, encode_basic_auth, web
from multidict import CIMultiDict
from support.accounts import ACCOUNT

from service.app import create_app
from service.settings import load
from service.web.forwarded import TrustedProxies

ROOT = {"SIGNER_ROOT_CLIENT_ID": "root", "SIGNER_ROOT_CLIENT_SECRET": "a root secret, long enough"}
SIGN = "/aws/storage/my-account/bucket/key"


@pytest.fixture
def addresses(audit_file):
    """Close the application of a client and return the addresses in its audit log."""

    async def read(client):
        await client.close()
        return [json.loads(line)["address"] for line in audit_file.read_text().splitlines()]

    return read


async def test_without_trusted_proxies_headers_are_ignored(client, account, addresses):
    for header in ("X-Forwarded-For", "Forwarded", "X-Real-IP"):
        assert (await client.get(SIGN, headers={header: "for=6.6.6.6"})).status == 200

    assert await addresses(client) == ["127.0.0.1"] * 4


async def test_the_header_is_read_once_for_each_request(make_client, monkeypatch):
    client = await make_client(SIGNER_TRUSTED_PROXIES="127.0.0.0/8", SIGNER_ACCESS_LOG="true", **ROOT)
    read = []
    client_of = TrustedProxies.client
    monkeypatch.setattr(TrustedProxies, "client", lambda *args: read.append(args) or client_of(*args))
    response = await client.get("/AwsAccount", headers={"Authorization": encode_basic_auth("root", "wrong")})

    assert response.status == 401
    assert len(read) == 1


@pytest.mark.parametrize(
    ("header", "value"), [("x-forwarded-for", "6.6.6.6, 203.0.113.9"), ("forwarded", "for=6.6.6.6, for=203.0.113.9")]
)
async def test_only_the_configured_header_of_a_trusted_proxy_is_used(make_client, addresses, header, value):
    client = await make_client(SIGNER_TRUSTED_PROXIES="127.0.0.0/8", SIGNER_FORWARDED_HEADER=header)
    other = {"x-forwarded-for": "Forwarded", "forwarded": "X-Forwarded-For"}[header]
    await client.put("/AwsAccount", json=ACCOUNT, headers={header: value})
    await client.get(SIGN, headers={header: value, other: "7.7.7.7"})
    await client.get(SIGN, headers={other: "7.7.7.7"})

    assert await addresses(client) == ["203.0.113.9", "203.0.113.9", "127.0.0.1"]


@pytest.mark.parametrize(
    "lines",
    [
        [""],
        [","],
        ["unknown"],
        ['for="'],
        ["\x80\xff"],
        ["[::1"],
        ["::1%eth0"],
        ["1" * 8000],
        [", " * 4000],
        ["10.0.0.1"] * 100,
    ],
)
@pytest.mark.parametrize("header", ["x-forwarded-for", "forwarded"])
async def test_a_malformed_header_is_no_error(make_client, header, lines):
    client = await make_client(SIGNER_TRUSTED_PROXIES="127.0.0.1,10.0.0.0/8", SIGNER_FORWARDED_HEADER=header, **ROOT)

    response = await client.get(SIGN, headers=CIMultiDict((header, line) for line in lines))
    assert response.status == 401


async def test_guesses_behind_a_proxy_do_not_lock_out_others_behind_it(make_client):
    client = await make_client(SIGNER_TRUSTED_PROXIES="127.0.0.1", **ROOT)

    async def status(address, secret):
        headers = {"X-Forwarded-For": address, "Authorization": encode_basic_auth("root", secret)}
        return (await client.get("/AwsAccount", headers=headers)).status

    guesses = [await status(f"6.6.6.{number}, 203.0.113.9", "a wrong guess") for number in range(11)]
    assert guesses == [401] * 10 + [429]
    assert await status("203.0.113.10", ROOT["SIGNER_ROOT_CLIENT_SECRET"]) == 200


@pytest.mark.parametrize(("trusted", "address"), [("unix", "203.0.113.9"), ("127.0.0.1", "unix")])
async def test_a_proxy_on_a_unix_socket_is_trusted_by_name(
    tmp_path, audit_log, audit_file, lasting_presigner, monkeypatch, trusted, address
):
    monkeypatch.setattr("service.app.Presigner", lambda **_: lasting_presigner)
    path = str(tmp_path / "socket")
    app = create_app(load({"SIGNER_TRUSTED_PROXIES": trusted, "SIGNER_SOCKET": path}), audit=audit_log)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.UnixSite(runner, path).start()
    async with ClientSession(connector=UnixConnector(path)) as session:
        answer = await session.put(
            "http://localhost/AwsAccount", json=ACCOUNT, headers={"X-Forwarded-For": "203.0.113.9"}
        )
        assert answer.status == 201
    await runner.cleanup()

    assert [json.loads(line)["address"] for line in audit_file.read_text().splitlines()] == [address]
