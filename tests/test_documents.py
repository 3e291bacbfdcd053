"""The documents' examples, as they stand there, and the pages that are made from declarations."""

import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
REQUEST = re.compile(r"(GET|POST|PUT|PATCH|DELETE) (/\S*)\n")


def blocks(page):
    return BLOCK.findall((ROOT / page).read_text(encoding="utf-8"))


def examples(page):
    """Method, path, body and the documented answer of each example in console notation."""
    for _, block in blocks(page):
        if found := REQUEST.match(block):
            lines = block[found.end() :].splitlines()
            answer = [line[1:] for line in lines if line.startswith("#")]
            body = "\n".join(line for line in lines if not line.startswith("#")).strip()
            yield found[1], found[2], body, yaml.safe_load(textwrap.dedent("\n".join(answer)))


def agrees(documented, actual):
    """Whether an answer is the documented one, a `<placeholder>` standing for anything."""
    if isinstance(documented, str) and re.fullmatch("<[a-z-]+>", documented):
        return True
    if isinstance(documented, dict) and isinstance(actual, dict):
        return documented.keys() == actual.keys() and all(agrees(documented[name], actual[name]) for name in actual)
    if isinstance(documented, list) and isinstance(actual, list):
        return len(documented) == len(actual) and all(map(agrees, documented, actual))
    return documented == actual


@pytest.mark.parametrize("page", ["README.md"])
async def test_the_examples_in_console_notation_work_as_written(client, page):
    found = list(examples(page))

    assert len(found) >= 7
    for method, path, body, documented in found:
        # The console sends no Content-Type: the body itself tells that it is YAML.
        response = await client.request(method, path, data=body.encode() or None, skip_auto_headers=["Content-Type"])
        answer = yaml.safe_load(await response.read())
        assert response.status == documented["status"], answer
        assert "body" not in documented or agrees(documented["body"], answer), answer


@pytest.mark.parametrize("page", ["configuration.md"])
def test_a_generated_page_is_what_the_declarations_say(page):
    made = subprocess.run(
        [sys.executable, "-c", f"import generate; print(generate.PAGES[{page!r}](), end='')"],
        cwd=ROOT / "docs",
        capture_output=True,
        text=True,
        check=True,
    )

    assert made.stdout == (ROOT / "docs" / page).read_text(encoding="utf-8"), "run make docs"


def test_every_setting_in_the_readme_is_one():
    from service import settings  # noqa: PLC0415

    named = set(re.findall(r"SIGNER_[A-Z_]+", (ROOT / "README.md").read_text(encoding="utf-8")))

    assert named <= set(settings.declarations())


def test_links_between_the_documents_lead_somewhere():
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")]

    broken = [
        f"{page.name}: {link}"
        for page in pages
        for link in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8"))
        if "://" not in link and not (page.parent / link).exists()
    ]

    assert broken == []
