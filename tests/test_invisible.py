import re
import sys
import unicodedata

import pytest

from service.invisible import (
    INVISIBLE,
    MAX_NAMED,
    MAX_SEARCHED,
    invisible_hint,
    no_value_reason,
    pasted_hint,
    seen_ends,
)

# Visible format characters: signs in front of Arabic, Syriac and Kaithi numbers, joiners of hieroglyphs.
VISIBLE_FORMATS = re.compile("[\u0600-\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd\U00013430-\U0001345f]")


def test_every_space_control_and_format_character_is_invisible():
    invisible = re.compile(f"[{INVISIBLE}]")
    categories = {"Cc", "Cf", "Zs", "Zl", "Zp"}

    assert [
        f"U+{number:04X}"
        for number in range(sys.maxunicode + 1)
        if unicodedata.category(character := chr(number)) in categories
        and not invisible.match(character)
        and not VISIBLE_FORMATS.match(character)
    ] == []


@pytest.mark.parametrize("text", ["", "AKIA", "wJalrXUtnFEMI/K7MDENG+x=", "\u00e9\u4e2d\U0001d11e\u0600", "\udcff"])
def test_a_visible_text_has_no_hint(text):
    assert invisible_hint(text) == ""


@pytest.mark.parametrize("character", ["\u034f", "\u115f", "\u17b4", "\u2800", "\ufe0f", "\uffa0", "\U000e0100"])
def test_a_blank_character_of_another_category_is_invisible(character):
    number, name = f"{ord(character):04X}", unicodedata.name(character)

    assert invisible_hint(f"a{character}b") == f"; it has U+{number} {name}"


@pytest.mark.parametrize("text", ['"a"', "'a'", "`a`", "\u201ca\u201d", "\u2018a b\u2019", '""', '"a"b"'])
def test_a_text_between_quotes_is_in_quotes(text):
    assert no_value_reason(text) == "is in quotes; leave them out"


@pytest.mark.parametrize("text", ["${A}", "$(A_B)", "{{ a }}", "${A:-b}", "${}", "$(a b)"])
def test_a_text_that_a_template_would_replace_is_a_placeholder(text):
    assert no_value_reason(text) == "is a placeholder such as ${NAME}; write the value"


@pytest.mark.parametrize("text", ["", "a", '"', '"a', 'a"', "\"a'", 'a"b"', "\u201da\u201c"])
def test_another_text_is_not_in_quotes(text):
    assert no_value_reason(text) == ""


@pytest.mark.parametrize("text", ["$A", "a${A}", "${A}b", "${A", "$A}", "{a}", "{{a}", "$2y$10$abc", "$(a", "(a)"])
def test_a_text_with_the_signs_of_a_placeholder_is_none(text):
    assert no_value_reason(text) == ""


@pytest.mark.parametrize(
    ("text", "ends"),
    [
        ("#a?", ("#", "?")),
        ("\u200b \ufeff#a?\u00a0\n", ("#", "?")),
        ("\uff03a\uff1f", ("#", "?")),
        ("\u2026", (".", ".")),
        ("\u00e9", ("\u00e9", "\u00e9")),
        ("", ("", "")),
        ("\u200b" * 100_000, ("", "")),
    ],
)
def test_the_ends_that_a_reader_sees(text, ends):
    assert seen_ends(text) == ends


def test_a_hint_names_each_of_the_first_characters_once():
    hint = invisible_hint("a \t b\u00a0c\n\r")

    assert hint == "; it has U+0020 SPACE, U+0009 TAB, U+00A0 NO-BREAK SPACE"
    assert hint.count("U+") == MAX_NAMED


@pytest.mark.parametrize("character", ["\ufdd0", "\ufdef", "\ufffe", "\uffff", "\U0001fffe", "\U0010ffff"])
def test_a_noncharacter_is_invisible(character):
    assert invisible_hint(f"a{character}b") == f"; it has U+{ord(character):04X} NONCHARACTER"


@pytest.mark.parametrize("character", ["\ufdcf", "\ufdf0", "\ufffd", "\U0001fffd"])
def test_a_neighbour_of_a_noncharacter_is_visible(character):
    assert invisible_hint(f"a{character}b") == ""


def test_a_hint_names_none_of_many_invisible_characters_behind_the_first_ten():
    assert invisible_hint("\u200b" * 9 + "\xa0") == "; it has U+200B ZERO WIDTH SPACE, U+00A0 NO-BREAK SPACE"
    assert invisible_hint("\u200b" * 10 + "\xa0") == "; it has U+200B ZERO WIDTH SPACE"


def test_only_the_beginning_of_a_long_text_is_searched():
    assert invisible_hint(f"{'a' * (MAX_SEARCHED - 1)}\n") == "; it has U+000A LINE FEED"
    assert invisible_hint(f"{'a' * MAX_SEARCHED}\n") == ""


@pytest.mark.parametrize("text", ["", "a", "a pass  phrase"])
def test_spaces_inside_a_text_are_visible_if_it_may_have_them(text):
    assert pasted_hint(text) == ""


@pytest.mark.parametrize("text", [" ", "a ", " a", "a b "])
def test_a_space_at_an_end_comes_from_pasting(text):
    assert pasted_hint(text) == "; it has U+0020 SPACE"


@pytest.mark.parametrize("text", ["a\n", "a b\n", "\na"])
def test_any_other_invisible_character_comes_from_pasting(text):
    assert pasted_hint(text) == "; it has U+000A LINE FEED"
