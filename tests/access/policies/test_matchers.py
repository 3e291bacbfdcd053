from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

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


def written(value):
    """Return the text of a value by the rules of ``scalar_text``, written anew each time."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int):
        return str(value) if len(str(abs(value))) <= 64 else None
    return str(value) if isinstance(value, str | float) else None


near = st.sampled_from([0, 0.0, -0.0, 1, 1.0, True, False, 10**64, 1e64, 10**63, 1e63, 2**53 + 1, 2.0**53])
plain = near | st.none() | st.text(max_size=3) | st.floats() | st.integers() | st.lists(st.integers(), max_size=1)


@given(st.lists(plain, max_size=30), st.lists(near | st.floats() | st.text(max_size=3)))
def test_one_of_many_texts_is_compared_like_each_of_them(values, scalars):
    texts = [text for text in map(written, [*scalars, *values[::3]]) if text is not None]
    literals = tuple(map(literal, texts))

    for value in [*values, *values]:
        found = [each.test(value, Evaluation({})) for each in literals]
        assert found == [written(value) == text for text in texts]
        assert matchers.one_of((NIL, *literals)).test(value, Evaluation({})) is (value is None or any(found))


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
