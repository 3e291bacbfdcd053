import asyncio
import io
import json
import logging
import re
import time

import pytest
import yaml
from support.accounts import KEYS
from support.garbage import no_errors_in_cycles
from support.service import running

from service.errors import StoreUnavailable
from service.web.context import APP

MEBIBYTE = 1024 * 1024
PAGE = "https://app.example.com"
PREFLIGHT = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}


def failing(monkeypatch, client, error):
    async def fail(*_, **__):
        raise error

    monkeypatch.setattr(client.app[APP].store, "get", fail)


@pytest.mark.parametrize("given", ["a", "A.b_c-9", "0" * 128])
async def test_a_request_id_is_accepted_and_returned(client, given):
    response = await client.get("/live", headers={"X-Request-Id": given})

    assert response.headers.getall("X-Request-Id") == [given]


@pytest.mark.parametrize("given", [None, "", "a" * 129, "a b", "a/b", "\u00e4", "a;b", "<a>"])
async def test_a_request_id_is_generated_if_it_is_missing_or_invalid(client, given):
    headers = {} if given is None else {"X-Request-Id": given}
    made = [(await client.get("/live", headers=headers)).headers["X-Request-Id"] for _ in range(2)]

    assert all(re.fullmatch("[A-Za-z0-9._-]{1,128}", id_) for id_ in made)
    assert given not in made
    assert made[0] != made[1]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/live", 200),
        ("GET", "/nope", 404),
        ("POST", "/live", 405),
        ("PUT", "/AwsAccount", 422),
        ("DELETE", "/AwsAccount/nope", 204),
        ("GET", "/AwsAccount/my-account", 304),
        ("GET", "/live?_format=png", 406),
    ],
)
async def test_every_response_has_its_request_id_and_duration(client, account, method, path, status):
    before = time.monotonic()
    response = await client.request(method, path, json={}, headers={"X-Request-Id": "mine", "If-None-Match": "*"})
    milliseconds = 1000 * (time.monotonic() - before)

    assert response.status == status
    assert response.headers["X-Request-Id"] == "mine"
    assert 0 <= float(response.headers["X-Duration"]) <= milliseconds + 1


FAULTS = {
    "not found": ("GET", "/nope", {}, 404, "not-found"),
    "no such method": ("POST", "/live", {}, 405, "not-supported"),
    "too large": ("PUT", "/AwsAccount", {"headers": {"Content-Type": "text/yaml"}}, 413, "too-long"),
    "compressed": ("PUT", "/AwsAccount", {"data": b"", "headers": {"Content-Encoding": "br"}}, 415, "not-supported"),
    "another type": (
        "PUT",
        "/AwsAccount",
        {"data": b"", "headers": {"Content-Type": "text/plain"}},
        415,
        "not-supported",
    ),
    "malformed": ("PUT", "/AwsAccount", {"data": b"{", "headers": {"Content-Type": "text/yaml"}}, 400, "structure"),
    "invalid": ("PUT", "/AwsAccount/-", {"json": {}}, 422, "invalid"),
    "twice": ("GET", "/live?_pretty=true&_pretty=true", {}, 400, "invalid"),
    "unknown parameter": ("GET", "/live?a=b", {}, 400, "invalid"),
    "conflict": ("DELETE", "/AwsAccount/x", {"headers": {"If-Match": "1"}}, 412, "conflict"),
    "store away": ("GET", "/AwsAccount/away", {}, 503, "transient"),
    "ours": ("GET", "/AwsAccount/broken", {}, 500, "exception"),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize("type_", ["application/json", "text/yaml", "application/fhir+json", "application/x-yaml"])
async def test_every_error_is_an_outcome_in_the_negotiated_format(client, faults, monkeypatch, fault, type_):
    method, path, options, status, code = fault
    error = StoreUnavailable("away") if status == 503 else ZeroDivisionError("s3cr3t")
    failing(monkeypatch, client, error) if status in {500, 503} else None
    body = {"data": io.BytesIO(b"a" * (MEBIBYTE + 1))} if status == 413 else {}
    headers = {**options.get("headers", {}), "Accept": type_}
    response = await client.request(method, path, **{**options, **body, "headers": headers})

    assert (await faults(response, status))[0] == code
    assert response.headers["Content-Type"] == f"{type_}; charset=utf-8"


@pytest.mark.parametrize("path", ["/live", "/nope", "/AwsAccount/-"])
@pytest.mark.parametrize(
    ("accept", "query"),
    [("image/png", ""), ("application/json;q=0, text/*;q=0", ""), ("*/*", "?_format=xml"), ("text/yaml", "?_format=")],
)
async def test_a_406_is_json(client, faults, path, accept, query):
    response = await client.get(f"{path}{query}", headers={"Accept": accept})

    assert (await faults(response, 406))[0] == "not-supported"
    assert response.headers["Content-Type"] == "application/json; charset=utf-8"


async def test_a_request_with_an_unacceptable_type_has_no_effect(client, account, faults):
    response = await client.delete("/AwsAccount/my-account", headers={"Accept": "image/png"})

    assert await faults(response, 406)
    assert (await client.get("/AwsAccount/my-account")).status == 200


@pytest.mark.parametrize(
    ("headers", "type_"),
    [
        ([("Accept", "*/*")], "application/json"),
        ([("Accept", "text/yaml"), ("Accept", "application/json;q=0.5")], "text/yaml"),
        ([("Accept", "application/json;q=0.5"), ("Accept", "text/yaml")], "text/yaml"),
        ([("Accept", "image/png, */*;q=0.1")], "application/json"),
    ],
    ids=str,
)
async def test_accept_may_have_several_lines(client, headers, type_):
    response = await client.get("/live", headers=headers)

    assert response.content_type == type_


@pytest.mark.parametrize(
    ("type_", "data", "answered"),
    [
        ("application/json", b'{"id": "a"}', "application/json"),
        ("application/fhir+json", b'{"id": "a"}', "application/fhir+json"),
        ("application/json+fhir; charset=UTF-8", b'{"id": "a"}', "application/json+fhir"),
        ("application/merge-patch+json", b'{"id": "a"}', "application/json"),
        ("text/yaml", b"id: a", "text/yaml"),
        ("application/yaml", b"id: a", "application/yaml"),
        ("application/x-yaml", b"id: a", "application/x-yaml"),
        ("text/x-yaml", b'{"id": "a"}', "text/x-yaml"),
        (None, b'{"id": "a"}', "application/json"),
        (None, b' \r\n\t{"id": "a"}', "application/json"),
        (None, b"id: a", "text/yaml"),
        (None, b"\xef\xbb\xbfid: a", "text/yaml"),
        (None, b'\xef\xbb\xbf{"id": "a"}', "application/json"),
    ],
    ids=str,
)
async def test_the_response_has_the_format_of_the_body(client, type_, data, answered):
    headers = {"Content-Type": type_} if type_ else {}
    response = await client.put("/AwsAccount", data=data, headers=headers, skip_auto_headers=["Content-Type"])

    assert (response.status, response.headers["Content-Type"]) == (201, f"{answered}; charset=utf-8")


async def test_a_body_that_looks_like_a_list_is_read_as_json(client, faults):
    response = await client.put("/AwsAccount", data=b"[]", skip_auto_headers=["Content-Type"])

    assert await faults(response, 400) == (
        "structure",
        ["Malformed body: the top level is not an object at line 1, column 1"],
    )
    assert response.content_type == "application/json"


@pytest.mark.parametrize(
    "type_",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/json; charset=latin-1",
        "text/yaml; charset=utf-16",
        "application/octet-stream",
        "json",
        "*/*",
    ],
)
async def test_another_content_type_is_refused_whatever_the_body(client, faults, type_):
    response = await client.put("/AwsAccount", data=b'{"id": "a"}', headers={"Content-Type": type_})

    code, (message,) = await faults(response, 415)
    assert code == "not-supported"
    assert "Content-Type: application/json or Content-Type: text/yaml" in message


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *(("PUT", "/AwsAccount/my-account"), ("PATCH", "/AwsAccount/my-account"), ("POST", "/AwsAccount")),
        *(("POST", "/aws/storage/my-account/bucket"), ("POST", "/auth/token"), ("POST", "/AccessPolicy/$explain")),
    ],
)
async def test_a_part_of_a_body_is_refused(client, account, faults, method, path):
    answer = await client.request(method, path, headers={"Content-Range": "bytes 0-1/2"}, data="{}")

    (problem,) = (await faults(answer, 400))[1]
    assert problem.startswith("Content-Range is not supported")


@pytest.mark.parametrize("range_", ["", " "])
async def test_an_empty_content_range_counts_as_missing(client, range_):
    answer = await client.put("/AwsAccount/a", json=KEYS, headers={"Content-Range": range_})

    assert answer.status == 201


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "identity, gzip", "x"])
async def test_a_compressed_body_is_refused(client, faults, coding):
    response = await client.put("/AwsAccount", data=b"{}", headers={"Content-Encoding": coding})

    assert (await faults(response, 415))[0] == "not-supported"


@pytest.mark.parametrize("coding", ["Identity", "", " ", ",", "identity, ,"])
async def test_an_identity_coding_is_accepted(client, coding):
    response = await client.put("/AwsAccount/a", json=KEYS, headers={"Content-Encoding": coding})

    assert response.status == 201


@pytest.mark.parametrize("type_", ["", " "])
async def test_an_empty_content_type_counts_as_missing(client, type_):
    response = await client.put("/AwsAccount/a", data=json.dumps(KEYS), headers={"Content-Type": type_})

    assert response.status == 201


@pytest.mark.parametrize("type_", [None, "application/json", "text/yaml"])
@pytest.mark.parametrize("data", [b"", b" \n"], ids=["none", "blank"])
async def test_a_missing_body_is_refused(client, account, faults, type_, data):
    headers = {"Content-Type": type_} if type_ else {}
    for method, path in [("POST", "/AwsAccount"), ("PUT", "/AwsAccount"), ("PATCH", "/AwsAccount/my-account")]:
        response = await client.request(method, path, data=data, headers=headers, skip_auto_headers=["Content-Type"])

        assert response.content_type == (type_ or "application/json")
        assert (await faults(response, 400))[0] == "structure"


@pytest.mark.parametrize("method", ["GET", "DELETE", "HEAD"])
@pytest.mark.parametrize("type_", ["application/json", "text/plain", "x"])
async def test_a_body_of_a_get_is_ignored(client, account, method, type_):
    response = await client.request(
        method,
        "/AwsAccount/my-account",
        data=b"\xff" * 100_000,
        headers={"Content-Type": type_, "Content-Encoding": "x"},
    )

    assert response.status == 200


async def chunks(size, piece=64 * 1024):
    for start in range(0, size, piece):
        yield b" " * min(piece, size - start)


@pytest.mark.parametrize("chunked", [False, True], ids=["whole", "chunked"])
@pytest.mark.parametrize(("size", "status"), [(MEBIBYTE, 400), (MEBIBYTE + 1, 413), (3 * MEBIBYTE, 413)])
@pytest.mark.slow
async def test_the_size_of_a_body_is_limited(client, faults, chunked, size, status):
    data = chunks(size) if chunked else io.BytesIO(b" " * size)
    response = await client.put("/AwsAccount", data=data, headers={"Content-Type": "application/json"})

    assert (await faults(response, status))[0] == ("too-long" if status == 413 else "structure")


async def test_the_limit_of_bodies_is_a_setting(make_client, faults):
    client = await make_client(SIGNER_MAX_BODY="1024")
    fits = await client.put("/AwsAccount/a", data=json.dumps(KEYS).ljust(1024), headers={"Content-Type": "text/yaml"})
    exceeds = await client.put(
        "/AwsAccount/a", data=json.dumps(KEYS).ljust(1025), headers={"Content-Type": "text/yaml"}
    )

    assert fits.status == 201
    assert await faults(exceeds, 413) == ("too-long", ["The body is larger than 1024 bytes"])


async def test_a_body_to_an_unknown_route_is_not_read(client, faults):
    for method, path, status in [("POST", "/nope", 404), ("POST", "/live", 405), ("PUT", "/AwsAccount/a/b", 404)]:
        response = await client.request(method, path, data=b"{", headers={"Content-Type": "application/json"})

        assert await faults(response, status)


@pytest.mark.parametrize("count", [20, 500, 9_990])
@pytest.mark.parametrize("type_", ["json", "yaml"])
@pytest.mark.slow
async def test_thousands_of_unknown_fields_are_not_all_listed(client, faults, count, type_):
    dump = json.dumps if type_ == "json" else yaml.safe_dump
    body = dump({f"field{number}": "x" for number in range(count)})
    response = await client.put("/AwsAccount/a", data=body, headers={"Content-Type": f"application/{type_}"})

    _, where = await faults(response, 422)
    assert len(where) == min(count, 101)
    assert count < 101 or where[-1] == f"And {count - 100} more fields have faults"


async def test_a_body_that_never_arrives_times_out(client, faults, monkeypatch):
    monkeypatch.setattr("service.web.body.BODY_SECONDS", 0.05)
    stalled = asyncio.Event()

    async def body():
        yield b'{"id":'
        await stalled.wait()

    response = await client.put("/AwsAccount", data=body(), headers={"Content-Type": "application/json"})
    stalled.set()

    assert await faults(response, 400) == ("structure", ["Malformed body: it did not arrive within 0.05 seconds"])


@pytest.mark.parametrize("type_", ["json", "yaml"])
async def test_a_long_body_is_read_like_a_short_one(client, type_):
    body = json.dumps({**KEYS, "meta": ["x" * 100] * 1000})
    response = await client.put("/AwsAccount/a", data=body, headers={"Content-Type": f"application/{type_}"})

    assert response.status == 201


async def test_pretty_json_is_indented(client):
    pretty = await client.get("/live?_pretty=true")
    compact = await client.get("/live?_pretty=false")

    assert await pretty.text() == '{\n  "status": "pass"\n}'
    assert await compact.text() == '{"status":"pass"}'


async def test_pretty_is_true_or_false(client, faults):
    response = await client.get("/live?_pretty=yes")

    assert await faults(response, 422) == ("invalid", ["_pretty"])


async def test_an_unexpected_error_shows_only_the_request_id(client, account, monkeypatch, caplog):
    failing(monkeypatch, client, RuntimeError("inside: internal details"))
    response = await client.get("/AwsAccount/my-account", headers={"X-Request-Id": "mine"})
    body = await response.text()

    assert response.status == 500
    assert "under request id mine" in body
    assert "inside" not in body
    assert "Runtime" not in body
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR] == [
        "Request mine failed"
    ]


async def test_an_unavailable_store_is_a_503_with_retry_after(client, account, faults, monkeypatch):
    failing(monkeypatch, client, StoreUnavailable("The account store cannot be reached"))
    for path in ("/AwsAccount/my-account", "/aws/storage/my-account/my-bucket/k"):
        response = await client.get(path)

        assert (await faults(response, 503))[0] == "transient"
        assert int(response.headers["Retry-After"]) > 0


@pytest.mark.parametrize(
    ("path", "method", "allow"),
    [
        ("/live", "POST", "GET, HEAD"),
        ("/AwsAccount", "DELETE", "GET, HEAD, POST, PUT"),
        ("/AwsAccount/x", "POST", "DELETE, GET, HEAD, PATCH, PUT"),
        ("/aws/storage/a/bb/k", "PUT", "DELETE, GET, HEAD"),
        ("/aws/storage/a/bb", "PUT", "GET, HEAD, POST"),
        ("/fhir/AwsAccount", "PATCH", "GET, HEAD, POST, PUT"),
    ],
)
async def test_a_405_lists_the_allowed_methods(client, faults, path, method, allow):
    response = await client.request(method, path, json={})

    assert await faults(response, 405) == ("not-supported", [f"{method} is not supported on {path}; use {allow}"])
    assert response.headers["Allow"] == allow


@pytest.mark.parametrize(
    ("path", "allow"),
    [
        ("/", "GET, HEAD, OPTIONS"),
        ("/AwsAccount/x", "DELETE, GET, HEAD, OPTIONS, PATCH, PUT"),
        ("/aws/storage/a/bb", "GET, HEAD, OPTIONS, POST"),
    ],
)
async def test_options_lists_the_methods_of_a_path(client, path, allow):
    answer = await client.options(path)

    assert (answer.status, answer.headers["Allow"], await answer.read()) == (204, allow, b"")


async def test_options_of_an_unknown_path_are_not_found(client, faults):
    assert (await faults(await client.options("/nothing"), 404))[0] == "not-found"


@pytest.mark.parametrize(
    "path",
    [
        "/AwsAccount/",
        "/AwsAccount/a/b",
        "/awsaccount",
        "//live",
        "/live/",
        "/fhir",
        "/aws/storage/a",
        "/%00",
        "/<script>",
    ],
)
async def test_an_unknown_route_is_a_404(raw, faults, path):
    response = await raw("GET", path)

    code, (message,) = await faults(response, 404)
    assert (code, message.startswith("Route /")) == ("not-found", True)
    assert "<script>" not in (await response.text()).partition("issue")[0]


@pytest.mark.parametrize("query", ["%zz", "a=%", "_format=yaml&b=%e9", "%C0%AF=x", "a=%ED%A0%80"])
async def test_a_malformed_escape_in_a_query_is_refused(raw, faults, query):
    for path in ("/live", "/AwsAccount", "/nope", "/aws/storage/a/bb/k"):
        assert (await faults(await raw("GET", f"{path}?{query}"), 400))[0] == "invalid"


LOOPBACK = [
    *("", "localhost", "LOCALHOST:1", "127.0.0.1", "127.9.9.9:8080", "[::1]", "[::1]:8080", "a.localhost:80"),
    *("localhost.:1", "[::ffff:127.0.0.1]", "[::FFFF:7f00:1]:8080"),
]
ELSEWHERE = [
    *("example.com", "127.0.0.1.example.com", "localhost.example.com", "evil-localhost", "10.0.0.1", "0.0.0.0:80"),
    *(
        "[",
        "[]",
        "[::1",
        "[::2]",
        "[::ffff:10.0.0.1]",
        "::1",
        ":8080",
        "@",
        "localhost@evil.com",
        "\u00e4.localhost",
        "2130706433",
        "0x7f.1",
    ),
]


@pytest.mark.parametrize("host", LOOPBACK)
async def test_a_loopback_host_is_served(client, host):
    response = await client.get("/live", headers={"Host": host})

    assert response.status == 200


@pytest.mark.parametrize("host", ELSEWHERE)
async def test_another_host_is_forbidden_while_open_on_loopback(client, account, faults, host):
    for path in ("/live", "/nope", "/AwsAccount/my-account"):
        response = await client.get(path, headers={"Host": host})

        assert (await faults(response, 403))[0] == "forbidden"
        assert "SIGNER_PUBLIC_URL" in await response.text()


@pytest.mark.parametrize(
    "settings", [{"SIGNER_HOST": "::", "SIGNER_AUTH": "none"}, {"SIGNER_SOCKET": "/run/s"}], ids=str
)
@pytest.mark.parametrize("host", ["example.com", "["])
async def test_any_host_is_served_on_a_public_address(make_client, settings, host):
    client = await make_client(**settings)
    response = await client.get("/live", headers={"Host": host})

    assert response.status == 200


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "", "://", "http://localhost:1", "file://", "http://127.0.0.1"]
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
async def test_another_origin_is_forbidden_while_open_on_loopback(client, account, faults, origin, method):
    response = await client.request(
        method,
        "/aws/storage/my-account/my-bucket",
        data=b"filename: k",
        headers={"Origin": origin, "Content-Type": "text/plain", **PREFLIGHT},
    )

    assert (await faults(response, 403))[0] == "forbidden"
    assert "Access-Control-Allow-Origin" not in response.headers


async def test_the_services_own_origin_is_served(client):
    response = await client.get("/live", headers={"Origin": f"http://127.0.0.1:{client.port}"})

    assert response.status == 200
    assert "Access-Control-Allow-Origin" not in response.headers


async def test_cors_is_off_by_default(make_client):
    client = await make_client(SIGNER_HOST="0.0.0.0", SIGNER_AUTH="none")  # noqa: S104
    answered = await client.get("/live", headers={"Origin": PAGE})
    preflight = await client.options("/AwsAccount", headers={"Origin": PAGE, **PREFLIGHT})

    assert answered.status == 200
    assert preflight.status == 204
    assert not [name for name in [*answered.headers, *preflight.headers] if name.startswith("Access-Control")]


@pytest.fixture
async def cors(make_client):
    return await make_client(SIGNER_CORS_ORIGINS=f"{PAGE}, https://other.example.com")


async def test_a_preflight_of_an_allowed_origin_is_answered(cors):
    for path in ("/aws/storage/my-account/my-bucket", "/AwsAccount/x", "/nope"):
        response = await cors.options(path, headers={"Origin": PAGE, **PREFLIGHT})

        assert (response.status, await response.read()) == (204, b"")
        assert response.headers["Access-Control-Allow-Origin"] == PAGE
        assert response.headers["Vary"] == "Origin"
        allowed = {name.strip() for name in response.headers["Access-Control-Allow-Methods"].split(",")}
        assert allowed >= {"POST", "GET", "DELETE", "PUT", "PATCH"}
        assert {"authorization", "content-type", "if-match", "if-none-exist"} <= set(
            response.headers["Access-Control-Allow-Headers"].split(", ")
        )
        # The page sends tokens itself; the browser adds no stored credentials.
        assert "Access-Control-Allow-Credentials" not in response.headers


@pytest.mark.parametrize(
    ("path", "status"), [("/live", 200), ("/nope", 404), ("/AwsAccount/-", 422), ("/live?_format=x", 406)]
)
async def test_an_allowed_page_can_read_responses_and_errors(cors, path, status):
    response = await cors.get(path, headers={"Origin": PAGE})

    assert response.status == status
    assert response.headers["Access-Control-Allow-Origin"] == PAGE
    assert "x-request-id" in response.headers["Access-Control-Expose-Headers"]
    assert "Access-Control-Allow-Credentials" not in response.headers


@pytest.mark.parametrize(
    "origin", ["https://app.example.com.evil", "http://app.example.com", f"{PAGE}:8443", f"{PAGE}/"]
)
async def test_a_similar_origin_is_forbidden(cors, faults, origin):
    response = await cors.get("/live", headers={"Origin": origin})

    assert (await faults(response, 403))[0] == "forbidden"


async def test_a_response_varies_with_all_headers_that_it_depends_on(cors):
    created = await cors.put("/AwsAccount/a", json=KEYS)
    answers = {
        path: [(await cors.get(path, headers=headers)).headers.getall("Vary") for headers in ({}, {"Origin": PAGE})]
        for path in ("/", "/AwsAccount/a", "/live")
    }

    assert created.headers.getall("Vary") == ["Accept, Origin"]
    assert answers == {
        "/": [["Accept, Origin"]] * 2,
        "/AwsAccount/a": [["Accept, Origin"]] * 2,
        "/live": [["Origin"]] * 2,
    }


async def test_while_draining_connections_are_closed(client, account):
    client.app[APP].state.draining = True
    response = await client.get("/aws/storage/my-account/my-bucket/k")

    assert response.status == 200
    assert response.headers["Connection"] == "close"


async def test_an_outcome_names_every_fault_in_order_of_the_query(client, faults):
    response = await client.get("/AwsAccount?a=1&b=2&_count=x")

    assert await faults(response, 400) == ("invalid", ["a", "b"])


@pytest.mark.slow
def test_a_probe_without_a_host_is_served_while_open_on_loopback(service):
    answer = service.exchange(b"GET /live HTTP/1.0\r\n\r\n")

    assert answer.startswith(b"HTTP/1.0 200 ")


@pytest.mark.parametrize("pieces", [[b"{" + b" " * 1024], [b"{"] + [b" " * 100] * 11])
async def test_a_chunked_body_has_the_same_limit(make_client, faults, pieces):
    client = await make_client(SIGNER_MAX_BODY="1024")

    async def chunks():
        for piece in pieces:
            yield piece

    response = await client.put("/AwsAccount", data=chunks(), headers={"Content-Type": "application/json"})

    assert (await faults(response, 413))[0] == "too-long"


@pytest.mark.slow
def test_a_chunked_body_in_one_packet_with_its_head_has_the_same_limit():
    with running(SIGNER_MAX_BODY="1024") as process:
        head = b"PUT /AwsAccount HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        answer = process.exchange(head + b"401\r\n{" + b" " * 1024 + b"\r\n0\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        pytest.param("GET", "/nope", None, id="unknown path"),
        pytest.param("PUT", "/live", None, id="method not allowed"),
        pytest.param("OPTIONS", "/AwsAccount", None, id="OPTIONS"),
        pytest.param("GET", "/AwsAccount/none", None, id="no such account"),
        pytest.param("PUT", "/AwsAccount/a", {"host": 5}, id="invalid resource"),
        pytest.param("GET", "/AwsAccount?_sort=x", None, id="invalid query"),
        pytest.param("POST", "/aws/storage/a/bucket/$sign", {"items": [{"filename": ""}]}, id="invalid item"),
        pytest.param("POST", "/AwsAccount/a/$check", {}, id="invalid check"),
    ],
)
async def test_a_refused_request_leaves_nothing_to_the_garbage_collection(client, method, path, body):
    async def refuse():
        async with client.request(method, path, json=body) as response:
            assert (await response.read()) or method == "OPTIONS"

    # The first request may load modules.
    await refuse()
    with no_errors_in_cycles():
        await refuse()
