import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.resources.merge_patch import _unused_nulls, merge_patch

# https://www.rfc-editor.org/rfc/rfc7396#appendix-A
APPENDIX = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    (["a", "b"], ["c", "d"], ["c", "d"]),
    ({"a": "b"}, ["c"], ["c"]),
    ({"a": "foo"}, None, None),
    ({"a": "foo"}, "bar", "bar"),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]


@pytest.mark.parametrize(("target", "patch", "result"), APPENDIX, ids=str)
def test_a_merge_patch_gives_the_results_of_the_rfc(target, patch, result):
    assert merge_patch(target, patch) == result


def reference(target, patch):
    """Apply the RFC's pseudocode, line by line."""
    if isinstance(patch, dict):
        if not isinstance(target, dict):
            target = {}
        for name, value in patch.items():
            if value is None:
                if name in target:
                    del target[name]
            else:
                target[name] = reference(target.get(name), value)
        return target
    return patch


NAMES = st.sampled_from("abc")
DATA = st.recursive(
    st.none() | st.booleans() | st.integers(0, 3) | NAMES,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(DATA, DATA)
@pytest.mark.slow
def test_a_merge_patch_agrees_with_the_rfcs_pseudocode_and_changes_no_argument(target, patch):
    before = copy.deepcopy((target, patch))
    result = merge_patch(target, patch)

    assert result == reference(copy.deepcopy(target), patch)
    assert (target, patch) == before


def test_the_path_of_a_null_is_built_only_as_far_as_it_is_shown():
    patch = {"a": {"n" * 70: {"k": {"l": None}}}, "b": {"c": None, "d": None}}

    assert [*_unused_nulls({"b": {"d": 1}}, patch)] == [f"a.{'n' * 62}…", "b.c"]
