import calendar
import json
import time
from urllib.parse import parse_qs, quote, unquote, urlsplit

import pytest
import yaml
from support.accounts import KEYS

from service.stores.record import Resource, compose
from service.stores.store import utc_now
from service.web.context import APP
from service.web.formats import codec

STORAGE = "/aws/storage/my-account/my-bucket"


async def signed(response):
    """Return the signed URL of a response, which must contain nothing else."""
    body = await response.read()
    assert response.status == 200, body
    assert response.headers["Cache-Control"] == "no-store"
    answer = yaml.safe_load(body) if "yaml" in response.content_type else json.loads(body)
    assert list(answer) == ["url"]
    return urlsplit(answer["url"])


async def key_of(response):
    return unquote((await signed(response)).path[1:], errors="strict")


def parameters(url):
    return {name: values[0] for name, values in parse_qs(url.query, strict_parsing=True).items()}


async def test_an_upload_signs_its_filename(client, account):
    url = await signed(await client.post(STORAGE, json={"filename": "example.txt"}))

    assert f"{url.scheme}://{url.netloc}{url.path}" == "http://my-bucket.s3.amazonaws.com/example.txt"


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_a_download_and_a_delete_sign_their_path(client, account, method):
    url = await signed(await client.request(method, f"{STORAGE}/example.txt"))

    assert f"{url.scheme}://{url.netloc}{url.path}" == "http://my-bucket.s3.amazonaws.com/example.txt"


async def test_each_route_signs_its_method(client, account, monkeypatch):
    monkeypatch.setattr("service.web.signed_url.time", lambda: 1_700_000_000)
    urls = [
        await signed(await client.post(STORAGE, json={"filename": "k"})),
        await signed(await client.get(f"{STORAGE}/k")),
        await signed(await client.delete(f"{STORAGE}/k")),
    ]

    assert len({parameters(url)["X-Amz-Signature"] for url in urls}) == 3


async def test_a_url_signs_the_current_time_and_only_the_host(client, account):
    before = time.time()
    query = parameters(await signed(await client.get(f"{STORAGE}/k")))

    signed_at = time.strptime(query["X-Amz-Date"], "%Y%m%dT%H%M%SZ")
    assert int(before) <= calendar.timegm(signed_at) <= time.time()
    assert query["X-Amz-SignedHeaders"] == "host"
    assert query["X-Amz-Algorithm"] == "AWS4-HMAC-SHA256"
    assert query["X-Amz-Credential"] == f"AKIAIOSFODNN7EXAMPLE/{query['X-Amz-Date'][:8]}/us-east-1/s3/aws4_request"


@pytest.mark.parametrize(
    ("path", "headers", "type_"),
    [
        ("", {}, "application/json"),
        ("?_format=yaml", {}, "text/yaml"),
        ("", {"Accept": "text/yaml"}, "text/yaml"),
        ("", {"Accept": "application/fhir+json"}, "application/fhir+json"),
        ("?_format=json&_pretty=true", {"Accept": "text/yaml"}, "application/json"),
    ],
)
async def test_the_response_is_exactly_a_url_in_every_format(client, account, path, headers, type_):
    response = await client.get(f"{STORAGE}/k{path}", headers=headers)

    assert await signed(response)
    assert response.headers["Content-Type"] == f"{type_}; charset=utf-8"


async def test_a_url_in_yaml_is_on_one_line(client, account):
    response = await client.post(
        f"{STORAGE}", data=f"filename: {'long name ' * 90}x\n", headers={"Content-Type": "text/yaml"}
    )
    text = await response.text()

    assert text.startswith("url: http://my-bucket.s3.amazonaws.com/long%20name%20")
    assert text.count("\n") == 1


@pytest.mark.parametrize(
    ("query", "seconds"),
    [("", 86400), ("?expiration=43200", 43200), ("?expiration=1", 1), ("?expiration=604800", 604800)],
)
async def test_a_url_is_valid_for_its_expiration(client, account, query, seconds):
    for response in (
        await client.get(f"{STORAGE}/k{query}"),
        await client.delete(f"{STORAGE}/k{query}"),
        await client.post(f"{STORAGE}{query}", json={"filename": "k"}),
    ):
        assert parameters(await signed(response))["X-Amz-Expires"] == str(seconds)


@pytest.mark.parametrize(
    "text",
    [
        "0",
        "604801",
        "-1",
        "",
        "x",
        "1.0",
        "1e3",
        "%2B60",
        "+60",
        "60+",
        "6_0",
        "%D9%A1%D9%A2",
        "0x10",
        "9" * 400,
        "true",
    ],
)
async def test_an_expiration_is_plain_digits_in_range(raw, account, faults, text):
    for method, path, body in [("GET", f"{STORAGE}/k", None), ("POST", STORAGE, {"filename": "k"})]:
        response = await raw(method, f"{path}?expiration={text}", json=body)

        assert await faults(response, 422) == ("invalid", ["expiration"])


@pytest.mark.parametrize(
    ("query", "expression"),
    [
        ("expires=60", "expires"),
        ("Expiration=60", "Expiration"),
        ("expiration=60&expiration=60", "expiration"),
        ("_id=x", "_id"),
        ("expiration=60&%65xpiration=60", "expiration"),
    ],
)
async def test_a_parameter_that_is_unknown_or_given_twice_is_refused(raw, account, faults, query, expression):
    response = await raw("GET", f"{STORAGE}/k?{query}")

    assert await faults(response, 400) == ("invalid", [expression])


async def test_a_field_of_the_body_in_the_query_gets_advice(client, account):
    response = await client.post(f"{STORAGE}?filename=k", json={"filename": "k"})

    assert response.status == 400
    assert "filename is not known here; it is a field of the body" in await response.text()


async def test_a_download_has_no_body_for_a_field(client, account):
    response = await client.get(f"{STORAGE}/k?filename=x")

    assert response.status == 400
    assert "body" not in await response.text()


async def test_a_misspelt_query_parameter_gets_a_suggestion(client, account):
    response = await client.get(f"{STORAGE}/k?expires=60")
    similar = await client.get(f"{STORAGE}/k?Expiration=60")

    assert (response.status, similar.status) == (400, 400)
    assert "did you mean expiration?" in await similar.text()


@pytest.mark.parametrize(
    ("route", "body", "advice"),
    [
        ("", {"filename": "k", "upload_id": "u"}, "upload-id is for the parts of an upload"),
        ("", {"filename": "k", "maxSize": 5}, "max-size is for $upload-form"),
        ("/$upload-form", {"filename": "k", "contentLength": 5}, "content-length cannot be in a form"),
        ("/$sign", {"items": [{"filename": "k", "content_type": "x"}]}, "content-type cannot be sent with this method"),
        ("/$sign", {"items": [{"filename": "k", "upload_id": "u"}]}, "upload-id is the field of a step"),
        (
            "/$sign",
            {"items": [{"filename": "k", "method": "POST", "uploadid": "u"}]},
            "upload-id is the field of a step",
        ),
        (
            "/$sign",
            {"items": [{"filename": "k", "method": "PUT", "uploadId": "u"}]},
            "upload-id is the field of a step",
        ),
        (
            "/$sign",
            {"items": [{"filename": "k", "method": "PUT", "partNumber": 1}]},
            "part-number is the field of a step",
        ),
    ],
    ids=str,
)
async def test_a_misspelt_field_of_another_request_gets_its_advice(client, account, route, body, advice):
    response = await client.post(f"{STORAGE}{route}", json=body)

    assert f"is not known here; {advice}" in await response.text()


@pytest.mark.parametrize(
    ("route", "body", "advice"),
    [
        ("/$sign", {"items": [{"filename": "k"}], "expiration": 60}, "expiration is a field of each item"),
        ("/$sign-request", {"key": "k", "method": "PUT", "expiration": 60}, "write expiresIn"),
        ("/$sign-request", {"filename": "k", "method": "PUT"}, "write key"),
    ],
    ids=str,
)
async def test_a_field_at_the_wrong_place_gets_advice(client, account, route, body, advice):
    response = await client.post(f"{STORAGE}{route}", json=body)

    assert response.status == 422
    assert advice in await response.text()


async def test_an_expiration_in_a_body_is_refused(client, account, faults):
    response = await client.post(STORAGE, json={"filename": "k", "expiration": 60})

    assert await faults(response, 422) == ("invalid", ["expiration"])


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("example.txt", "example.txt"),
        ("a%2Fb", "a/b"),
        ("a/b", "a/b"),
        ("%252F", "%2F"),
        ("%25e9", "%e9"),
        ("100%25", "100%"),
        ("a+b", "a+b"),
        ("a%2Bb", "a+b"),
        ("a%20b", "a b"),
        ("//", "//"),
        ("a//b", "a//b"),
        ("/leading", "/leading"),
        ("%2Fleading", "/leading"),
        ("trailing/", "trailing/"),
        ("%C3%A9", "\u00e9"),
        ("e%CC%81", "e\u0301"),
        ("%F0%9D%84%9E", "\U0001d11e"),
        ("%0A", "\n"),
        ("a%0D%0Ab", "a\r\nb"),
        ("%01%7F%1B", "\x01\x7f\x1b"),
        ("%E2%80%A8", "\u2028"),
        ("%EF%BF%BF", "\uffff"),
        ("...", "..."),
        (".hidden", ".hidden"),
        ("a/..b", "a/..b"),
        ("%2E%2E%2E", "..."),
        ("$sign", "$sign"),
        ("a;b=c,d:e@f!g'h(i)*", "a;b=c,d:e@f!g'h(i)*"),
        ("a%3Fb%23c%26d", "a?b#c&d"),
        ('a\\b|c^d`{e}"<>', 'a\\b|c^d`{e}"<>'),
        ("~-._", "~-._"),
        ("%41%7e", "A~"),
        ("a" * 1024, "a" * 1024),
        ("%C3%A9" * 512, "\u00e9" * 512),
        ("_search", "_search"),
    ],
)
async def test_a_key_is_the_raw_path_decoded_once(raw, account, path, key):
    for method in ("GET", "DELETE"):
        assert await key_of(await raw(method, f"{STORAGE}/{path}")) == key


@pytest.mark.parametrize(
    "path",
    [
        "",
        "a" * 1025,
        "%C3%A9" * 512 + "a",
        "%00",
        "a%00b",
        ".",
        "..",
        "%2E%2E",
        "%2e",
        "a/../b",
        "a/%2e%2E/b",
        "a%2F..%2Fb",
        "a/./b",
        "a/..",
        "../../../AwsAccount",
        "/..",
    ],
)
async def test_an_invalid_key_is_refused(raw, account, faults, path):
    for method in ("GET", "DELETE"):
        response = await raw(method, f"{STORAGE}/{path}")

        assert await faults(response, 422) == ("invalid", ["key"])


@pytest.mark.parametrize(
    "path", ["%", "%4", "%zz", "a%", "%%41", "%u0041", "%e9", "%C3", "%ED%A0%80", "%C0%AF", "%F5%80%80%80", "%ff%fe"]
)
async def test_a_malformed_escape_in_a_path_is_refused(raw, account, faults, path):
    for method, target in [
        ("GET", f"{STORAGE}/{path}"),
        ("DELETE", f"{STORAGE}/k{path}"),
        ("GET", f"/aws/storage/my-account/{path}/k"),
        ("GET", f"/aws/storage/{path}/my-bucket/k"),
        ("GET", f"/AwsAccount/{path}"),
    ]:
        code, _ = await faults(await raw(method, target), 400)
        assert code == "invalid"


@pytest.mark.parametrize(
    "key",
    [
        "a/b",
        "%2F",
        "a+b",
        "//",
        " ",
        "\n",
        "\u00e9",
        "e\u0301",
        "100%",
        "a?b#c",
        "x" * 1024,
        "\u00e9" * 512,
        "null",
        "2024-01-01",
    ],
)
async def test_a_filename_is_not_decoded(client, account, key):
    assert await key_of(await client.post(STORAGE, json={"filename": key})) == key


@pytest.mark.parametrize(
    ("written", "key"),
    [
        ("2024-01-01", "2024-01-01"),
        ("no", "no"),
        ("0123", "0123"),
        ("'null'", "null"),
        ("1e10", "1e10"),
        ("12:30:45", "12:30:45"),
    ],
)
async def test_a_filename_in_yaml_is_text(client, account, written, key):
    response = await client.post(STORAGE, data=f"filename: {written}", headers={"Content-Type": "text/yaml"})

    assert await key_of(response) == key


@pytest.mark.parametrize(
    "filename",
    ["", "x" * 1025, "\u00e9" * 513, "a\0b", ".", "..", "a/../b", "./a", None, 5, True, 1.5, [], {}, ["a"]],
    ids=lambda value: repr(value)[:20],
)
async def test_an_invalid_filename_is_refused(client, account, faults, filename):
    response = await client.post(STORAGE, json={"filename": filename})

    assert await faults(response, 422) == ("invalid", ["filename"])


@pytest.mark.parametrize("body", ["{}", '{"filename": null}'])
async def test_an_upload_needs_a_filename(client, account, faults, body):
    response = await client.post(STORAGE, data=body, headers={"Content-Type": "application/json"})

    assert await faults(response, 422) == ("invalid", ["filename"])


async def test_an_unknown_field_of_an_upload_is_refused(client, account, faults):
    response = await client.post(STORAGE, json={"filename": "k", "file-name": "k", "x": None})

    code, where = await faults(response, 422)
    assert (code, sorted(where)) == ("invalid", ["file-name", "x"])


@pytest.mark.parametrize("bucket", ["bb", "My_Bucket", "a.b.c", "0bucket", "a" * 255, "bucket-"])
async def test_a_valid_bucket_is_accepted(raw, account, bucket):
    url = await signed(await raw("GET", f"/aws/storage/my-account/{bucket}/k"))

    assert bucket in f"{url.netloc}{url.path}"


@pytest.mark.parametrize(
    "bucket",
    [
        "a",
        "a" * 256,
        ".bb",
        "-bb",
        "_bb",
        "a..b",
        "..",
        "b%2Fb",
        "b%20b",
        "b%0A",
        "b%00b",
        "%C3%A9%C3%A9",
        "arn:aws:s3:::bb",
        "arn%3Aaws%3As3%3A%3A%3Abb",
        "b--use1-az4--x-s3",
        "$sign",
    ],
)
async def test_an_invalid_bucket_is_refused(raw, account, faults, bucket):
    for method, path in [("GET", "/k"), ("DELETE", "/k"), ("POST", "")]:
        response = await raw(method, f"/aws/storage/my-account/{bucket}{path}", json={"filename": "k"})

        assert await faults(response, 422) == ("invalid", ["bucket"])


async def test_a_missing_account_is_a_404(client, faults):
    for method, path in [("GET", "/k"), ("DELETE", "/k"), ("POST", "")]:
        response = await client.request(method, f"/aws/storage/nope/my-bucket{path}", json={"filename": "k"})

        assert await faults(response, 404) == ("not-found", ["Resource AwsAccount/nope not found"])


@pytest.mark.parametrize("id_", ["-", "a%2Fb", "%20", "a" * 65])
async def test_the_id_of_the_account_is_validated(raw, faults, id_):
    response = await raw("GET", f"/aws/storage/{id_}/my-bucket/k")

    assert await faults(response, 422) == ("invalid", ["AwsAccount.id"])


async def test_an_account_without_keys_is_a_422_that_names_them(client, faults):
    await client.put("/AwsAccount/bare", json={})
    response = await client.get("/aws/storage/bare/my-bucket/k")

    assert await faults(response, 422) == ("invalid", ["AwsAccount.access-key-id", "AwsAccount.secret-access-key"])


async def test_all_faults_of_a_request_are_reported_at_once(client, faults):
    results = [
        await faults(await client.get("/aws/storage/-/b/..%2fk?expiration=0"), 422),
        await faults(await client.post("/aws/storage/-/b?expiration=0", json={"filename": ".."}), 422),
        await faults(await client.post("/aws/storage/-/b?expiration=0", json={"filename": 5, "x": 1}), 422),
    ]

    every = ["expiration", "AwsAccount.id", "bucket"]
    assert results == [
        ("invalid", [*every, "key"]),
        ("invalid", [*every, "filename"]),
        ("invalid", [*every, "filename", "x"]),
    ]


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"region": "-"}, ["region"]),
        ({"region": "\udcff"}, ["region"]),
        ({"use-ssl": "yes", "path-style": "1"}, ["use-ssl", "path-style"]),
        ({"host": "my_minio:9000"}, ["host"]),
        ({"nonsense": "x"}, ["nonsense"]),
        ({"\udcff": "x"}, ["\\udcff"]),
        ({"secret-access-key": "\udcff"}, ["secret-access-key"]),
        ({"session-token": "\udcff"}, ["session-token"]),
        ({"access-key-id": "a b"}, ["access-key-id"]),
    ],
    ids=repr,
)
async def test_an_invalid_stored_account_is_a_422_on_use_and_is_listed(client, faults, fields, where):
    record = compose(
        {"access-key-id": "AKIA", "secret-access-key": "s3cr3t", **fields},
        expected=None,
        version=1,
        now=utc_now(),
        write_id="m",
    )
    client.app[APP].store._kinds["AwsAccount"] = {"a": Resource("AwsAccount", "a", record)}

    used = await client.get("/aws/storage/a/my-bucket/k")
    assert await faults(used, 422) == ("invalid", [f"AwsAccount.{name}" for name in where])
    for form in ("json", "yaml"):
        listed = await client.get(f"/AwsAccount?_format={form}")
        assert listed.status == 200
        assert "s3cr3t" not in await listed.text()
    assert (await client.get("/AwsAccount/a")).status == 200


@pytest.mark.parametrize("version", ["1\r\nX: y", "\udcff", ""], ids=repr)
async def test_an_invalid_stored_version_breaks_no_header(client, version):
    record = compose({"region": "eu-west-1"}, expected=None, version=1, now=utc_now(), write_id="m")
    stored = Resource("AwsAccount", "a", {**record, "_version": version})
    client.app[APP].store._kinds["AwsAccount"] = {"a": stored}

    for path in ("/AwsAccount/a", "/AwsAccount"):
        assert (await client.get(path)).status == 200
    assert (await client.get("/AwsAccount/a")).headers["ETag"] == 'W/"0"'


async def test_a_host_that_an_operator_stored_is_used(client):
    record = {"access-key-id": "AKIA", "secret-access-key": "s", "host": "minio:9000", "path-style": "true"}
    client.app[APP].store._kinds["AwsAccount"] = {"a": Resource("AwsAccount", "a", record)}

    url = await signed(await client.get("/aws/storage/a/my-bucket/k"))
    assert f"{url.scheme}://{url.netloc}{url.path}" == "http://minio:9000/my-bucket/k"


async def test_a_changed_account_is_used_at_once(client, account):
    before = await signed(await client.get(f"{STORAGE}/k"))
    await client.patch("/AwsAccount/my-account", json={"host": "minio:9000", "use-ssl": True, "region": "eu-west-1"})
    after = await signed(await client.get(f"{STORAGE}/k"))

    assert before.netloc == "my-bucket.s3.amazonaws.com"
    assert (after.scheme, after.netloc) == ("https", "my-bucket.minio:9000")
    assert "%2Feu-west-1%2F" in after.query


async def test_a_deleted_account_cannot_be_used(client, account, faults):
    await client.get(f"{STORAGE}/k")
    await client.delete("/AwsAccount/my-account")

    assert await faults(await client.get(f"{STORAGE}/k"), 404)


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({}, "http://my-bucket.s3.amazonaws.com/k"),
        ({"use-ssl": True}, "https://my-bucket.s3.amazonaws.com/k"),
        ({"path-style": True}, "http://s3.amazonaws.com/my-bucket/k"),
        ({"region": "eu-central-1"}, "http://my-bucket.s3.eu-central-1.amazonaws.com/k"),
        ({"region": "cn-north-1"}, "http://my-bucket.s3.cn-north-1.amazonaws.com.cn/k"),
        ({"region": "us-gov-west-1"}, "http://my-bucket.s3.us-gov-west-1.amazonaws.com/k"),
        ({"region": "eu-central-1", "host": "s3.amazonaws.com"}, "http://my-bucket.s3.amazonaws.com/k"),
        ({"host": "127.0.0.1:9000"}, "http://127.0.0.1:9000/my-bucket/k"),
        ({"host": "[::1]:9000"}, "http://[::1]:9000/my-bucket/k"),
        ({"host": "https://minio.example/s3"}, "https://my-bucket.minio.example/s3/k"),
        ({"host": "minio:9000", "path-style": True}, "http://minio:9000/my-bucket/k"),
        ({"region": "garage", "host": "garage:3900", "path-style": True}, "http://garage:3900/my-bucket/k"),
    ],
    ids=repr,
)
async def test_the_account_determines_the_endpoint(client, fields, place):
    keys = {"access-key-id": "AKIA", "secret-access-key": "s"}
    assert (await client.put("/AwsAccount/a", json={**keys, **fields})).status == 201
    url = await signed(await client.get("/aws/storage/a/my-bucket/k"))

    assert f"{url.scheme}://{url.netloc}{url.path}" == place


async def test_a_bucket_that_is_no_host_label_is_in_the_path(client, account):
    url = await signed(await client.get("/aws/storage/my-account/My_Bucket/k"))

    assert f"{url.netloc}{url.path}" == "s3.amazonaws.com/My_Bucket/k"


async def test_a_body_on_a_download_is_ignored(client, account):
    for method in ("GET", "DELETE"):
        assert await key_of(await client.request(method, f"{STORAGE}/k", data=b"{not json")) == "k"


@pytest.mark.parametrize(("form", "dump"), [("json", codec.dump_json), ("yaml", codec.dump_yaml)])
@pytest.mark.parametrize("host", [None, "[::1]:9000", "https://H.example:443/a/prefix"])
@pytest.mark.parametrize("key", ['"', "\\", "a: b #c", "é\n", "'{}'", "%"])
@pytest.mark.slow
async def test_the_response_equals_the_output_of_the_codec(client, account, raw, form, dump, host, key):
    await client.put("/AwsAccount", json={**account, "host": host})
    response = await raw("GET", f"{STORAGE}/{quote(key, safe='')}", headers={"Accept": f"application/{form}"})
    body = await response.read()

    assert body == dump({"url": yaml.safe_load(body)["url"]})


@pytest.mark.parametrize("key", ["a/../b", "k" * 1025, "%00"])
async def test_a_key_is_validated_after_a_successful_request_too(raw, account, faults, key):
    good = await raw("GET", f"{STORAGE}/k")
    bad = await raw("GET", f"{STORAGE}/{key}")

    assert good.status == 200
    assert await faults(bad, 422) == ("invalid", ["key"])


async def test_a_url_is_indented_on_request(client, account):
    pretty = await client.get(f"{STORAGE}/k?_pretty=true&expiration=60")
    compact = await client.get(f"{STORAGE}/k?_pretty=false&expiration=60")

    assert (await pretty.text()).startswith('{\n  "url": "http')
    assert (await compact.text()).startswith('{"url":"http')
    assert pretty.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("bucket", ["xn--a", "b" * 63], ids=["invalid punycode", "too long"])
async def test_a_bucket_that_is_no_host_name_is_signed_in_path_style(client, bucket):
    host = ".".join(["minio"] + ["h" * 60] * 4)
    await client.put("/AwsAccount/a", json={**KEYS, "host": host, "path-style": False})
    signed = await client.get(f"/aws/storage/a/{bucket}/k")

    assert (await signed.json())["url"].startswith(f"http://{host}/{bucket}/k?")
