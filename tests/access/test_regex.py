import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.access.regex import MAX_LENGTH, find_prefix, find_regex


@pytest.mark.parametrize(
    ("source", "text", "there"),
    [
        ("team", b"my-team-a", True),
        ("^team", b"my-team-a", False),
        ("a$", b"a", True),
        ("a$", b"a\n", False),
        ("^a.*z$", b"a\nz", False),
        ("(?s)^a.*z$", b"a\nz", True),
        ("^a$", b"b\na\nb", False),
        ("A", b"a", False),
        ("(?i)A", b"a", True),
        ("^.$", "é".encode(), True),
        (r"^\d$", "٣".encode(), False),
        ("(a)(b)?", b"a", True),
        ("\0", b"a\0", True),
    ],
)
def test_a_regex_is_searched(source, text, there):
    assert bool(find_regex(source)(text)) is there


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("", "1 to 1024 characters"),
        ("a" * (MAX_LENGTH + 1), "1 to 1024 characters"),
        ("(?=a)", "invalid perl operator"),
        ("(?!a)", "invalid perl operator"),
        ("(?<=a)b", "invalid"),
        (r"(a)\1", "invalid escape sequence"),
        ("(", r"missing \)"),
        ("a{1001}", "invalid repetition size"),
        (r"\pL{1000}", "too large"),
        (".{1000}", "too large"),
        ("(" * 500, r"missing \): .{1,70}$"),
        ("\ud800", "surrogates"),
    ],
)
def test_a_regex_is_refused_with_its_reason_and_without_a_word_on_the_console(source, reason, capfd):
    with pytest.raises(ValueError, match=reason):
        find_regex(source)

    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("source", ["(a+)+$", "^(a|a)*$", "(a*)*b", "(.*)*x"])
def test_a_regex_that_would_backtrack_for_ages_ends_at_once(source):
    find = find_regex(source)
    started = time.perf_counter()

    assert not find(b"a" * 5000 + b"!")
    assert time.perf_counter() - started < 0.5


@given(
    st.from_regex(r"\^[A-Za-z0-9_/-]{1,3}", fullmatch=True), st.text("ab/^\n") | st.text(st.characters(codec="utf-8"))
)
def test_a_prefix_is_found_as_the_engine_would_find_it(source, rest):
    find, reference = find_prefix(source), find_regex(source)

    for text in (rest, source[1:] + rest, source + rest, rest + source[1:]):
        assert bool(find(text.encode())) is bool(reference(text.encode()))


@pytest.mark.parametrize(
    "source", ["a", "^", "^a$", "^a.b", "^a|b", "^a*", "^a\n", "^é", "a^b", r"^\d", "^" + "a" * MAX_LENGTH]
)
def test_what_is_more_than_a_prefix_is_for_the_engine(source):
    assert find_prefix(source) is None


def test_the_engine_is_imported_when_a_regex_needs_it():
    script = """
import sys
from service.access.matcho import compile_pattern
compile_pattern({"a": "b", "key": "#^team-a/"})
assert "re2" not in sys.modules
compile_pattern({"key": "#a.b"})
assert "re2" in sys.modules
"""

    subprocess.run([sys.executable, "-c", script], check=True)
