import pytest

from service.access.policies.matcho import compile_pattern
from service.access.policies.unrestricted import unrestricted_faults

UNRESTRICTED = [
    {"uri": "present?"},
    {"uri": "not-blank?", "request-method": "present?"},
    {"uri": {"$not": "nil?"}},
    {"uri": {"$not": None}, "headers": "present?", "params": "present?", "body": "present?"},
    {"uri": {"$not": {"$not": "present?"}}},
    {"params": {"$one-of": ["present?", "x"]}},
    {"$one-of": [{"uri": "present?"}, {"params": {"account": "a"}}]},
    {"$one-of": [{"uri": "/x"}, {"$not": {"uri": "nil?"}}]},
    {"$not": {"uri": "nil?"}},
    {"$not": {"uri": None, "jwt": {"sub": "x"}}},
    {"$not": {"$one-of": [{"params": "nil?"}, {"headers": "not-blank?"}]}},
    {"$not": {"params": "not-blank?"}},
]

RESTRICTED = [
    {"uri": "/x"},
    {"uri": "nil?"},
    {"uri": "present?", "params": {"account": "a"}},
    {"client": "present?"},
    {"jwt": "present?", "uri": "present?"},
    {"jwt": {"$not": "nil?"}},
    {"params": {"key": "present?"}},
    {"params": "not-blank?"},
    {"params": {"$one-of": ["x", {"key": "y"}]}},
    {"$one-of": [{"uri": "/x"}, {"jwt": "present?"}]},
    {"$not": {"uri": "present?"}},
    {"$not": {"uri": "/x"}},
    {"$not": {"jwt": {"sub": "eve"}}},
    {"jwt": {"aud": []}},
]


@pytest.mark.parametrize("pattern", UNRESTRICTED)
def test_a_pattern_that_matches_every_request_has_a_fault(pattern):
    compile_pattern(pattern)

    assert [fault.path for fault in unrestricted_faults(pattern)] == [""]


@pytest.mark.parametrize("pattern", RESTRICTED)
def test_a_restricting_pattern_has_no_fault(pattern):
    assert list(unrestricted_faults(pattern)) == []


def test_each_empty_mapping_is_a_fault():
    pattern = {"params": {}, "jwt": {"aud": ["a", {}], "x": {"$not": {}}}, "uri": {"$one-of": ["y", {}]}}

    assert [fault.path for fault in unrestricted_faults(pattern)] == [
        "params",
        "jwt.aud[1]",
        "jwt.x.$not",
        "uri.$one-of[1]",
    ]
