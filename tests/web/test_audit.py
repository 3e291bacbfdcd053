"""Audit lines of requests, and requests while the audit log is unavailable."""

import json
import os

import pytest
from aiohttp import encode_basic_auth
from support.accounts import ACCOUNT, KEYS

from service.app import create_app
from service.errors import AuditUnavailable
from service.settings import load
from service.telemetry.audit import AuditLog

ROOT = {"SIGNER_ROOT_CLIENT_ID": "root", "SIGNER_ROOT_CLIENT_SECRET": "a root secret, long enough"}
AUTH = {"Authorization": encode_basic_auth("root", ROOT["SIGNER_ROOT_CLIENT_SECRET"])}
SECRET = "a secret, long enough"
TEAM = {"Authorization": encode_basic_auth("team", SECRET)}
SIGN = "/aws/storage/my-account/bucket/key"


@pytest.fixture
def lines(audit_file):
    """Close the application of a client and return the lines of its audit log."""

    async def read(client):
        await client.close()
        return [json.loads(line) for line in audit_file.read_text().splitlines()]

    return read


@pytest.fixture
async def make_deaf(aiohttp_client, lasting_presigner, monkeypatch):
    """Return a client, and an audit log that accepts lines until the test closes it."""
    monkeypatch.setattr("service.app.Presigner", lambda **_: lasting_presigner)
    descriptor = os.open(os.devnull, os.O_WRONLY)

    async def make(**environ):
        log = AuditLog(descriptor)
        return await aiohttp_client(create_app(load(environ), audit=log)), log

    yield make
    os.close(descriptor)


async def assert_refused(response):
    assert response.status == 503
    assert response.headers["Retry-After"] == "1"
    text = await response.text()
    assert json.loads(text)["id"] == "transient"
    assert "X-Amz" not in text


async def store_team(client):
    """Store the Client of TEAM, for which there is no policy."""
    await client.put("/Client/team", json={"secret": SECRET, "grant_types": ["basic"]}, headers=AUTH)


BUCKET = "/aws/storage/my-account/bucket"
# Fields of a line on what a URL carries.
SHOWN = ("bound", "version_id", "content_type", "content_length")


CARRIED = [
    ("GET", "/key", None, {}),
    ("GET", "/key?expiration=60&details=true", None, {}),
    ("GET", "/key?version-id=v1", None, {"bound": ["version-id"], "version_id": "v1"}),
    ("DELETE", "/key?version-id=v1", None, {"bound": ["version-id"], "version_id": "v1"}),
    ("GET", "?prefix=private/", None, {"bound": ["prefix"]}),
    (
        "POST",
        "",
        {
            "filename": "key",
            "content-type": "text/plain",
            "content-length": 5,
            "server-side-encryption": "aws:kms",
            "sse-kms-key-id": "hidden",
            "metadata": {"owner": "hidden"},
        },
        {
            "bound": ["content-type", "metadata", "server-side-encryption", "sse-kms-key-id", "content-length"],
            "content_type": "text/plain",
            "content_length": 5,
        },
    ),
    ("POST", "/$upload-form", {"filename": "key", "max-size": 5}, {"bound": ["max-size"]}),
    (
        "POST",
        "/$sign",
        {"items": [{"filename": "key", "method": "PUT", "content-type": "text/plain"}]},
        {"bound": ["content-type"], "content_type": "text/plain"},
    ),
]


@pytest.mark.parametrize(("method", "path", "body", "expected"), CARRIED, ids=str)
async def test_the_line_of_a_url_names_what_it_carries(make_client, lines, method, path, body, expected):
    client = await make_client()
    await client.put("/AwsAccount", json=ACCOUNT)
    response = await client.request(method, BUCKET + path, json=body)
    line = (await lines(client))[-1]

    assert response.status == 200
    assert "hidden" not in str(line)
    assert {name: line[name] for name in SHOWN if name in line} == expected


@pytest.mark.parametrize(("method", "path", "body", "expected"), CARRIED, ids=str)
async def test_the_line_of_a_denied_url_names_what_it_would_have_carried(
    make_client, lines, method, path, body, expected
):
    client = await make_client(**ROOT)
    await store_team(client)
    await client.request(method, BUCKET + path, json=body, headers=TEAM)
    line = (await lines(client))[-1]

    assert (line["event"], line["outcome"]) == ("denied", "forbidden")
    assert "hidden" not in str(line)
    assert {name: line[name] for name in SHOWN if name in line} == expected


async def test_the_line_of_a_denied_form_has_the_key_of_an_allowed_one(make_client, lines):
    client = await make_client(**ROOT)
    await store_team(client)
    form = {"starts-with": "photos/"}
    await client.put("/AwsAccount", json=ACCOUNT, headers=AUTH)
    await client.post(f"{BUCKET}/$upload-form", json=form, headers=TEAM)
    await client.post(f"{BUCKET}/$upload-form", json=form, headers=AUTH)
    denied, signed = (await lines(client))[-2:]

    assert (denied["event"], signed["event"]) == ("denied", "signed")
    assert [(line["key"], line["bound"]) for line in (denied, signed)] == [("photos/${filename}", ["key-prefix"])] * 2


async def test_no_url_is_returned_without_an_audit_line(make_deaf):
    client, log = await make_deaf()
    await client.put("/AwsAccount", json=ACCOUNT)
    before = (await client.get(SIGN)).status
    await log.close()

    assert before == 200
    for _ in range(2):
        await assert_refused(await client.get(SIGN))
    await assert_refused(await client.delete(SIGN))
    await assert_refused(await client.post("/aws/storage/my-account/bucket", json={"filename": "key"}))


async def test_no_change_is_stored_while_the_audit_log_is_unavailable(make_deaf):
    client, log = await make_deaf()
    await client.put("/AwsAccount", json=ACCOUNT)
    await log.close()

    await assert_refused(await client.put("/AwsAccount/my-account", json={"region": "eu-west-1"}))
    await assert_refused(await client.put("/AwsAccount/new", json={}))
    await assert_refused(await client.put("/AwsAccount", json={"id": "new"}))
    await assert_refused(await client.post("/AwsAccount", json={"id": "new"}))
    await assert_refused(await client.patch("/AwsAccount/my-account", json={"region": "eu-west-1"}))
    await assert_refused(await client.delete("/AwsAccount/my-account"))
    found = await (await client.get("/AwsAccount")).json()
    assert [(entry["resource"]["id"], entry["resource"]["region"]) for entry in found["entry"]] == [
        ("my-account", "us-east-1")
    ]


async def test_health_warns_while_the_audit_log_is_unavailable(make_deaf):
    client, log = await make_deaf()
    before = await (await client.get("/health")).json()
    await log.close()
    after = await (await client.get("/health")).json()

    assert (before["status"], after["status"]) == ("pass", "warn")
    assert after["checks"] == {
        "store": {"status": "pass"},
        "audit": {"status": "fail", "output": str(AuditUnavailable())},
    }
    # All replicas may write to the same full disk.
    assert (await client.get("/ready")).status == 200


async def test_no_token_is_issued_while_the_audit_log_is_unavailable(make_deaf):
    client, log = await make_deaf(**ROOT)
    await log.close()

    response = await client.post("/auth/token", json={"grant_type": "client_credentials"}, headers=AUTH)
    await assert_refused(response)
    assert "access_token" not in await response.text()


async def test_a_denial_without_an_audit_line_is_a_503(make_deaf):
    client, log = await make_deaf(**ROOT)
    repeated = [(await client.get("/AwsAccount")).status for _ in range(2)]
    await log.close()

    assert repeated == [401, 401]
    await assert_refused(await client.get("/AwsAccount"))
    await assert_refused(await client.get(SIGN))


async def test_a_line_of_a_signed_url_names_its_target_and_caller(client, lines):
    accounts = {
        "aws": {},
        "minio": {"host": "http://minio.example:9000/s3", "path-style": True},
        "swift": {"host": "http://minio.example:9000/s3", "path-style": False},
    }
    for id_, fields in accounts.items():
        await client.put(f"/AwsAccount/{id_}", json={**KEYS, **fields})
        assert (await client.get(f"/aws/storage/{id_}/bucket/a/key")).status == 200
    signed = [line for line in await lines(client) if line["event"] == "signed"]

    assert [(line["host"], line["style"], line["path_prefix"]) for line in signed] == [
        ("bucket.s3.amazonaws.com", "virtual-hosted", ""),
        ("minio.example:9000", "path", "/s3/bucket"),
        ("bucket.minio.example:9000", "virtual-hosted", "/s3"),
    ]
    assert {(line["caller"], line["address"], line["pid"]) for line in signed} == {
        ("anonymous", "127.0.0.1", os.getpid())
    }


async def test_a_change_names_the_changed_fields_and_no_value(client, lines):
    await client.put("/AwsAccount/a", json={**KEYS, "host": "one.example"})
    await client.put("/AwsAccount/a", json={**KEYS, "host": "one.example"})
    await client.patch("/AwsAccount/a", json={"region": "eu-west-1", "path-style": True})
    await client.patch("/AwsAccount/a", json={"host": "two.example:9000"})
    await client.patch("/AwsAccount/a", json={"host": None})
    await client.post("/AwsAccount", json={"id": "b", "region": "eu-west-1"})
    await client.delete("/AwsAccount/a")
    changed = await lines(client)

    assert [(line.get("fields"), line.get("host", "left out")) for line in changed] == [
        (["access-key-id", "host", "secret-access-key"], "one.example"),
        ([], "left out"),
        (["path-style", "region"], "left out"),
        (["host"], "two.example:9000"),
        (["host"], None),
        (["region"], "left out"),
        (None, "left out"),
    ]
    assert not any(value in json.dumps(changed) for value in (*KEYS.values(), "eu-west-1"))


async def test_a_denied_listing_names_only_the_type(make_client, lines):
    client = await make_client(**ROOT)
    await store_team(client)
    assert (await client.get("/AwsAccount", headers=TEAM)).status == 403
    assert (await client.get("/AwsAccount/a", headers=TEAM)).status == 403
    denied = [line for line in await lines(client) if line["event"] == "denied"]

    assert [line["resource"] for line in denied] == ["AwsAccount", "AwsAccount/a"]


async def test_repeated_denials_of_one_ipv6_network_are_counted_together(make_client, lines):
    client = await make_client(SIGNER_TRUSTED_PROXIES="127.0.0.1", **ROOT)
    for address in ("2001:db8::1", "2001:db8::2", "2001:db8::ffff:3", "2001:db8:0:1::1"):
        assert (await client.get(SIGN, headers={"X-Forwarded-For": address})).status == 401
    denied = await lines(client)

    assert [(line["address"], line.get("repeats")) for line in denied] == [
        ("2001:db8::1", None),
        ("2001:db8:0:1::1", None),
        ("2001:db8::/64", 2),
    ]


async def test_repeated_denials_of_one_address_are_counted_by_route_account_and_outcome(make_client, lines):
    client = await make_client(SIGNER_TRUSTED_PROXIES="127.0.0.1", **ROOT)
    for address in ("203.0.113.9", "203.0.113.10"):
        for path in ("/AwsAccount/a", "/AwsAccount/b", SIGN):
            for _ in range(3):
                assert (await client.get(path, headers={"X-Forwarded-For": address})).status == 401
    denied = await lines(client)

    assert [(line["address"], line["route"], line.get("repeats")) for line in denied] == [
        *(
            (address, route, None)
            for address in ("203.0.113.9", "203.0.113.10")
            for route in ("/AwsAccount/{id}", "/aws/storage/{account}/{bucket}/{key}")
        ),
        ("203.0.113.9", "/AwsAccount/{id}", 5),
        ("203.0.113.9", "/aws/storage/{account}/{bucket}/{key}", 2),
        ("203.0.113.10", "/AwsAccount/{id}", 5),
        ("203.0.113.10", "/aws/storage/{account}/{bucket}/{key}", 2),
    ]
