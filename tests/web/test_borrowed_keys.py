"""Accounts that sign with the keys of a role, or of the service's environment: answers, limits, audit and checks."""

import json
from datetime import datetime
from time import time
from urllib.parse import parse_qs, urlsplit

import pytest
from aiohttp import encode_basic_auth
from redis import Redis
from support.accounts import KEYS
from support.sts import ROLE
from support.waiting import until

ROOT = {"SIGNER_ROOT_CLIENT_ID": "root", "SIGNER_ROOT_CLIENT_SECRET": "root-secret-0123456789"}
AUTH = {"Authorization": encode_basic_auth("root", ROOT["SIGNER_ROOT_CLIENT_SECRET"])}
TEAM = {"Authorization": encode_basic_auth("team", "team-secret-0123456789")}
AMBIENT = {"SIGNER_AMBIENT_CREDENTIALS": "true"}
WITH_ROLE = {**KEYS, "role-arn": ROLE, "external-id": "team/7", "use-ssl": True}
BUCKET = "/aws/storage/a/my-bucket"


@pytest.fixture
async def team(make_client):
    """Makes a client of an application in which the Client `team` may do everything that policies can allow."""

    async def make(**settings):
        client = await make_client(**ROOT, **settings)
        secret = {"secret": "team-secret-0123456789", "grant_types": ["basic"]}
        await client.put("/Client/team", json=secret, headers=AUTH)
        policy = {"engine": "allow", "link": [{"reference": "Client/team"}]}
        assert (await client.put("/AccessPolicy/p", json=policy, headers=AUTH)).status == 201
        return client

    return make


@pytest.fixture
def environment(no_aws):
    no_aws.setenv("AWS_ACCESS_KEY_ID", "AKIAENVIRONMENT")
    no_aws.setenv("AWS_SECRET_ACCESS_KEY", "environment-secret")


def query(url):
    return {name: value for name, (value,) in parse_qs(urlsplit(url).query).items()}


async def test_a_url_of_a_role_has_its_keys_and_its_session_token(client, sts):
    await client.put("/AwsAccount/a", json=WITH_ROLE)
    answer = await (await client.get(f"{BUCKET}/k")).json()

    assert list(answer) == ["url"]
    assert query(answer["url"])["X-Amz-Credential"].startswith("ASIA0000000000000001/")
    assert query(answer["url"])["X-Amz-Security-Token"] == "temporary-token-1"
    assert sts.requests[0]["RoleSessionName"] == "s3-signer-a"


CALLS = {
    "download": ("GET", "/k", None),
    "upload": ("POST", "", {"filename": "k"}),
    "delete": ("DELETE", "/k", None),
    "list": ("GET", "", None),
    "batch": ("POST", "/$sign", {"items": [{"filename": "k", "expiration": 86400}]}),
    "widget": ("POST", "/$sign-request", {"method": "PUT", "key": "k", "expiresIn": 86400}),
    "form": ("POST", "/$upload-form", {"filename": "k"}),
}


@pytest.mark.parametrize(("method", "path", "body"), CALLS.values(), ids=CALLS)
async def test_details_show_that_the_keys_end_before_the_url(client, sts, method, path, body):
    await client.put("/AwsAccount/a", json=WITH_ROLE)
    answer = await (await client.request(method, f"{BUCKET}{path}?details=true", json=body)).json()
    details = answer["items"][0] if "items" in answer else answer

    end = datetime.fromisoformat(details["expires-at"]).timestamp()
    assert abs(end - time() - 3600) < 60
    assert details["expiration"] == 86400
    (warning,) = details["warnings"]
    assert details["expires-at"] in warning


async def test_details_of_a_url_that_ends_before_its_keys_have_no_warning(client, sts):
    await client.put("/AwsAccount/a", json=WITH_ROLE)
    details = await (await client.get(f"{BUCKET}/k?details=true&expiration=60")).json()

    assert abs(datetime.fromisoformat(details["expires-at"]).timestamp() - time() - 60) < 60
    assert "warnings" not in details


@pytest.mark.parametrize(("method", "path", "body"), CALLS.values(), ids=CALLS)
async def test_without_keys_the_answer_is_a_503_that_names_the_account(client, sts, method, path, body):
    await client.put("/AwsAccount/a", json=WITH_ROLE)
    sts.refusal = "AccessDenied"
    response = await client.request(method, f"{BUCKET}{path}", json=body)
    text = await response.text()

    assert (response.status, response.headers["Retry-After"]) == (503, "5")
    assert json.loads(text)["id"] == "transient"
    assert "AwsAccount/a cannot sign at the moment: STS refuses the request for its keys (AccessDenied)" in text
    assert KEYS["secret-access-key"] not in text


async def test_a_caller_without_a_policy_causes_no_request_for_keys(team, sts):
    client = await team()
    await client.put("/AwsAccount/a", json=WITH_ROLE, headers=AUTH)
    await client.delete("/AccessPolicy/p", headers=AUTH)
    response = await client.get(f"{BUCKET}/k", headers=TEAM)

    assert response.status == 403
    assert sts.requests == []


async def test_the_session_of_the_role_and_the_audit_line_name_the_caller(team, sts, audit_file):
    client = await team()
    await client.put("/AwsAccount/a", json=WITH_ROLE, headers=AUTH)
    for headers in (TEAM, AUTH, TEAM):
        assert (await client.get(f"{BUCKET}/k", headers=headers)).status == 200
    await client.close()
    lines = [json.loads(line) for line in audit_file.read_text().splitlines()]

    assert [asked["RoleSessionName"] for asked in sts.requests] == ["Client-team", "root"]
    signed = [line for line in lines if line["event"] == "signed"]
    assert [(line["role_arn"], line["role_session"]) for line in signed] == [
        (ROLE, "Client-team"),
        (ROLE, "root"),
        (ROLE, "Client-team"),
    ]
    assert signed[0]["access_key_id"] == "ASIA0000000000000001"
    assert "temporary-" not in audit_file.read_text()


async def test_an_account_without_keys_signs_with_those_of_the_environment_if_the_settings_allow_it(
    make_client, environment, audit_file
):
    client = await make_client(**AMBIENT)
    await client.put("/AwsAccount/a", json={"use-ssl": True})
    answer = await (await client.get(f"{BUCKET}/k")).json()
    await client.close()
    (line,) = (line for line in map(json.loads, audit_file.read_text().splitlines()) if line["event"] == "signed")

    assert query(answer["url"])["X-Amz-Credential"].startswith("AKIAENVIRONMENT/")
    assert line["access_key_id"] == "AKIAENVIRONMENT"
    assert "role_arn" not in line


@pytest.mark.parametrize("fields", [{}, {"role-arn": ROLE}], ids=["no role", "role"])
async def test_by_default_an_account_without_keys_is_refused(client, environment, faults, fields):
    await client.put("/AwsAccount/a", json=fields)
    response = await client.get(f"{BUCKET}/k")

    assert await faults(response, 422) == ("invalid", ["AwsAccount.access-key-id", "AwsAccount.secret-access-key"])


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"role-arn": "uploads"}, "role-arn"),
        ({"role-arn": "arn:aws:iam::123456789012:user/x"}, "role-arn"),
        ({"role-arn": f"{ROLE}\n"}, "role-arn"),
        ({"role-arn": ROLE, "external-id": "x"}, "external-id"),
        ({"external-id": "team"}, "external-id"),
        ({"role-arn": ROLE, "host": "s3.example.com", "region": "a_b"}, "region"),
        ({"role-arn": ROLE, "host": "s3.example.com", "region": "7"}, "region"),
    ],
    ids=str,
)
async def test_an_invalid_role_is_refused(client, faults, fields, where):
    response = await client.put("/AwsAccount/a", json={**KEYS, **fields})

    assert await faults(response, 422) == ("invalid", [f"AwsAccount.{where}"])


# The writes of a Client to an account with a role, or to a new one, and the fields that are refused.
WRITES = {
    "create": ("POST", "/AwsAccount", {**WITH_ROLE, "id": "b"}, ["role-arn", "external-id"]),
    "conditional create": ("POST", "/AwsAccount?_id=b", WITH_ROLE, ["role-arn", "external-id"]),
    "put": ("PUT", "/AwsAccount/b", WITH_ROLE, ["role-arn", "external-id"]),
    "put by body": ("PUT", "/AwsAccount", {**WITH_ROLE, "id": "b"}, ["role-arn", "external-id"]),
    "remove by put": ("PUT", "/AwsAccount/a", KEYS, ["role-arn", "external-id"]),
    "remove by patch": ("PATCH", "/AwsAccount/a", {"external-id": None}, ["external-id"]),
    "change": ("PATCH", "/AwsAccount/a", {"role-arn": f"{ROLE}-2"}, ["role-arn"]),
    "keep by put": ("PUT", "/AwsAccount/a", {**WITH_ROLE, "region": "eu-west-1"}, []),
    "keep by patch": ("PATCH", "/AwsAccount/a", {"region": "eu-west-1"}, []),
}


@pytest.mark.parametrize(("method", "path", "body", "refused"), WRITES.values(), ids=WRITES)
@pytest.mark.parametrize("base", ["", "/fhir"])
async def test_only_the_root_client_chooses_a_role(team, faults, base, method, path, body, refused):
    client = await team()
    await client.put("/AwsAccount/a", json=WITH_ROLE, headers=AUTH)
    response = await client.request(method, base + path, json=body, headers=TEAM)

    if refused:
        assert await faults(response, 422) == ("invalid", [f"AwsAccount.{name}" for name in refused])
        assert (await client.request(method, base + path, json=body, headers=AUTH)).status in {200, 201}
    else:
        assert response.status == 200
        assert (await response.json())["role-arn"] == ROLE


async def test_a_json_patch_of_a_client_cannot_choose_a_role(team, faults):
    client = await team()
    await client.put("/AwsAccount/a", json=KEYS, headers=AUTH)
    patch = json.dumps([{"op": "add", "path": "/role-arn", "value": ROLE}])
    headers = {"Content-Type": "application/json-patch+json"}
    response = await client.patch("/AwsAccount/a", data=patch, headers=TEAM | headers)

    assert await faults(response, 422) == ("invalid", ["AwsAccount.role-arn"])
    assert (await client.patch("/AwsAccount/a", data=patch, headers=AUTH | headers)).status == 200


async def test_a_bundle_may_choose_a_role_and_store_an_account_without_keys(team, tmp_path):
    accounts = {"a": WITH_ROLE, "b": {"use-ssl": True}}
    entries = [
        {"request": {"method": "PUT", "url": f"/AwsAccount/{id_}"}, "resource": fields}
        for id_, fields in accounts.items()
    ]
    path = tmp_path / "bundle.json"
    path.write_text(json.dumps({"resourceType": "Bundle", "type": "batch", "entry": entries}))
    client = await team(SIGNER_INIT_BUNDLE=str(path), **AMBIENT)

    assert (await (await client.get("/AwsAccount/a", headers=TEAM)).json())["role-arn"] == ROLE
    assert (await client.get("/AwsAccount/b", headers=TEAM)).status == 200


AMBIENT_WRITES = {
    "create": ("PUT", "/AwsAccount/b", {}, ["access-key-id"]),
    "remove the keys": (
        "PATCH",
        "/AwsAccount/keys",
        {"access-key-id": None, "secret-access-key": None},
        ["access-key-id"],
    ),
    "another host": ("PATCH", "/AwsAccount/a", {"host": "evil.example", "path-style": True}, ["host", "path-style"]),
    "http": ("PATCH", "/AwsAccount/a", {"use-ssl": False}, ["use-ssl"]),
    "another region": ("PATCH", "/fhir/AwsAccount/a", {"region": "cn-north-1"}, ["region"]),
    "another limit": ("PATCH", "/AwsAccount/a", {"max-size": 5}, []),
    "keys of its own": ("PATCH", "/AwsAccount/a", KEYS, []),
}


@pytest.mark.parametrize(("method", "path", "body", "refused"), AMBIENT_WRITES.values(), ids=AMBIENT_WRITES)
async def test_only_the_root_client_decides_where_the_keys_of_the_service_sign(
    team, faults, method, path, body, refused
):
    client = await team(**AMBIENT)
    await client.put("/AwsAccount/a", json={"use-ssl": True}, headers=AUTH)
    await client.put("/AwsAccount/keys", json=KEYS, headers=AUTH)
    response = await client.request(method, path, json=body, headers=TEAM)

    if refused:
        assert await faults(response, 422) == ("invalid", [f"AwsAccount.{name}" for name in refused])
        assert (await client.request(method, path, json=body, headers=AUTH)).status in {200, 201}
    else:
        assert response.status == 200


async def test_a_client_cannot_turn_an_invalid_account_into_one_that_signs_with_the_keys_of_the_service(
    own_redis, team, faults
):
    with Redis.from_url(own_redis.url) as redis:
        redis.hset("AwsAccount:a", mapping={"secret-access-key": "", "use-ssl": "true"})
    client = await team(SIGNER_STORE_URL=own_redis.url, **AMBIENT)
    response = await client.patch("/AwsAccount/a", json={"max-size": 5}, headers=TEAM)

    assert await faults(response, 422) == ("invalid", ["AwsAccount.access-key-id"])
    assert (await client.patch("/AwsAccount/a", json={"max-size": 5}, headers=AUTH)).status == 200


async def test_without_the_setting_a_client_may_store_an_account_without_keys(team):
    client = await team()

    assert (await client.put("/AwsAccount/b", json={}, headers=TEAM)).status == 201


async def test_accounts_without_keys_from_before_the_setting_are_one_warning_at_start(
    own_redis, make_client, environment, caplog
):
    store = {"SIGNER_STORE_URL": own_redis.url}
    before = await make_client(**store, **ROOT)
    for id_, fields in {"a": {}, "b": {"role-arn": ROLE}, "keys": KEYS}.items():
        assert (await before.put(f"/AwsAccount/{id_}", json=fields, headers=AUTH)).status == 201
    await make_client(**store, **ROOT, **AMBIENT)

    await until(lambda: [text for text in caplog.messages if "without access-key-id" in text])
    assert "2 accounts without access-key-id use the service's own credentials: a, b" in caplog.messages


async def check(client, *, live=False):
    response = await client.post("/AwsAccount/a/$check", json={"bucket": "my-bucket", "live": live})
    return {it["name"]: it for it in (await response.json())["checks"]}["credentials"]


@pytest.mark.parametrize(
    ("settings", "fields", "status", "output"),
    [
        ({}, WITH_ROLE, "pass", f"the keys of the account assume the role {ROLE}"),
        ({}, {"role-arn": ROLE}, "fail", "no access-key-id"),
        (AMBIENT, {"role-arn": ROLE}, "pass", f"the keys of the service assume the role {ROLE}"),
        (AMBIENT, {}, "pass", "signs with those of the service"),
        ({}, {}, "fail", "no access-key-id"),
    ],
    ids=str,
)
async def test_a_check_names_the_keys_and_requests_none(make_client, sts, settings, fields, status, output):
    client = await make_client(**settings)
    await client.put("/AwsAccount/a", json=fields)
    found = await check(client)

    assert found["status"] == status
    assert output in found["output"]
    assert sts.requests == []


async def test_a_live_check_says_that_a_role_cannot_be_assumed(make_client, sts):
    client = await make_client(SIGNER_LIVE_CHECK="true")
    await client.put("/AwsAccount/a", json=WITH_ROLE)
    sts.refusal = "AccessDenied"
    found = await check(client, live=True)

    assert found["status"] == "fail"
    assert "AccessDenied" in found["output"]


@pytest.mark.parametrize("address", ["169.254.170.2", "169.254.170.23", "[fd00:ec2::23]", "169.254.169.254"])
async def test_a_live_check_never_asks_an_address_that_serves_credentials(make_client, environment, address):
    client = await make_client(SIGNER_LIVE_CHECK="true", **AMBIENT)
    await client.put("/AwsAccount/a", json={"host": address, "path-style": True})
    found = await check(client, live=True)

    assert "never asked" in found["output"]
