"""The YAML encoder: block style as in the contract, and strings that are unambiguous in YAML 1.1 and 1.2."""

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from service.web.formats.codec import dump_yaml, load_yaml

# Strings that some reader of YAML 1.1 or 1.2 reads as another value.
AMBIGUOUS = [
    *(
        "null",
        "Null",
        "NULL",
        "~",
        "true",
        "True",
        "TRUE",
        "yes",
        "Yes",
        "YES",
        "on",
        "On",
        "y",
        "Y",
        "false",
        "no",
        "off",
        "n",
        "N",
    ),
    *(
        "0",
        "1",
        "-1",
        "+1",
        "0123",
        "0o17",
        "0x1F",
        "0b11",
        "1_000",
        "1e10",
        "1.5",
        ".5",
        "+.5",
        "1.",
        "685.230_15e+03",
        "-0",
        "1,000",
    ),
    *(
        ".inf",
        "-.INF",
        ".NaN",
        "12:30:45",
        "1:30",
        "2024-01-01",
        "2024-01-01T00:00:00Z",
        "2024-01-01 00:00:00",
        "=",
        "<<",
    ),
    *(
        "",
        " ",
        " a",
        "a ",
        "a: b",
        "a:",
        ":",
        ": a",
        "a : b",
        "a #b",
        "#a",
        "- a",
        "-",
        "---",
        "--- a",
        "...",
        "? a",
        "?",
        "*a",
        "&a",
        "!a",
    ),
    *(
        "|",
        ">",
        "%a",
        "@a",
        "`a",
        "'a'",
        '"a"',
        "{a}",
        "[a]",
        ",a",
        "{}",
        "[]",
        "a\nb",
        "a\n",
        "\n",
        "a\tb",
        "\t",
        "\r",
        "\0",
        "\x07",
        "\x7f",
    ),
    *(
        "\x80",
        "\x85",
        "a\x85b",
        "\xa0",
        "a\xa0",
        "\u2028",
        "a\u2029b",
        "\ufeff",
        "a\ufeff",
        "a\ufffe",
        "a\uffff",
        "a: ",
        "a :",
        ":a",
        "٣",
    ),
]
PLAIN = [
    *(
        "a",
        "us-east-1",
        "my.host:9000",
        "https://h/p?a=b&c=%2F#f",
        "AwsAccount/x",
        "/a",
        "$enum",
        "_secret",
        "é",
        "日本",
        "a😀",
        "a b",
        "a  b",
    ),
    *(
        '<div xmlns="x">a</div>',
        "it's",
        'say "x"',
        "a,b",
        "a[0]",
        "a{b}",
        "a::b",
        "a :b",
        "a#b",
        "nullable",
        "yesterday",
        "a-",
        "a&b",
        "a*",
    ),
]

text = st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(AMBIGUOUS + PLAIN)
# Every special case: U+0085 and similar characters in keys and values, long keys, nested lists.
keys = text | st.integers(990, 1030).map("a".__mul__)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text
trees = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4), max_leaves=20
)


@given(trees)
@example({"a": [[[], [{}]], {"b": [{"c": [["d"]]}]}]})
@example({"a" * 2000: [{"b" * 2000: {"c" * 2000: ["d"]}, "e": "f"}]})
@pytest.mark.slow
def test_pyyaml_reads_back_the_same_values(data):
    written = dump_yaml(data)

    for loader in (yaml.SafeLoader, yaml.CSafeLoader):
        assert repr(yaml.load(written, Loader=loader)) == repr(data)  # noqa: S506 - both are safe loaders


def as_text(data):
    """Return the value that our reader returns: scalars are text."""
    if isinstance(data, dict):
        return {key: as_text(value) for key, value in data.items()}
    if isinstance(data, list):
        return [as_text(item) for item in data]
    return data if data is None or isinstance(data, str) else dump_yaml(data).decode().strip()


@given(st.dictionaries(keys, trees, max_size=4))
@pytest.mark.slow
def test_the_reader_reads_back_the_text_of_every_value(data):
    assert load_yaml(dump_yaml(data)) == as_text(data)


@pytest.mark.parametrize("string", AMBIGUOUS)
def test_an_ambiguous_string_is_quoted(string):
    written = dump_yaml({"a": string, "b": [string], f"{string}": "c"}).decode()

    assert written.splitlines()[0].startswith('a: "')
    assert written.splitlines()[2].startswith('- "')
    assert written.splitlines()[3].startswith('"')
    assert written.replace("\n", "").replace("\xa0", "").isprintable()


@pytest.mark.parametrize("string", PLAIN)
def test_an_unambiguous_string_is_plain(string):
    assert dump_yaml({string: string}).decode() == f"{string}: {string}\n"


def test_a_long_url_is_one_plain_line():
    url = (
        "https://b.s3.amazonaws.com/k%20k?X-Amz-Date=20240101T000000Z&X-Amz-Credential=A%2Fs3&X-Amz-Signature="
        + "0f" * 500
    )

    assert dump_yaml({"url": url}) == f"url: {url}\n".encode()


def test_an_outcome_matches_the_contract():
    div = '<div xmlns="http://www.w3.org/1999/xhtml">Resource AwsAccount/x not found</div>'
    outcome = {
        "resourceType": "OperationOutcome",
        "id": "not-found",
        "text": {"status": "generated", "div": div},
        "issue": [{"severity": "fatal", "code": "not-found", "expression": ["AwsAccount.host"]}, {"severity": "fatal"}],
    }

    assert dump_yaml(outcome).decode() == (
        "resourceType: OperationOutcome\nid: not-found\ntext:\n  status: generated\n"
        f"  div: {div}\n"
        "issue:\n- severity: fatal\n  code: not-found\n  expression:\n  - AwsAccount.host\n- severity: fatal\n"
    )


@pytest.mark.parametrize(
    ("data", "written"),
    [
        pytest.param({}, "{}\n", id="empty object"),
        pytest.param([], "[]\n", id="empty list"),
        pytest.param({"a": {}, "b": [], "c": [{}, []]}, "a: {}\nb: []\nc:\n- {}\n- []\n", id="empty inside"),
        pytest.param({"a": True, "b": False, "c": None, "d": -1}, "a: true\nb: false\nc: null\nd: -1\n", id="scalars"),
        pytest.param([1.5, 1e16, 1e-7, -0.0], "- 1.5\n- 1.0e+16\n- 1.0e-07\n- -0.0\n", id="floats"),
        pytest.param(
            {"a": [["b", "c"], {"d": "e", "f": ["g"]}]}, "a:\n- - b\n  - c\n- d: e\n  f:\n  - g\n", id="nested"
        ),
        pytest.param(
            {"a": "x\ty\n\x85\u2028\ufeff😀\x01é: "}, 'a: "x\\ty\\n\\u0085\\u2028\\ufeff😀\\u0001é: "\n', id="escapes"
        ),
        pytest.param({"b": 1, "a": 2}, "b: 1\na: 2\n", id="given order"),
    ],
)
def test_yaml_is_written_in_block_style(data, written):
    assert dump_yaml(data).decode() == written


@pytest.mark.parametrize("value", [object(), {1}, b"a"])
def test_types_without_json_equivalent_are_refused(value):
    with pytest.raises(TypeError):
        dump_yaml({"a": value})
