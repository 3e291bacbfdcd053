"""The YAML reader: scalars are text, and invalid documents are refused with their position."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import MalformedBody
from service.web.formats.codec import load_yaml


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
def test_a_plain_scalar_is_its_text(text):
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
        pytest.param("{? a: b}", {"a": "b"}, id="explicit in flow"),
        pytest.param("?a: b", {"?a": "b"}, id="begins with a question mark"),
        pytest.param("{'?a': b}", {"?a": "b"}, id="begins with a question mark in quotes"),
        pytest.param("{a?: b}", {"a?": "b"}, id="ends with a question mark"),
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
            "é: b\r%TAG ! a", "tag directives are not allowed at line 2, column 1", id="tag directive after CR"
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
        pytest.param("a: [?b]", "a ? in front of this key without a space", id="joined indicator of a key in a list"),
        pytest.param("a: {?b: c}", "put both in quotes at line 1, column 6", id="joined indicator of a key"),
        pytest.param("é: {?'b': c}", "put both in quotes at line 1, column 6", id="joined indicator of a quoted key"),
        pytest.param(
            "a: x\r\nb: " + "é" * 9_000 + "\nc: [d, ?e]",
            "put both in quotes at line 3, column 9",
            id="joined indicator far behind",
        ),
        pytest.param("a:\n\t- b", "cannot start any token at line 2, column 1", id="tab"),
        pytest.param("a: é\x07", "this character is not allowed unless it is escaped", id="control character"),
        pytest.param("a: é\x07", "in double quotes at line 1, column 5", id="position of a control character"),
        pytest.param(
            "a:\n" + "- é\n" * 15_000 + "- é\x07",
            "at line 15002, column 4",
            id="control character far behind",
        ),
        pytest.param("%YAML 3.0\n---\na: b", "incompatible YAML document at line 1, column 1", id="unknown version"),
    ],
)
def test_invalid_yaml_is_refused_with_its_position(body, why):
    with pytest.raises(MalformedBody) as refusal:
        load_yaml(body.encode())

    assert why in str(refusal.value)


def test_a_large_body_reads_as_a_small_one_does():
    lines = "".join(f"k{n}: é😀\r\n" for n in range(5000))

    assert load_yaml(lines.encode()) == {f"k{n}": "é😀" for n in range(5000)}


BREAKS = ["\x85", "\u2028", "\u2029"]


@pytest.mark.parametrize("char", BREAKS, ids=ascii)
@pytest.mark.parametrize(
    ("around", "where"),
    [
        ("a: b{}c", (1, 5)),
        ("a: b{}", (1, 5)),
        ("a: 'b{}'", (1, 6)),
        ('a: "é\n b{}"', (2, 3)),
        ("a: |\n b\n c{}\n", (3, 3)),
        ("a: >\r\n b\r c{}\n", (3, 3)),
        ("{}a: b", (1, 1)),
        ("b{}c: d", (1, 2)),
        ("# a comment{}\na: b", (1, 12)),
        ('{{"a": "b", "c{}": "d"}}', (1, 14)),
        ("a: b\n...\n{}", (3, 1)),
        ("a:\n- b\n- {}\n", (3, 3)),
        ("a: " + "b" * 100_000 + "{}", (1, 100_004)),
    ],
)
def test_an_ambiguous_line_end_must_be_escaped(around, where, char):
    with pytest.raises(MalformedBody) as refusal:
        load_yaml(around.format(char).encode())

    line, column = where
    code = f"{ord(char):04x}"
    assert f"a raw U+{code.upper()}, " in str(refusal.value)
    assert f'escape it as "\\u{code}" at line {line}, column {column}' in str(refusal.value)


@pytest.mark.parametrize("char", [*BREAKS, "\ufeff", "\x7f", "\x80", "\x9f", "\ufffe", "\uffff", "\x00"], ids=ascii)
def test_a_character_that_is_refused_raw_can_be_escaped(char):
    assert load_yaml(f'a: "b\\u{ord(char):04x}c"'.encode()) == {"a": f"b{char}c"}


@pytest.mark.parametrize(("escape", "char"), [("\\N", "\x85"), ("\\L", "\u2028"), ("\\P", "\u2029")])
def test_yamls_own_escapes_of_line_ends_are_characters(escape, char):
    assert load_yaml(f'a: "b{escape}c"'.encode()) == {"a": f"b{char}c"}


@pytest.mark.parametrize(
    "char", ["\xa0", "\u3000", "\u200b", "\ufdd0", "\ue000", "\ufffd", "\U0001ffff", "\U0010ffff"], ids=ascii
)
def test_other_characters_are_unchanged(char):
    assert load_yaml(f"a: b{char}c\n'{char}': \"{char}\"".encode()) == {"a": f"b{char}c", char: char}


@pytest.mark.parametrize(
    "char", ["\x80", "\x84", "\x86", "\x9f", "\x7f", "\x0b", "\x0c", "\ufffe", "\uffff"], ids=ascii
)
@pytest.mark.parametrize("around", ["a: b{}c", 'a: "b{}c"', "a: 'b{}c'"])
def test_a_control_character_must_be_escaped(around, char):
    with pytest.raises(MalformedBody, match="unless it is escaped in double quotes at line 1, column"):
        load_yaml(around.format(char).encode())


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ("a: \ufeffb", (1, 4)),
        ("a: b\n\ufeffc: d", (2, 1)),
        ("a:\n\ufeff  b: c", (2, 1)),
        ("a: [\r\ufeffb]", (2, 1)),
        ("a: |\n  b\ufeff\n", (1, 4)),
        ("b\ufeff: a", (1, 1)),
        ("a: b\n\ufeff", (2, 1)),
        ("\ufeff\ufeffa: b", (1, 1)),
    ],
)
def test_a_byte_order_mark_inside_a_document_is_refused(body, where):
    with pytest.raises(MalformedBody) as refusal:
        load_yaml(body.encode())

    assert "a raw U+FEFF, " in str(refusal.value)
    assert 'escape it as "\\ufeff" at line {}, column {}'.format(*where) in str(refusal.value)


@pytest.mark.parametrize("quote", ["'", '"'])
def test_a_byte_order_mark_in_quotes_is_a_character(quote):
    assert load_yaml(f"a: {quote}\ufeff{quote}".encode()) == {"a": "\ufeff"}


@pytest.mark.parametrize("version", ["1.1", "1.2"])
def test_the_version_directive_has_no_effect(version):
    assert load_yaml(f"%YAML {version}\n---\na: yes\nb: 010\n".encode()) == {"a": "yes", "b": "010"}


def test_tabs_may_separate_and_may_indent_json():
    assert load_yaml(b'{\n\t"a":\t"b",\n\t"c":\t[\n\t\t"d"\n\t]\n}') == {"a": "b", "c": ["d"]}
    assert load_yaml(b"a:\tb\t# comment\nc: d\te") == {"a": "b", "c": "d\te"}


@pytest.mark.parametrize("blank", ["\t", "\n\t", " \t", "\r\n\t\t\r\n"])
def test_json_may_have_tabs_around_it(blank):
    assert load_yaml(f'{blank}{{"a":\t"\t"}}{blank}'.encode()) == {"a": "\t"}


def test_an_error_behind_tabs_has_its_position():
    with pytest.raises(MalformedBody, match="anchors are not allowed at line 2, column 7"):
        load_yaml(b'\n\t{"a":&x b}')


@pytest.mark.parametrize(
    ("written", "read"),
    [
        pytest.param(r'"\ud83d\ude00"', "😀", id="lower case"),
        pytest.param(r'"\uD83D\uDE00"', "😀", id="upper case"),
        pytest.param(r'"\uD83d\udE00"', "😀", id="mixed case"),
        pytest.param(r'"a\ud83d\ude00\ud83d\ude01b"', "a😀😁b", id="two pairs"),
        pytest.param(r'"\udbff\udfff\ud800\udc00"', "\U0010ffff\U00010000", id="the first and the last"),
        pytest.param(r'"\\\ud83d\ude00"', "\\😀", id="behind an escaped backslash"),
        pytest.param(r'"\\ud83d\\ude00"', r"\ud83d\ude00", id="backslashes that are escaped"),
        pytest.param('"\\ud83d\\\n  \\ude00"', "😀", id="over an escaped line end"),
        pytest.param(r'"\U0001F600"', "😀", id="one escape of eight digits"),
        pytest.param(r"'\ud83d\ude00'", r"\ud83d\ude00", id="in single quotes"),
        pytest.param(r"'\ud83d'", r"\ud83d", id="one half in single quotes"),
        pytest.param(r"\ud83d\ude00", r"\ud83d\ude00", id="plain"),
        pytest.param("|-\n  \\ud83d\\\n  \\uDE00", "\\ud83d\\\n\\uDE00", id="literal"),
        pytest.param(">-\n  \\ud83d\n  \\uDE00", r"\ud83d \uDE00", id="folded"),
        pytest.param("x # \\ud83d", "x", id="in a comment"),
        pytest.param(r'"\ud7ff\ue000"', "\ud7ff\ue000", id="neighbours of the surrogates"),
    ],
)
def test_a_pair_of_surrogate_escapes_in_double_quotes_is_one_character(written, read):
    assert load_yaml(f"a: {written}".encode()) == {"a": read}


def test_a_key_may_be_a_pair_of_surrogate_escapes():
    assert load_yaml(rb'{"\ud83d\ude00": 1}') == {"😀": "1"}
    with pytest.raises(MalformedBody, match="duplicate key"):
        load_yaml('{"\\ud83d\\ude00": 1, "😀": 2}'.encode())


def test_pairs_in_a_large_body_are_read_as_in_a_small_one():
    assert load_yaml(b'a: "' + rb"\ud83d\ude00" * 10_000 + b'"') == {"a": "😀" * 10_000}


@given(st.lists(st.sampled_from([r"\ud83d\ude00", r"\\", r"\n", r"\u00e4", "u", "x" * 4095, "xä", "\t"]), max_size=300))
def test_escapes_in_double_quotes_are_read_as_in_json(pieces):
    written = f'{{"a": "{"".join(pieces)}"}}'.replace("\t", r"\t")

    assert load_yaml(written.encode()) == json.loads(written)


@given(st.lists(st.sampled_from([r"\ud83d", r"\ude00", "\\", "u", "x" * 4095, "xä"]), max_size=300))
def test_escapes_outside_double_quotes_are_text(pieces):
    written = "".join(["x", *pieces])

    assert load_yaml(f"{{a: {written}, b: '{written}'}}".encode()) == {"a": written, "b": written}


def test_private_use_characters_of_a_body_are_never_markers():
    private = "".join(map(chr, range(0xE000, 0xF900)))
    data = load_yaml(f'a: "{private}d83d{private}ud83d\\ud83d\\ude00"'.encode())

    assert data == {"a": f"{private}d83d{private}ud83d😀"}


@pytest.mark.parametrize(
    ("body", "where"),
    [
        (r'a: "\ud83d"', (1, 4)),
        (r'a: "\ude00\ud83d"', (1, 4)),
        (r'a: "\ud83dx\ude00"', (1, 4)),
        ('a: "\\ud83d\n  \\ude00"', (1, 4)),
        ('a: b\nc: ["\\ud83d\\\\ude00"]', (2, 5)),
        (r'"\ud83d": b', (1, 1)),
        (r'a: "\ud83d\ude00\ude00"', (1, 4)),
    ],
)
def test_a_lone_surrogate_is_refused(body, where):
    with pytest.raises(MalformedBody) as refusal:
        load_yaml(body.encode())

    assert "a lone surrogate at line {}, column {}".format(*where) in str(refusal.value)


def test_surrogates_in_escapes_of_eight_digits_are_no_pair():
    with pytest.raises(MalformedBody, match="invalid Unicode character escape code"):
        load_yaml(rb'a: "\U0000d83d\U0000de00"')


def test_an_error_after_a_pair_has_the_right_position():
    with pytest.raises(MalformedBody, match="anchors are not allowed at line 1, column 22"):
        load_yaml(rb'{"a": "\ud83d\ude00",&x b: c}')


@pytest.mark.parametrize("ending", BREAKS, ids=ascii)
def test_one_plain_line_is_read_with_any_line_end(ending):
    with pytest.raises(MalformedBody, match="escape it"):
        load_yaml(f"filename: a.txt{ending}".encode())


def test_a_key_and_its_colon_must_be_in_one_line():
    assert load_yaml(b'{"a":\n"x"}') == {"a": "x"}
    with pytest.raises(MalformedBody, match="at line 2, column 1"):
        load_yaml(b'{"a"\n: "x"}')
