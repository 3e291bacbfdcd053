"""JSON: types, positions, numbers, encoded bytes."""

import gc
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import MalformedBody
from service.web.formats.codec import dump_json, load_json

scalars = st.none() | st.booleans() | st.integers(-(10**60), 10**60) | st.floats(allow_nan=False, allow_infinity=False)
trees = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("aé😀", max_size=3), inner, max_size=4),
    max_leaves=10,
)


@given(st.dictionaries(st.text("abé", max_size=3), trees, max_size=4))
def test_json_keeps_its_types(data):
    assert repr(load_json(dump_json(data))) == repr(data)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        pytest.param(b'{"a":NaN}', "NaN is not JSON", id="NaN"),
        pytest.param(b'{"a":[-Infinity]}', "-Infinity is not JSON", id="-Infinity"),
        pytest.param(b'{"a":1e400}', "a number too large", id="infinite float"),
        pytest.param(b'{"a":-1e400}', "a number too large", id="negative infinite float"),
        pytest.param(b'{"a":' + b"1" * 65 + b"}", "more than 64 characters", id="huge integer"),
        pytest.param(b'{"a":' + b"1" * 5000 + b"}", "more than 64 characters", id="integer beyond Python's limit"),
        pytest.param(b'{"a":0.' + b"1" * 65 + b"}", "more than 64 characters", id="huge float"),
        pytest.param(b'{"a":"\\ud83d"}', "a lone surrogate", id="high surrogate alone"),
        pytest.param(b'{"a":["\\uDE00\\ud83d"]}', "a lone surrogate", id="surrogates the wrong way round"),
        pytest.param(b'{"\\ud83d":1,"\\ud83d":2}', 'duplicate key "\\ud83d"', id="surrogate in a duplicate key"),
        pytest.param(b'{"a":1}{}', "Extra data at line 1, column 8", id="a second object"),
        pytest.param(b'{"a":1}]', "Extra data at line 1, column 8", id="a bracket too many"),
        pytest.param(b'{\n "a" 1}', "Expecting ':' delimiter at line 2, column 6", id="no colon"),
        pytest.param(b'{"a":"\n"}', "Invalid control character at line 1, column 7", id="raw control character"),
        pytest.param(b'{"a":"\\q"}', "Invalid \\escape at line 1, column 7", id="unknown escape"),
        pytest.param(b"{'a':1}", "in double quotes at line 1, column 2", id="single quotes"),
        pytest.param(b"{a: 1}", "in double quotes at line 1, column 2", id="YAML"),
        pytest.param(b'{"a":01}', "at line 1, column 7", id="leading zero"),
        # The position of the comma, or behind it: Python's versions differ.
        pytest.param(b'{"a":1,}', "at line 1, column ", id="trailing comma"),
        pytest.param(b'{"a":1} // b', "Extra data", id="comment"),
        pytest.param(b'\xef\xbb\xbf\xef\xbb\xbf{"a":1}', "Expecting value", id="two byte order marks"),
    ],
)
def test_invalid_json_is_refused_with_its_position(body, why):
    with pytest.raises(MalformedBody) as refusal:
        load_json(body)

    assert why in str(refusal.value)


@pytest.mark.parametrize("text", ["😀", "\\", '"', "\\ud800", "\\\\ud800", "\u2028", "\x7f", ""])
def test_any_text_is_read_from_escapes_and_raw(text):
    assert load_json(dump_json({text: text})) == {text: text}


@pytest.mark.parametrize("pair", [rb"\ud83d\ude00", rb"\uD83D\uDE00", rb"\uD83d\udE00"])
def test_a_surrogate_pair_in_escapes_is_one_character(pair):
    assert load_json(b'{"a":"%s","%s":1}' % (pair, pair)) == {"a": "😀", "😀": 1}


def test_escaped_backslashes_before_a_pair_are_backslashes():
    assert load_json(rb'{"a":"\\ud83d\\\ud83d\ude00"}') == {"a": "\\ud83d\\😀"}


@pytest.mark.parametrize("char", ["\x85", "\u2028", "\u2029", "\ufeff", "\x7f", "\uffff"], ids=ascii)
def test_unicode_line_separators_end_no_line_in_json(char):
    assert load_json(f'{{"a":"b{char}c"}}'.encode()) == {"a": f"b{char}c"}


def test_json_is_compact_and_unescaped():
    assert dump_json({"é": ["😀", 1, None, True]}) == '{"é":["😀",1,null,true]}'.encode()


def test_pretty_json_is_indented_by_two():
    assert dump_json({"a": [1]}, pretty=True) == b'{\n  "a": [\n    1\n  ]\n}'


@given(trees)
def test_pretty_json_equals_that_of_the_standard_library(data):
    assert dump_json(data, pretty=True) == json.dumps(data, ensure_ascii=False, indent=2).encode()


def test_pretty_json_leaves_nothing_to_the_garbage_collection():
    gc.collect()
    gc.disable()
    try:
        dump_json({"a": [1]}, pretty=True)
        assert gc.collect() == 0
    finally:
        gc.enable()
