import os
import re
import subprocess
import sys

import pytest
from documents import ROOT, blocks, carry_out, examples
from faults import page as reliability
from faults.catalogue import FAULTS, cases

from benchmarks import markers, reckoning, report
from benchmarks.rows import ROWS
from service.errors import ServiceError
from service.settings import settings

TABLE_ROW = re.compile(r"^\| (.*) \| (.*) \| (.*) \| (.*) \| (.*) \| (.*) \| (.*) \|$", re.MULTILINE)


async def test_the_first_requests_work_as_written(client):
    found = list(examples("docs/how-to/first-requests.md"))

    assert len(found) >= 7
    for example in found:
        await carry_out(client, example, {})


async def test_the_examples_of_signing_work_as_written(client, account):
    found = [*examples("docs/api.md", "Manage accounts"), *examples("docs/api.md", "Sign a URL")]

    assert len(found) >= 8
    for example in found:
        await carry_out(client, example, {})


@pytest.mark.parametrize("page", ["require-credentials", "give-a-partner-access"])
async def test_examples_with_credentials_work_as_written(make_client, page):
    page = f"docs/how-to/{page}.md"
    (settings_block,) = [block for info, block in blocks(page) if info == "sh"]
    client = await make_client(**dict(re.findall(r"(SIGNER_\w+)=(\S+)", settings_block)))
    known = {}
    found = list(examples(page))

    assert len(found) >= 5
    for example in found:
        await carry_out(client, example, known)


async def test_keys_and_secrets_are_rotated_as_written(client, account):
    client_of_page = {"id": "my-client", "grant_types": ["basic"]}
    assert (await client.post("/Client", json=client_of_page)).status == 201
    patch, rotation = examples("docs/deployment/rotation.md")

    for example in (patch, rotation):
        await carry_out(client, example, {})


@pytest.mark.parametrize("page", ["configuration.md", "metrics.md", "reference/command-line.md"])
def test_a_generated_page_is_what_the_declarations_say(page):
    made = subprocess.run(
        [sys.executable, "-c", f"import generate; print(generate.PAGES[{page!r}](), end='')"],
        cwd=ROOT / "docs",
        # The package beside these pages, also in a second working copy.
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert made.stdout == (ROOT / "docs" / page).read_text(encoding="utf-8"), "run make docs"


def test_the_benchmarks_are_those_that_were_measured():
    page = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    shown = [(what, against, target) for what, against, *_, target, _ in re.findall(TABLE_ROW, page)]

    assert page.startswith(report.INTRODUCTION), "run make bench"
    assert shown[2:] == [(row.what, row.against, str(row.target)) for row in ROWS]


def test_each_fault_that_is_tested_has_its_row_on_the_page_of_reliability():
    assert reliability.rows_of_page() == [reliability.title(fault, store) for fault, store in cases(FAULTS)], (
        "run make faults"
    )


def test_the_reckoning_follows_from_the_measured_figures():
    assert markers.part("reckoning") == reckoning.table(), "run make docs"


def test_every_setting_in_the_documents_is_one():
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    named = {name for page in pages for name in re.findall(r"`(SIGNER_[A-Z_]+)[=`]", page.read_text(encoding="utf-8"))}
    known = settings.declarations()

    assert {
        name for name in named if name.removesuffix(settings.FILE_SUFFIX) not in known and name not in known
    } == set()


def test_each_error_has_its_cause_and_cure():
    page = (ROOT / "docs" / "reference" / "errors.md").read_text(encoding="utf-8")
    documented = {
        (int(status), code) for status, code in re.findall(r"^\| (\d+) \| `([a-z-]+)` \|", page, re.MULTILINE)
    }

    def kinds(error):
        return {(error.status, error.code)}.union(*map(kinds, error.__subclasses__()))

    assert documented == kinds(ServiceError)


def test_the_examples_of_embedding_work_as_written():
    mounting, signing = [block for info, block in blocks("docs/embedding.md") if info == "python"]
    mounted, signed = {}, {}
    exec(mounting, mounted)  # noqa: S102 - our own page
    exec(signing, signed)  # noqa: S102

    assert "/signer/AwsAccount" in {route.resource.canonical for route in mounted["app"].router.routes()}
    assert signed["url"].startswith("https://my-bucket.s3.eu-west-1.amazonaws.com/a/key.txt?X-Amz-Algorithm=")


def test_links_between_the_documents_lead_somewhere():
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]

    broken = [
        f"{page.name}: {link}"
        for page in pages
        for link in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8"))
        if "://" not in link and not (page.parent / link).exists()
    ]

    assert broken == []


def headings(page):
    """The anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in re.findall("(?m)^#+ (.+)$", text)}


def test_links_to_a_heading_name_one_that_exists():
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]

    broken = [
        f"{page.name}: {file}#{anchor}"
        for page in pages
        for file, anchor in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", page.read_text(encoding="utf-8"))
        if anchor not in headings(page.parent / file if file else page)
    ]

    assert broken == []


def threats():
    """The cells of each row in the threat model's tables of threats, and the tests it names."""
    text = (ROOT / "THREAT_MODEL.md").read_text(encoding="utf-8")
    lines = text.partition("\n## Threats\n")[2].partition("\n## ")[0].splitlines()
    rows = [re.split(r"\s*\|\s*", line)[1:-1] for line in lines if line.startswith("| ")]
    return [row for row in rows if row not in (["threat", "defence", "test"], ["---", "---", "---"])]


def test_every_threat_has_a_defence_and_a_test_that_is_there():
    assert len(threats()) >= 60
    for threat, defence, tests in threats():
        named = re.findall(r"`([\w/]+\.py)::(test_\w+)`", tests)
        assert re.fullmatch(r"`[\w/.]+::test_\w+`(, `[\w/.]+::test_\w+`)*", tests), threat
        assert defence, threat
        assert not defence.startswith("none"), threat
        for file, test in named:
            assert f"def {test}(" in (ROOT / "tests" / file).read_text(encoding="utf-8"), test


@pytest.mark.parametrize("page", ["aws", "ceph", "cloudflare-r2", "garage", "minio"])
async def test_the_accounts_of_the_how_to_pages_are_stored_and_checked(client, page):
    found = list(examples(f"docs/how-to/{page}.md"))

    assert [example.method for example in found] == ["PUT", "POST"]
    for example in found:
        # Without a connection: the servers are not there, or are not ours.
        await carry_out(client, example._replace(body=example.body.replace("live: true", "live: false")), {})
