"""Forms with which a browser uploads a file: what they hold, and what policies see."""

import base64
import json

import pytest
from aiohttp import encode_basic_auth
from support.accounts import KEYS

STORAGE = "/aws/storage/my-account/my-bucket"
ROOT = {"SIGNER_ROOT_CLIENT_ID": "root", "SIGNER_ROOT_CLIENT_SECRET": "root-secret-0123456789"}
SIGNATURE = ["x-amz-algorithm", "x-amz-credential", "x-amz-date", "policy", "x-amz-signature"]


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    monkeypatch.setattr("service.web.handlers.upload_form.time", lambda: 1_700_000_000)


def policy_of(form):
    return json.loads(base64.b64decode(form["fields"]["policy"]))


async def form_of(client, query="", **fields):
    response = await client.post(f"{STORAGE}/$upload-form{query}", json=fields)
    assert response.status == 200, await response.text()
    assert response.headers["Cache-Control"] == "no-store"
    return await response.json()


async def test_a_form_has_all_that_the_browser_sends(client, account):
    form = await form_of(
        client,
        "?expiration=60",
        **{
            "filename": "a b",
            "max-size": 1000,
            "content-type": "image/png",
            "acl": "private",
            "metadata": {"o": "é"[:0]},
        },
        tagging={"a&b": "<c>"},
    )

    assert list(form) == ["url", "fields"]
    assert form["url"] == "http://my-bucket.s3.amazonaws.com/"
    assert list(form["fields"]) == ["Content-Type", "acl", "x-amz-meta-o", "tagging", "key", *SIGNATURE]
    assert form["fields"]["key"] == "a b"
    assert form["fields"]["tagging"] == (
        "<Tagging><TagSet><Tag><Key>a&amp;b</Key><Value>&lt;c&gt;</Value></Tag></TagSet></Tagging>"
    )
    policy = policy_of(form)
    assert policy["expiration"] == "2023-11-14T22:14:20Z"
    assert policy["conditions"][:7] == [
        {"Content-Type": "image/png"},
        {"acl": "private"},
        {"x-amz-meta-o": ""},
        {"tagging": form["fields"]["tagging"]},
        ["content-length-range", 0, 1000],
        {"bucket": "my-bucket"},
        {"key": "a b"},
    ]


async def test_a_form_can_leave_the_rest_of_the_key_to_the_browser(client, account):
    form = await form_of(client, **{"starts-with": "team-a/"})
    any_key = await form_of(client, **{"starts-with": ""})

    assert form["fields"]["key"] == "team-a/${filename}"
    assert ["starts-with", "$key", "team-a/"] in policy_of(form)["conditions"]
    assert ["starts-with", "$key", ""] in policy_of(any_key)["conditions"]


async def test_a_key_in_a_form_may_have_a_line_end_as_browsers_send_it(client, account):
    form = await form_of(client, filename="a\r\nb")

    assert form["fields"]["key"] == "a\r\nb"
    assert {"key": "a\r\nb"} in policy_of(form)["conditions"]


async def test_details_of_a_form(client, account):
    form = await form_of(client, "?details=true&expiration=60", filename="k")

    assert list(form) == ["url", "fields", "method", "headers", "expiration", "expires-at"]
    assert (form["method"], form["headers"], form["expires-at"]) == ("POST", {}, "2023-11-14T22:14:20Z")


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({}, ["filename"]),
        ({"filename": ""}, ["filename"]),
        ({"filename": "../a"}, ["filename"]),
        ({"starts-with": "a/../b"}, ["starts-with"]),
        ({"filename": "a", "starts-with": "b"}, ["starts-with"]),
        ({"filename": "a-${filename}"}, ["filename"]),
        ({"starts-with": "${filename}"}, ["starts-with"]),
        ({"filename": "a\nb"}, ["filename"]),
        ({"filename": "a\rb"}, ["filename"]),
        ({"filename": "a\r\n\nb"}, ["filename"]),
        ({"starts-with": "a\n"}, ["starts-with"]),
        ({"starts-with": "a\r"}, ["starts-with"]),
        ({"filename": "a", "content-type": "${filename}"}, ["content-type"]),
        ({"filename": "a", "metadata": {"a": "x ${filename}"}}, ["metadata"]),
        ({"filename": "a", "tagging": {"a": "${filename}"}}, ["tagging"]),
        ({"filename": "a", "tagging": {"${filename}": "a"}}, ["tagging"]),
        ({"filename": "a", "content-length": 5}, ["content-length"]),
        ({"filename": "a", "version-id": "5"}, ["version-id"]),
        ({"filename": "a", "min-size": 2, "max-size": 1}, ["min-size"]),
        ({"filename": "a", "max-size": -1}, ["max-size"]),
        ({"filename": "a", "sse-kms-key-id": "k"}, ["sse-kms-key-id"]),
        ({"filename": "a", "checksum-sha256": "k"}, ["checksum-sha256"]),
    ],
    ids=str,
)
async def test_an_invalid_form_is_refused(client, account, faults, fields, where):
    response = await client.post(f"{STORAGE}/$upload-form", json=fields)

    assert await faults(response, 422) == ("invalid", where)


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({"filename": "a", "content-length": 5}, ("content-length", "max-size")),
        ({"filename": "a", "starts-with": "b"}, ("filename", "starts-with")),
        ({"filename": "a", "min-size": 2, "max-size": 1}, ("min-size", "max-size")),
        ({"filename": "a", "version-id": "5"}, ("version-id", "filename")),
        ({"filename": "a", "if-none-match": "*"}, ("if-none-match", "form")),
        ({"filename": "a", "content-md5": "x"}, ("content-md5", "form")),
        ({"filename": "a", "checksum-crc32": "x"}, ("checksum-crc32", "form")),
        ({"filename": "a", "upload-id": "u"}, ("upload-id", "form", "$sign")),
    ],
)
async def test_a_contradiction_of_a_form_names_both_fields(client, account, fields, names):
    response = await client.post(f"{STORAGE}/$upload-form", json=fields)
    (issue,) = (await response.json())["issue"]

    assert all(name in issue["diagnostics"] for name in names)


async def test_a_form_has_the_largest_size_of_the_account(client, account, faults):
    await client.patch("/AwsAccount/my-account", json={"max-size": 1000})
    filled = policy_of(await form_of(client, filename="k"))
    smaller = policy_of(await form_of(client, **{"filename": "k", "max-size": 10}))
    refused = await client.post(f"{STORAGE}/$upload-form", json={"filename": "k", "max-size": 1001})
    impossible = await client.post(f"{STORAGE}/$upload-form", json={"filename": "k", "min-size": 1001})

    assert ["content-length-range", 0, 1000] in filled["conditions"]
    assert ["content-length-range", 0, 10] in smaller["conditions"]
    assert await faults(refused, 422) == ("invalid", ["max-size"])
    assert await faults(impossible, 422) == ("invalid", ["min-size"])


async def test_a_form_in_yaml(client, account):
    body = "starts-with: 2024-01-01/\nmax-size: 10\n"
    response = await client.post(f"{STORAGE}/$upload-form", data=body, headers={"Content-Type": "text/yaml"})

    assert response.status == 200
    assert "key: 2024-01-01/${filename}\n" in (await response.text()).replace('"', "")


FORM = {"params": {"operation": "form"}}


@pytest.mark.parametrize(
    ("pattern", "fields", "status"),
    [
        (FORM, {"filename": "k"}, 200),
        ({"params": {"account": "my-account"}}, {"filename": "k"}, 403),
        ({"params": {"operation": "present?"}}, {"filename": "k"}, 403),
        ({"params": {"operation": "form", "key": "#^a/"}}, {"filename": "a/b"}, 200),
        ({"params": {"operation": "form", "key": "#^a/"}}, {"starts-with": "a/b"}, 403),
        ({"params": {"operation": "form", "key-prefix": "#^a/"}}, {"starts-with": "a/b"}, 200),
        ({"params": {"operation": "form", "key-prefix": "#^a/"}}, {"starts-with": "a"}, 403),
        ({"params": {"operation": "form", "key-prefix": "#^a/"}}, {"filename": "a/b"}, 403),
        ({"params": {"operation": "form", "max-size": "#^[0-9]{1,3}$"}}, {"filename": "k", "max-size": 999}, 200),
        ({"params": {"operation": "form", "max-size": "#^[0-9]{1,3}$"}}, {"filename": "k", "max-size": 1000}, 403),
        ({"params": {"operation": "form", "max-size": "#^[0-9]{1,4}$"}}, {"filename": "k"}, 200),
        ({"params": {"operation": "form", "content-type": "image/png"}}, {"filename": "k"}, 403),
    ],
    ids=str,
)
async def test_a_policy_decides_on_a_form(make_client, audit_file, pattern, fields, status):
    client = await make_client(**ROOT)
    root = {"Authorization": encode_basic_auth("root", ROOT["SIGNER_ROOT_CLIENT_SECRET"])}
    team = {"Authorization": encode_basic_auth("team", "team-secret-0123456789")}
    secret = {"secret": "team-secret-0123456789", "grant_types": ["basic"]}
    await client.put("/Client/team", json=secret, headers=root)
    await client.put("/AwsAccount/my-account", json={**KEYS, "max-size": 9999}, headers=root)
    await client.put("/AccessPolicy/p", json={"engine": "matcho", "matcho": pattern}, headers=root)
    response = await client.post(f"{STORAGE}/$upload-form", json=fields, headers=team)
    await client.close()
    lines = [json.loads(line) for line in audit_file.read_text().splitlines()]
    (line,) = [line for line in lines if line["operation"] == "post_object"]

    assert response.status == status, await response.text()
    if status == 200:
        key = fields.get("filename") or f"{fields['starts-with']}${{filename}}"
        assert (line["event"], line["key"], line["method"], line["policy"]) == ("signed", key, "POST", "p")
    else:
        assert line["event"] == "denied"
