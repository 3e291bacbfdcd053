"""Escapes of surrogates are found and decoded in pieces."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.steps import steps_of

from service.web.formats import surrogates

MIB = 1024 * 1024
PAIR = r"\ud83d\ude00"

parts = st.sampled_from(["a", "\n", "\\", "\\\\", r"\u", r"\ud7ff", r"\uD83D", r"\ude00", "\ue000"])
texts = st.lists(parts).map("".join)


@given(texts)
@example("\\" * 3 + "ud83d")
def test_marks_stand_for_the_escapes_that_are_not_escaped_themselves(text):
    marked, marker = surrogates.mark(text)

    assert marker is None or marker not in text
    assert marked == (escapes_replaced(text, marker) if marker else text)


def escapes_replaced(text, marker):
    replaced, index = "", 0
    while index < len(text):
        if text[index] != "\\":
            replaced, index = replaced + text[index], index + 1
        elif text[index : index + 3].lower() == r"\ud" and text[index + 3 : index + 4] in set("89abcdefABCDEF"):
            replaced, index = replaced + marker, index + 2
        else:
            replaced, index = replaced + text[index : index + 2], index + 2
    return replaced


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("x" * 4 * MIB + PAIR, id="one pair behind a long text"),
        pytest.param(PAIR + "x" * 4 * MIB, id="one pair in front of a long text"),
        pytest.param(PAIR + r"\n" * 2 * MIB, id="other escapes"),
        pytest.param(PAIR + "\\" * 4 * MIB, id="backslashes"),
    ],
)
def test_other_threads_run_while_escapes_are_searched(text):
    marked, lines = steps_of(surrogates.mark, text)

    assert len(marked[0]) == len(text)
    assert lines - steps_of(surrogates.mark, PAIR).lines > len(text) / surrogates.MAX_PIECE


def test_other_threads_run_while_many_pairs_are_decoded():
    decoded, lines = steps_of(surrogates.decode, *surrogates.mark(PAIR * 100_000))

    assert decoded == "\U0001f600" * 100_000
    assert lines > 1000


@given(st.lists(st.sampled_from(["a", "\U0001f600", "\U0010ffff", "\ud7ff"]), max_size=2000))
@example(["\U0001f600"] * 1000)
def test_pairs_are_decoded_and_other_text_is_kept(characters):
    escaped = "".join(char if char < "\U00010000" else json.dumps(char)[1:-1] for char in characters)

    assert surrogates.decode(*surrogates.mark(escaped + PAIR)) == "".join(characters) + "\U0001f600"


@pytest.mark.parametrize("text", [r"\ud83d", r"\ude00", r"\ud83d \ude00", r"\ude00\ud83d", PAIR * 1000 + r"\ud83d"])
def test_a_lone_surrogate_is_not_decoded(text):
    with pytest.raises(UnicodeDecodeError):
        surrogates.decode(*surrogates.mark(text))
