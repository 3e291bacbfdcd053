"""Many URLs in one request: each item is decided, audited and counted by itself; and the requests of widgets."""

import asyncio
import json
from io import BytesIO
from urllib.parse import parse_qsl, urlsplit

import pytest
import yaml
from aiohttp import encode_basic_auth
from support.accounts import KEYS
from support.waiting import PerTurn, turns_during

from service.signing.operations import OPERATIONS
from service.stores import pacing
from service.web import rendering
from service.web.formats import codec

STORAGE = "/aws/storage/my-account/my-bucket"
ROOT = {"SIGNER_ROOT_CLIENT_ID": "root", "SIGNER_ROOT_CLIENT_SECRET": "root-secret-0123456789"}
JSON = {"Content-Type": "application/json"}


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    monkeypatch.setattr("service.web.signed_url.time", lambda: 1_700_000_000)


def query_of(url):
    found = dict(parse_qsl(urlsplit(url).query, keep_blank_values=True))
    return {name: text for name, text in found.items() if not name.startswith("X-Amz-")}


async def sign(client, *items, query="", base="", **options):
    response = await client.post(f"{base}{STORAGE}/$sign{query}", json={"items": items}, **options)
    assert response.status == 200, await response.text()
    assert response.headers["Cache-Control"] == "no-store"
    return (await response.json())["items"]


async def test_an_item_has_the_url_of_its_single_request(client, account):
    upload = {"filename": "b c", "content-type": "text/plain", "metadata": {"a": "b"}}
    singles = [
        await client.get(f"{STORAGE}/a?expiration=60&download=x.pdf"),
        await client.get(f"{STORAGE}/a?method=HEAD"),
        await client.post(STORAGE, json=upload),
        await client.delete(f"{STORAGE}/a?version-id=3"),
        await client.get(f"{STORAGE}/$sign"),
    ]
    items = await sign(
        client,
        {"filename": "a", "expiration": 60, "download": "x.pdf"},
        {"method": "HEAD", "filename": "a"},
        {"method": "PUT", **upload},
        {"method": "DELETE", "filename": "a", "version-id": "3"},
        {"method": "GET", "filename": "$sign"},
    )

    assert items == [await single.json() for single in singles]


async def test_items_of_a_multipart_upload(client, account):
    details = await sign(
        client,
        {"method": "POST", "filename": "k", "content-type": "text/plain"},
        {"method": "PUT", "filename": "k", "upload-id": "u/1", "part-number": 2, "content-length": 5},
        {"method": "GET", "filename": "k", "upload-id": "u/1"},
        {"method": "POST", "filename": "k", "upload-id": "u/1"},
        {"method": "DELETE", "filename": "k", "upload-id": "u/1"},
        query="?details=true",
    )

    assert [(it["method"], query_of(it["url"]), it["headers"]) for it in details] == [
        ("POST", {"uploads": ""}, {"content-type": "text/plain"}),
        ("PUT", {"uploadId": "u/1", "partNumber": "2"}, {"content-length": "5"}),
        ("GET", {"uploadId": "u/1"}, {}),
        ("POST", {"uploadId": "u/1"}, {}),
        ("DELETE", {"uploadId": "u/1"}, {}),
    ]


@pytest.mark.parametrize(
    ("item", "names"),
    [
        ({}, ["filename"]),
        ({"filename": ".."}, ["filename"]),
        ({"filename": 5}, ["filename"]),
        ({"filename": "k", "method": "get"}, ["method"]),
        ({"filename": "k", "method": 5}, ["method"]),
        ({"filename": "k", "method": []}, ["method"]),
        ({"filename": "k", "expiration": 0}, ["expiration"]),
        ({"filename": "k", "expiration": True}, ["expiration"]),
        ({"filename": "k", "expiration": "60"}, ["expiration"]),
        ({"filename": "k", "content-type": "a/b"}, ["content-type"]),
        ({"filename": "k", "part-number": 1}, ["part-number"]),
        ({"filename": "k", "method": "PUT", "part-number": 1}, ["part-number"]),
        ({"filename": "k", "method": "PUT", "upload-id": "u"}, ["part-number"]),
        ({"filename": "k", "method": "GET", "upload-id": "u", "part-number": 1}, ["part-number"]),
        ({"filename": "k", "method": "HEAD", "upload-id": "u"}, ["upload-id"]),
        ({"filename": "k", "method": "PUT", "upload-id": "u", "part-number": 0}, ["part-number"]),
        ({"filename": "k", "method": "PUT", "version-id": "3"}, ["version-id"]),
        ({"filename": "k", "x": 1, "y": 2}, ["x", "y"]),
    ],
    ids=str,
)
async def test_an_invalid_item_has_an_outcome_and_the_others_have_urls(client, account, item, names):
    before, failed, after = await sign(client, {"filename": "a"}, item, {"filename": "a"})

    assert list(failed) == ["outcome"]
    assert failed["outcome"]["id"] == "invalid"
    assert sorted(issue["expression"] for issue in failed["outcome"]["issue"]) == [[name] for name in names]
    assert before == after == await (await client.get(f"{STORAGE}/a")).json()


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_details_in_an_item_are_a_query_parameter(client, account, method):
    (item,) = await sign(client, {"filename": "a", "method": method, "details": True})

    assert item["outcome"]["issue"][0]["diagnostics"] == (
        "details is not known here; details is a query parameter: write ?details=... in the URL"
    )


@pytest.mark.parametrize("call", ["$sign", "$sign-request"])
async def test_the_faults_of_the_query_the_names_and_the_body_are_shown_together(client, account, faults, call):
    response = await client.post(f"/aws/storage/my-account/a/{call}?details=maybe", json={"x": 1})

    code, where = await faults(response, 422)
    assert code == "invalid"
    assert {"details", "bucket", "x"} <= set(where)


@pytest.mark.parametrize(
    ("item", "names"),
    [
        ({"part-number": 1}, ("part-number", "upload-id")),
        ({"method": "HEAD", "upload-id": "u"}, ("upload-id", "method")),
        ({"method": "DELETE", "upload-id": "u", "part-number": 1}, ("part-number", "method")),
        ({"method": "PUT", "version-id": "3"}, ("version-id", "filename")),
        ({"method": "POST", "content-length": 5}, ("content-length", "method")),
        ({"method": "POST", "if-none-match": "*"}, ("if-none-match", "method")),
        ({"method": "PUT", "checksum-algorithm": "SHA256"}, ("checksum-algorithm", "method")),
        ({"method": "PUT", "download": "a.pdf"}, ("download", "method")),
        ({"content-type": "a/b"}, ("content-type", "method")),
        ({"method": "DELETE", "download": "a.pdf"}, ("download", "method")),
        ({"method": "GET", "upload-id": "u", "version-id": "3"}, ("version-id", "upload-id")),
        ({"method": "POST", "upload-id": "u", "content-type": "a/b"}, ("content-type", "upload-id")),
        ({"method": "PUT", "upload-id": "u", "part-number": 1, "acl": "private"}, ("acl", "upload-id")),
    ],
    ids=str,
)
async def test_a_contradiction_of_an_item_names_both_fields(client, account, item, names):
    (failed,) = await sign(client, {"filename": "k", **item})

    assert all(name in failed["outcome"]["issue"][0]["diagnostics"] for name in names)


async def test_equal_values_of_other_types_are_told_apart(client, account):
    first = await sign(client, {"filename": "a", "expiration": 1})
    second = await sign(client, {"filename": "a", "expiration": True}, {"filename": "a", "expiration": 1.0})

    assert "outcome" in second[0]
    assert second[1] == first[0]


@pytest.mark.parametrize(
    "items", [None, [], {}, "a", ["a"], [[]], [{"filename": "k"}] * 1001], ids=lambda it: str(it)[:20]
)
async def test_a_batch_is_a_list_of_objects(client, account, faults, items):
    response = await client.post(f"{STORAGE}/$sign", json={"items": items})

    assert await faults(response, 422) == ("invalid", ["items"])


async def test_the_place_of_a_batch_is_validated_once(client, account, faults):
    response = await client.post("/aws/storage/-/b/$sign?details=yes", json={"items": [{"filename": "k"}]})

    assert await faults(response, 422) == ("invalid", ["details", "AwsAccount.id", "bucket"])


async def test_items_of_a_missing_account_are_not_found(client):
    answer = await client.post("/aws/storage/nope/my-bucket/$sign", json={"items": [{"filename": "k"}]})

    assert (await answer.json())["items"][0]["outcome"]["id"] == "not-found"


@pytest.mark.parametrize("query", ["?_format=json", "?_format=json&_pretty=true", "?_format=yaml"])
@pytest.mark.parametrize("details", ["", "&details=true"])
async def test_the_answer_equals_the_output_of_the_codec(client, account, query, details):
    items = [{"filename": 'a "b"'}, {"filename": ".."}, {"method": "PUT", "filename": "c", "content-type": "a; b"}]
    response = await client.post(f"{STORAGE}/$sign{query}{details}", json={"items": items})
    body = await response.read()

    if "yaml" in query:
        assert body == codec.dump_yaml(yaml.safe_load(body))
    else:
        assert body == codec.dump_json(json.loads(body), pretty="pretty" in query)


async def test_a_batch_in_yaml(client, account):
    body = "items:\n- filename: 0123\n  expiration: 60\n- filename: no\n  method: DELETE\n"
    response = await client.post(f"{STORAGE}/$sign", data=body, headers={"Content-Type": "text/yaml"})
    answer = yaml.safe_load(await response.read())

    assert [urlsplit(item["url"]).path for item in answer["items"]] == ["/0123", "/no"]


async def test_a_batch_has_a_limit_of_its_own(make_client):
    client = await make_client(SIGNER_MAX_BODY="10000")
    await client.put("/AwsAccount/my-account", json=KEYS)
    large = {"items": [{"filename": "k", "x" * 1000: "y" * 1000}] * 400}
    accepted = await client.post(f"{STORAGE}/$sign", json=large)
    too_large = await client.post(f"{STORAGE}/$sign", data=BytesIO(b"{" + b" " * (4 * 1024 * 1024)), headers=JSON)
    other_route = await client.post(STORAGE, json={"filename": "k" * 10_000})

    assert [accepted.status, too_large.status, other_route.status] == [200, 413, 413]


@pytest.fixture
async def team(make_client):
    """A function that signs a batch as a Client with one policy, and the client of the root."""
    client = await make_client(**ROOT)
    root = {"Authorization": encode_basic_auth("root", ROOT["SIGNER_ROOT_CLIENT_SECRET"])}
    caller = {"Authorization": encode_basic_auth("team", "team-secret-0123456789")}
    secret = {"secret": "team-secret-0123456789", "grant_types": ["basic"]}
    assert (await client.put("/Client/team", json=secret, headers=root)).status == 201
    assert (await client.put("/AwsAccount/my-account", json=KEYS, headers=root)).status == 201

    async def sign_as_team(pattern, *items, base="", **fields):
        policy = {"engine": "matcho", "matcho": pattern, "link": [{"reference": "Client/team"}], **fields}
        assert (await client.put("/AccessPolicy/p", json=policy, headers=root)).status in {200, 201}
        answers = await sign(client, *items, base=base, headers=caller)
        return [answer["outcome"]["id"] if "outcome" in answer else "url" for answer in answers]

    return sign_as_team


A = {"filename": "team-a/x"}
ITEMS = [
    {**A},
    {"method": "HEAD", **A},
    {"method": "PUT", **A},
    {"method": "DELETE", **A},
    {"method": "POST", **A},
    {"method": "PUT", **A, "upload-id": "u", "part-number": 1},
    {"method": "GET", **A, "upload-id": "u"},
    {"method": "POST", **A, "upload-id": "u"},
    {"method": "DELETE", **A, "upload-id": "u"},
    {"filename": "team-b/x"},
]
U, F = "url", "forbidden"


@pytest.mark.parametrize(
    ("pattern", "decisions"),
    [
        ({"params": {"key": "#^team-a/"}}, [U, U, U, U, F, F, F, F, F, F]),
        ({"request-method": "get", "params": {"account": "my-account"}}, [U, U, F, F, F, F, F, F, F, U]),
        ({"request-method": "post", "params": {"account": "my-account"}}, [F, F, U, F, F, F, F, F, F, F]),
        ({"params": {"operation": "multipart"}}, [F, F, F, F, U, U, U, U, U, F]),
        ({"request-method": "post", "params": {"operation": "multipart"}}, [F, F, F, F, U, U, F, U, F, F]),
        ({"params": {"operation": {"$enum": ["upload", "head"]}}}, [F, U, U, F, F, F, F, F, F, F]),
        ({"uri": "#/team-a/"}, [U, U, F, U, F, F, F, F, F, F]),
        ({"uri": STORAGE}, [F, F, U, F, F, F, F, F, F, F]),
        ({"uri": f"{STORAGE}/$sign"}, [F] * 10),
        ({"body": {"filename": "team-a/x"}}, [F, F, U, F, F, F, F, F, F, F]),
        ({"body": {"items": "present?"}}, [F] * 10),
        ({"params": {"operation": "multipart", "part-number": "#^[1-3]$"}}, [F, F, F, F, F, U, F, F, F, F]),
    ],
    ids=str,
)
async def test_each_item_is_decided_as_its_single_request(team, pattern, decisions):
    assert await team(pattern, *ITEMS) == decisions


@pytest.mark.parametrize("base", ["", "/fhir"])
async def test_policies_see_the_path_of_the_alias_in_each_item(team, base):
    allowed = {"uri": {"$not": "#^/fhir/"}, "params": {"account": "my-account", "operation": "download"}}

    assert await team({"uri": f"{base}{STORAGE}/team-a/x"}, {**A}, base=base) == ["url"]
    assert await team(allowed, {**A}, base=base) == [F if base else U]


async def test_a_policy_bounds_the_expiration_of_each_item(team):
    items = [{**A, "expiration": 60}, {**A}, {**A, "expiration": 61}]

    assert await team({"params": {"key": "#^team-a/"}}, *items, **{"max-expiration": 60}) == ["url", F, F]


async def test_each_item_has_its_audit_line(team, audit_file):
    await team({"params": {"key": "#^team-a/"}}, {**A}, {"method": "DELETE", "filename": "b"}, {"method": "PUT", **A})
    await asyncio.sleep(0.1)
    lines = [json.loads(line) for line in audit_file.read_text().splitlines()]
    found = [line for line in lines if line["event"] in {"signed", "denied"}]

    assert [(it["event"], it["operation"], it["key"], it.get("policy")) for it in found] == [
        ("signed", "get_object", "team-a/x", "p"),
        ("denied", "delete_object", "b", None),
        ("signed", "put_object", "team-a/x", "p"),
    ]


async def test_each_item_is_counted(client, account):
    async def counts():
        text = await (await client.get("/metrics")).text()
        lines = [line.rsplit(" ", 1) for line in text.splitlines() if line.startswith("s3_signer_urls_signed_total")]
        return {name: float(value) for name, value in lines}

    before = await counts()
    await sign(client, *ITEMS)
    after = await counts()

    for operation in OPERATIONS:
        name = f's3_signer_urls_signed_total{{operation="{operation.name}"}}'
        expected = {"get_object": 2, "list_objects_v2": 0, "post_object": 0}.get(operation.name, 1)
        assert after.get(name, 0) - before.get(name, 0) == expected


async def test_an_account_with_a_largest_size_signs_no_parts(client, account):
    await client.patch("/AwsAccount/my-account", json={"max-size": 1000})
    answers = await sign(client, *ITEMS[:9])

    assert ["url" in answer for answer in answers] == [True, True, False, True, False, False, True, False, True]


async def test_a_batch_yields_to_other_requests(client, account, monkeypatch):
    monkeypatch.setattr(pacing, "MAX_BLOCK_SECONDS", 0)

    others = await turns_during(sign(client, *[{"filename": f"{number}"} for number in range(200)]))

    assert others >= 200


@pytest.mark.parametrize(
    ("wanted", "signs", "query", "headers"),
    [
        ({"method": "PUT", "key": "k", "contentType": "image/png"}, "put_object", {}, {"content-type": "image/png"}),
        ({"method": "PUT", "key": "k", "contentType": ""}, "put_object", {}, None),
        ({"method": "POST", "key": "k"}, "create", {"uploads": ""}, None),
        (
            {"method": "PUT", "key": "k", "uploadId": "u", "partNumber": 3},
            "part",
            {"uploadId": "u", "partNumber": "3"},
            None,
        ),
        ({"method": "GET", "key": "k", "uploadId": "u"}, "parts", {"uploadId": "u"}, None),
        ({"method": "POST", "key": "k", "uploadId": "u"}, "complete", {"uploadId": "u"}, None),
        ({"method": "DELETE", "key": "k", "uploadId": "u", "expiresIn": 60}, "abort", {"uploadId": "u"}, None),
        ({"method": "DELETE", "key": "k"}, "delete", {}, None),
    ],
    ids=str,
)
async def test_the_request_of_a_widget_is_signed(client, account, wanted, signs, query, headers):
    response = await client.post(f"{STORAGE}/$sign-request", json=wanted)
    answer = await response.json()

    assert response.status == 200, answer
    assert response.headers["Cache-Control"] == "no-store"
    assert query_of(answer["url"]) == query
    assert answer.get("headers") == headers
    assert answer.keys() <= {"url", "headers"}
    assert f"X-Amz-Expires={wanted.get('expiresIn', 86400)}&" in answer["url"]


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        ({"method": "PUT"}, ["key"]),
        ({"method": "PUT", "key": ""}, ["key"]),
        ({"key": "k"}, ["method"]),
        ({"method": "PUT", "key": "k", "partNumber": 1}, ["partNumber"]),
        ({"method": "PUT", "key": "k", "uploadId": "u"}, ["partNumber"]),
        ({"method": "PUT", "key": "k", "expiresIn": 0}, ["expiresIn"]),
        ({"method": "PUT", "key": "k", "contentType": "a\nb"}, ["contentType"]),
        ({"method": "PUT", "key": "k", "filename": "x"}, ["filename"]),
        ({"method": "POST", "key": "k", "uploadId": "u", "contentType": "a/b"}, ["contentType"]),
    ],
    ids=str,
)
async def test_a_fault_of_a_widgets_request_has_the_widgets_names(client, account, faults, wanted, names):
    response = await client.post(f"{STORAGE}/$sign-request", json=wanted)
    text = await response.text()

    assert await faults(response, 422) == ("invalid", names)
    assert "part-number" not in text
    assert "upload-id" not in text


@pytest.mark.parametrize("query", ["", "?_format=yaml", "?_pretty=true"])
@pytest.mark.parametrize("count", [1, 2, 5, 6])
async def test_a_long_answer_is_sent_in_pieces(client, account, monkeypatch, query, count):
    items = {"items": [{"filename": f"k{number}"} for number in range(count)]}
    whole = await client.post(f"{STORAGE}/$sign{query}", json=items)
    # An item has about 300 bytes.
    monkeypatch.setattr(rendering, "MAX_PIECE", 500)
    pieces = []
    join = rendering.ItemsRenderer._pieces

    def counted(renderer):
        for piece in join(renderer):
            pieces.append(piece)
            yield piece

    monkeypatch.setattr(rendering.ItemsRenderer, "_pieces", counted)
    in_pieces = await client.post(f"{STORAGE}/$sign{query}", json=items)

    assert await in_pieces.read() == await whole.read()
    assert in_pieces.headers["Content-Length"] == whole.headers["Content-Length"]
    assert in_pieces.content_type == whole.content_type
    assert len(pieces) == (count + 1) // 2


async def test_the_pieces_of_long_answers_at_the_same_time_are_sent_in_turns(client, account, monkeypatch):
    items = {"items": [{"filename": f"k{number}"} for number in range(20)]}
    sent, join = PerTurn(), rendering.ItemsRenderer._pieces

    def counted(renderer):
        for piece in join(renderer):
            sent.count()
            yield piece

    monkeypatch.setattr(rendering, "MAX_PIECE", 500)
    monkeypatch.setattr(rendering.ItemsRenderer, "_pieces", counted)
    monkeypatch.setattr(pacing, "MAX_BLOCK_SECONDS", 0)
    await sent.during(asyncio.gather(*(client.post(f"{STORAGE}/$sign", json=items) for _ in range(5))))

    assert (sent.total, sent.most) == (50, 1)
