"""What version 0.1 has stored in Redis is read, used and changed by this version.

Each file is what a process of 0.1 left there: the first one with Redis, and the last one with hashes by scrypt.
"""

import base64
import json
from pathlib import Path

import pytest
from aiohttp import encode_basic_auth
from redis import Redis
from support.accounts import KEYS

HERE = Path(__file__).parent
ROOT = {"SIGNER_ROOT_CLIENT_ID": "root", "SIGNER_ROOT_CLIENT_SECRET": "correct-horse-battery-staple"}
AS_ROOT = {"Authorization": encode_basic_auth(*ROOT.values())}
AS_CLIENT = {"Authorization": encode_basic_auth("uploader", "3nD0o4F4p2c0o9mJx0aB1V6Xq8mYk7sZ")}


@pytest.fixture
def operator(redis_url):
    with Redis.from_url(redis_url, decode_responses=True) as client:
        yield client


@pytest.fixture
def restore(operator):
    """Fills Redis with a dump."""

    def fill(name):
        for key, value in json.loads((HERE / f"{name}.json").read_text()).items():
            if isinstance(value, str):
                operator.set(key, value)
            elif key.startswith("_index:"):
                operator.zadd(key, value)
            else:
                operator.hset(key, mapping=value)

    return fill


@pytest.fixture
def keys_file(tmp_path):
    path = tmp_path / "keys"
    path.write_text(f"k1: {base64.b64encode(b'k' * 32).decode()}\n")
    path.chmod(0o600)
    return str(path)


async def test_accounts_of_the_first_version_are_listed_signed_and_changed(make_client, redis_url, restore):
    restore("first-0.1")
    client = await make_client(SIGNER_STORE_URL=redis_url)
    listed = await (await client.get("/AwsAccount")).json()
    read = await client.get("/AwsAccount/minio")
    url = (await (await client.get("/aws/storage/minio/my-bucket/k")).json())["url"]
    etag = read.headers["ETag"]
    changed = await client.patch("/AwsAccount/minio", json={"region": "garage"}, headers={"If-Match": etag})
    again = await client.patch("/AwsAccount/minio", json={"region": "x"}, headers={"If-Match": etag})
    deleted = await client.delete("/AwsAccount/first")

    assert [it["resource"]["id"] for it in listed["entry"]] == ["first", "minio"]
    assert (await read.json())["meta"]["createdAt"] == "2026-11-29T01:15:29.586351Z"
    assert url.startswith("http://127.0.0.1:9000/my-bucket/k?")
    assert (changed.status, again.status, deleted.status) == (200, 412, 200)


async def test_encrypted_accounts_clients_and_policies_of_0_1_work(
    make_client, redis_url, restore, operator, keys_file
):
    restore("last-0.1")
    client = await make_client(SIGNER_STORE_URL=redis_url, SIGNER_ENCRYPTION_KEYS_FILE=keys_file, **ROOT)
    path = "/aws/storage/sealed/aidboxtestbucket"
    allowed = await client.post(path, json={"filename": "inbox/x"}, headers=AS_CLIENT)
    denied = await client.post(path, json={"filename": "elsewhere/x"}, headers=AS_CLIENT)
    read = await (await client.get("/AwsAccount/sealed", headers=AS_ROOT)).json()

    assert (allowed.status, denied.status) == (200, 403)
    assert KEYS["access-key-id"] in (await allowed.json())["url"]
    assert read["access-key-id"] == KEYS["access-key-id"]
    # The hash is replaced at the first login.
    assert "$argon2id$" in operator.hget("Client:uploader", "secret")


async def test_an_account_that_0_1_encrypted_needs_its_key(make_client, redis_url, restore):
    restore("last-0.1")
    client = await make_client(SIGNER_STORE_URL=redis_url, **ROOT)
    answer = await client.get("/aws/storage/sealed/aidboxtestbucket/k", headers=AS_ROOT)

    assert (answer.status, (await answer.json())["id"]) == (500, "exception")
