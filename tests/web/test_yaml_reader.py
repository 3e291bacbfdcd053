"""YAML in: every scalar is the text that was written; what is no plain document is refused, with its position."""

import pytest

from service.errors import MalformedBody
from service.web.codec import load_yaml


@pytest.mark.parametrize(
    "text",
    [
        "2024-01-01",
        "0123",
        "no",
        "1e10",
        "12:30:45",
        "0x1F",
        "1_000",
        "+1",
        ".5",
        ".inf",
        ".NaN",
        "true",
        "Null",
        "NULL",
        "=",
        "60.7",
    ],
)
def test_a_plain_scalar_is_the_text_that_was_written(text):
    assert load_yaml(f"a: {text}\n{text}: a".encode()) == {"a": text, text: "a"}


@pytest.mark.parametrize(
    ("written", "read"),
    [
        pytest.param("null", None, id="null"),
        pytest.param("~", None, id="tilde"),
        pytest.param("", None, id="nothing"),
        pytest.param("# comment", None, id="nothing but a comment"),
        pytest.param('"null"', "null", id="quoted null"),
        pytest.param("'~'", "~", id="quoted tilde"),
        pytest.param('""', "", id="quoted nothing"),
        pytest.param("|\n null", "null", id="literal null"),
        pytest.param("null # comment", None, id="null and a comment"),
        pytest.param("nullx", "nullx", id="more than null"),
    ],
)
def test_only_plain_nulls_are_none(written, read):
    assert load_yaml(f"a: {written}".encode()) == {"a": read}


@pytest.mark.parametrize(
    ("body", "read"),
    [
        pytest.param("null: a", {"null": "a"}, id="null"),
        pytest.param("~: a", {"~": "a"}, id="tilde"),
        pytest.param("? \n: a", {"": "a"}, id="nothing"),
        pytest.param("1: a", {"1": "a"}, id="number"),
        pytest.param("{a, b: c}", {"a": None, "b": "c"}, id="without a value"),
        pytest.param('"<<": a', {"<<": "a"}, id="a quoted merge key is a key"),
        pytest.param("? a\n: b", {"a": "b"}, id="explicit"),
    ],
)
def test_keys_are_always_text(body, read):
    assert load_yaml(body.encode()) == read


@pytest.mark.parametrize(
    ("body", "read"),
    [
        pytest.param("a: b c\n  d", "b c d", id="plain over lines"),
        pytest.param("a: >\n b\n c\n\n d\n", "b c\nd\n", id="folded"),
        pytest.param("a: |-\n b\n  c\n", "b\n c", id="literal"),
        pytest.param('a: "\\x41\\u00e9\\U0001F600\\n\\0"', "Aé😀\n\0", id="escapes"),
        pytest.param("a: 'it''s'", "it's", id="single quotes"),
        pytest.param("a: [b, {c: d}, [], {}]", ["b", {"c": "d"}, [], {}], id="flow"),
        pytest.param("a:\n- b\n- c: d\n  e: f\n- - g\n", ["b", {"c": "d", "e": "f"}, ["g"]], id="block"),
        pytest.param("%YAML 1.2\n---\na: b\n...\n", "b", id="directive and document marks"),
        pytest.param("\ufeffa: b", "b", id="byte order mark"),
        pytest.param("a: 'x\n %TAG'", "x %TAG", id="a TAG that is no directive"),
        pytest.param("a: x%TAG\r\n", "x%TAG", id="a TAG inside a line"),
    ],
)
def test_yaml_is_read_as_yaml(body, read):
    assert load_yaml(body.encode()) == {"a": read}


@pytest.mark.parametrize(
    ("body", "why"),
    [
        pytest.param("a: &x b", "anchors are not allowed at line 1, column 4", id="anchor"),
        pytest.param("a: b\nc: &x {}", "anchors are not allowed at line 2, column 4", id="anchor on a mapping"),
        pytest.param("&x a: b", "anchors are not allowed at line 1, column 1", id="anchor on a key"),
        pytest.param("a: *x", "aliases are not allowed at line 1, column 4", id="alias"),
        pytest.param("*x : a", "aliases are not allowed at line 1, column 1", id="alias as a key"),
        pytest.param("a: !!str b", "tags are not allowed at line 1, column 4", id="tag"),
        pytest.param("a: ! b", "tags are not allowed", id="non-specific tag"),
        pytest.param("a: !!python/object/apply:os.system [x]", "tags are not allowed", id="tag that would run"),
        pytest.param("a: !x!y b", "undefined tag handle at line 1, column 4", id="undefined tag handle"),
        pytest.param("%TAG ! a\n---\nb: c", "tag directives are not allowed at line 1, column 1", id="tag directive"),
        pytest.param(
            "é: b\r%TAG ! a", "tag directives are not allowed at line 1, column 6", id="tag directive after CR"
        ),
        pytest.param(
            "a: b\n...\n%TAG ! a\n---\n", "directives are not allowed at line 3, column 1", id="later tag directive"
        ),
        pytest.param("<<: {a: b}", "merge keys are not allowed at line 1, column 1", id="merge key"),
        pytest.param("a: b\n---\n", "a second document at line 2, column 1", id="second document"),
        pytest.param("---\na: b\n---\na: b\n", "a second document at line 3, column 1", id="second explicit document"),
        pytest.param("a: b\na: c", 'duplicate key "a" at line 2, column 1', id="duplicate key"),
        pytest.param("'~': b\n~: c", 'duplicate key "~" at line 2, column 1', id="duplicate key, quoted and plain"),
        pytest.param("é: 1\né: 2", 'duplicate key "\\u00e9"', id="duplicate key shown in ASCII"),
        pytest.param("? [a]\n: b", "a key that is not text at line 1, column 3", id="list as a key"),
        pytest.param("{{a: b}: c}", "a key that is not text at line 1, column 2", id="mapping as a key"),
        pytest.param("a: " + "[" * 16, "nesting deeper than 16 at line 1, column 19", id="too deep in flow"),
        pytest.param("a:\n" + "- " * 16 + "x", "nesting deeper than 16 at line 2, column 31", id="too deep in block"),
        pytest.param("a: [" + "[" * 32_000, "nesting deeper than 16", id="as deep as kills CSafeLoader"),
        pytest.param("a: [" + "x\n," * 20_000 + "]", "more than 20000 nodes at line 19998", id="too many nodes"),
        pytest.param("# a", "it is empty", id="nothing but a comment"),
        pytest.param("---\n", "not an object at line 2, column 1", id="empty document"),
        pytest.param("just text", "not an object at line 1, column 1", id="scalar"),
        pytest.param("- a", "not an object at line 1, column 1", id="sequence"),
        pytest.param("a: b: c", "mapping values are not allowed in this context at line 1, column 5", id="two colons"),
        pytest.param("a: 'b", "unexpected end of stream at line 1, column 6", id="open quote"),
        pytest.param("a:\n\t- b", "cannot start any token at line 2, column 1", id="tab"),
        pytest.param('a: "\\ud83d\\ude00"', "invalid Unicode character escape code", id="surrogate pair in escapes"),
        pytest.param("a: é\x07", "control characters are not allowed at line 1, column 5", id="control character"),
        pytest.param(
            "a:\n" + "- é\n" * 15_000 + "- é\x07",
            "not allowed at line 15002, column 4",
            id="control character far behind",
        ),
        pytest.param("%YAML 3.0\n---\na: b", "incompatible YAML document at line 1, column 1", id="unknown version"),
    ],
)
def test_what_is_not_allowed_is_refused_with_its_position(body, why):
    with pytest.raises(MalformedBody) as refusal:
        load_yaml(body.encode())

    assert why in str(refusal.value)


def test_a_large_body_reads_as_a_small_one_does():
    lines = "".join(f"k{n}: é😀\r\n" for n in range(5000))

    assert load_yaml(lines.encode()) == {f"k{n}": "é😀" for n in range(5000)}
