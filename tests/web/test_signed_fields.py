"""Each field that a URL or a form can carry: a policy can demand it and forbid it, and the audit log names it."""

import base64
import json
from urllib.parse import urlencode

import pytest
from aiohttp import encode_basic_auth
from support.accounts import KEYS

from service.resources.signing_schemas.uploads import CHECKSUM_BYTES
from service.signing.operations import LIST_OBJECTS, OPERATIONS, PUT_OBJECT, UPLOAD_FORM

SETTINGS = {"SIGNER_ROOT_CLIENT_ID": "root", "SIGNER_ROOT_CLIENT_SECRET": "root-secret-0123456789"}
ROOT = {"Authorization": encode_basic_auth("root", "root-secret-0123456789")}
TEAM = {"Authorization": encode_basic_auth("team", "team-secret-0123456789")}
BUCKET = "/aws/storage/acme/my-bucket"


def digests(size):
    return tuple(base64.b64encode(bytes([number]) * size).decode() for number in (1, 2))


# A value of each field, and another one; other fields are texts.
VALUES = {
    "metadata": ({"owner": "a"}, {"owner": "b"}),
    "tagging": ({"a": "b"}, {"a": "c"}),
    "acl": ("private", "public-read"),
    "server-side-encryption": ("aws:kms", "AES256"),
    "content-length": (5, 6),
    "content-md5": digests(16),
    "checksum-algorithm": ("SHA256", "SHA1"),
    "response-expires": ("Wed, 21 Oct 2026 07:28:00 GMT", "Wed, 21 Oct 2026 07:28:01 GMT"),
    "max-keys": (5, 6),
    "part-number": (5, 6),
    "min-size": (5, 6),
    "max-size": (5, 6),
    # There is no other value.
    "if-none-match": ("*", None),
    **{f"checksum-{name}": digests(size) for name, size in CHECKSUM_BYTES.items()},
}
NEEDS = {"sse-kms-key-id": {"server-side-encryption": "aws:kms"}}
SINGLE = {"get_object": "GET", "head_object": "GET", "delete_object": "DELETE", "list_objects_v2": "GET"}


def call(operation, fields):
    """Return the method, the path and the body of the request for one URL."""
    if operation is UPLOAD_FORM:
        key = {"starts-with": fields["key-prefix"]} if "key-prefix" in fields else {"filename": "k"}
        return "POST", f"{BUCKET}/$upload-form", key | {it: fields[it] for it in fields if it != "key-prefix"}
    if operation is PUT_OBJECT:
        return "POST", BUCKET, {"filename": "k", **fields}
    if operation.name in SINGLE:
        query = dict(fields) | ({"method": "HEAD"} if operation.method == "HEAD" else {})
        path = BUCKET if operation is LIST_OBJECTS else f"{BUCKET}/k"
        return SINGLE[operation.name], f"{path}?{urlencode(query)}", None
    return "POST", f"{BUCKET}/$sign", {"items": [{"method": operation.method, "filename": "k", **fields}]}


@pytest.fixture
async def client(make_client):
    client = await make_client(**SETTINGS)
    secret = {"secret": "team-secret-0123456789", "grant_types": ["basic"]}
    assert (await client.put("/Client/team", json=secret, headers=ROOT)).status == 201
    assert (await client.put("/AwsAccount/acme", json=KEYS, headers=ROOT)).status == 201
    return client


async def is_allowed(client, operation, params, fields):
    """Return whether a policy with these ``params`` allows a URL with these fields."""
    pattern = {"params": {"operation": operation.policy_name, **params}}
    policy = {"engine": "matcho", "matcho": pattern}
    assert (await client.put("/AccessPolicy/p", json=policy, headers=ROOT)).status in {200, 201}
    method, path, body = call(operation, fields)
    answer = await (await client.request(method, path, json=body, headers=TEAM)).json()
    (item,) = answer.get("items", [answer])
    found = item.get("outcome", item)
    assert "url" in found or found["id"] == "forbidden", found
    return "url" in found


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda it: it.name)
async def test_a_policy_can_demand_and_forbid_each_field_and_its_audit_line_names_it(client, audit_file, operation):
    required = {"upload-id": "u", "part-number": 1}
    needed = {name: value for name, value in required.items() if name in operation.parameters}
    fields = [*operation.headers, *operation.parameters, *operation.policy_fields]
    for field in fields:
        value, other = VALUES.get(field, ("a", "b"))
        without = {**needed, **NEEDS.get(field, {})}
        given = {**without, field: value}

        assert await is_allowed(client, operation, {field: value}, given), field
        if other is not None:
            assert not await is_allowed(client, operation, {field: value}, {**without, field: other}), field
        assert not await is_allowed(client, operation, {field: "nil?"}, given), field
        if field not in needed:
            assert not await is_allowed(client, operation, {field: value}, without), field
            assert await is_allowed(client, operation, {field: "nil?"}, without), field
    await client.close()
    lines = [json.loads(line) for line in audit_file.read_text().splitlines()]

    assert {name for line in lines if line["event"] == "signed" for name in line.get("bound", ())} == {*fields}
    assert {line["operation"] for line in lines if line["event"] == "signed"} == {operation.name}
