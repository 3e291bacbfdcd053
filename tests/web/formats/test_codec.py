"""Properties of both formats: round trips, limits, refusals, bounded time and memory."""

import json
import math
import re
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.steps import steps_of

from service.errors import MalformedBody
from service.web.formats import codec, yaml_reader

KIB, MIB = 1024, 1024 * 1024
SECRET = "wJalrXUtnFEMI"

# Pieces of both grammars, valid and not, in any order.
FRAGMENTS = [
    *"{}[],:?-&*!|>'\"%@`#~\n\r\t \\/0aé😀\x00\x07\x85\u2028\ufeff\ufffe",
    *("a: ", "- ", "? ", "---\n", "...\n", "\n  ", "%TAG ! a\n", "%YAML 1.1\n", "<<: ", "&x ", "*x", "!!str ", "!<a> "),
    *(
        "null",
        "true",
        "NaN",
        "-Infinity",
        "1e400",
        "1" * 70,
        "\\ud800",
        "\\ud83d\\ude00",
        "\\x41",
        '"a":',
        '{"a":1}',
        "|+1\n",
    ),
]
PIECES = [
    *(
        "[",
        "{",
        '{"a":',
        "a: [",
        "? ",
        "- ",
        "? [",
        "[]",
        "{}",
        "}",
        ",",
        ":",
        '"',
        "'",
        '"",',
        '"\\',
        "\n",
        "\t",
        "\r",
        "\ufeff",
        "\u2028",
    ),
    *(
        "%",
        "%TAG !a! b\n",
        "%YAML 1.1\n",
        "---\n",
        "...\n",
        "&a ",
        "*a ",
        "!a ",
        "#",
        "|",
        ">\n",
        "\\",
        "\\ud83d",
        "1",
        "<<: ",
        "a: b\n",
    ),
]
text = st.text(st.characters(exclude_categories=["Cs"]))
printable = st.text(st.characters(exclude_categories=["C", "Z"], include_characters=" "), max_size=50)
trees = st.recursive(
    st.none() | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=20,
)
objects = st.dictionaries(text, trees, max_size=5)


@given(objects)
def test_dumped_data_loads_equal_in_both_formats(data):
    assert codec.load_json(codec.dump_json(data)) == data
    assert codec.load_json(codec.dump_json(data, pretty=True)) == data
    assert codec.load_yaml(codec.dump_yaml(data)) == data


@given(st.dictionaries(printable, st.lists(printable)))
def test_the_yaml_reader_reads_json(data):
    assert codec.load_yaml(codec.dump_json(data)) == data


# libyaml supports keys of at most 1024 characters, including escapes.
keys = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**60), 10**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=20,
)
# A YAML reader must not guess their type anywhere.
ESCAPED = re.compile("[\x7f-\x9f\u2028\u2029\ufffe\uffff]")


def as_text(value):
    """Return the YAML equivalent of a JSON value: scalars are their text."""
    if isinstance(value, dict):
        return {key: as_text(item) for key, item in value.items()}
    if isinstance(value, list):
        return [as_text(item) for item in value]
    return value if value is None or isinstance(value, str) else json.dumps(value)


@given(
    st.dictionaries(keys, json_values, max_size=5),
    st.booleans(),
    st.sampled_from([None, 0, 1, 4, "\t"]),
    st.sampled_from([None, (",", ":"), (" , ", " : ")]),
)
def test_json_sent_as_yaml_means_the_same(data, ensure_ascii, indent, separators):
    written = json.dumps(data, ensure_ascii=ensure_ascii, indent=indent, separators=separators)
    error = refusal(codec.load_yaml, written.encode())

    if ESCAPED.search(written):
        assert "escape" in str(error)
    else:
        assert error is None
        assert codec.load_yaml(written.encode()) == as_text(data)


@given(st.from_regex(yaml_reader._ONE_MEMBER, fullmatch=True))
def test_one_member_is_read_as_libyaml_reads_it(body):
    assert codec.load_yaml(body.encode()) == codec.load_yaml(f"#\n{body}".encode())


@given(
    st.binary(max_size=200)
    | st.lists(st.sampled_from(FRAGMENTS), max_size=60).map(lambda found: "".join(found).encode())
)
def test_any_bytes_are_read_or_refused_as_malformed(body):
    for load in (codec.load_json, codec.load_yaml):
        try:
            data = load(body)
        except MalformedBody:
            continue

        assert load(codec.dump_json(data) if load is codec.load_json else codec.dump_yaml(data)) == data


@pytest.mark.parametrize(
    ("body", "form"),
    [
        pytest.param(b'{"a": 1}', "json", id="object"),
        pytest.param(b" \r\n\t[1]", "json", id="blank before a list"),
        pytest.param(b'\xef\xbb\xbf {"a": 1}', "json", id="byte order mark"),
        pytest.param(b"a: {}", "yaml", id="mapping"),
        pytest.param(b"# {\n{a: b}", "yaml", id="comment first"),
        pytest.param(b"", "yaml", id="empty"),
        pytest.param(b"\x0b{", "yaml", id="vertical tab is no blank"),
    ],
)
def test_a_body_without_a_type_is_json_if_it_begins_like_json(body, form):
    assert codec.detect_format(body) == form


def nested(depth):
    return b'{"a":' * depth + b'"x"' + b"}" * depth


@pytest.mark.parametrize("load", [codec.load_json, codec.load_yaml])
@pytest.mark.parametrize(
    "body",
    [
        pytest.param(nested(16), id="16 levels"),
        pytest.param(b'{"a":[' + b",".join([b'"x"'] * 19_997) + b"]}", id="20,000 nodes"),
        pytest.param(b'{"a":[' + b",".join([b"[]", b"{ \n}"] * 9_998) + b"]}", id="empty collections count once"),
        pytest.param(b'{"a":"' + b"[{,:" * 10_000 + b'"}', id="punctuation in a string does not count"),
        pytest.param(b'{"a":"' + b'\\"[' * 10_000 + b'"}', id="nor behind escaped quotes"),
        pytest.param(b'{"a":"' + b"\\\\" * 100 + b'", "b":"' + b"[" * 30 + b'"}', id="nor behind escaped backslashes"),
        pytest.param(b'\xef\xbb\xbf{"a":"x"}', id="byte order mark"),
    ],
)
def test_a_body_within_the_limits_is_read(load, body):
    assert "a" in load(body)


def refusal(load, body):
    """Return the error message for a body, None for a valid one."""
    try:
        load(body)
    except MalformedBody as error:
        return error
    return None


@pytest.mark.parametrize("load", [codec.load_json, codec.load_yaml])
@pytest.mark.parametrize(
    ("body", "why"),
    [
        pytest.param(b"", "it is empty", id="empty"),
        pytest.param(b" \n\n ", "it is empty", id="blank"),
        pytest.param(b"[]", "not an object at line 1, column 1", id="list"),
        pytest.param(b'"a"', "not an object at line 1, column 1", id="string"),
        pytest.param(b"null", "not an object at line 1, column 1", id="null"),
        pytest.param(nested(17), "nesting deeper than 16", id="17 levels"),
        pytest.param(b'{"a":[' + b",".join([b'"x"'] * 19_998) + b"]}", "more than 20000 nodes", id="20,001 nodes"),
        pytest.param(
            b'{"a":[' + b",".join([b'{"a":[]}'] * 6_667) + b"]}", "more than 20000 nodes", id="20,001 of all kinds"
        ),
        pytest.param(b'{"a":"x",\n "a":"y"}', 'duplicate key "a"', id="duplicate key"),
        pytest.param(b'{"a":{"b":"x","\\u0062":"y"}}', 'duplicate key "b"', id="duplicate key, spelt otherwise"),
        pytest.param(
            b'{"' + b"a" * 99 + b'":"x","' + b"a" * 99 + b'":"y"}', f'key "{"a" * 64}"', id="a duplicate key is cut"
        ),
        pytest.param(b'{\n"\xc3\xa9":"\xff"}', "invalid UTF-8 at line 2, column 6", id="invalid UTF-8"),
        pytest.param(b'{"a":"\xed\xa0\x80"}', "invalid UTF-8 at line 1, column 7", id="surrogate in UTF-8"),
        pytest.param(b'{"a":"\xc0\x80"}', "invalid UTF-8", id="overlong NUL"),
        pytest.param('{"a":"x"}'.encode("utf-16"), "invalid UTF-8 at line 1, column 1", id="UTF-16"),
        pytest.param(b'{"a":"\\ud800"}', "", id="lone surrogate in a value"),
        pytest.param(b'{"\\uDC00":"x"}', "", id="lone surrogate in a key"),
        pytest.param(b'{"a":', "", id="truncated"),
        pytest.param(b'{"a":"x', "", id="truncated in a string"),
        pytest.param(b"[" * 17 + b'"' + b'\\"' * (MIB // 2), "", id="a string of quotes that never ends"),
        pytest.param(b"\x00", "", id="NUL"),
    ],
)
def test_a_body_beyond_the_limits_is_refused(load, body, why):
    error = refusal(load, body)

    assert error is not None
    assert why in str(error)


@pytest.mark.timeout(10)
@pytest.mark.parametrize("load", [codec.load_json, codec.load_yaml])
@pytest.mark.parametrize("piece", PIECES)
@pytest.mark.parametrize("start", ["", '{"a": ', "a: ", 'a: "', "a: |\n"])
@pytest.mark.slow
def test_a_mebibyte_of_anything_neither_crashes_nor_hangs(load, start, piece):
    body = (start + piece * (MIB // len(piece.encode()))).encode()

    assert len(str(refusal(load, body))) < 200


@pytest.mark.parametrize(
    ("load", "body"),
    [
        pytest.param(codec.load_yaml, b"a: [" + b"[]," * 19_990 + b"]\n#" + b"x" * 900 * KIB, id="YAML nodes"),
        pytest.param(codec.load_yaml, b"a: |\n" + b"\n" * MIB, id="YAML scalar"),
        pytest.param(codec.load_json, b'{"a":[' + b"[]," * 19_990 + b'"' + b"x" * 900 * KIB + b'"]}', id="JSON nodes"),
        pytest.param(codec.load_json, b'"' * MIB, id="JSON quotes"),
        pytest.param(codec.load_json, b"[" * MIB, id="JSON brackets"),
    ],
)
def test_reading_takes_a_small_multiple_of_the_body_in_memory(load, body):
    tracemalloc.start()
    try:
        load(body)
    except MalformedBody:
        pass
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()

    assert peak < 8 * MIB


@pytest.mark.parametrize(
    ("body", "pieces"),
    [
        pytest.param(b"a: |\n" + b"\n" * 4 * MIB, 4 * MIB / (16 * KIB), id="one event of 4 MiB"),
        pytest.param(b"a: [" + b"[]," * 19_990 + b"]", 19_990, id="20,000 nodes"),
    ],
)
def test_other_threads_run_while_a_large_yaml_body_is_read(body, pieces):
    read, lines = steps_of(codec.load_yaml, body)

    assert read
    assert lines > pieces


def test_the_position_of_a_fault_behind_many_lines_is_right():
    error = refusal(codec.load_yaml, b"\r\n" * 2 * MIB + b"a: ]")

    assert "at line 2097153, column 4" in str(error)


@pytest.mark.parametrize("load", [codec.load_json, codec.load_yaml])
@pytest.mark.parametrize(
    "around",
    [
        *(
            '{{"k": "{}',
            '{{"k": "{}\\q"}}',
            '{{"k": "{}\x01"}}',
            '{{"k": "{}\\ud800"}}',
            '{{"k": "{}" "x"}}',
            '{{"k": {}}}x',
        ),
        *(
            '{{"k": "{}", "a": 1, "a": 2}}',
            '{{"k": "{}"}} x',
            '{{"k": "{}", "x": NaN}}',
            '{{"k": [{}]]',
            "k: {}: x",
            "k: {}\n x: y",
        ),
        *(
            "k: !{} x",
            "k: &{} x",
            "k: *{}",
            "k: !<{}> x",
            "%{} 1\n---\n",
            "%TAG {} {}\n",
            "k: {}\n--- {}",
            "k: [{}",
            "k: '{}",
            "- {}",
        ),
        *("k: {}\x00", "k: {}\n\tx", "{}", '"{}"', "k: {}\nj: {}\nj: {}", "? [{}]\n: x", "k: |{}\n x", "k: @{}"),
    ],
)
def test_a_refusal_never_quotes_a_value(load, around):
    body = around.format(SECRET, SECRET, SECRET).encode("utf-8", "surrogatepass")
    error = refusal(load, body)

    assert SECRET not in repr(error)
    # A log with the chain of causes would show the body.
    assert error is None or error.__suppress_context__ or error.__context__ is None


def test_infinities_are_dumped_in_neither_format():
    for dump in (codec.dump_json, codec.dump_yaml):
        for number in (math.inf, -math.inf, math.nan):
            with pytest.raises(ValueError, match="not JSON compliant"):
                dump({"a": number})
