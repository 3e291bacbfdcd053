"""A condition that a client states is evaluated or refused, on every route."""

import re

import pytest
from support.accounts import KEYS

from service import app
from service.settings import settings
from service.web.routing import Route

DATE = "Fri, 24 May 2013 00:00:00 GMT"
CONDITIONS = {
    "If-Match": '"3"',
    "If-None-Match": '"3"',
    "If-Unmodified-Since": DATE,
    "If-None-Exist": "_id=a",
}
OF_CACHES = {"If-None-Match"}
VALUES = {"account": "my-account", "bucket": "bucket", "key": "key", "id": "my-account"}
WRITES = {"If-Match", "If-None-Match"}
# What is evaluated, by method and pattern. A route that is not here evaluates nothing.
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
    """The conditions that a route must refuse. A GET may ignore what a cache knows."""
    pattern = re.sub("^(/fhir)?/(AwsAccount|Client|AccessPolicy)(?!/\\$explain)", "/{kind}", route.pattern)
    return (
        CONDITIONS.keys()
        - SUPPORTED.get((route.method, pattern), set())
        - (OF_CACHES if route.method == "GET" else set())
    )


ROUTES = app.routes(settings.load({}))
REFUSED = [
    pytest.param(method, re.sub(r"{(\w+)}", lambda found: VALUES[found[1]], route.pattern), name)
    for route in ROUTES
    for method in ((route.method, "HEAD") if route.method == "GET" else (route.method,))
    for name in sorted(refused_on(route))
]


@pytest.mark.parametrize(("method", "path", "name"), REFUSED)
async def test_a_condition_that_nothing_evaluates_is_refused(client, account, faults, method, path, name):
    response = await client.request(method, path, json={"filename": "x"}, headers={name.lower(): CONDITIONS[name]})

    if method == "HEAD":
        assert response.status == 400
    else:
        code, _ = await faults(response, 400)
        assert code == "invalid"
        assert (await response.json())["issue"][0]["diagnostics"].startswith(f"{name} is not supported here")


async def _answer(request):
    del request


def test_a_route_of_which_nothing_is_said_refuses_every_condition():
    refused = {method: set(Route(method, "/x", _answer).unsupported_conditions) for method in ("GET", "POST", "DELETE")}

    assert refused == {"GET": CONDITIONS.keys() - OF_CACHES, "POST": CONDITIONS.keys(), "DELETE": CONDITIONS.keys()}


@pytest.mark.parametrize("name", sorted(CONDITIONS))
async def test_a_condition_without_a_value_is_one_too(client, account, faults, name):
    response = await client.delete("/aws/storage/my-account/bucket/key", headers={name: ""})

    assert (await faults(response, 400))[0] == "invalid"


async def test_each_condition_that_is_refused_is_named_beside_those_that_are_supported(client):
    response = await client.put("/AwsAccount/a", json=KEYS, headers=CONDITIONS)
    told = [issue["diagnostics"] for issue in (await response.json())["issue"]]

    assert told == [
        f"{name} is not supported here; supported: If-Match and If-None-Match"
        for name in ("If-Unmodified-Since", "If-None-Exist")
    ]
    assert (await client.get("/AwsAccount/a")).status == 404


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("headers", [{"If-None-Match": '"3"'}, {"If-Modified-Since": DATE}])
@pytest.mark.parametrize("path", ["/aws/storage/my-account/bucket/key", "/AwsAccount", "/live"])
async def test_a_get_may_carry_the_headers_of_a_cache(client, account, method, headers, path):
    assert (await client.request(method, path, headers=headers)).status == 200


async def test_if_modified_since_has_no_effect_on_other_methods(client, account):
    headers = {"If-Modified-Since": DATE}

    assert (await client.post("/aws/storage/my-account/bucket", json={"filename": "x"}, headers=headers)).status == 200
    assert (await client.delete("/AwsAccount/my-account", headers=headers)).status == 200


async def test_a_condition_on_a_path_or_method_that_is_not_there_does_not_hide_that(client):
    answers = [await client.request(*target, headers=CONDITIONS) for target in (("GET", "/nope"), ("POST", "/live"))]

    assert [answer.status for answer in answers] == [404, 405]


async def test_options_takes_no_notice_of_conditions(client):
    assert (await client.options("/AwsAccount", headers=CONDITIONS)).status == 204


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_read_heeds_if_match(client, account, method):
    tag = (await client.get("/AwsAccount/my-account")).headers["ETag"]
    statuses = {
        given: (await client.request(method, "/AwsAccount/my-account", headers={"If-Match": given})).status
        for given in (tag, tag.strip('W/"'), "*", f'"x", {tag}', 'W/"1"', "", "x")
    }

    assert [*statuses.values()] == [200, 200, 200, 200, 412, 412, 412]


async def test_a_read_on_condition_of_what_is_not_there_finds_nothing(client, faults):
    response = await client.get("/AwsAccount/nope", headers={"If-Match": "*"})

    assert (await faults(response, 404))[0] == "not-found"


async def test_a_read_heeds_if_match_before_if_none_match(client, account):
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


async def test_who_does_not_say_who_they_are_learns_of_no_condition(make_client):
    client = await make_client(SIGNER_ROOT_CLIENT_ID="root", SIGNER_ROOT_CLIENT_SECRET="root-secret-0123456789")

    assert (await client.delete("/aws/storage/a/bucket/key", headers=CONDITIONS)).status == 401
