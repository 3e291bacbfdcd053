import re
import subprocess
import sys

import pytest
import yaml
from documents import ROOT, agrees, examples

from service import settings


async def test_the_examples_of_the_readme_work_as_written(client):
    found = list(examples("README.md"))

    assert len(found) >= 7
    for method, path, body, documented in found:
        # The console sends no Content-Type: the body itself tells that it is YAML.
        response = await client.request(method, path, data=body.encode() or None, skip_auto_headers=["Content-Type"])
        answer = yaml.safe_load(await response.read())
        assert response.status == documented["status"], answer
        assert "body" not in documented or agrees(documented["body"], answer), answer


@pytest.mark.parametrize("page", ["configuration.md", "metrics.md"])
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
