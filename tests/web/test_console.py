"""The console as it is served. tests/browser has it in a browser."""

import re

import pytest
import yaml
from documents import ROOT

CONSOLE = ROOT / "service" / "web" / "console"
HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
FILES = sorted(path.name for path in CONSOLE.iterdir() if path.name != "index.html")
SCRIPTS = sorted(CONSOLE.glob("*.js"))


async def test_a_browser_gets_the_console_and_a_program_the_links(client):
    page = await client.get("/", headers=HTML)
    as_json = await client.get("/")
    as_yaml = await client.get("/", headers={"Accept": "text/yaml"})
    chosen = await client.get("/?_format=yaml", headers=HTML)
    start = await as_json.json()

    assert page.content_type == "text/html"
    assert {response.headers["Vary"] for response in (page, as_json, as_yaml)} == {"Accept"}
    assert (start["name"], start["links"]["documentation"]) == ("s3-signer", "/docs")
    assert yaml.safe_load(await as_yaml.text()) == yaml.safe_load(await chosen.text()) == start


async def test_the_console_has_a_path_of_its_own(client):
    page, console = [await client.get(path, headers=HTML) for path in ("/", "/console")]

    assert (console.status, await console.read()) == (200, await page.read())


async def test_every_link_of_the_start_leads_somewhere(client):
    links = (await (await client.get("/")).json())["links"]

    assert [(await client.get(link)).status for link in links.values()] == [200] * len(links)


async def test_only_a_service_with_authentication_links_to_its_tokens(client, make_client):
    protected = await make_client(SIGNER_ROOT_CLIENT_ID="root", SIGNER_ROOT_CLIENT_SECRET="a root secret, long enough")
    links = (await (await protected.get("/")).json())["links"]

    assert links["token"] == "/auth/token"
    assert "token" not in (await (await client.get("/")).json())["links"]


async def test_the_console_may_run_only_its_own_scripts_and_reach_any_s3(client):
    headers = (await client.get("/", headers=HTML)).headers

    assert dict(rule.split(" ", 1) for rule in headers["Content-Security-Policy"].split("; ")) == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "connect-src": "'self' http: https:",
        "img-src": "'self' blob:",
        "frame-src": "blob:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
    }
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"


async def test_the_page_finds_its_files_under_any_prefix(client, make_client):
    public = await make_client(SIGNER_PUBLIC_URL="https://s3.example.com/team/signer")
    relative = re.findall(r'(?:href|src)="([^"#]+)"', await (await client.get("/", headers=HTML)).text())
    absolute = re.findall(r'(?:href|src)="([^"#]+)"', await (await public.get("/", headers=HTML)).text())

    assert len(relative) >= 4
    assert [(await client.get(f"/{link}")).status for link in relative] == [200] * len(relative)
    assert absolute == [f"/team/signer/{link}" for link in relative]


@pytest.mark.parametrize("name", FILES)
async def test_a_file_of_the_console_is_served_and_cached(client, name):
    first = await client.get(f"/console/{name}")
    again = await client.get(f"/console/{name}", headers={"If-None-Match": first.headers["ETag"]})

    assert first.status == 200
    assert first.content_type in {"text/javascript", "text/css", "image/svg+xml"}
    assert first.headers["X-Content-Type-Options"] == "nosniff"
    assert (again.status, await again.read()) == (304, b"")


@pytest.mark.parametrize("name", ["index.html", "none.js", "..%2Fhandlers%2Fconsole.py", "%2e%2e%2f__init__.py", "%00"])
async def test_no_other_file_is_served(raw, faults, name):
    assert (await faults(await raw("GET", f"/console/{name}"), 404))[0] == "not-found"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_imports_only_files_of_the_console_and_makes_no_markup_from_text(script):
    text = re.sub(r"^\s*//.*$", "", script.read_text(encoding="utf-8"), flags=re.MULTILINE)
    imported = re.findall(r"(?:from|import\()\s*\"([^\"]+)\"", text)

    assert {name.removeprefix("./") for name in imported} <= set(FILES)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|\bFunction\(", text)
