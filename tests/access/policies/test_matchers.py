from types import MappingProxyType

import pytest

from service.access.policies import matchers
from service.access.policies.evaluation import Evaluation, UndecidableValue
from service.access.policies.matchers import NIL, NOT_BLANK, PRESENT, join_path, literal, mapping, regex, scalar_text
from service.access.policies.regex import compile_regex


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("", ""),
        ("a", "a"),
        ("\ud800", "\ud800"),
        (True, "true"),
        (False, "false"),
        (0, "0"),
        (1, "1"),
        (-3600, "-3600"),
        (10**30, "1" + "0" * 30),
        (1.5, "1.5"),
        (5.0, "5"),
        (-0.0, "0"),
        (5e6, "5000000"),
        (1e300, None),
        (float("inf"), "inf"),
        (10**64 - 1, "9" * 64),
        (1 - 10**64, "-" + "9" * 64),
        (10**64, None),
        (-(10**64), None),
        pytest.param(10**5000, None, id="more digits than Python writes"),
        (None, None),
        (b"a", None),
        ([], None),
        ({}, None),
        (["a"], None),
    ],
)
def test_a_scalar_is_compared_by_its_text(value, text):
    assert scalar_text(value) == text


def test_every_class_of_mapping_matches():
    assert mapping((("a", literal("b")),)).test(MappingProxyType({"a": "b"}), Evaluation({}))


def test_a_value_of_another_class_is_only_present():
    strange = object()

    assert PRESENT.test(strange, Evaluation({}))
    assert not any(
        matcher.test(strange, Evaluation({}))
        for matcher in (NIL, NOT_BLANK, literal(str(strange)), mapping(()), matchers.list_prefix(()))
    )


def test_a_path_has_names_and_indices():
    assert join_path(join_path(join_path("", "body"), "items"), 0) == "body.items[0]"


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("a" * 8193, "is longer than 8192 bytes"),
        ("é" * 4097, "is longer than 8192 bytes"),
        ("a\udcff", "is not UTF-8"),
        ("\ud800", "is not UTF-8"),
    ],
)
@pytest.mark.parametrize("source", ["x.y", "^x"])
def test_an_undecidable_value_is_not_searched(source, value, problem):
    with pytest.raises(UndecidableValue, match=rf"^headers\.x cannot be decided: the value {problem}$"):
        regex(compile_regex(source), "headers.x").test(value, Evaluation({}))


@pytest.mark.parametrize("value", ["a" * 8192, "é" * 4096])
def test_a_value_of_the_largest_size_is_searched(value):
    assert regex(compile_regex("..$"), "key").test(value, Evaluation({}))


def test_a_message_truncates_a_long_pattern():
    complaint = literal("a" * 1000).mismatch("b", Evaluation({}), "key")

    assert complaint == f"key is not {'a' * 64}…"
