"""Every route evaluates or refuses the conditional headers of a request."""

import re

import pytest
from redis.asyncio import Redis
from support.accounts import KEYS

from service import app
from service.settings import load
from service.web.routing import Route

DATE = "Fri, 24 May 2013 00:00:00 GMT"
CONDITIONS = {
    "If-Match": '"3"',
    "If-None-Match": '"3"',
    "If-Unmodified-Since": DATE,
    "If-None-Exist": "_id=a",
}
OF_CACHES = {"If-None-Match"}
VALUES = {"account": "my-account", "bucket": "bucket", "key": "key", "id": "my-account", "file": "main.js"}
WRITES = {"If-Match", "If-None-Match"}
# Supported conditions by method and pattern. Other routes support none.
SUPPORTED = {
    ("POST", "/{kind}"): {"If-None-Exist"},
    ("PUT", "/{kind}"): WRITES,
    ("GET", "/{kind}/{id}"): {"If-Match", "If-None-Match"},
    ("PUT", "/{kind}/{id}"): WRITES,
    ("PATCH", "/{kind}/{id}"): WRITES,
    ("DELETE", "/{kind}/{id}"): WRITES,
    ("POST", "/{kind}/{id}/$rotate-secret"): {"If-Match"},
}


def refused_on(route):
    """Return the conditions that a route must refuse. A GET may ignore If-None-Match."""
    pattern = re.sub("^(/fhir)?/(AwsAccount|Client|AccessPolicy)(?!/\\$explain)", "/{kind}", route.pattern)
    return (
        CONDITIONS.keys()
        - SUPPORTED.get((route.method, pattern), set())
        - (OF_CACHES if route.method == "GET" else set())
    )


ROUTES = app.routes(load({}))
REFUSED = [
    pytest.param(method, re.sub(r"{(\w+)}", lambda found: VALUES[found[1]], route.pattern), name)
    for route in ROUTES
    for method in ((route.method, "HEAD") if route.method == "GET" else (route.method,))
    for name in sorted(refused_on(route))
]


@pytest.mark.parametrize(("method", "path", "name"), REFUSED)
async def test_an_unsupported_condition_is_refused(client, account, faults, method, path, name):
    response = await client.request(method, path, json={"filename": "x"}, headers={name.lower(): CONDITIONS[name]})

    if method == "HEAD":
        assert response.status == 400
    else:
        code, _ = await faults(response, 400)
        assert code == "invalid"
        assert (await response.json())["issue"][0]["diagnostics"].startswith(f"{name} is not supported here")


async def _answer(request):
    del request


def test_a_route_without_metadata_refuses_every_condition():
    refused = {method: set(Route(method, "/x", _answer).unsupported_conditions) for method in ("GET", "POST", "DELETE")}

    assert refused == {"GET": CONDITIONS.keys() - OF_CACHES, "POST": CONDITIONS.keys(), "DELETE": CONDITIONS.keys()}


@pytest.mark.parametrize("name", sorted(CONDITIONS))
async def test_an_empty_condition_is_refused_too(client, account, faults, name):
    response = await client.delete("/aws/storage/my-account/bucket/key", headers={name: ""})

    assert (await faults(response, 400))[0] == "invalid"


async def test_refused_and_supported_conditions_are_named(client):
    response = await client.put("/AwsAccount/a", json=KEYS, headers=CONDITIONS)
    messages = [issue["diagnostics"] for issue in (await response.json())["issue"]]

    assert messages == [
        f"{name} is not supported here; supported: If-Match and If-None-Match"
        for name in ("If-Unmodified-Since", "If-None-Exist")
    ]
    assert (await client.get("/AwsAccount/a")).status == 404


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("headers", [{"If-None-Match": '"3"'}, {"If-Modified-Since": DATE}])
@pytest.mark.parametrize("path", ["/aws/storage/my-account/bucket/key", "/AwsAccount", "/live"])
async def test_a_get_may_have_the_headers_of_a_cache(client, account, method, headers, path):
    assert (await client.request(method, path, headers=headers)).status == 200


async def test_if_modified_since_has_no_effect_on_other_methods(client, account):
    headers = {"If-Modified-Since": DATE}

    assert (await client.post("/aws/storage/my-account/bucket", json={"filename": "x"}, headers=headers)).status == 200
    assert (await client.delete("/AwsAccount/my-account", headers=headers)).status == 200


async def test_an_unknown_path_or_method_is_reported_despite_a_condition(client):
    answers = [await client.request(*target, headers=CONDITIONS) for target in (("GET", "/nope"), ("POST", "/live"))]

    assert [answer.status for answer in answers] == [404, 405]


async def test_options_ignores_conditions(client):
    assert (await client.options("/AwsAccount", headers=CONDITIONS)).status == 204


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_read_evaluates_if_match(client, account, method):
    tag = (await client.get("/AwsAccount/my-account")).headers["ETag"]
    statuses = {
        given: (await client.request(method, "/AwsAccount/my-account", headers={"If-Match": given})).status
        for given in (tag, tag.strip('W/"'), "*", f'"x", {tag}', 'W/"1"', "", "x")
    }

    assert [*statuses.values()] == [200, 200, 200, 200, 412, 412, 412]


@pytest.mark.parametrize("name", ["If-Match", "If-None-Match"])
@pytest.mark.parametrize("given", [['"9", *'], ["*", '"9"'], ["*,"]], ids=["list", "lines", "comma"])
async def test_a_star_beside_versions_is_refused(raw, account, name, given):
    """Read as a star alone, it would allow a write that the version forbids."""
    answer = await raw("DELETE", "/AwsAccount/my-account", headers=[(name, line) for line in given])

    assert answer.status == 400


async def test_a_cache_that_has_json_does_not_answer_for_yaml(client, account):
    read = await client.get("/AwsAccount/my-account")
    known = await client.get("/AwsAccount/my-account", headers={"If-None-Match": read.headers["ETag"]})

    assert (read.status, known.status) == (200, 304)
    assert [answer.headers["Vary"] for answer in (read, known)] == ["Accept", "Accept"]


async def test_a_conditional_read_of_a_missing_resource_is_a_404(client, faults):
    response = await client.get("/AwsAccount/nope", headers={"If-Match": "*"})

    assert (await faults(response, 404))[0] == "not-found"


async def test_a_read_evaluates_if_match_before_if_none_match(client, account):
    tag = (await client.get("/AwsAccount/my-account")).headers["ETag"]
    statuses = [
        (await client.get("/AwsAccount/my-account", headers={"If-Match": given, "If-None-Match": tag})).status
        for given in ("x", tag)
    ]

    assert statuses == [412, 304]


async def test_every_line_of_if_none_match_counts(client, faults):
    headers = [("If-None-Match", "*"), ("If-None-Match", '"3"')]
    response = await client.put("/AwsAccount/a", json=KEYS, headers=headers)

    assert (await faults(response, 400))[0] == "invalid"


async def test_authentication_precedes_the_check_of_conditions(make_client):
    client = await make_client(SIGNER_ROOT_CLIENT_ID="root", SIGNER_ROOT_CLIENT_SECRET="root-secret-0123456789")

    assert (await client.delete("/aws/storage/a/bucket/key", headers=CONDITIONS)).status == 401


@pytest.mark.parametrize(
    ("condition", "told"),
    [
        (["_id=a&_id=a"], "If-None-Exist parameter _id is given twice"),
        (["_id=%"], "Malformed percent-encoding in the If-None-Exist header"),
        (["_id=a", "_id=b"], "If-None-Exist and the query name more than one id"),
    ],
)
async def test_a_fault_of_a_condition_names_its_header(raw, condition, told):
    headers = [("If-None-Exist", line) for line in condition]
    response = await raw("POST", "/AwsAccount", json={}, headers=headers)

    assert response.status == 400
    assert told in await response.text()


@pytest.mark.slow
async def test_an_edit_that_redis_gives_no_version_matches_none(make_client, own_redis, faults):
    client = await make_client(SIGNER_STORE_URL=own_redis.url)
    tag = (await client.put("/AwsAccount/a", json=KEYS)).headers["ETag"]
    async with Redis.from_url(own_redis.url) as operator:
        await operator.hset("AwsAccount:a", "region", "eu-west-1")
        # Redis deletes also while its memory is full.
        await operator.config_set("maxmemory", "1")
        read = await client.get("/AwsAccount/a", headers={"If-None-Match": tag})
        refused = await faults(await client.delete("/AwsAccount/a", headers={"If-Match": tag}), 412)
        kept = await operator.exists("AwsAccount:a")
        deleted = await client.delete("/AwsAccount/a", headers={"If-Match": "*"})

    assert (read.status, (await read.json())["region"]) == (200, "eu-west-1")
    assert "was changed by another program after version" in str(refused)
    assert kept
    assert deleted.status == 200
