"""Allowed hosts of accounts, and URLs that a server could read in another way than the policies."""

import asyncio

import pytest
from aiohttp import encode_basic_auth
from support.accounts import KEYS

from service.web.context import APP

ROOT = {"SIGNER_ROOT_CLIENT_ID": "root", "SIGNER_ROOT_CLIENT_SECRET": "root-secret-0123456789"}
MASKED = {"extension": [{"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "masked"}]}


@pytest.fixture
async def call(make_client):
    """Send requests as the root client, or as a Client that may sign for the bucket ``public`` and write accounts."""
    client = await make_client(**ROOT)
    secret = "team-secret-0123456789"

    async def call(method, path, *, root=False, **options):
        header = encode_basic_auth(*(("root", ROOT["SIGNER_ROOT_CLIENT_SECRET"]) if root else ("team", secret)))
        return await client.request(method, path, headers={"Authorization": header}, **options)

    call.client = client
    await call("PUT", "/Client/team", root=True, json={"secret": secret, "grant_types": ["basic"]})
    patterns = {"sign": {"params": {"bucket": "public"}}, "write": {"params": {"resource/type": "AwsAccount"}}}
    for id_, pattern in patterns.items():
        policy = {"engine": "matcho", "matcho": pattern, "link": [{"reference": "Client/team"}]}
        assert (await call("PUT", f"/AccessPolicy/{id_}", root=True, json=policy)).status == 201
    return call


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"host": "minio:9000", "path-style": True}, "http://s3.example/my-bucket/k"),
        ({"host": "minio:9000"}, "http://my-bucket.s3.example/k"),
        ({"host": "minio:9000", "use-ssl": True}, "http://my-bucket.s3.example/k"),
        ({"host": "minio:9000", "public-use-ssl": True}, "https://my-bucket.s3.example/k"),
        ({"region": "eu-west-1", "use-ssl": True}, "http://my-bucket.s3.example/k"),
        ({"public-host": "https://10.0.0.1/s3", "use-ssl": False}, "https://10.0.0.1/s3/my-bucket/k"),
    ],
    ids=repr,
)
async def test_urls_are_for_the_public_host(client, fields, place):
    await client.put("/AwsAccount/a", json={**KEYS, "public-host": "s3.example", **fields})
    answer = await (await client.get("/aws/storage/a/my-bucket/k")).json()

    assert answer["url"].partition("?")[0] == place
    assert f"%2F{fields.get('region', 'us-east-1')}%2Fs3" in answer["url"]


@pytest.mark.parametrize(
    "fields",
    [
        {"host": "s3.eu-west-1.amazonaws.com", "region": "us-east-1"},
        {"host": "https://s3.eu-west-1.amazonaws.com", "region": "RegionOne"},
        {"host": "s3.dualstack.eu-west-1.amazonaws.com", "region": "eu-west-2"},
        {"host": "minio:9000", "public-host": "s3.eu-west-1.amazonaws.com", "region": "us-east-1"},
        {"host": "s3.eu-west-1.amazonaws.com", "public-host": "cdn.example.com", "region": "us-east-1"},
    ],
    ids=repr,
)
async def test_another_region_than_that_of_an_aws_host_is_refused(client, faults, fields):
    refused = await client.put("/AwsAccount/a", json={**KEYS, **fields})
    text = await refused.text()

    assert await faults(refused, 422) == ("invalid", ["AwsAccount.region"])
    assert "must be eu-west-1, or left out" in text


async def test_an_aws_host_decides_the_region_of_an_account_without_one(client):
    await client.put("/AwsAccount/a", json={**KEYS, "host": "s3.eu-west-1.amazonaws.com"})
    answer = await (await client.get("/aws/storage/a/my-bucket/k")).json()

    assert "%2Feu-west-1%2Fs3" in answer["url"]


async def test_a_public_host_must_state_its_style_before_a_client_signs(call, faults):
    await call("PUT", "/AwsAccount/a", root=True, json={**KEYS, "public-host": "s3.example"})
    refused = await call("GET", "/aws/storage/a/public/k")

    assert await faults(refused, 422) == ("invalid", ["AwsAccount.path-style"])


@pytest.mark.parametrize(
    "host",
    [
        "localhost:9000",
        "minio",
        "https://s3.example.com",
        "s3.amazonaws.com.example.org",
        "ec2-1-2-3-4.compute-1.amazonaws.com",
    ],
)
@pytest.mark.slow
async def test_a_custom_host_must_state_its_style_before_a_client_signs(call, faults, host):
    await call("PUT", "/AwsAccount/a", root=True, json={**KEYS, "host": host})
    refused = await call("GET", "/aws/storage/a/public/secretbkt/file.txt")
    by_root = await call("GET", "/aws/storage/a/public/file.txt", root=True)

    assert await faults(refused, 422) == ("invalid", ["AwsAccount.path-style"])
    assert by_root.status == 200


@pytest.mark.parametrize("method", ["GET", "DELETE", "POST"])
async def test_the_policy_is_evaluated_before_the_style_is_checked(call, faults, method):
    await call("PUT", "/AwsAccount/a", root=True, json={**KEYS, "host": "minio"})
    path = "/aws/storage/a/other" if method == "POST" else "/aws/storage/a/other/k"
    refused = await call(method, path, json={"filename": "k"})

    assert (await faults(refused, 403))[0] == "forbidden"


@pytest.mark.parametrize(
    ("fields", "url"),
    [
        ({"host": "minio", "path-style": True}, "http://minio/public/secretbkt/file.txt?"),
        ({"host": "minio", "path-style": False}, "http://public.minio/secretbkt/file.txt?"),
        ({"host": "10.0.0.5:9000"}, "http://10.0.0.5:9000/public/secretbkt/file.txt?"),
        ({"host": "[::1]:9000"}, "http://[::1]:9000/public/secretbkt/file.txt?"),
        ({"host": "s3.amazonaws.com"}, "http://public.s3.amazonaws.com/secretbkt/file.txt?"),
        (
            {"host": "s3.dualstack.eu-west-1.amazonaws.com"},
            "http://public.s3.dualstack.eu-west-1.amazonaws.com/secretbkt",
        ),
        ({"host": "s3.us-gov-west-1.amazonaws.com"}, "http://public.s3.us-gov-west-1.amazonaws.com/secretbkt"),
        ({"host": "s3.eu-west-1.amazonaws.com"}, "http://public.s3.eu-west-1.amazonaws.com/secretbkt/file.txt?"),
        (
            {"host": "bucket.vpce-1a2b-3c4d.s3.us-east-1.vpce.amazonaws.com"},
            "http://public.bucket.vpce-1a2b-3c4d.s3.us-east-1.vpce.amazonaws.com/secretbkt/file.txt?",
        ),
        ({}, "http://public.s3.amazonaws.com/secretbkt/file.txt?"),
    ],
)
@pytest.mark.slow
async def test_an_account_with_an_unambiguous_server_signs(call, fields, url):
    await call("PUT", "/AwsAccount/a", root=True, json={**KEYS, **fields})
    signed = await call("GET", "/aws/storage/a/public/secretbkt/file.txt")

    assert (await signed.json())["url"].startswith(url)


@pytest.mark.parametrize("host", ["secretbkt.s3.amazonaws.com", "https://s3.amazonaws.com/secretbkt"])
async def test_a_host_that_names_a_bucket_is_not_stored(call, faults, host):
    refused = await call("PUT", "/AwsAccount/a", root=True, json={**KEYS, "host": host, "path-style": True})

    assert await faults(refused, 422) == ("invalid", ["AwsAccount.host"])


@pytest.mark.parametrize("path_style", [True, False])
async def test_a_stored_host_that_names_a_bucket_signs_nothing(call, faults, path_style):
    await call("PUT", "/AwsAccount/a", root=True, json={**KEYS, "path-style": path_style})
    store = call.client.app[APP].store
    seen = await store.get("AwsAccount", "a", bypass_cache=True)
    await store.replace("AwsAccount", "a", {**seen.fields, "host": "bucket.s3.amazonaws.com"}, expected=seen)
    refused = await call("GET", "/aws/storage/a/public/secretbkt/file.txt")

    assert await faults(refused, 422) == ("invalid", ["AwsAccount.host"])


@pytest.mark.parametrize(
    "change",
    [
        {"host": "evil.example"},
        {"use-ssl": True},
        {"path-style": False},
        {"host": None},
        {"public-host": "evil.example"},
        {"public-host": "minio"},
    ],
)
@pytest.mark.parametrize("method", ["PUT", "PATCH"])
async def test_a_kept_secret_is_not_used_elsewhere(call, faults, method, change):
    stored = {**KEYS, "session-token": "a-session-token-0123", "host": "minio", "path-style": True}
    await call("PUT", "/AwsAccount/a", root=True, json=stored)
    shown = await (await call("GET", "/AwsAccount/a")).json()
    body = {**shown, **change} if method == "PUT" else change
    refused = await call(method, "/AwsAccount/a", json=body)
    with_secrets = await call(method, "/AwsAccount/a", json={**KEYS, "session-token": "another-0123456", **change})

    assert await faults(refused, 422) == ("invalid", ["AwsAccount.secret-access-key", "AwsAccount.session-token"])
    assert with_secrets.status == 200


@pytest.mark.parametrize("root", [True, False])
async def test_a_secret_is_kept_if_its_target_stays_or_the_root_client_asks(call, root):
    await call("PUT", "/AwsAccount/a", root=True, json={**KEYS, "host": "minio", "path-style": True})
    shown = await (await call("GET", "/AwsAccount/a")).json()
    change = {"host": "other"} if root else {"region": "eu-west-1"}
    saved = await call("PUT", "/AwsAccount/a", root=root, json={**shown, **change})

    assert shown["_secret-access-key"] == MASKED
    assert saved.status == 200
    assert (await call("GET", "/aws/storage/a/public/k")).status == 200


SPELLINGS = [
    ({"host": "s3.example.com"}, {"host": "S3.Example.COM"}),
    ({"host": "s3.example.com"}, {"host": "s3.example.com:80"}),
    ({"host": "s3.example.com:80"}, {"host": "http://s3.example.com/"}),
    ({"host": "s3.example.com:443", "use-ssl": True}, {"host": "s3.example.com"}),
    ({"host": "https://s3.example.com"}, {"host": "s3.example.com", "use-ssl": True}),
    ({"host": "https://s3.example.com/a"}, {"host": "HTTPS://S3.example.com:443/a/"}),
    ({"host": "[::1]:9000"}, {"host": "[0:0:0:0:0:0:0:1]:9000"}),
    ({"host": "[fd00::a]"}, {"host": "http://[FD00:0:0::A]:80"}),
    ({"host": "s3.example.com"}, {"use-ssl": False}),
    ({"host": "minio", "public-host": "s3.example.com"}, {"public-host": "S3.example.com:80"}),
    ({"public-host": "s3.example.com", "public-use-ssl": True}, {"public-host": "https://s3.example.com/"}),
]


@pytest.mark.parametrize(("stored", "change"), SPELLINGS)
@pytest.mark.parametrize("method", ["PUT", "PATCH"])
async def test_a_secret_is_kept_under_another_spelling_of_the_same_endpoint(call, method, stored, change):
    stored = {**KEYS, "session-token": "a-session-token-0123", "path-style": True, **stored}
    await call("PUT", "/AwsAccount/a", root=True, json=stored)
    before = await (await call("GET", "/aws/storage/a/public/k")).json()
    shown = await (await call("GET", "/AwsAccount/a")).json()
    saved = await call(method, "/AwsAccount/a", json={**shown, **change} if method == "PUT" else change)
    after = await (await call("GET", "/aws/storage/a/public/k")).json()
    account = await saved.json()

    assert saved.status == 200
    assert {name: account[name] for name in change} == change
    assert after["url"].partition("?")[0] == before["url"].partition("?")[0]


@pytest.mark.parametrize(
    ("stored", "change", "names"),
    [
        ({"host": "s3.example.com"}, {"host": "s3.example.com:443"}, "host"),
        ({"host": "s3.example.com:443"}, {"use-ssl": True}, "use-ssl"),
        ({"host": "http://s3.example.com"}, {"host": "https://s3.example.com"}, "host"),
        ({"host": "http://s3.example.com"}, {"host": "s3.example.com", "use-ssl": True}, "host, use-ssl"),
        ({"host": "http://s3.example.com/a"}, {"host": "http://s3.example.com/A"}, "host"),
        ({"host": "http://s3.example.com/a"}, {"host": "http://s3.example.com/a//"}, "host"),
        ({"host": "[::1]:9000"}, {"host": "[::2]:9000"}, "host"),
        ({"host": "s3.amazonaws.com"}, {"host": None}, "host"),
        ({}, {"host": "s3.amazonaws.com"}, "host"),
        ({}, {"use-ssl": True}, "use-ssl"),
        ({"public-host": "a.example"}, {"public-host": None}, "public-host"),
        ({"public-host": "a.example"}, {"public-use-ssl": True}, "public-use-ssl"),
        ({"public-host": "a.example"}, {"public-host": "a.example:443"}, "public-host"),
    ],
)
async def test_a_kept_secret_is_not_used_at_an_endpoint_that_looks_alike(call, faults, stored, change, names):
    await call("PUT", "/AwsAccount/a", root=True, json={**KEYS, "path-style": True, **stored})
    refused = await call("PATCH", "/AwsAccount/a", json=change)
    message = (await refused.json())["issue"][0]["diagnostics"]

    assert await faults(refused, 422) == ("invalid", ["AwsAccount.secret-access-key"])
    assert message == f"AwsAccount.secret-access-key must be sent too, as {names} changes"


@pytest.mark.parametrize(
    ("fields", "change"),
    [
        ({"host": "a b"}, {"host": "s3.example.com", "use-ssl": False}),
        ({"host": "s3.example.com", "use-ssl": "yes"}, {"host": "s3.example.com", "use-ssl": False}),
        # Their texts are equal to the canonical form of another spelling.
        (
            {"host": "http://s3.example.com/a/", "use-ssl": "False"},
            {"host": "http://s3.example.com/a//", "use-ssl": None},
        ),
    ],
)
async def test_a_kept_secret_does_not_leave_an_invalid_stored_endpoint(call, faults, fields, change):
    await call("PUT", "/AwsAccount/a", root=True, json={**KEYS, "path-style": True})
    store = call.client.app[APP].store
    seen = await store.get("AwsAccount", "a", bypass_cache=True)
    await store.replace("AwsAccount", "a", {**seen.fields, **fields}, expected=seen)
    refused = await call("PATCH", "/AwsAccount/a", json=change)

    assert await faults(refused, 422) == ("invalid", ["AwsAccount.secret-access-key"])


async def test_without_authentication_a_secret_may_move_to_another_endpoint(client):
    await client.put("/AwsAccount/a", json={**KEYS, "host": "minio"})

    assert (await client.patch("/AwsAccount/a", json={"host": "other"})).status == 200


@pytest.mark.parametrize(
    ("allowed", "fields", "status"),
    [
        ("aws", {}, 201),
        ("aws", {"host": "s3.eu-west-1.amazonaws.com"}, 201),
        ("aws", {"host": "https://s3.cn-north-1.amazonaws.com.cn"}, 201),
        ("aws", {"host": "s3-fips.us-east-1.amazonaws.com"}, 201),
        ("aws", {"host": "bucket.vpce-1a2b3c4d-5e6f.s3.us-east-1.vpce.amazonaws.com"}, 201),
        ("aws", {"host": "ec2-1-2-3-4.compute-1.amazonaws.com"}, 422),
        ("aws", {"host": "minio"}, 422),
        ("aws", {"host": "amazonaws.com.evil.example"}, 422),
        ("aws", {"host": "evilamazonaws.com"}, 422),
        ("minio", {}, 422),
        ("minio", {"host": "minio:9000"}, 201),
        ("minio", {"host": "http://MinIO:9000/prefix"}, 201),
        ("minio:9000", {"host": "minio:9000"}, 201),
        ("minio:9000", {"host": "minio"}, 422),
        ("*.s3.example", {"host": "eu.s3.example"}, 201),
        ("*.s3.example", {"host": "s3.example"}, 422),
        ("*.s3.example", {"host": "evil-s3.example"}, 422),
        ("10.0.0.5,[::1]", {"host": "10.0.0.5"}, 201),
        ("10.0.0.5,[::1]", {"host": "[0:0:0:0:0:0:0:1]:9000"}, 201),
        ("10.0.0.5,[::1]", {"host": "10.0.0.6"}, 422),
        ("[0:0:0:0:0:0:0:1]", {"host": "[::1]"}, 201),
        ("MinIO", {"host": "minio:9000"}, 201),
        ("*.S3.Example", {"host": "eu.s3.example:9000"}, 201),
        ("AWS", {}, 201),
        ("minio:443", {"host": "https://minio"}, 201),
        ("minio:443", {"host": "minio", "use-ssl": True}, 201),
        ("minio:443", {"host": "minio"}, 422),
        ("minio:80", {"host": "minio"}, 201),
        ("minio:80", {"host": "https://minio"}, 422),
        ("[::1]:80", {"host": "http://[::1]"}, 201),
        ("aws", {"host": "aws"}, 422),
        ("", {"host": "minio"}, 201),
        ("minio,s3.example", {"host": "minio", "public-host": "s3.example"}, 201),
        ("minio", {"host": "minio", "public-host": "s3.example"}, 422),
        ("s3.example", {"host": "minio", "public-host": "s3.example"}, 422),
        ("s3.example", {"public-host": "s3.example"}, 422),
        ("s3.example:443", {"public-host": "s3.example"}, 422),
        ("aws,s3.example:443", {"public-host": "s3.example", "public-use-ssl": True}, 201),
    ],
)
async def test_an_account_is_stored_only_for_an_allowed_host(make_client, allowed, fields, status):
    client = await make_client(SIGNER_ALLOWED_HOSTS=allowed)
    stored = await client.put("/AwsAccount/a", json={**KEYS, **fields})

    assert stored.status == status


@pytest.mark.parametrize(
    ("environ", "fields", "status"),
    [
        ({}, {}, 422),
        ({}, {"use-ssl": False}, 422),
        ({}, {"use-ssl": True}, 201),
        ({}, {"host": "http://minio"}, 422),
        ({}, {"host": "https://minio"}, 201),
        ({"SIGNER_DEFAULT_USE_SSL": "true"}, {}, 201),
        ({"SIGNER_DEFAULT_USE_SSL": "true"}, {"use-ssl": False}, 422),
        ({}, {"host": "http://minio", "public-host": "https://s3.example"}, 201),
        ({}, {"host": "https://minio", "public-host": "s3.example"}, 422),
        ({}, {"public-host": "s3.example", "public-use-ssl": True}, 201),
    ],
)
async def test_an_account_must_sign_https_where_that_is_required(make_client, environ, fields, status):
    client = await make_client(SIGNER_REQUIRE_SSL="true", **environ)
    stored = await client.put("/AwsAccount/a", json={**KEYS, **fields})

    assert stored.status == status


async def test_a_patch_may_not_leave_the_allowed_hosts(make_client, faults):
    client = await make_client(SIGNER_ALLOWED_HOSTS="aws", SIGNER_REQUIRE_SSL="true")
    await client.put("/AwsAccount/a", json={**KEYS, "use-ssl": True})
    refused = await client.patch("/AwsAccount/a", json={"host": "minio", "use-ssl": False})

    assert await faults(refused, 422) == ("invalid", ["AwsAccount.host", "AwsAccount.use-ssl"])


async def test_an_account_from_before_the_setting_is_checked_on_use(own_redis, make_client, faults):
    before = await make_client(SIGNER_STORE_URL=own_redis.url)
    await before.put("/AwsAccount/a", json={**KEYS, "host": "minio"})
    client = await make_client(SIGNER_STORE_URL=own_redis.url, SIGNER_ALLOWED_HOSTS="aws")

    assert await faults(await client.get("/aws/storage/a/bucket/k"), 422) == ("invalid", ["AwsAccount.host"])
    assert (await client.get("/AwsAccount")).status == 200


async def test_accounts_that_do_not_state_their_style_are_one_warning_at_start(own_redis, make_client, caplog):
    before = await make_client(SIGNER_STORE_URL=own_redis.url)
    for number in range(25):
        await before.put(f"/AwsAccount/a{number:02}", json={**KEYS, "host": "minio"})
    await before.put("/AwsAccount/stated", json={**KEYS, "host": "minio", "path-style": True})
    await make_client(SIGNER_STORE_URL=own_redis.url, **ROOT)
    async with asyncio.timeout(10):
        while not (warnings := [text for text in caplog.messages if "path-style" in text]):  # noqa: ASYNC110 - a log
            await asyncio.sleep(0.01)

    assert len(warnings) == 1
    assert warnings[0].startswith("25 accounts with a custom host do not state path-style")
    assert warnings[0].endswith("a18, a19, ...")
