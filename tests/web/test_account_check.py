"""The check of an account: what it finds without a connection, and what it asks an S3 server."""

import asyncio
import socket
from email.utils import formatdate
from time import time

import pytest
from aiohttp import encode_basic_auth, web
from support.accounts import KEYS

ROOT = {"SIGNER_ROOT_CLIENT_ID": "root", "SIGNER_ROOT_CLIENT_SECRET": "root-secret-0123456789"}
LIVE = {"SIGNER_LIVE_CHECK": "true"}


async def checks_of(client, fields, *, live=False):
    await client.put("/AwsAccount/a", json=fields)
    response = await client.post("/AwsAccount/a/$check", json={"bucket": "my-bucket", "live": live})
    answer = await response.json()
    assert response.status == 200, answer
    assert response.headers["Cache-Control"] == "no-store"
    assert answer["status"] in {it["status"] for it in answer["checks"]}
    return answer["status"], {it["name"]: it for it in answer["checks"]}


async def test_a_check_without_a_connection(client, monkeypatch):
    await client.get("/live")
    monkeypatch.setattr(socket, "getaddrinfo", None)
    status, checks = await checks_of(client, {**KEYS, "use-ssl": True})

    assert status == "pass"
    assert list(checks) == ["host", "style", "region", "clock", "credentials"]
    assert checks["host"]["output"] == "URLs begin with https://my-bucket.s3.amazonaws.com/"
    assert all("advice" not in it for it in checks.values())


@pytest.mark.parametrize(
    ("fields", "name", "status", "advice"),
    [
        (KEYS, "host", "warn", "use-ssl"),
        ({**KEYS, "host": "https://s3.example"}, "style", "warn", "path-style"),
        ({"use-ssl": True}, "credentials", "fail", "keys"),
        ({**KEYS, "use-ssl": True, "session-token": "FwoG"}, "credentials", "warn", "remove session-token"),
        (
            {**KEYS, "host": "https://s3.eu-west-1.amazonaws.com", "session-token": "FwoG"},
            "credentials",
            "warn",
            "remove session-token",
        ),
        ({**KEYS, "host": "minio", "path-style": True}, "host", "pass", ""),
        ({**KEYS, "host": "https://x.example/my-bucket", "path-style": True}, "host", "warn", "leave the bucket out"),
        ({**KEYS, "host": "https://my-bucket.x.example", "path-style": True}, "host", "warn", "leave the bucket out"),
        ({**KEYS, "host": "https://my-bucket.x.example", "path-style": False}, "host", "warn", "leave the bucket out"),
        ({**KEYS, "host": "https://x.example/my-bucket", "path-style": False}, "host", "warn", "leave the bucket out"),
        ({**KEYS, "host": "https://my-bucket:9000", "path-style": True}, "host", "pass", ""),
        ({**KEYS, "host": "https://s3.my-bucket.example", "path-style": True}, "host", "pass", ""),
        (
            {**KEYS, "host": "minio", "use-ssl": True, "public-host": "s3.x", "path-style": True},
            "host",
            "warn",
            "set public-use-ssl",
        ),
        ({**KEYS, "host": "minio:443", "path-style": True}, "host", "warn", "change use-ssl or the port"),
        ({**KEYS, "host": "https://minio:80", "path-style": True}, "host", "warn", "change use-ssl or the port"),
        ({**KEYS, "host": "http://s3.example", "path-style": True}, "host", "warn", "begin host with https://"),
        ({**KEYS, "host": "https://s3.eu-west-1.amazonaws.com"}, "region", "pass", ""),
        ({**KEYS, "use-ssl": True, "region": "garage"}, "region", "warn", "set host"),
        ({**KEYS, "host": "https://s3.amazonaws.com", "region": "garage"}, "region", "warn", "set region"),
    ],
    ids=str,
)
async def test_a_check_advises_what_to_change(client, fields, name, status, advice):
    worst, checks = await checks_of(client, fields)

    assert (checks[name]["status"], worst) == (status, status)
    assert advice in checks[name].get("advice", "")


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({}, ["bucket"]),
        ({"bucket": "a"}, ["bucket"]),
        ({"bucket": "my-bucket", "live": "yes"}, ["live"]),
        ({"bucket": "my-bucket", "live": True}, ["live"]),
        ({"bucket": "my-bucket", "x": 1}, ["x"]),
    ],
    ids=str,
)
async def test_an_invalid_check_is_refused(client, account, faults, body, where):
    response = await client.post("/AwsAccount/my-account/$check", json=body)

    assert await faults(response, 422) == ("invalid", where)


async def test_a_missing_account_is_a_404(client, faults):
    response = await client.post("/AwsAccount/nope/$check", json={"bucket": "my-bucket"})

    assert await faults(response, 404)


@pytest.mark.parametrize(("method", "status"), [("patch", 200), ("get", 403), ("post", 403)])
async def test_a_caller_who_may_write_the_account_may_check_it(make_client, method, status):
    client = await make_client(**ROOT)
    root = {"Authorization": encode_basic_auth("root", ROOT["SIGNER_ROOT_CLIENT_SECRET"])}
    team = {"Authorization": encode_basic_auth("team", "team-secret-0123456789")}
    secret = {"secret": "team-secret-0123456789", "grant_types": ["basic"]}
    await client.put("/Client/team", json=secret, headers=root)
    await client.put("/AwsAccount/a", json=KEYS, headers=root)
    pattern = {"request-method": method, "params": {"resource/type": "AwsAccount", "resource/id": "a"}}
    await client.put("/AccessPolicy/p", json={"engine": "matcho", "matcho": pattern}, headers=root)
    response = await client.post("/AwsAccount/a/$check", json={"bucket": "my-bucket"}, headers=team)

    assert response.status == status


@pytest.fixture
def ask(make_client, aiohttp_server):
    """Check an account at a server that answers each request with the same response."""

    async def ask(respond, **fields):
        seen = []

        async def handler(request):
            seen.append(request)
            return respond()

        app = web.Application()
        app.router.add_get("/{path:.*}", handler)
        server = await aiohttp_server(app)
        client = await make_client(**LIVE)
        host = f"127.0.0.1:{server.port}"
        status, checks = await checks_of(client, {**KEYS, "host": host, "path-style": True, **fields}, live=True)
        return status, checks, seen

    return ask


def answer(status, code="", more="", **headers):
    body = f"<Error><Code>{code}</Code>{more}</Error>" if code else "<ListBucketResult/>"
    return lambda: web.Response(status=status, text=body, headers={"Date": formatdate(time(), usegmt=True), **headers})


async def in_pieces():
    for piece in (b"<Error><Co", b"de>SignatureDoesNotMatch</Code>", b"</Error>"):
        yield piece
        await asyncio.sleep(0.02)


async def test_a_live_check_of_a_server_that_accepts_the_account(ask):
    status, checks, seen = await ask(answer(200))

    assert status == "pass"
    assert list(checks) == ["host", "style", "region", "clock", "credentials"]
    assert "X-Amz-Signature" in seen[0].query
    assert seen[0].query["list-type"] == "2"


@pytest.mark.parametrize(
    ("respond", "name", "status", "text"),
    [
        (answer(403, "InvalidAccessKeyId"), "credentials", "fail", "access-key-id"),
        (answer(403, "SignatureDoesNotMatch"), "credentials", "fail", "secret"),
        (answer(403, "AccessDenied"), "credentials", "warn", "list"),
        # Garage, which has one code for all that it refuses.
        (
            answer(403, "AccessDenied", "<Message>Forbidden: Invalid signature</Message>"),
            "credentials",
            "fail",
            "secret",
        ),
        (
            answer(403, "AccessDenied", "<Message>Forbidden: No such key: GK1</Message>"),
            "credentials",
            "fail",
            "access-key",
        ),
        (
            answer(400, "AuthorizationHeaderMalformed", "<Region>garage</Region>"),
            "region",
            "fail",
            "set region to garage",
        ),
        # Only the error itself names its region.
        (
            answer(403, "InvalidAccessKeyId", "<Code>AuthorizationHeaderMalformed</Code><Region>garage</Region>"),
            "region",
            "pass",
            "",
        ),
        (answer(404, "NoSuchBucket"), "credentials", "warn", "create"),
        (answer(200, Date="Thu, 01 Jan 1970 00:00:00 GMT"), "clock", "fail", "NTP"),
        (answer(200, Date="never"), "clock", "warn", "clocks"),
        (answer(301, "PermanentRedirect", **{"x-amz-bucket-region": "eu-west-1"}), "region", "fail", "eu-west-1"),
        (answer(307, "TemporaryRedirect", Location="http://127.0.0.1:1/"), "region", "fail", "region"),
        (answer(400, "Strange"), "credentials", "warn", "server"),
        (lambda: web.Response(text="<html>", status=404), "style", "fail", "404"),
        # A web server, such as the console of MinIO, has a page for every path.
        (lambda: web.Response(text="<html>"), "style", "fail", "S3"),
        (lambda: web.Response(text="<html>"), "credentials", "fail", "host"),
        (lambda: web.Response(status=403, body=in_pieces()), "credentials", "fail", "secret"),
    ],
    ids=range(17),
)
async def test_a_live_check_says_what_to_change(ask, respond, name, status, text):
    worst, checks, _ = await ask(respond)

    assert checks[name]["status"] == status
    assert worst in {status, "fail"}
    assert text in checks[name].get("advice", "")


async def test_a_live_check_follows_no_redirect(ask):
    _, _, seen = await ask(answer(302, Location="/elsewhere"))

    assert all(request.path != "/elsewhere" for request in seen)


async def test_a_live_check_asks_the_server_and_not_the_public_host(ask):
    status, checks, seen = await ask(answer(200), **{"public-host": "https://s3.example.invalid"})

    assert status == "pass"
    assert seen
    assert checks["host"]["output"] == "URLs begin with https://s3.example.invalid/my-bucket/"


@pytest.mark.parametrize(
    "host", ["169.254.169.254", "[fe80::1]", "[fd00:ec2::254]", "100.100.100.200", "[64:ff9b::a9fe:a9fe]"]
)
async def test_a_live_check_never_asks_link_local_addresses(make_client, host):
    client = await make_client(**LIVE)
    status, checks = await checks_of(client, {**KEYS, "host": host}, live=True)

    assert status == "fail"
    assert "link-local" in checks["style"]["advice"]


async def test_a_name_that_leads_to_a_link_local_address_is_not_asked(make_client, monkeypatch):
    def resolve(host, port, *_, **__):
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("169.254.169.254", port))]

    client = await make_client(**LIVE)
    await client.get("/live")
    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    status, checks = await checks_of(client, {**KEYS, "host": "metadata.example", "path-style": True}, live=True)

    assert status == "fail"
    assert "link-local" in checks["credentials"]["output"]


async def test_a_server_that_is_not_there(make_client):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    client = await make_client(**LIVE)
    status, checks = await checks_of(client, {**KEYS, "host": f"127.0.0.1:{port}"}, live=True)

    assert status == "fail"
    assert "X-Amz" not in str(checks)
    assert "cannot be reached" in checks["credentials"]["output"]
