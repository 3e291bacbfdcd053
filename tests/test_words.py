"""Public pages and the package use the words of docs/glossary.md, and none of those that it bans."""

import re

import pytest
from documents import ROOT

GLOSSARY = ROOT / "docs" / "glossary.md"
TABLE = "\n## Words to avoid\n"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "docs" / "generate.py"])
SOURCES = sorted(path for suffix in ("py", "html", "js", "css") for path in (ROOT / "service").rglob(f"*.{suffix}"))
# Tests are named after behaviour; THREAT_MODEL.md quotes the names.
TEST_NAME = re.compile(r"`[\w/.]+::test_\w+`")


def banned():
    """The banned words of the glossary."""
    rows = re.findall(r"^\| (`.*`) \| .+ \|$", GLOSSARY.read_text(encoding="utf-8").partition(TABLE)[2], re.MULTILINE)
    return [word for row in rows for word in re.findall("`([^`]+)`", row)]


def pattern(words):
    """Matches each word, also as a part of a name such as ``look_again``, and across line ends."""
    forms = [r"[\s#*]+".join(map(re.escape, word.split())) for word in words]
    return re.compile(rf"(?<![A-Za-z])(?:{'|'.join(forms)})(?![A-Za-z])", re.IGNORECASE)


def hits(paths):
    """``file:line: word`` for each banned word of the files."""
    found = pattern(banned())
    for path in paths:
        text = path.read_text(encoding="utf-8")
        if path == GLOSSARY:
            text = text.partition(TABLE)[0]
        if path.name == "THREAT_MODEL.md":
            text = TEST_NAME.sub("", text)
        for hit in found.finditer(text):
            line = text.count("\n", 0, hit.start()) + 1
            yield f"{path.relative_to(ROOT)}:{line}: {' '.join(hit[0].split())}"


def test_the_glossary_lists_banned_words():
    assert {"anew", "at hand", "whoever"} <= set(banned())


@pytest.mark.parametrize("text", ["look_anew", "Made Anew.", "not\n# at hand", "at  hand"])
def test_a_banned_word_is_found_in_names_and_across_lines(text):
    assert pattern(["anew", "at hand"]).search(text)


@pytest.mark.parametrize("text", ["camera", "eras", "handle"])
def test_a_banned_word_is_not_found_inside_another_word(text):
    assert not pattern(["era", "hand"]).search(text)


def test_public_pages_use_no_banned_word():
    assert list(hits(PAGES)) == []


def test_the_package_uses_no_banned_word():
    assert list(hits(SOURCES)) == []
