"""The limits of an account: expirations and sizes. What exceeds them is refused, never shortened."""

from urllib.parse import parse_qs, urlsplit

import pytest
from aiohttp import encode_basic_auth
from support.accounts import KEYS

ROOT = {"SIGNER_ROOT_CLIENT_ID": "root", "SIGNER_ROOT_CLIENT_SECRET": "root-secret-0123456789"}


@pytest.mark.parametrize(
    ("fields", "query", "seconds"),
    [
        ({"default-expiration": 600}, "", 600),
        ({"default-expiration": 600}, "?expiration=700", 700),
        ({"default-expiration": 600}, "?details=false", 600),
        ({"max-expiration": 600}, "", 600),
        ({"max-expiration": 600}, "?expiration=600", 600),
        ({"max-expiration": 604800}, "", 86400),
        ({"max-expiration": 600, "default-expiration": 60}, "", 60),
    ],
)
async def test_an_account_has_its_own_default_expiration(client, fields, query, seconds):
    await client.put("/AwsAccount/a", json={**KEYS, **fields})
    for method, path in (("GET", "/k"), ("DELETE", "/k"), ("POST", ""), ("GET", "")):
        answer = await client.request(method, f"/aws/storage/a/my-bucket{path}{query}", json={"filename": "k"})

        assert parse_qs(urlsplit((await answer.json())["url"]).query)["X-Amz-Expires"] == [str(seconds)]


async def test_a_longer_expiration_than_the_account_allows_is_refused(client, faults):
    await client.put("/AwsAccount/a", json={**KEYS, "max-expiration": 600})
    for method, path in (("GET", "/k"), ("DELETE", "/k"), ("POST", ""), ("GET", "")):
        response = await client.request(
            method, f"/aws/storage/a/my-bucket{path}?expiration=601", json={"filename": "k"}
        )
        text = await response.text()

        assert await faults(response, 422) == ("invalid", ["expiration"])
        assert "max-expiration" in text


@pytest.mark.parametrize(("size", "status"), [(0, 200), (1000, 200), (1001, 422), (None, 422)])
async def test_an_upload_is_at_most_as_large_as_the_account_allows(client, faults, size, status):
    await client.put("/AwsAccount/a", json={**KEYS, "max-size": 1000})
    response = await client.post("/aws/storage/a/my-bucket", json={"filename": "k", "content-length": size})
    text = await response.text()

    assert response.status == status
    assert status == 200 or ("content-length" in text and "max-size" in text)
    assert size is not None or "$upload-form" in text


async def test_a_limit_on_size_is_for_uploads_alone(client):
    await client.put("/AwsAccount/a", json={**KEYS, "max-size": 1000})

    assert (await client.get("/aws/storage/a/my-bucket/k")).status == 200


async def test_policies_see_the_default_of_the_account(make_client):
    client = await make_client(**ROOT)
    root = {"Authorization": encode_basic_auth("root", ROOT["SIGNER_ROOT_CLIENT_SECRET"])}
    team = {"Authorization": encode_basic_auth("team", "team-secret-0123456789")}
    await client.put("/Client/team", json={"secret": "team-secret-0123456789", "grant_types": ["basic"]}, headers=root)
    policy = {"engine": "allow", "link": [{"reference": "Client/team"}], "max-expiration": 600}
    await client.put("/AccessPolicy/short", json=policy, headers=root)
    await client.put("/AwsAccount/short", json={**KEYS, "default-expiration": 600}, headers=root)
    await client.put("/AwsAccount/long", json=KEYS, headers=root)

    assert (await client.get("/aws/storage/short/my-bucket/k", headers=team)).status == 200
    assert (await client.get("/aws/storage/long/my-bucket/k", headers=team)).status == 403
    # The limit is a property of the account, so only callers who may use it learn about it.
    await client.patch("/AwsAccount/long", json={"max-expiration": 500}, headers=root)
    refused = await client.get("/aws/storage/long/my-bucket/k?expiration=601", headers=team)
    assert refused.status == 403


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"default-expiration": 601, "max-expiration": 600}, ["default-expiration"]),
        ({"default-expiration": 0}, ["default-expiration"]),
        ({"max-expiration": 604801}, ["max-expiration"]),
        ({"max-size": 0}, ["max-size"]),
        ({"max-size": "1"}, ["max-size"]),
        ({"public-use-ssl": True}, ["public-use-ssl"]),
        ({"public-host": "https://a.example", "public-use-ssl": False}, ["public-use-ssl"]),
        ({"public-host": "bucket.s3.amazonaws.com"}, ["public-host"]),
        ({"public-host": "a b"}, ["public-host"]),
    ],
)
async def test_invalid_limits_are_refused(client, faults, fields, where):
    response = await client.put("/AwsAccount/a", json={**KEYS, **fields})

    assert await faults(response, 422) == ("invalid", [f"AwsAccount.{name}" for name in where])


async def test_limits_are_stored_and_shown_as_numbers(client, own_redis, make_client):
    limits = {"default-expiration": 60, "max-expiration": 600, "max-size": 1000, "public-host": "a.example"}
    for caller in (client, await make_client(SIGNER_STORE_URL=own_redis.url)):
        await caller.put("/AwsAccount/a", json={**KEYS, **limits})
        shown = await (await caller.get("/AwsAccount/a")).json()

        assert {name: shown[name] for name in limits} == limits
        assert "/a.example/" in (await (await caller.get("/aws/storage/a/My_Bucket/k")).json())["url"]
