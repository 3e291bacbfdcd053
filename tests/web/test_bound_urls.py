"""What a signed URL carries: bound uploads, downloads with options, listings, and the details of each."""

import base64
import hashlib
from datetime import UTC, datetime
from urllib.parse import parse_qsl, urlsplit

import pytest
from support.accounts import KEYS

STORAGE = "/aws/storage/my-account/my-bucket"
MD5 = base64.b64encode(hashlib.md5(b"hello", usedforsecurity=False).digest()).decode()
SHA256 = base64.b64encode(hashlib.sha256(b"hello").digest()).decode()
EVERYTHING = {
    "content-type": "text/plain;  charset=utf-8",
    "content-length": 5,
    "content-md5": MD5,
    "checksum-sha256": SHA256,
    "content-encoding": "gzip",
    "content-disposition": 'inline; filename="é.txt"',
    "cache-control": "no-store",
    "metadata": {"a": "1", "b": "x=y, z;"},
    "tagging": {"team": "a b", "cost=center": "é&1"},
    "storage-class": "STANDARD",
    "acl": "private",
    "server-side-encryption": "aws:kms",
    "sse-kms-key-id": "alias/key",
    "if-none-match": "*",
}


async def details_of(response):
    assert response.status == 200, await response.text()
    assert response.headers["Cache-Control"] == "no-store"
    return await response.json()


def query_of(url):
    return dict(parse_qsl(urlsplit(url).query, keep_blank_values=True))


async def test_details_say_what_the_client_must_send_and_when_the_url_ends(client, account, monkeypatch):
    monkeypatch.setattr("service.web.signed_url.time", lambda: 1_700_000_000.9)
    answer = await details_of(
        await client.post(f"{STORAGE}?details=true&expiration=60", json={"filename": "k", **EVERYTHING})
    )

    assert query_of(answer.pop("url"))["X-Amz-SignedHeaders"] == ";".join(sorted(["host", *answer["headers"]]))
    assert answer == {
        "method": "PUT",
        "headers": {
            "content-type": "text/plain;  charset=utf-8",
            "content-encoding": "gzip",
            "content-disposition": 'inline; filename="é.txt"',
            "cache-control": "no-store",
            "x-amz-meta-a": "1",
            "x-amz-meta-b": "x=y, z;",
            "x-amz-tagging": "team=a%20b&cost%3Dcenter=%C3%A9%261",
            "x-amz-storage-class": "STANDARD",
            "x-amz-acl": "private",
            "x-amz-server-side-encryption": "aws:kms",
            "x-amz-server-side-encryption-aws-kms-key-id": "alias/key",
            "content-length": "5",
            "content-md5": MD5,
            "x-amz-checksum-sha256": SHA256,
            "if-none-match": "*",
        },
        "expiration": 60,
        "expires-at": "2023-11-14T22:14:20Z",
    }


@pytest.mark.parametrize(
    ("method", "path", "signs"),
    [
        ("GET", "/k", "GET"),
        ("GET", "/k?method=HEAD", "HEAD"),
        ("GET", "/k?method=GET", "GET"),
        ("DELETE", "/k", "DELETE"),
        ("GET", "", "GET"),
    ],
)
async def test_every_signing_call_has_details(client, account, method, path, signs):
    separator = "&" if "?" in path else "?"
    answer = await details_of(await client.request(method, f"{STORAGE}{path}{separator}details=true"))

    assert list(answer) == ["url", "method", "headers", "expiration", "expires-at"]
    assert (answer["method"], answer["headers"], answer["expiration"]) == (signs, {}, 86400)
    assert datetime.fromisoformat(answer["expires-at"]) > datetime.now(UTC)


async def test_without_details_the_answer_of_a_bound_upload_is_a_url_alone(client, account):
    for query in ("", "?details=false"):
        response = await client.post(f"{STORAGE}{query}", json={"filename": "k", **EVERYTHING})

        assert list(await response.json()) == ["url"]


async def test_a_bound_upload_in_yaml(client, account):
    body = "filename: k\ncontent-length: 5\nmetadata: {version: 1.10, empty: ''}\ntagging:\n  'no': no\n"
    response = await client.post(f"{STORAGE}?details=true", data=body, headers={"Content-Type": "text/yaml"})
    answer = await client.post(f"{STORAGE}?details=true&_format=json", data=body, headers={"Content-Type": "text/yaml"})

    assert response.content_type == "text/yaml"
    assert (await details_of(answer))["headers"] == {
        "x-amz-meta-version": "1.10",
        "x-amz-meta-empty": "",
        "x-amz-tagging": "no=no",
        "content-length": "5",
    }


async def test_a_url_without_tags_or_metadata_binds_no_header(client, account):
    answer = await details_of(
        await client.post(f"{STORAGE}?details=true", json={"filename": "k", "metadata": {}, "tagging": {}})
    )

    assert (answer["headers"], query_of(answer["url"])["X-Amz-SignedHeaders"]) == ({}, "host")


@pytest.mark.parametrize("metadata", [{"a": "x" * 2047}, {"a" * 64: "x" * 1984}])
async def test_the_limit_of_metadata_is_that_of_s3(client, account, metadata):
    response = await client.post(STORAGE, json={"filename": "k", "metadata": metadata})

    assert response.status == 200


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("content-type", ""),
        ("content-type", " text/plain"),
        ("content-type", "a\r\nb: c"),
        ("content-type", "a\u00a0b"),
        ("content-type", "\x7f"),
        ("content-type", "x" * 1025),
        ("content-type", 5),
        ("content-length", -1),
        ("content-length", 5 * 1024**3 + 1),
        ("content-length", "5"),
        ("content-length", 1.5),
        ("content-md5", "x"),
        ("content-md5", MD5.replace("==", "")),
        ("content-md5", SHA256),
        ("content-md5", f"{MD5[:21]}R=="),
        ("checksum-sha256", MD5),
        ("checksum-sha256", hashlib.sha256(b"").hexdigest()),
        ("checksum-crc32", "AAAAAA="),
        ("checksum-crc64nvme", "AAAAAA=="),
        ("metadata", {"A": "b"}),
        ("metadata", {"a b": "c"}),
        ("metadata", {"a:": "c"}),
        ("metadata", {"": "c"}),
        ("metadata", {"a": "é"}),
        ("metadata", {"a": "b\r\nc"}),
        ("metadata", {"a": " b"}),
        ("metadata", {"a": 1}),
        ("metadata", {"a": None}),
        ("metadata", {"a": "x" * 1024, "b": "x" * 1024}),
        ("metadata", {"a": "x" * 2048}),
        ("metadata", {"a" * 65: "b"}),
        ("metadata", {f"m{number}": "" for number in range(65)}),
        ("metadata", ["a"]),
        ("metadata", "a=b"),
        ("tagging", {"": "x"}),
        ("tagging", {"a" * 129: "x"}),
        ("tagging", {"a": "x" * 257}),
        ("tagging", {f"t{number}": "" for number in range(11)}),
        ("tagging", "a=b"),
        ("storage-class", "a b"),
        ("acl", "public"),
        ("server-side-encryption", "aes256"),
        ("if-none-match", '"etag"'),
        ("content-range", "x"),
    ],
    ids=lambda value: str(value)[:30],
)
async def test_an_invalid_field_of_an_upload_is_refused(client, account, faults, field, value):
    response = await client.post(STORAGE, json={"filename": "k", field: value})

    assert await faults(response, 422) == ("invalid", [field])


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({"version-id": "3"}, ("version-id", "filename")),
        ({"part-number": 1}, ("part-number", "upload-id", "$sign")),
        ({"upload-id": "u"}, ("upload-id", "part-number", "$sign")),
        ({"max-size": 5}, ("max-size", "content-length", "$upload-form")),
        ({"starts-with": "a"}, ("starts-with", "filename", "$upload-form")),
        ({"checksum-sha256": SHA256, "checksum-crc32": "AAAAAA=="}, ("checksum-sha256", "checksum-crc32")),
        ({"sse-kms-key-id": "k"}, ("sse-kms-key-id", "server-side-encryption")),
        (
            {"sse-kms-key-id": "k", "server-side-encryption": "AES256"},
            ("sse-kms-key-id", "server-side-encryption"),
        ),
    ],
    ids=str,
)
async def test_a_contradiction_of_an_upload_names_both_fields(client, account, fields, names):
    response = await client.post(STORAGE, json={"filename": "k", **fields})
    (issue,) = (await response.json())["issue"]

    assert response.status == 422
    assert all(name in issue["diagnostics"] for name in names)


@pytest.mark.parametrize("key", ["'alias/key'", '"alias/key"'])
async def test_a_key_of_kms_in_quotes_is_refused(client, account, faults, key):
    fields = {"server-side-encryption": "aws:kms", "sse-kms-key-id": key}
    response = await client.post(STORAGE, json={"filename": "k", **fields})

    assert await faults(response, 422) == ("invalid", ["sse-kms-key-id"])


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("download=a&response-content-disposition=inline", ("download", "response-content-disposition")),
        ("redirect=true&details=true", ("redirect", "details")),
        ("redirect=true&method=HEAD", ("redirect", "method")),
    ],
)
async def test_a_contradiction_of_a_download_names_both_parameters(client, account, query, names):
    response = await client.get(f"{STORAGE}/k?{query}", allow_redirects=False)
    (issue,) = (await response.json())["issue"]

    assert response.status == 422
    assert all(name in issue["diagnostics"] for name in names)


async def test_a_download_signs_its_options(client, account):
    response = await client.get(
        f"{STORAGE}/k",
        params={
            "version-id": "3/L4+kq",
            "response-content-type": "text/plain; charset=utf-8",
            "response-expires": "Wed, 21 Oct 2026 07:28:00 GMT",
            "download": "naïve.pdf",
        },
    )
    query = query_of((await response.json())["url"])

    assert {name: text for name, text in query.items() if not name.startswith("X-Amz-")} == {
        "versionId": "3/L4+kq",
        "response-content-type": "text/plain; charset=utf-8",
        "response-expires": "Wed, 21 Oct 2026 07:28:00 GMT",
        "response-content-disposition": "attachment; filename=\"na_ve.pdf\"; filename*=UTF-8''na%C3%AFve.pdf",
    }
    assert query["X-Amz-SignedHeaders"] == "host"


async def test_a_deletion_signs_a_version(client, account):
    response = await client.delete(f"{STORAGE}/k?version-id=3")

    assert query_of((await response.json())["url"])["versionId"] == "3"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/k?method=PUT"),
        ("GET", "/k?method=head"),
        ("GET", "/k?version-id="),
        ("GET", "/k?response-expires=tomorrow"),
        ("GET", "/k?response-content-type=a%0d%0ab"),
        ("GET", "/k?download=a%00"),
        ("GET", "/k?redirect=yes"),
        ("GET", "/k?details=1"),
        ("DELETE", "/k?details=1"),
        ("GET", "?max-keys=0"),
        ("GET", "?max-keys=1001"),
        ("GET", "?prefix=%00"),
        ("GET", "?delimiter="),
    ],
)
async def test_an_invalid_parameter_is_refused(raw, account, faults, method, path):
    response = await raw(method, f"{STORAGE}{path}")

    assert await faults(response, 422) == ("invalid", [path.partition("?")[2].partition("=")[0]])


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("DELETE", "/k?response-content-type=a"),
        ("DELETE", "/k?redirect=true"),
        ("GET", "/k?prefix=a"),
        ("GET", "?version-id=3"),
        ("GET", "?redirect=true"),
        ("POST", "?version-id=3"),
    ],
)
async def test_a_parameter_of_another_operation_is_refused(raw, account, faults, method, path):
    response = await raw(method, f"{STORAGE}{path}", json={"filename": "k"})

    assert await faults(response, 400) == ("invalid", [path.partition("?")[2].partition("=")[0]])


async def test_a_redirect_leads_to_the_signed_url(client, account, monkeypatch):
    monkeypatch.setattr("service.web.signed_url.time", lambda: 1_700_000_000)
    direct = await (await client.get(f"{STORAGE}/k?download=a.pdf")).json()
    response = await client.get(f"{STORAGE}/k?download=a.pdf&redirect=true", allow_redirects=False)

    assert (response.status, response.headers["Location"]) == (302, direct["url"])
    assert response.headers["Cache-Control"] == "no-store"
    assert await response.read() == b""


async def test_a_redirect_of_a_head_leads_to_a_url_for_head(client, account, monkeypatch, caplog):
    monkeypatch.setattr("service.web.signed_url.time", lambda: 1_700_000_000)
    direct = await (await client.get(f"{STORAGE}/k?version-id=3&method=HEAD")).json()
    response = await client.head(f"{STORAGE}/k?version-id=3&redirect=true", allow_redirects=False)

    assert (response.status, response.headers["Location"]) == (302, direct["url"])


async def test_a_head_without_a_redirect_has_the_headers_of_the_get(client, account, monkeypatch):
    monkeypatch.setattr("service.web.signed_url.time", lambda: 1_700_000_000)
    got = await client.get(f"{STORAGE}/k")
    response = await client.head(f"{STORAGE}/k")

    assert response.status == 200
    assert response.headers["Content-Length"] == got.headers["Content-Length"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 302),
        ({"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate"}, 302),
        ({"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "no-cors"}, 302),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, 302),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, 403),
        ({"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors", "Origin": "https://app.example"}, 302),
    ],
    ids=str,
)
async def test_a_page_of_another_site_embeds_no_object_while_open_on_loopback(make_client, headers, status):
    client = await make_client(SIGNER_CORS_ORIGINS="https://app.example")
    await client.put("/AwsAccount/my-account", json=KEYS)
    response = await client.get(f"{STORAGE}/k?redirect=true", headers=headers, allow_redirects=False)

    assert response.status == status


@pytest.mark.parametrize("token", ["listed/b c", "\u00e9" * 1024, "A" * 2732], ids=["key", "unicode", "encoded"])
async def test_a_listing_continues_after_a_token_that_is_a_key_or_longer_than_one(client, account, token):
    response = await client.get(STORAGE, params={"continuation-token": token})

    assert response.status == 200
    assert dict(parse_qsl(urlsplit((await response.json())["url"]).query))["continuation-token"] == token


async def test_a_listing_signs_its_parameters_on_the_bucket(client, account):
    response = await client.get(STORAGE, params={"prefix": "a b/", "delimiter": "/", "max-keys": "5"})
    url = urlsplit((await response.json())["url"])

    assert f"{url.netloc}{url.path}" == "my-bucket.s3.amazonaws.com/"
    assert url.query.startswith("list-type=2&prefix=a%20b%2F&delimiter=%2F&max-keys=5&encoding-type=url&X-Amz-")


async def test_a_path_with_a_slash_and_no_key_is_no_listing(client, account, faults):
    assert await faults(await client.get(f"{STORAGE}/"), 422) == ("invalid", ["key"])
