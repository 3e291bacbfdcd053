import json

import pytest

from service.access.access_policy import ACCESS_POLICY, MAX_LINKS, linked_client, param_names
from service.access.client import CLIENT
from service.access.policies.evaluation import Evaluation
from service.errors import Invalid
from service.resources.schemas import ParsedBody
from service.resources.types import AWS_ACCOUNT
from service.signing.operations import OPERATIONS
from service.stores.record import Resource

PATTERN = {"params": {"account": "a"}}
LINK = [{"reference": "Client/x"}]


def faults(type_, values, *, text=False):
    """Return the path of each fault."""
    try:
        read = type_.read(ParsedBody({"id": "a", **values}, text))
    except Invalid as error:
        return [issue.expression for issue in error.issues]
    return [issue.expression for issue in type_.value_issues(read)]


@pytest.mark.parametrize(
    "matcho",
    [
        '{"params": {"account": "a"}, "params": {"account": "b"}}',
        '{"params": {"account": "a", "account": "b"}}',
        '{"params": {"$one-of": [{"account": "a", "account": "b"}]}}',
    ],
)
def test_a_stored_pattern_with_a_name_twice_is_invalid(matcho):
    policy = Resource("AccessPolicy", "a", {"engine": "matcho", "matcho": matcho})

    with pytest.raises(Invalid) as refused:
        ACCESS_POLICY.decode(policy, policy.fields)
    assert [issue.expression for issue in refused.value.issues] == ["AccessPolicy.matcho"]
    assert ACCESS_POLICY.represent(policy)["matcho"] == matcho


def test_a_stored_link_with_a_name_twice_is_invalid():
    link = '[{"reference": "Client/a", "reference": "Client/b"}]'
    policy = Resource("AccessPolicy", "a", {"engine": "allow", "link": link})

    with pytest.raises(Invalid, match=r"AccessPolicy\.link must be a list"):
        ACCESS_POLICY.decode(policy, policy.fields)


STORED = {
    "AccessPolicy": {
        "engine": "matcho",
        "matcho": json.dumps(PATTERN),
        "link": json.dumps(LINK),
        "max-expiration": "60",
        "description": "",
    },
    "Client": {"grant_types": '["basic"]', "description": ""},
}


EMPTY = ["null", " null", "[]", "{}", "", '"x"', "[null]", "[[]]", "0", "false"]


@pytest.mark.parametrize(
    ("type_", "name", "text"),
    [
        *((ACCESS_POLICY, name, text) for name in ("engine", "matcho", "link", "max-expiration") for text in EMPTY),
        # A Client without a grant type is valid and may not log in.
        *((CLIENT, "grant_types", text) for text in EMPTY if text != "[]"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.kind,
)
def test_a_stored_field_that_is_null_or_empty_makes_its_resource_invalid(type_, name, text):
    resource = Resource(type_.kind, "a", {**STORED[type_.kind], name: text})
    valid = Resource(type_.kind, "a", STORED[type_.kind])

    assert type_.decode(valid, valid.fields)
    with pytest.raises(Invalid) as refused:
        type_.decode(resource, resource.fields)
    assert {issue.expression for issue in refused.value.issues} >= {f"{type_.kind}.{name}"}


@pytest.mark.parametrize(
    ("link", "client"),
    [
        ({"reference": "Client/x"}, "x"),
        ({"id": "x", "resourceType": "Client"}, "x"),
        ({"reference": "Client/"}, None),
        ({"reference": "client/x"}, None),
        ({"reference": "Client/x/y"}, None),
        ({"reference": "Client/../x"}, None),
        ({"reference": "Client/x\n"}, None),
        ({"reference": "/Client/x"}, None),
        ({"reference": "User/x"}, None),
        ({"reference": ["Client/x"]}, None),
        ({"reference": "Client/x", "display": "X"}, None),
        ({"id": "x"}, None),
        ({"id": "x", "resourceType": "User"}, None),
        ({"id": ["x"], "resourceType": "Client"}, None),
        ({}, None),
        ("Client/x", None),
        (None, None),
    ],
)
def test_a_link_refers_to_a_client_or_is_malformed(link, client):
    assert linked_client(link) == client


@pytest.mark.parametrize(
    ("values", "wrong"),
    [
        ({}, []),
        ({"secret": "hush" * 4, "grant_types": ["basic", "client_credentials"], "description": "x"}, []),
        ({"secret": "\N{GRINNING FACE}" * 512}, []),
        ({"secret": "a" * 15}, ["Client.secret"]),
        ({"secret": ""}, ["Client.secret"]),
        ({"secret": 5}, ["Client.secret"]),
        ({"secret": "a\nb"}, ["Client.secret"]),
        ({"secret": "a" * 513}, ["Client.secret"]),
        ({"grant_types": "basic"}, ["Client.grant_types"]),
        ({"grant_types": ["password"]}, ["Client.grant_types"]),
        ({"grant_types": [["basic"]]}, ["Client.grant_types"]),
        ({"grant_types": {"basic": True}}, ["Client.grant_types"]),
        ({"grantTypes": []}, ["Client.grantTypes"]),
        ({"_secret": "masked"}, ["Client._secret"]),
        ({"id": "a/b"}, ["Client.id"]),
        ({"resourceType": "AwsAccount"}, ["Client.resourceType"]),
    ],
)
def test_the_faults_of_a_client(values, wrong):
    assert faults(CLIENT, values) == wrong


@pytest.mark.parametrize(
    ("values", "wrong"),
    [
        ({"engine": "allow"}, ["AccessPolicy.link"]),
        ({"engine": "allow", "link": None}, ["AccessPolicy.link"]),
        ({"engine": "matcho", "matcho": PATTERN}, []),
        ({"engine": "matcho", "matcho": PATTERN, "max-expiration": 3600}, []),
        ({"engine": "allow", "link": LINK, "max-expiration": 604_800}, []),
        ({"engine": "allow", "link": LINK, "max-expiration": 604_801}, ["AccessPolicy.max-expiration"]),
        ({"engine": "allow", "link": LINK, "max-expiration": 0}, ["AccessPolicy.max-expiration"]),
        ({"engine": "allow", "link": LINK, "max-expiration": "60"}, ["AccessPolicy.max-expiration"]),
        ({"engine": "allow", "link": LINK, "max-expiration": 60.0}, []),
        ({"engine": "allow", "link": LINK, "max-expiration": True}, ["AccessPolicy.max-expiration"]),
        ({"engine": "allow", "link": [{"reference": "Client/x"}]}, []),
        ({}, ["AccessPolicy.engine"]),
        ({"engine": "sql"}, ["AccessPolicy.engine"]),
        ({"engine": "Allow"}, ["AccessPolicy.engine"]),
        ({"engine": "matcho"}, ["AccessPolicy.matcho"]),
        ({"engine": "matcho", "matcho": None}, ["AccessPolicy.matcho"]),
        ({"engine": "matcho", "matcho": {}}, ["AccessPolicy.matcho"]),
        ({"engine": "matcho", "matcho": "#x"}, ["AccessPolicy.matcho"]),
        ({"engine": "matcho", "matcho": {"parms": PATTERN}}, ["AccessPolicy.matcho"]),
        ({"engine": "matcho", "matcho": {"$not": {"usr": 1}}}, ["AccessPolicy.matcho"]),
        ({"engine": "matcho", "matcho": {"params": {"key": ".parms.key"}}}, ["AccessPolicy.matcho"]),
        ({"engine": "matcho", "matcho": {"params": {"version_id": "nil?"}}}, ["AccessPolicy.matcho"]),
        ({"engine": "matcho", "matcho": {"params": {**PATTERN["params"], "ACL": "nil?"}}}, ["AccessPolicy.matcho"]),
        ({"engine": "matcho", "matcho": {"$not": {"params": {"kye": "#x"}}}}, ["AccessPolicy.matcho"]),
        ({"engine": "matcho", "matcho": {"params": {"$one-of": [{"Bucket": "b"}]}}}, ["AccessPolicy.matcho"]),
        ({"engine": "matcho", "matcho": {"params": {"key": ".params.bukcet"}}}, ["AccessPolicy.matcho"]),
        ({"engine": "matcho", "matcho": {"client": {"$not": {"ID": "x"}}}}, ["AccessPolicy.matcho"]),
        ({"engine": "matcho", "matcho": {"params": {"metadata": {"owner": "x"}}, "jwt": {"any": "x"}}}, []),
        ({"engine": "matcho", "matcho": {"client": {"id": ".params.resource/id"}}}, []),
        ({"engine": "matcho", "matcho": {"params": {"key": "#(?=x)"}}}, ["AccessPolicy.matcho"]),
        ({"engine": "allow", "matcho": PATTERN, "link": LINK}, ["AccessPolicy.matcho"]),
        ({"engine": "allow", "link": []}, ["AccessPolicy.link"]),
        ({"engine": "allow", "link": [{"reference": "x"}]}, ["AccessPolicy.link"]),
        ({"engine": "allow", "link": {"reference": "Client/x"}}, ["AccessPolicy.link"]),
        ({"engine": "allow", "link": [{"reference": "Client/x"}] * (MAX_LINKS + 1)}, ["AccessPolicy.link"]),
    ],
)
def test_the_faults_of_a_policy(values, wrong):
    assert faults(ACCESS_POLICY, values) == wrong


def test_a_fault_of_a_pattern_has_its_path():
    with pytest.raises(Invalid, match=r"AccessPolicy\.matcho .*; this is at params\.key"):
        ACCESS_POLICY.read(ParsedBody({"id": "a", "engine": "matcho", "matcho": {"params": {"key": "#("}}}, text=False))


def test_a_name_that_no_request_has_gets_a_suggestion():
    with pytest.raises(Invalid, match=r"params\.version_id, which no request has; did you mean version-id\?"):
        ACCESS_POLICY.read(
            ParsedBody({"id": "a", "engine": "matcho", "matcho": {"params": {"version_id": "nil?"}}}, text=False)
        )


@pytest.mark.parametrize("name", ["X-Tenant", "x-tenant ", "", "x tenant", "é", "cookie", "authorization"])
@pytest.mark.parametrize("pattern", [lambda name: {name: "nil?"}, lambda name: {"$not": {"a": "b", name: "x"}}])
def test_a_name_that_no_header_has_is_refused(name, pattern):
    values = {"id": "a", "engine": "matcho", "matcho": {"uri": "/x", "headers": pattern(name)}}

    with pytest.raises(Invalid, match=r"headers\..*, which no request has: names of headers are in lower case"):
        ACCESS_POLICY.read(ParsedBody(values, text=False))


def test_a_pattern_can_name_any_other_header():
    names = ["x-tenant", "x_tenant", "cookies", "x-authorization", "authorization-x", "content-type"]

    assert faults(ACCESS_POLICY, {"engine": "matcho", "matcho": {"headers": dict.fromkeys(names, "nil?")}}) == []


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("operation", {it.policy_name for it in OPERATIONS}),
        ("resource/type", {it.kind for it in (AWS_ACCOUNT, CLIENT, ACCESS_POLICY)}),
    ],
)
def test_a_pattern_can_have_each_word_that_a_request_has_and_an_error_lists_them(name, words):
    pattern = {"params": {name: {"$enum": sorted(words)}}}
    wrong = {"id": "a", "engine": "matcho", "matcho": {"params": {name: "x"}}}

    assert faults(ACCESS_POLICY, {"engine": "matcho", "matcho": pattern}) == []
    (issue,) = ACCESS_POLICY.value_issues(ACCESS_POLICY.read(ParsedBody(wrong, text=False)))
    assert all(word in issue.diagnostics for word in words)


def test_a_pattern_can_name_each_param_that_a_request_has():
    carried = {name for it in OPERATIONS for name in (*it.headers, *it.parameters, *it.policy_fields)}
    others = {"operation", "account", "bucket", "key", "expiration", "resource/type", "resource/id"}

    assert set(param_names()) == carried | others


@pytest.mark.parametrize("text", [False, True])
def test_a_policy_round_trips_through_the_store(text):
    pattern = {"params": {"account": "a", "expiration": "60" if text else 60, "key": None}}
    values = {"id": "a", "engine": "matcho", "matcho": pattern, "link": LINK, "max-expiration": "60" if text else 60}
    fields = ACCESS_POLICY.fields(ACCESS_POLICY.read(ParsedBody(values, text)))
    resource = Resource("AccessPolicy", "a", fields)
    policy = ACCESS_POLICY.decode(resource, fields)

    assert all(isinstance(value, str) for value in fields.values())
    assert {name: ACCESS_POLICY.represent(resource)[name] for name in values} == values | {"max-expiration": 60}
    assert policy.link == {"x"}
    assert policy.allows(Evaluation({"params": {"account": "a", "expiration": 60}}))


def test_a_stored_client_does_not_show_its_secret():
    fields = CLIENT.fields(
        CLIENT.read(ParsedBody({"id": "a", "secret": "hush" * 4, "grant_types": ["basic"]}, text=False))
    )
    resource = Resource("Client", "a", fields)
    client = CLIENT.decode(resource, fields)

    assert (client.id, client.secret.current.hash, client.grant_types) == ("a", "hush" * 4, ["basic"])
    assert "hush" not in repr(client)
    assert "hush" not in str(CLIENT.represent(resource))


def test_duplicate_grant_types_are_removed():
    assert CLIENT.read(ParsedBody({"id": "a", "grant_types": ["basic", "basic"]}, text=False))["grant_types"] == [
        "basic"
    ]
