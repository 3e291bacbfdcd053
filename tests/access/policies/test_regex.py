import subprocess
import sys
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.access.policies.evaluation import Evaluation
from service.access.policies.matchers import regex
from service.access.policies.regex import MAX_LENGTH, compile_program, compile_regex, is_plain_prefix


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
    assert bool(compile_program(source).find(text)) is there


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
        (r"\pL|" * 10 + r"\PN|" * 11, "at most 20 classes"),
        ("x{0,1000}y{1000}" * 3, "at most 5000 repetitions"),
        ("x{1000,}" * 6, "at most 5000 repetitions"),
        (".{1000}", "too large"),
        ("(" * 500, r"missing \): .{1,70}$"),
        ("\ud800", "surrogates"),
    ],
)
def test_an_invalid_regex_is_refused_with_a_reason_and_no_output(source, reason, capfd):
    with pytest.raises(ValueError, match=reason):
        compile_program(source)

    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("source", ["(a+)+$", "^(a|a)*$", "(a*)*b", "(.*)*x"])
def test_a_regex_does_not_backtrack(source):
    # A backtracking engine would exceed the time limit of the test.
    assert not compile_program(source).find(b"a" * 5000 + b"!")


def test_the_engine_releases_the_interpreter_lock():
    find = compile_program("[^/]{1,255}$").find

    # A search that keeps the lock leaves one or two turns, however long it is.
    assert any(turns_during(find, b"a" * size + b"/") > 10 for size in (50_000, 200_000, 800_000))


def turns_during(find, text):
    """Return how often this thread runs while another one searches."""
    started, turns = threading.Event(), 0

    def search():
        started.set()
        find(text)

    thread = threading.Thread(target=search)
    thread.start()
    started.wait()
    while thread.is_alive():
        time.sleep(0.001)
        turns += 1
    return turns


# Plain text, and characters that can make it optional.
SOURCES = st.text(r"ab/-_^$.*+?{}02,|()[]\\i:Q", min_size=1, max_size=8) | st.from_regex(
    r"\^?[ab/]{1,3}([*+?]|\{0,2\}|[.][*])?[ab(|)]{0,3}", fullmatch=True
)
TEXTS = st.text("ab/-02^\n", max_size=6) | st.text(st.characters(codec="utf-8"), max_size=6)

# Regular expressions, each with a matching text.
PARTS = st.text("ab/-2", min_size=1, max_size=3).map(lambda text: (text, text)) | st.sampled_from(
    [
        (".", "é"),
        ("^", ""),
        ("{2", "{2"),
        ("{,2}", "{,2}"),
        ("]", "]"),
        (r"\d", "2"),
        (r"\(", "("),
        (r"\|", "|"),
        (r"\\", "\\"),
        (r"\pL", "é"),
        (r"\x41", "A"),
        (r"\Qa*|\E", "a*|"),
        (r"\Q\E", ""),
        ("(?-i)", ""),
        ("(?i)a", "A"),
        ("(?P<n>a|b)", "b"),
        ("[^a]", "b"),
        ("[]a(]", "]"),
        ("[^]a]", "b"),
        ("[(|)]", "|"),
        (r"[\]a|(]", "("),
        (r"[\\]", "\\"),
        ("[[:alpha:](]", "a"),
    ]
)
# Quantifiers, each with an allowed number of repetitions.
COUNTS = st.sampled_from(
    [
        ("", 1),
        ("*", 0),
        ("*", 2),
        ("+", 2),
        ("?", 0),
        ("??", 0),
        ("{0}", 0),
        ("{2}", 2),
        ("{0,1}?", 0),
        (r"\Q\E*", 0),
        ("(?i)?", 0),
    ]
)


def grouped(parts):
    bodies = st.lists(st.lists(parts, max_size=3).map(joined), min_size=1, max_size=3)
    return st.builds(group, st.sampled_from(["(", "(?:"]), bodies, st.integers(0, 2), COUNTS)


def joined(parts):
    return "".join(source for source, _ in parts), "".join(text for _, text in parts)


def group(opening, bodies, chosen, count):
    suffix, times = count
    source = "|".join(source for source, _ in bodies)
    return f"{opening}{source}){suffix}", bodies[chosen % len(bodies)][1] * times


PAIRS = st.lists(st.recursive(PARTS, grouped, max_leaves=8), min_size=1, max_size=4).map(joined)


@settings(max_examples=250)
@given(st.sampled_from(["", "(?i)"]), SOURCES, TEXTS)
@pytest.mark.heavy
def test_required_texts_change_no_decision_on_any_text(flags, source, rest):
    plain = source.lstrip("^")
    assert_same_as_engine(flags + source, rest, plain + rest, rest + plain, rest + plain.upper())


@settings(max_examples=500)
@given(st.lists(PAIRS, min_size=1, max_size=2), st.sampled_from(["", "^", "(?i)", "(?i)^"]), TEXTS)
@pytest.mark.heavy
def test_required_texts_change_no_decision_on_a_match(pairs, anchor, rest):
    source = anchor + "|".join(source for source, _ in pairs)
    texts = [form for _, text in pairs for form in (text, text.swapcase(), text.upper())]
    assert_same_as_engine(source, rest, *(found for text in texts for found in (text, text + rest, rest + text)))


@pytest.mark.parametrize(
    ("source", "text"), [("(?i)ks", "\u212a\u017f"), ("(?i)^KS", "\u212a\u017f"), ("(?i)team", "TEAM")]
)
def test_ignoring_case_finds_letters_that_fold_to_plain_ones(source, text):
    assert regex(compile_regex(source), "key").test(text, Evaluation({}))


def assert_same_as_engine(source, *texts):
    try:
        reference = compile_program(source).find
    except ValueError:
        return
    matcher = regex(compile_regex(source), "key")

    for text in texts:
        assert matcher.test(text, Evaluation({})) is (reference(text.encode()) is not None)


@pytest.mark.parametrize(
    ("source", "prefix", "required"),
    [
        ("a", "", [("a",)]),
        ("^team-1/", "team-1/", []),
        ("^team-1/.*[.]pdf$", "team-1/", [("pdf",)]),
        ("^team-1/(?i)x", "team-1/", []),
        ("^(team-1|all)/", "", [("team-1", "all"), ("/",)]),
        ("^team-1/|^team-2/", "", [("team-1/", "team-2/")]),
        ("[a-z]+-1/", "", [("-1/",)]),
        (r"[\]|a]-1/\d+[.]pdf", "", [("-1/",), ("pdf",)]),
        ("^a*[x]ab", "", [("ab",)]),
        ("^*ab", "", [("ab",)]),
        ("ab*", "", [("a",)]),
        ("ab?c", "", [("a",), ("c",)]),
        ("a{0,2}", "", []),
        ("(a){2}b", "", [("b",)]),
        ("(a(b|c(de)?))f", "", [("a",), ("b", "c"), ("f",)]),
        ("a|b*", "", []),
        ("(a|)b", "", [("b",)]),
        ("a|b|c|d", "", [("a", "b", "c", "d")]),
        ("a|b|c|d|e", "", []),
        ("a.bb.ccc.dddd.eeeee", "", [("eeeee",), ("dddd",), ("ccc",), ("bb",)]),
        ("." + "[a]" * 100 + "b", "", []),
        ("(?i)Team", "", [("team",)]),
        ("(?i)^Team-1/(a|B)", "team-1/", [("a", "b")]),
        ("a(?i)team", "", [("a",)]),
        ("[]a]b", "", []),
        ("[^]a]b", "", []),
        (r"a\Qb|\E", "", []),
        (r"a\Qb(c\E", "", [("a",)]),
        (r"ab\Q\E*", "", [("a",)]),
        (r"^ab\Q\E?c", "a", []),
        ("ab(?i)?", "", [("a",)]),
        ("^team(?s)(?-s){0}", "tea", []),
        (r"(ab)(?s)\Q\E*c", "", []),
        ("^", "", []),
    ],
)
def test_required_texts_are_extracted(source, prefix, required):
    compiled = compile_regex(source)

    assert (compiled.prefix, list(compiled.required)) == (prefix, required)


@pytest.mark.parametrize("source", ["^a", "^a/b-c_1"])
def test_a_plain_prefix_needs_no_engine(source):
    assert is_plain_prefix(source)
    assert compile_regex(source).program is None


@pytest.mark.parametrize(
    "source", ["a", "^", "^a$", "^a.b", "^a|b", "^a*", "^a\n", "^é", "a^b", r"^\d", "^" + "a" * MAX_LENGTH]
)
def test_any_other_regex_needs_the_engine(source):
    assert not is_plain_prefix(source)


def test_the_engine_is_imported_when_it_is_needed():
    script = """
import sys
from service.access.policies.matcho import compile_pattern
compile_pattern({"a": "b", "key": "#^team-a/"})
assert "re2" not in sys.modules
compile_pattern({"key": "#a.b"})
assert "re2" in sys.modules
"""

    subprocess.run([sys.executable, "-c", script], check=True)
