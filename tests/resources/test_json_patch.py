"""A JSON Patch changes the masked resource. Secrets are only added, replaced and removed."""

import copy

import pytest

from service.access.access_policy import ACCESS_POLICY
from service.access.policies.matcho import MAX_NODES
from service.errors import Invalid
from service.resources.fields import MASKED
from service.resources.json_patch import MAX_COPIED_TEXT, MAX_OPERATIONS, MAX_VALUES, patch_resource
from service.resources.schemas import ParsedBody
from service.resources.types import AWS_ACCOUNT
from service.stores.record import CREATED, UPDATED, VERSION, Resource

META = {VERSION: "3", CREATED: "2026-01-01T00:00:00.000000Z", UPDATED: "2026-01-01T00:00:00.000000Z"}
ACCOUNT = Resource("AwsAccount", "a", {"access-key-id": "AK", "secret-access-key": "s", "region": "us-east-1", **META})
POLICY = Resource("AccessPolicy", "p", {"engine": "matcho", "matcho": '{"params":{"key":"a"}}', **META})
SECRET = "/secret-access-key"


def patched(*operations, stored=ACCOUNT, type_=AWS_ACCOUNT):
    result = patch_resource(type_, stored, ParsedBody({}, text=False, operations=operations)).values
    return {name: value for name, value in result.items() if name not in {"id", "meta", "resourceType"}}


def op(name, path, *value, **more):
    return {"op": name, "path": path, **({"value": value[0]} if value else {}), **more}


SHOWN = {"access-key-id": "AK", "region": "us-east-1", "_secret-access-key": MASKED}


@pytest.mark.parametrize(
    ("operations", "result"),
    [
        ([], SHOWN),
        ([op("replace", "/region", "eu-west-1")], {**SHOWN, "region": "eu-west-1"}),
        ([op("add", "/max-size", 5)], {**SHOWN, "max-size": 5}),
        ([op("remove", "/region")], {name: SHOWN[name] for name in SHOWN if name != "region"}),
        ([op("test", "/region", "us-east-1"), op("add", "/region", "b")], {**SHOWN, "region": "b"}),
        ([op("test", "/meta/versionId", "3")], SHOWN),
        ([op("copy", "/host", **{"from": "/region"})], {**SHOWN, "host": "us-east-1"}),
        ([op("test", "/_secret-access-key", MASKED)], SHOWN),
    ],
    ids=str,
)
def test_operations_change_the_resource_as_it_is_read(operations, result):
    assert patched(*operations) == result


@pytest.mark.parametrize("name", ["add", "replace"])
def test_a_secret_is_replaced(name):
    assert patched(op(name, SECRET, "new")) == {
        "access-key-id": "AK",
        "region": "us-east-1",
        "secret-access-key": "new",
    }


@pytest.mark.parametrize("operations", [[op("remove", SECRET)], [op("remove", "/_secret-access-key")]], ids=str)
def test_a_secret_is_removed(operations):
    assert patched(*operations) == {"access-key-id": "AK", "region": "us-east-1"}


@pytest.mark.parametrize(
    "operations",
    [
        [op("add", "/_session-token", "x")],
        [op("add", "/_session-token", MASKED)],
        [op("replace", SECRET, "new"), op("replace", "/_secret-access-key", "x")],
        [op("remove", SECRET), op("add", "/_secret-access-key/extension/0/valueCode", "x")],
    ],
    ids=str,
)
def test_a_marker_that_a_patch_adds_or_changes_is_not_ignored(operations):
    """A PUT with it is refused, too."""
    name = operations[-1]["path"].split("/")[1]

    assert patched(*operations)[name] != SHOWN.get(name)


def test_a_secret_that_is_not_stored_is_not_replaced():
    with pytest.raises(Invalid, match="does not apply"):
        patched(op("replace", "/session-token", "t"))


@pytest.mark.parametrize(
    "operation",
    [
        op("test", SECRET, "s"),
        op("test", f"{SECRET}/x", "s"),
        op("copy", "/region", **{"from": SECRET}),
        op("move", "/region", **{"from": SECRET}),
        op("copy", SECRET, **{"from": "/region"}),
        op("move", "/session-token", **{"from": "/region"}),
    ],
    ids=str,
)
def test_a_secret_is_not_tested_copied_or_moved(operation):
    with pytest.raises(Invalid, match="which takes only add, replace and remove"):
        patched(op("add", SECRET, "new"), operation)


@pytest.mark.parametrize(
    "operation", [op("add", "", {}), op("test", "", {}), op("copy", "/host", **{"from": ""})], ids=str
)
def test_an_operation_on_the_whole_resource_is_refused(operation):
    with pytest.raises(Invalid, match="is for the whole AwsAccount; send a PUT instead"):
        patched(operation)


@pytest.mark.parametrize(
    ("operation", "reason"),
    [
        (op("test", "/region", "b"), "is a test that fails"),
        (op("test", "/nope", "b"), "is a test that fails"),
        (op("replace", "/nope", "b"), "does not apply"),
        (op("remove", "/nope"), "does not apply"),
        (op("add", "/region/x", 1), "does not apply"),
        (op("copy", "/host", **{"from": "/nope"}), "does not apply"),
        (op("add", "/region"), "is malformed"),
        (op("append", "/region", "b"), "is malformed"),
        (op("copy", "/host", **{"from": 5}), "is malformed"),
        (op("copy", "/host"), "is malformed"),
        (op("add", 5, 1), "is malformed"),
        (op("add", "region", 1), "does not apply"),
        (op("add", "/a~2", 1), "does not apply"),
        ({"path": "/region"}, "is malformed"),
        ("add", "is malformed"),
        (None, "is malformed"),
        ([], "is malformed"),
        (op("add", "/x" * 17, 1), "has a path of more than 16 names"),
        (op("add", "/" * 1025, 1), "has a path of more than 1024 characters"),
        (op("test", f"/{'~0' * 512}", 1), "has a path of more than 1024 characters"),
        (op("copy", "/host", **{"from": f"/{'x' * 1024}"}), "has a from of more than 1024 characters"),
    ],
    ids=str,
)
def test_a_fault_names_its_operation_and_shows_no_secret(operation, reason):
    with pytest.raises(Invalid) as raised:
        patched(op("add", SECRET, "a new secret"), operation)

    (issue,) = raised.value.issues
    assert issue.diagnostics.startswith(f"Operation 2 of the JSON Patch {reason}")
    assert "a new secret" not in issue.diagnostics


@pytest.mark.parametrize("name", ["copy", "move"])
def test_a_patch_cannot_grow_without_limit(name):
    with pytest.raises(Invalid, match="of an object or a list; add the value instead"):
        patched(op(name, "/matcho/x", **{"from": "/matcho/params"}), stored=POLICY, type_=ACCESS_POLICY)
    with pytest.raises(Invalid, match="at most 100 operations"):
        patched(*[op("test", "/region", "us-east-1")] * (MAX_OPERATIONS + 1))
    there, back = (f"/{name * 500}" for name in "xy")
    moves = [op("move", back, **{"from": there}), op("move", there, **{"from": back})] * 10
    with pytest.raises(Invalid, match="at most 20000 characters in all its paths"):
        patched(op("add", there, 1), *moves)


@pytest.mark.parametrize("item", ["x", [], {}, [[]], {"a": {}}], ids=str)
@pytest.mark.parametrize("patches", [1, 50])
def test_the_values_of_a_patch_are_limited_together(item, patches):
    large = [op("add", f"/x{number}", [item] * (MAX_VALUES // patches)) for number in range(patches)]

    with pytest.raises(Invalid, match="at most 4000 values"):
        patched(*large)


def test_the_largest_pattern_can_be_patched():
    pattern = {"a": {"$enum": [f"{number}" for number in range(MAX_NODES - 3)]}}

    assert patched(op("replace", "/matcho", pattern), stored=POLICY, type_=ACCESS_POLICY)["matcho"] == pattern


def test_a_patch_cannot_copy_a_long_text():
    long = op("add", "/matcho/a", "x" * (MAX_COPIED_TEXT + 1))
    copied = op("copy", "/matcho/b", **{"from": "/matcho/a"})

    with pytest.raises(Invalid, match=r"Operation 2 .* is a copy of a text of more than 2000 characters"):
        patched(long, copied, stored=POLICY, type_=ACCESS_POLICY)
    assert patched(long, copied | {"op": "move"}, stored=POLICY, type_=ACCESS_POLICY)["matcho"]["b"]


@pytest.mark.parametrize(
    "operation",
    [
        op("replace", "/id", "b"),
        op("add", "/id", None),
        op("remove", "/id"),
        op("move", "/id", **{"from": "/region"}),
        op("copy", "/id", **{"from": "/region"}),
        op("move", "/region", **{"from": "/id"}),
    ],
    ids=str,
)
def test_a_patch_cannot_change_the_id(operation):
    with pytest.raises(Invalid, match=r"AwsAccount\.id cannot change"):
        patched(operation)


@pytest.mark.parametrize(
    "operation", [op("test", "/id", "a"), op("replace", "/id", "a"), op("copy", "/region", **{"from": "/id"})], ids=str
)
def test_a_patch_may_name_the_id(operation):
    assert patched(operation)


def test_a_patched_resource_is_no_deeper_than_a_body():
    deep = {"a": {}}
    for _ in range(14):
        deep = {"a": deep}

    with pytest.raises(Invalid, match="is nested deeper than 16"):
        patched(op("add", "/matcho/params", deep), stored=POLICY, type_=ACCESS_POLICY)


def test_a_patch_changes_neither_its_values_nor_the_stored_resource():
    operations = [
        op("add", "/matcho/headers", {}),
        op("add", "/matcho/headers/x", "y"),
        op("add", "/link", []),
        op("add", "/link/-", {"reference": "Client/a"}),
        op("add", "/_secret-access-key/extension/0/url", "other"),
    ]
    before = copy.deepcopy(operations)

    for _ in range(2):
        assert patched(*operations[:4], stored=POLICY, type_=ACCESS_POLICY)["link"] == [{"reference": "Client/a"}]
    patched(operations[4])
    assert operations == before
    assert MASKED["extension"][0]["url"].endswith("data-absent-reason")
