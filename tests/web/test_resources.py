import asyncio
import re
from datetime import datetime
from email.utils import parsedate_to_datetime

import pytest
import yaml

KEY, SECRET, TOKEN = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "a-session-token"
KEYS = {"access-key-id": KEY, "secret-access-key": SECRET}
MARKER = {
    "extension": [{"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "masked"}],
}
YAML = {"Content-Type": "text/yaml"}


@pytest.fixture(autouse=True)
def versions_from_one(monkeypatch):
    """Count versions from 1 instead of the microseconds of the clock."""
    monkeypatch.setattr("service.stores.memory.microseconds", lambda _: 0)


async def signs(client, id_="my-account"):
    """Return the parts of a URL that depend on the secrets of the account."""
    response = await client.get(f"/aws/storage/{id_}/bucket/key?expiration=60")
    return response.status, "X-Amz-Security-Token" in await response.text()


async def ids(response):
    assert response.status == 200
    return [entry["resource"]["id"] for entry in (await response.json())["entry"]]


async def test_an_account_is_created_by_the_id_in_its_body(client):
    response = await client.put("/AwsAccount", json={"id": "a", **KEYS})

    assert response.status == 201
    assert response.headers["Location"] == "/AwsAccount/a"
    assert (await response.json())["id"] == "a"


async def test_an_account_is_updated_by_the_id_in_its_body(client, account):
    response = await client.put("/AwsAccount", json={"id": "my-account", "region": "eu-west-1"})

    assert response.status == 200
    assert "Location" not in response.headers
    assert (await response.json())["region"] == "eu-west-1"


@pytest.mark.parametrize("body", [{}, {"id": None}, {**KEYS}], ids=["empty", "null", "keys"])
async def test_a_put_without_an_id_anywhere_is_refused(client, faults, body):
    response = await client.put("/AwsAccount", json=body)

    assert await faults(response, 422) == ("invalid", ["AwsAccount.id"])


@pytest.mark.parametrize("id_", [5, "", "-a", "a/b", "a" * 65, "a\n", ["a"], {"a": "a"}, True, "ä"], ids=repr)
async def test_the_whole_id_in_a_body_is_validated(client, faults, id_):
    for method in ("PUT", "POST"):
        response = await client.request(method, "/AwsAccount", json={"id": id_})

        assert await faults(response, 422) == ("invalid", ["AwsAccount.id"])


@pytest.mark.parametrize("id_", ["-a", "a%2Fb", "a%0A", "%C3%A4", "a" * 65, "%00", ".", "a%20"])
async def test_the_whole_id_in_a_path_is_validated(raw, faults, id_):
    for method in ("GET", "PUT", "PATCH", "DELETE"):
        response = await raw(method, f"/AwsAccount/{id_}", json={})

        assert await faults(response, 422) == ("invalid", ["AwsAccount.id"])


@pytest.mark.parametrize("id_", ["a", "0", "A.b_c-D", "a" * 64, "a..b"])
async def test_a_valid_id_is_accepted(client, id_):
    response = await client.put(f"/AwsAccount/{id_}", json=KEYS)

    assert (response.status, response.headers["Location"]) == (201, f"/AwsAccount/{id_}")


@pytest.mark.parametrize("id_", ["b", 5, None, "-", {}], ids=repr)
@pytest.mark.parametrize("method", ["PUT", "PATCH"])
async def test_the_id_of_the_url_overrides_that_of_the_body(client, method, id_):
    await client.put("/AwsAccount/a", json=KEYS)
    response = await client.request(method, "/AwsAccount/a", json={"id": id_})

    assert response.status == 200
    assert (await response.json())["id"] == "a"
    assert await ids(await client.get("/AwsAccount")) == ["a"]


async def test_a_post_creates_under_the_bodys_id(client):
    response = await client.post("/AwsAccount", json={"id": "a", **KEYS})

    assert (response.status, response.headers["Location"]) == (201, "/AwsAccount/a")


async def test_a_post_without_an_id_creates_under_a_uuid(client):
    response = await client.post("/AwsAccount", json=KEYS)

    assert response.status == 201
    assert re.fullmatch("/AwsAccount/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", response.headers["Location"])
    assert (await client.get(response.headers["Location"])).status == 200


async def test_a_post_of_an_id_that_exists_is_refused(client, account, faults):
    response = await client.post("/AwsAccount", json={"id": "my-account", "region": "eu-west-1"})

    code, _ = await faults(response, 409)
    assert code == "duplicate"
    assert (await (await client.get("/AwsAccount/my-account")).json())["region"] == "us-east-1"


@pytest.mark.parametrize("body", [{}, {"id": "my-account"}], ids=["none", "same"])
async def test_a_conditional_create_returns_the_existing_resource(client, account, body):
    response = await client.post("/AwsAccount?_id=my-account", json={**body, "region": "eu-west-1"})

    assert response.status == 200
    assert (await response.json())["region"] == "us-east-1"
    assert response.headers["ETag"] == 'W/"1"'
    assert await ids(await client.get("/AwsAccount")) == ["my-account"]


@pytest.mark.parametrize("body", [{}, {"id": None}, {"id": "x"}], ids=["none", "null", "same"])
async def test_a_conditional_create_creates_a_missing_resource(client, body):
    response = await client.post("/AwsAccount?_id=x", json={**body, **KEYS})

    assert (response.status, response.headers["Location"]) == (201, "/AwsAccount/x")


@pytest.mark.parametrize("requested", ["my-account", "x"], ids=["one", "nothing"])
@pytest.mark.parametrize("id_", ["other", "", "-", 5, ["my-account"], {}], ids=repr)
@pytest.mark.parametrize("is_header", [True, False], ids=["header", "query"])
async def test_a_conditional_create_with_another_id_in_the_body_is_refused(
    client, account, faults, requested, id_, is_header
):
    condition = f"_id={requested}"
    query, headers = ("", {"If-None-Exist": condition}) if is_header else (f"?{condition}", {})
    response = await client.post(f"/AwsAccount{query}", json={"id": id_, **KEYS}, headers=headers)

    assert await faults(response, 422) == ("invalid", ["AwsAccount.id"])
    assert await ids(await client.get("/AwsAccount")) == ["my-account"]


async def test_one_of_many_concurrent_conditional_creates_creates(client):
    calls = [client.post("/AwsAccount?_id=x", json=KEYS) for _ in range(20)]
    statuses = [response.status for response in await asyncio.gather(*calls)]

    assert sorted(statuses) == [200] * 19 + [201]


@pytest.mark.parametrize("body", [{}, {"id": None}, {"id": "my-account"}], ids=["none", "null", "same"])
@pytest.mark.parametrize(("known", "status"), [("my-account", 200), ("", 201)], ids=["one", "nothing"])
async def test_a_conditional_update_replaces_or_creates_its_resource(client, body, known, status):
    if known:
        await client.put(f"/AwsAccount/{known}", json=KEYS)
    response = await client.put("/AwsAccount?_id=my-account", json={**body, **KEYS, "region": "eu-west-1"})

    assert (response.status, (await response.json())["region"]) == (status, "eu-west-1")
    assert await ids(await client.get("/AwsAccount")) == ["my-account"]


@pytest.mark.parametrize("id_", ["other", "", 5, ["my-account"], {}], ids=repr)
async def test_a_conditional_update_with_another_id_in_the_body_is_refused(client, account, faults, id_):
    response = await client.put("/AwsAccount?_id=my-account", json={"id": id_, "region": "eu-west-1"})

    assert await faults(response, 422) == ("invalid", ["AwsAccount.id"])
    assert (await (await client.get("/AwsAccount/my-account")).json())["region"] == "us-east-1"


async def test_a_conditional_update_evaluates_if_match(client, account, faults):
    refused = await client.put("/AwsAccount?_id=my-account", json=KEYS, headers={"If-Match": "17"})

    assert (await faults(refused, 412))[0] == "conflict"


@pytest.mark.parametrize("method", ["POST", "PUT"])
@pytest.mark.parametrize("query", ["_id=", "_id=a,b", "_id=-", "_id=a%0A"])
async def test_a_conditional_write_needs_one_valid_id(raw, faults, method, query):
    response = await raw(method, f"/AwsAccount?{query}", json=KEYS)

    assert await faults(response, 422) == ("invalid", ["_id"])


async def test_an_account_is_read(client, account):
    response = await client.get("/AwsAccount/my-account")
    resource = await response.json()

    assert response.status == 200
    assert list(resource) == ["id", "access-key-id", "_secret-access-key", "region", "meta", "resourceType"]
    assert resource["_secret-access-key"] == MARKER
    assert resource["resourceType"] == "AwsAccount"


@pytest.mark.parametrize("method", ["GET", "PATCH"])
async def test_a_missing_resource_is_a_404(client, faults, method):
    response = await client.request(method, "/AwsAccount/nope", json={})

    assert await faults(response, 404) == ("not-found", ["Resource AwsAccount/nope not found"])


async def test_meta_has_version_and_instants(client):
    created = (await (await client.put("/AwsAccount/a", json=KEYS)).json())["meta"]
    updated = (await (await client.put("/AwsAccount/a", json=KEYS)).json())["meta"]

    assert list(updated) == ["versionId", "createdAt", "lastUpdated"]
    assert int(updated["versionId"]) > int(created["versionId"])
    assert updated["createdAt"] == created["createdAt"] == created["lastUpdated"] < updated["lastUpdated"]
    for instant in updated["createdAt"], updated["lastUpdated"]:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", instant)


async def test_a_version_is_never_reused_even_after_a_delete(client):
    versions = []
    for _ in range(3):
        versions += [(await client.put("/AwsAccount/a", json=KEYS)).headers["ETag"] for _ in range(2)]
        await client.delete("/AwsAccount/a")

    assert len(set(versions)) == 6
    assert versions == sorted(versions, key=lambda tag: int(tag[3:-1]))


@pytest.mark.parametrize("meta", [{"versionId": "77", "createdAt": "1999"}, {}, [], "text", 5, True, None], ids=repr)
async def test_meta_is_ignored_on_input(client, meta):
    for method, path in [("PUT", "/AwsAccount/a"), ("PATCH", "/AwsAccount/a"), ("POST", "/AwsAccount")]:
        response = await client.request(method, path, json={**KEYS, "meta": meta})
        stored = (await response.json())["meta"]

        assert response.status in {200, 201}
        assert int(stored["versionId"]) < 10
        assert stored["createdAt"] > "2020"


async def test_the_headers_of_a_resource_have_its_version_and_date(client):
    for method, path, status in [
        ("PUT", "/AwsAccount/a", 201),
        ("PUT", "/AwsAccount", 200),
        ("PATCH", "/AwsAccount/a", 200),
        ("GET", "/AwsAccount/a", 200),
        ("DELETE", "/AwsAccount/a", 200),
        ("POST", "/AwsAccount", 201),
        ("POST", "/AwsAccount?_id=a", 200),
    ]:
        response = await client.request(method, path, json={"id": "a", **KEYS})
        meta = (await response.json())["meta"]

        assert response.status == status
        assert response.headers["ETag"] == f'W/"{meta["versionId"]}"'
        updated = datetime.fromisoformat(meta["lastUpdated"]).replace(microsecond=0)
        assert parsedate_to_datetime(response.headers["Last-Modified"]) == updated
        assert response.headers["Last-Modified"].endswith(" GMT")
        assert response.headers["Cache-Control"] == "no-cache"
        assert response.headers.get("Location") == ("/AwsAccount/a" if status == 201 else None)


@pytest.mark.parametrize(
    "tags",
    ['W/"1"', '"1"', "1", "*", 'W/"7", W/"1"', '7,1,"3"', ' W/"1" '],
    ids=["weak", "strong", "bare", "any", "list", "mixed list", "padded"],
)
async def test_a_read_of_a_known_version_is_a_304(client, account, tags):
    response = await client.get("/AwsAccount/my-account", headers={"If-None-Match": tags})

    assert response.status == 304
    assert response.headers["ETag"] == 'W/"1"'
    assert "Last-Modified" in response.headers
    assert response.headers["Cache-Control"] == "no-cache"
    assert await response.read() == b""


@pytest.mark.parametrize("tags", ['W/"2"', "2", "", "11", '""'])
async def test_a_read_of_an_unknown_version_is_a_200(client, account, tags):
    response = await client.get("/AwsAccount/my-account", headers={"If-None-Match": tags})

    assert response.status == 200


async def test_if_none_match_on_a_missing_account_is_a_404(client, faults):
    response = await client.get("/AwsAccount/nope", headers={"If-None-Match": "*"})

    assert await faults(response, 404)


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("tag", ['W/"1"', '"1"', "1", "*", 'W/"9", W/"1"'])
async def test_a_write_with_the_current_version_succeeds(client, account, method, tag):
    response = await client.request(method, "/AwsAccount/my-account", json=KEYS, headers={"If-Match": tag})

    assert response.status == 200


@pytest.mark.parametrize("tag", ['W/"2"', "2", "", "nonsense"])
async def test_a_write_with_a_wrong_version_is_refused(client, account, faults, tag):
    for method in ("PUT", "PATCH", "DELETE"):
        response = await client.request(method, "/AwsAccount/my-account", json=KEYS, headers={"If-Match": tag})

        assert (await faults(response, 412))[0] == "conflict"
    assert (await client.get("/AwsAccount/my-account")).headers["ETag"] == 'W/"1"'


@pytest.mark.parametrize("tag", ["*", "1", 'W/"1"'])
async def test_a_precondition_on_a_missing_resource_fails(client, faults, tag):
    for method in ("PUT", "PATCH", "DELETE"):
        response = await client.request(method, "/AwsAccount/nope", json=KEYS, headers={"If-Match": tag})

        assert (await faults(response, 412))[0] == "conflict"
    assert await ids(await client.get("/AwsAccount")) == []


async def test_a_put_by_the_bodys_id_evaluates_its_precondition(client, account, faults):
    response = await client.put("/AwsAccount", json={"id": "my-account", **KEYS}, headers={"If-Match": "2"})

    assert await faults(response, 412)


@pytest.mark.parametrize(("id_", "status"), [("my-account", 412), ("new", 201)])
async def test_a_put_may_require_a_missing_resource(client, account, id_, status):
    response = await client.put(f"/AwsAccount/{id_}", json=KEYS, headers={"If-None-Match": "*"})

    assert response.status == status


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
async def test_of_two_writers_with_the_same_version_one_wins(client, account, method):
    calls = [
        client.request(method, "/AwsAccount/my-account", json=KEYS, headers={"If-Match": 'W/"1"'}) for _ in range(2)
    ]
    statuses = [response.status for response in await asyncio.gather(*calls)]

    assert sorted(statuses) == [200, 412]


async def test_an_empty_listing_is_a_bundle(client):
    response = await client.get("/AwsAccount")

    assert await response.json() == {
        "resourceType": "Bundle",
        "type": "searchset",
        "total": 0,
        "link": [
            {"relation": "first", "url": "/AwsAccount?_page=1"},
            {"relation": "self", "url": "/AwsAccount?_page=1"},
            {"relation": "last", "url": "/AwsAccount?_page=1"},
        ],
        "entry": [],
    }


@pytest.fixture
async def seven(client):
    for id_ in "gcafbde":
        assert (await client.put(f"/AwsAccount/{id_}", json=KEYS)).status == 201


async def test_a_listing_is_sorted_by_id(client, seven):
    bundle = await (await client.get("/AwsAccount")).json()

    assert bundle["total"] == 7
    assert [entry["fullUrl"] for entry in bundle["entry"]] == [f"/AwsAccount/{id_}" for id_ in "abcdefg"]
    assert bundle["entry"][0]["resource"] == await (await client.get("/AwsAccount/a")).json()


@pytest.mark.parametrize(
    ("query", "listed", "relations"),
    [
        ("_count=3", "abc", {"first": 1, "self": 1, "next": 2, "last": 3}),
        ("_count=3&_page=2", "def", {"first": 1, "self": 2, "next": 3, "previous": 1, "last": 3}),
        ("_count=3&_page=3", "g", {"first": 1, "self": 3, "previous": 2, "last": 3}),
        ("_count=3&_page=9", "", {"first": 1, "self": 9, "previous": 3, "last": 3}),
        ("_count=7", "abcdefg", {"first": 1, "self": 1, "last": 1}),
        ("_count=0", "", {"first": 1, "self": 1, "last": 1}),
        ("_count=1000", "abcdefg", {"first": 1, "self": 1, "last": 1}),
        ("_page=1", "abcdefg", {"first": 1, "self": 1, "last": 1}),
    ],
)
async def test_a_listing_has_pages(client, seven, query, listed, relations):
    bundle = await (await client.get(f"/AwsAccount?{query}")).json()

    assert bundle["total"] == 7
    assert "".join(entry["resource"]["id"] for entry in bundle.get("entry", ())) == listed
    links = {link["relation"]: link["url"] for link in bundle["link"]}
    assert {name: int(url.rsplit("_page=")[1]) for name, url in links.items()} == relations
    assert all(url.startswith("/AwsAccount?") for url in links.values())


async def test_the_next_links_visit_every_resource_once(client, seven):
    seen, url = [], "/AwsAccount?_count=2&_format=json&_sort=_id"
    while url:
        bundle = await (await client.get(url)).json()
        seen += [entry["resource"]["id"] for entry in bundle["entry"]]
        url = {link["relation"]: link["url"] for link in bundle["link"]}.get("next")

    assert seen == list("abcdefg")


async def test_the_default_page_has_a_hundred_entries(client):
    for number in range(101):
        await client.put(f"/AwsAccount/a{number}", json={})
    bundle = await (await client.get("/AwsAccount")).json()

    assert (bundle["total"], len(bundle["entry"])) == (101, 100)


@pytest.mark.parametrize(
    ("query", "listed"),
    [
        ("_id=a", ["a"]),
        ("_id=c,a", ["a", "c"]),
        ("_id=a,a,nope", ["a"]),
        ("_id=nope", []),
        ("_id=", []),
        ("_id=,a,", ["a"]),
        ("_id=c,b,a&_count=2", ["a", "b"]),
        ("_id=c,b,a&_count=2&_page=2", ["c"]),
    ],
)
async def test_a_listing_may_select_ids(client, seven, query, listed):
    response = await client.get(f"/AwsAccount?{query}")

    assert await ids(response) == listed


@pytest.mark.parametrize("kind", ["AwsAccount", "Client", "AccessPolicy"])
@pytest.mark.parametrize(
    ("ids", "hint"),
    [
        ("a,%20b", "U+0020 SPACE"),
        ("a%20", "U+0020 SPACE"),
        ("a+", "U+0020 SPACE"),
        ("a%0A", "U+000A LINE FEED"),
        ("a%E2%80%8B", "U+200B ZERO WIDTH SPACE"),
        ("AwsAccount/a", ""),
        ("a;b", ""),
        ("a," + "b" * 65, ""),
    ],
)
async def test_a_listing_refuses_what_is_no_id(raw, faults, kind, ids, hint):
    response = await raw("GET", f"/{kind}?_id={ids}")

    assert await faults(response, 422) == ("invalid", ["_id"])
    assert hint in await response.text()


async def test_a_count_of_zero_returns_the_total(client, seven):
    bundle = await (await client.get("/AwsAccount?_count=0&_totalMethod=count")).json()

    assert (bundle["total"], "entry" in bundle) == (7, False)


@pytest.mark.parametrize(
    ("query", "where"),
    [
        ("_count=-1", "_count"),
        ("_count=1001", "_count"),
        ("_count=x", "_count"),
        ("_count=", "_count"),
        ("_count=1.0", "_count"),
        ("_count=1_0", "_count"),
        ("_count=%D9%A1", "_count"),
        ("_count=+5", "_count"),
        ("_page=0", "_page"),
        ("_page=9999999999", "_page"),
        ("_id=" + ",".join(["a"] * 1001), "_id"),
    ],
)
async def test_a_page_must_be_plain_numbers_in_range(raw, faults, query, where):
    response = await raw("GET", f"/AwsAccount?{query}")

    assert await faults(response, 422) == ("invalid", [where])


async def test_all_faults_of_a_query_are_reported_at_once(client, faults):
    response = await client.get("/AwsAccount?_count=x&_page=x")

    assert await faults(response, 422) == ("invalid", ["_count", "_page"])


async def test_parameters_without_effect_of_fhir_clients_are_accepted(client, seven):
    response = await client.get("/AwsAccount?_totalMethod=count&_elements=id&_format=json&_pretty=true")

    assert len(await ids(response)) == 7


@pytest.mark.parametrize(
    ("query", "listed"),
    [
        ("_sort=_id", "abcdefg"),
        ("_sort=-_id", "gfedcba"),
        ("_sort=-_id&_count=3", "gfe"),
        ("_sort=-_id&_count=3&_page=3", "a"),
        ("_sort=-_id&_count=3&_page=4", ""),
        ("_sort=-_id&_id=b,a,nope,c&_count=2", "cb"),
    ],
)
async def test_a_listing_is_sorted_by_id_in_either_direction(client, seven, query, listed):
    response = await client.get(f"/AwsAccount?{query}")

    assert "".join(await ids(response)) == listed


@pytest.mark.parametrize(("query", "total"), [("", 7), ("&_id=a,b,nope", 2), ("&_count=3&_page=2", 7)])
async def test_a_summary_has_the_total_and_no_entries(client, seven, query, total):
    bundle = await (await client.get(f"/AwsAccount?_summary=count{query}")).json()

    assert (bundle["total"], "entry" in bundle) == (total, False)


@pytest.mark.parametrize("query", ["_sort=nonsense", "_sort=-_lastUpdated", "_sort=", "_summary=true", "_summary="])
async def test_an_unknown_sort_or_summary_is_refused(client, faults, query):
    response = await client.get(f"/AwsAccount?{query}")

    assert await faults(response, 422) == ("invalid", [query.partition("=")[0]])


@pytest.mark.parametrize("name", ["_total", "_lastUpdated", "_include", "_offset", "__id", "_"])
async def test_an_unknown_search_parameter_is_refused(client, faults, name):
    response = await client.get(f"/AwsAccount?{name}=x")

    assert await faults(response, 400) == ("invalid", [name])


@pytest.mark.parametrize("condition", ["_id=a", "?_id=a", " _id=%61 ", "_id=a&"])
async def test_if_none_exist_returns_the_existing_resource(client, condition):
    created = [await client.post("/AwsAccount", json=KEYS, headers={"If-None-Exist": condition}) for _ in range(2)]

    assert [response.status for response in created] == [201, 200]
    assert {(await response.json())["id"] for response in created} == {"a"}


@pytest.mark.parametrize(
    ("query", "condition"),
    [
        ("", "region=us-east-1"),
        ("", "_id=a&region=us-east-1"),
        ("", "_id=a&_id=b"),
        ("", ""),
        ("", "_id"),
        ("", "_id=%"),
        ("?_id=a", "_id=b"),
    ],
)
async def test_an_invalid_if_none_exist_is_refused(client, query, condition):
    response = await client.post(f"/AwsAccount{query}", json=KEYS, headers={"If-None-Exist": condition})

    assert response.status in {400, 422}
    assert (await (await client.get("/AwsAccount")).json())["total"] == 0


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
async def test_if_none_match_on_a_write_refuses_a_version(client, account, faults, method):
    response = await client.request(method, "/AwsAccount/my-account", json=KEYS, headers={"If-None-Match": '"3"'})

    assert (await faults(response, 400))[0] == "invalid"


async def test_if_match_and_if_none_match_cannot_both_hold(client, faults):
    await client.put("/AwsAccount/a", json=KEYS)
    response = await client.put("/AwsAccount/a", json=KEYS, headers={"If-Match": "*", "If-None-Match": "*"})

    assert (await faults(response, 412))[0] == "conflict"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/AwsAccount?name=x"),
        ("GET", "/AwsAccount/my-account?_id=x"),
        ("PUT", "/AwsAccount?x=y"),
        ("PUT", "/AwsAccount/my-account?x"),
        ("PATCH", "/AwsAccount/my-account?x="),
        ("POST", "/AwsAccount?x=y"),
        ("DELETE", "/AwsAccount/my-account?x=y"),
    ],
)
async def test_an_unknown_parameter_is_refused(client, account, faults, method, path):
    response = await client.request(method, path, json={"id": "my-account"})

    code, _ = await faults(response, 400)
    assert code == "invalid"
    assert (await client.get("/AwsAccount/my-account")).headers["ETag"] == 'W/"1"'


async def test_a_put_replaces_every_field(client, account):
    await client.put("/AwsAccount/my-account", json={"host": "minio:9000", "path-style": True})
    resource = await (await client.get("/AwsAccount/my-account")).json()

    assert resource.keys() == {"id", "host", "path-style", "meta", "resourceType"}


@pytest.mark.parametrize(
    ("patch", "changed"),
    [
        ({}, {}),
        ({"region": "eu-west-1"}, {"region": "eu-west-1"}),
        ({"region": None}, {"region": None}),
        ({"host": "h", "use-ssl": True, "path-style": False}, {"host": "h", "use-ssl": True, "path-style": False}),
        ({"host": None}, {}),
        ({"meta": None}, {}),
        ({"resourceType": None}, {}),
        ({"resourceType": "AwsAccount"}, {}),
        ({"id": None}, {}),
    ],
    ids=repr,
)
async def test_a_patch_merges_and_null_removes(client, account, patch, changed):
    type_ = "application/merge-patch+json"
    before = await (await client.get("/AwsAccount/my-account")).json()
    response = await client.patch("/AwsAccount/my-account", json=patch, headers={"Content-Type": type_})
    after = await response.json()

    assert response.status == 200
    assert int(after.pop("meta")["versionId"]) > int(before.pop("meta")["versionId"])
    assert after == {name: value for name, value in {**before, **changed}.items() if value is not None}


async def test_a_patch_in_yaml_merges_and_null_removes(client, account):
    await client.patch("/AwsAccount/my-account", data="path-style: true\nhost: minio:9000\n", headers=YAML)
    response = await client.patch("/AwsAccount/my-account", data="region: null\nhost: ~\nuse-ssl: true\n", headers=YAML)
    resource = yaml.safe_load(await response.text())

    assert resource.keys() == {
        *("id", "access-key-id", "_secret-access-key", "use-ssl", "path-style", "meta", "resourceType")
    }
    assert resource["use-ssl"] is resource["path-style"] is True


@pytest.mark.parametrize("method", ["PUT", "POST", "PATCH"])
async def test_a_misspelt_field_is_refused_even_if_it_is_null(client, account, faults, method):
    path = "/AwsAccount" if method == "POST" else "/AwsAccount/my-account"
    for value in ("x", "", None, {}):
        response = await client.request(method, path, json={"path_style": value})

        assert await faults(response, 422) == ("invalid", ["AwsAccount.path_style"])


async def test_a_patch_is_validated_by_its_result(client, account, faults):
    response = await client.patch(
        "/AwsAccount/my-account", json={"secret-access-key": None, "region": "-", "use-ssl": 1, "host": 5}
    )

    code, where = await faults(response, 422)
    assert sorted(where) == [f"AwsAccount.{name}" for name in ("host", "region", "secret-access-key", "use-ssl")], code


@pytest.mark.parametrize("method", ["PUT", "POST", "PATCH"])
async def test_another_resource_type_is_refused(client, account, faults, method):
    path = "/AwsAccount" if method == "POST" else "/AwsAccount/my-account"
    for value in ("AwsAccounts", "awsaccount", "", 5, {}, "Client"):
        response = await client.request(method, path, json={"resourceType": value})

        assert await faults(response, 422) == ("invalid", ["AwsAccount.resourceType"])


async def test_the_resource_type_is_accepted(client):
    response = await client.put("/AwsAccount/a", json={"resourceType": "AwsAccount", **KEYS})

    assert response.status == 201


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
@pytest.mark.parametrize("form", ["json", "yaml"])
async def test_reading_and_writing_back_keeps_the_secrets(client, account, method, form):
    await client.patch("/AwsAccount/my-account", json={"session-token": TOKEN})
    text = await (await client.get(f"/AwsAccount/my-account?_format={form}")).text()
    changed = text.replace("us-east-1", "eu-west-1")
    response = await client.request(
        method, "/AwsAccount/my-account", data=changed, headers={"Content-Type": f"application/{form}"}
    )

    assert response.status == 200
    assert changed != text
    assert "eu-west-1" in await response.text()
    assert await signs(client) == (200, True)


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
@pytest.mark.parametrize("form", ["json", "yaml"])
async def test_a_kept_secret_cannot_move_to_another_key(client, account, faults, method, form):
    text = await (await client.get(f"/AwsAccount/my-account?_format={form}")).text()
    response = await client.request(
        method,
        "/AwsAccount/my-account",
        data=text.replace(KEY, "AKIAOTHER"),
        headers={"Content-Type": f"application/{form}"},
    )

    assert await faults(response, 422) == ("invalid", ["AwsAccount.secret-access-key"])


@pytest.mark.parametrize("body", [{"access-key-id": "AKIAOTHER"}, {"access-key-id": None}], ids=repr)
async def test_a_patch_of_the_key_needs_the_secret(client, account, faults, body):
    response = await client.patch("/AwsAccount/my-account", json=body)

    assert await faults(response, 422) == ("invalid", ["AwsAccount.secret-access-key"])


async def test_a_kept_token_cannot_move_to_another_key(client, account, faults):
    await client.patch("/AwsAccount/my-account", json={"session-token": TOKEN})
    response = await client.patch(
        "/AwsAccount/my-account", json={"access-key-id": "AKIAOTHER", "secret-access-key": "other"}
    )

    assert await faults(response, 422) == ("invalid", ["AwsAccount.session-token"])


async def test_a_put_with_new_keys_replaces_them(client, account):
    response = await client.put(
        "/AwsAccount/my-account",
        json={"access-key-id": "AKIAOTHER", "secret-access-key": "other", "_secret-access-key": MARKER},
    )

    assert response.status == 200
    assert (await response.json())["access-key-id"] == "AKIAOTHER"
    assert await signs(client) == (200, False)


async def test_a_put_without_the_marker_removes_the_secret(client, account, faults):
    await client.put("/AwsAccount/my-account", json={"region": "us-east-1"})
    response = await client.get("/aws/storage/my-account/bucket/key")

    assert await faults(response, 422) == ("invalid", ["AwsAccount.access-key-id", "AwsAccount.secret-access-key"])


@pytest.mark.parametrize("blank", ["", " ", None], ids=repr)
@pytest.mark.parametrize("method", ["PUT", "PATCH"])
async def test_a_blank_token_means_none(client, account, method, blank):
    await client.patch("/AwsAccount/my-account", json={"session-token": TOKEN})
    response = await client.request(method, "/AwsAccount/my-account", json={**KEYS, "session-token": blank})

    assert response.status == 200
    assert "_session-token" not in await response.json()
    assert await signs(client) == (200, False)


@pytest.mark.parametrize("method", ["PUT", "POST", "PATCH"])
async def test_a_marker_without_a_stored_secret_is_refused(client, faults, method):
    await client.put("/AwsAccount/bare", json={"access-key-id": None})
    path = "/AwsAccount" if method == "POST" else "/AwsAccount/bare"
    response = await client.request(method, path, json={"access-key-id": KEY, "_secret-access-key": MARKER})

    assert await faults(response, 422) == ("invalid", ["AwsAccount.secret-access-key"])


@pytest.mark.parametrize("marker", ["masked", {}, True, [MARKER], {"extension": []}], ids=repr)
async def test_a_similar_marker_is_refused(client, account, faults, marker):
    response = await client.put("/AwsAccount/my-account", json={"access-key-id": KEY, "_secret-access-key": marker})

    assert await faults(response, 422) == ("invalid", ["AwsAccount._secret-access-key"])


async def test_no_response_contains_a_secret(client):
    body = {**KEYS, "session-token": TOKEN}
    texts = []
    for method, path, json in [
        ("PUT", "/AwsAccount/a", body),
        ("PUT", "/AwsAccount/a", {**body, "region": "-"}),
        ("PUT", "/AwsAccount/a", {**body, "secret-access-key": [SECRET]}),
        ("PUT", "/AwsAccount/a", {**body, "secret-access-key": f"{SECRET}\n"}),
        ("PATCH", "/AwsAccount/a", {"session-token": TOKEN * 1000}),
        ("PATCH", "/AwsAccount/a", body),
        ("POST", "/AwsAccount", {**body, "id": "a"}),
        ("POST", "/AwsAccount?_id=a", body),
        ("GET", "/AwsAccount/a", None),
        ("GET", "/AwsAccount", None),
        ("DELETE", "/AwsAccount/a", None),
    ]:
        for form in ("json", "yaml"):
            path_ = f"{path}{'&' if '?' in path else '?'}_format={form}"
            response = await client.request(method, path_, json=json)
            texts.append(f"{await response.text()}{response.headers}")

    assert not [text for text in texts if SECRET in text or TOKEN in text]


async def test_a_delete_returns_the_last_resource(client, account):
    last = await (await client.get("/AwsAccount/my-account")).json()
    response = await client.delete("/AwsAccount/my-account")

    assert response.status == 200
    assert await response.json() == last
    assert (await client.get("/AwsAccount/my-account")).status == 404


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/AwsAccount/my-account", 200),
        ("/AwsAccount/my-account?_no-content=false", 200),
        ("/AwsAccount/my-account?_no-content=true", 204),
        ("/AwsAccount/nope", 204),
        ("/AwsAccount/nope?_no-content=true", 204),
        ("/fhir/AwsAccount/my-account", 200),
    ],
)
async def test_a_delete_may_have_a_body(client, account, path, status):
    response = await client.delete(path, json={})

    assert response.status == status
    assert bool(await response.read()) == (status == 200)


@pytest.mark.parametrize("value", ["yes", "1", "TRUE", ""])
async def test_no_content_is_true_or_false(client, account, faults, value):
    response = await client.delete(f"/AwsAccount/my-account?_no-content={value}")

    assert await faults(response, 422) == ("invalid", ["_no-content"])
    assert (await client.get("/AwsAccount/my-account")).status == 200


async def test_the_same_routes_answer_under_the_fhir_prefix(client):
    for method, path, status in [
        ("PUT", "/fhir/AwsAccount", 201),
        ("PUT", "/fhir/AwsAccount/a", 200),
        ("POST", "/fhir/AwsAccount?_id=a", 200),
        ("PATCH", "/fhir/AwsAccount/a", 200),
        ("GET", "/fhir/AwsAccount/a", 200),
        ("GET", "/AwsAccount/a", 200),
        ("DELETE", "/fhir/AwsAccount/a", 200),
        ("POST", "/fhir/AwsAccount", 201),
    ]:
        response = await client.request(method, path, json={"id": "a", **KEYS})

        assert (response.status, response.headers.get("Location")) == (
            status,
            "/AwsAccount/a" if status == 201 else None,
        )
    bundle = await (await client.get("/fhir/AwsAccount")).json()
    assert bundle["link"][0]["url"].startswith("/fhir/AwsAccount?")
    assert bundle["entry"][0]["fullUrl"] == "/AwsAccount/a"


async def test_the_account_of_the_specification_is_stored(client):
    body = f"id: my-account\naccess-key-id: {KEY}\nsecret-access-key: {SECRET}\nregion: us-east-1\n"
    response = await client.put("/AwsAccount", data=body.encode(), skip_auto_headers=["Content-Type"])
    resource = yaml.safe_load(await response.text())

    assert (response.status, response.content_type) == (201, "text/yaml")
    assert (resource["id"], resource["region"]) == ("my-account", "us-east-1")
    assert await signs(client) == (200, False)


async def test_yaml_scalars_are_text(client):
    body = "id: 0123\naccess-key-id: 1e10\nsecret-access-key: no\n"
    response = await client.put("/AwsAccount", data=body, headers=YAML)
    resource = yaml.safe_load(await response.text())

    assert (resource["id"], resource["access-key-id"]) == ("0123", "1e10")


@pytest.mark.parametrize("method", ["HEAD", "GET"])
async def test_head_returns_the_headers_of_get(client, account, method):
    response = await client.request(method, "/AwsAccount/my-account")

    assert (response.status, response.headers["ETag"]) == (200, 'W/"1"')
    assert int(response.headers["Content-Length"]) > 100


JSON_PATCH = {"Content-Type": "application/json-patch+json"}


async def test_a_json_patch_changes_the_account_and_its_secret(client, account):
    operations = [
        {"op": "test", "path": "/region", "value": "us-east-1"},
        {"op": "replace", "path": "/region", "value": "eu-west-1"},
    ]
    response = await client.patch("/fhir/AwsAccount/my-account", json=operations, headers=JSON_PATCH)
    kept = await signs(client)
    replaced = [{"op": "replace", "path": "/secret-access-key", "value": "another"}]
    await client.patch("/AwsAccount/my-account", json=replaced, headers=JSON_PATCH)

    assert (response.status, (await response.json())["region"]) == (200, "eu-west-1")
    assert kept == (200, False)
    assert (await client.get("/aws/storage/my-account/bucket/key")).status == 200


async def test_a_json_patch_cannot_move_a_kept_secret_to_another_key(client, account, faults):
    operations = [{"op": "replace", "path": "/access-key-id", "value": "AKIAOTHER"}]
    response = await client.patch("/AwsAccount/my-account", json=operations, headers=JSON_PATCH)

    assert await faults(response, 422) == ("invalid", ["AwsAccount.secret-access-key"])


async def test_a_json_patch_is_validated_by_its_result(client, account, faults):
    operations = [
        {"op": "add", "path": "/path_style", "value": True},
        {"op": "add", "path": "/use-ssl", "value": "yes"},
    ]
    response = await client.patch("/AwsAccount/my-account", json=operations, headers=JSON_PATCH)

    assert await faults(response, 422) == ("invalid", ["AwsAccount.path_style", "AwsAccount.use-ssl"])


@pytest.mark.parametrize("body", ["{}", "5", "", "[", "a: b"])
async def test_a_json_patch_is_a_list(client, account, faults, body):
    response = await client.patch("/AwsAccount/my-account", data=body, headers=JSON_PATCH)

    assert (await faults(response, 400))[0] == "structure"


@pytest.mark.parametrize(("method", "path"), [("PUT", "/AwsAccount/my-account"), ("POST", "/AwsAccount")])
async def test_a_json_patch_is_only_for_patch(client, account, faults, method, path):
    response = await client.request(method, path, json=[], headers=JSON_PATCH)

    assert (await faults(response, 415))[0] == "not-supported"
