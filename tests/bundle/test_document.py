"""Bundles are read into entries, and every fault of one is found."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.bundles import account, client, delete, policy, put, text

from service.bundle import document
from service.bundle.document import MAX_FAULTS, BundleError


def nothing(kind, name):
    raise ValueError("cannot be read")


def load(source, lookup=nothing):
    return document.entries(document.parse(source.encode()), lookup)


def faults(source, lookup=nothing):
    with pytest.raises(BundleError) as refusal:
        load(source, lookup)
    return refusal.value.faults


@pytest.mark.parametrize("url", ["/AwsAccount/x", "AwsAccount/x", "/fhir/AwsAccount/x", "fhir/AwsAccount/x"])
def test_an_entry_names_its_resource_by_a_path(url):
    (entry,) = load(text(put(url)))

    assert (entry.key, entry.body.values) == (("AwsAccount", "x"), {})


def test_every_type_of_resource_is_put_and_deleted():
    found = load(text(account("a"), client("b"), policy("c", "b"), *map(delete, ("/Client/d", "/AccessPolicy/e"))))

    assert [(*entry.key, entry.body is None) for entry in found] == [
        ("AwsAccount", "a", False),
        ("Client", "b", False),
        ("AccessPolicy", "c", False),
        ("Client", "d", True),
        ("AccessPolicy", "e", True),
    ]


def test_yaml_carries_text_and_json_types():
    source = """
resourceType: Bundle
type: transaction
entry:
- fullUrl: /AwsAccount/a
  request: {method: PUT, url: /AwsAccount/a}
  resource: {use-ssl: true}
"""
    (from_yaml,), (from_json,) = load(source), load(text(put("/AwsAccount/a", **{"use-ssl": True})))

    assert (from_yaml.body.values, from_yaml.body.text) == ({"use-ssl": "true"}, True)
    assert (from_json.body.values, from_json.body.text) == ({"use-ssl": True}, False)


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("", "cannot be read: it is empty"),
        ("{", "cannot be read: Expecting property name enclosed in double quotes at line 1, column 2"),
        ("a: &b c", "cannot be read: anchors are not allowed"),
        (text(type="history"), "Bundle.type must be batch or transaction"),
        (text(resourceType="Patient"), "Bundle.resourceType must be Bundle"),
        (text(entry={}), "Bundle.entry must be a list"),
        (text(entries=[]), "Bundle.entries is not known here"),
        (text("x"), "entry[0] must be an object"),
        (text({}), "entry[0].request is missing"),
        (text({"request": "PUT"}), "entry[0].request must be an object"),
        (text({"request": {"method": "POST", "url": "/Client/x"}}), "entry[0].request.method must be PUT or DELETE"),
        (text(put("/Patient/x")), "entry[0].request.url must be the path of one resource"),
        (text(put("/AwsAccount/../x")), "entry[0].request.url must be the path of one resource"),
        (text(put("/AwsAccount/x?y=z")), "entry[0].request.url must be the path of one resource"),
        (text({"request": {"method": "PUT", "url": "/Client/x"}}), "entry[0].resource must be an object"),
        (text({**delete("/Client/x"), "resource": {}}), "entry[0].resource is not used by DELETE"),
        (text(account("a"), delete("fhir/AwsAccount/a")), "AwsAccount/a is in 2 entries; keep one"),
        (text(client("x", secret=None)), "entry[0] (Client/x): Client.secret is missing"),
        (text(client("x", _secret={})), "entry[0] (Client/x): Client._secret is masked"),
        (text({**account("a"), "resource": {"$file": "x"}}), "entry[0].resource must be an object"),
        (text(account("a", host={"$file": "x"})), "entry[0] (AwsAccount/a): $file 'x' cannot be read"),
        (text(account("a", host={"$env": ["x"]})), "entry[0] (AwsAccount/a): $env '' cannot be read"),
    ],
)
def test_a_fault_is_a_sentence_with_its_place(source, fault):
    (found,) = faults(source)

    assert found.startswith(fault)


@pytest.mark.parametrize("kind", ["$file", "$env"])
def test_a_fault_quotes_the_start_of_a_long_name(kind):
    (found,) = faults(text(account("a", host={kind: "x" * 5000})))

    assert found == f"entry[0] (AwsAccount/a): {kind} '{'x' * 64}…' cannot be read"


def test_all_faults_are_found():
    assert len(faults(text({}, account("a", host={"$file": "x"}, region={"$env": "y"}), "x"))) == 4


def test_faults_beyond_a_hundred_are_counted():
    found = faults(text(*[{}] * (MAX_FAULTS + 20)))

    assert (len(found), found[-1]) == (MAX_FAULTS + 1, "and 20 more faults")


def test_references_are_replaced_at_any_depth():
    resource = {"a": {"$file": "one"}, "b": [{"c": {"$env": "TWO"}}], "d": {"$file": "x", "e": "f"}}
    (entry,) = load(text(put("/AwsAccount/a", **resource)), lambda kind, name: f"{kind} {name}")

    assert entry.body.values == {"a": "$file one", "b": [{"c": "$env TWO"}], "d": {"$file": "x", "e": "f"}}
    assert entry.referring == {"a", "b"}


def test_the_names_of_files_are_found_once():
    bundle = document.parse(text(account("a", x={"$file": "b"}, y=[{"$file": "a"}, {"$file": "b"}])).encode())

    assert document.file_names(bundle) == ["a", "b"]


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(["PUT", "DELETE", "/Client/a"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["request", "resource", "method", "url", "$file", "$env", "secret"]), inner, max_size=4
        )
    ),
    max_leaves=20,
)


@given(st.lists(values, max_size=5))
def test_any_entries_are_read_or_are_faults(listed):
    found = None
    with suppress(BundleError):
        found = load(json.dumps({"resourceType": "Bundle", "type": "batch", "entry": listed}))

    assert found is None or len(found) == len(listed)
