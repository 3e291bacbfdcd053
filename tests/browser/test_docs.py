"""The API page in a browser: it shows the whole document, sends requests, and asks no other host."""

import base64
import json
import re
from urllib.parse import urlsplit

import pytest
import requests
from playwright.sync_api import expect
from processes import ServiceProcess

ROOT = {"SIGNER_ROOT_CLIENT_ID": "root", "SIGNER_ROOT_CLIENT_SECRET": "a root secret, long enough"}
CREDENTIALS = {"Authorization": f"Basic {base64.b64encode(':'.join(ROOT.values()).encode()).decode()}"}
# Scalar takes seconds on a busy machine.
SECONDS = 60


@pytest.fixture
def visit(browser):
    """Return a page with the API page open, its complaints, and the addresses that it has asked for."""
    contexts = []

    def open_page(url, *, colors="light", storage=None):
        context = browser.new_context(color_scheme=colors, viewport={"width": 1280, "height": 900})
        contexts.append(context)
        context.set_default_timeout(SECONDS * 1000)
        page, complaints, addresses = context.new_page(), [], []
        page.on("console", lambda line: complaints.append(line.text) if line.type in {"error", "warning"} else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: addresses.append(request.url))
        for name, value in (storage or {}).items():
            page.add_init_script(f"sessionStorage.setItem({json.dumps(name)}, {json.dumps(value)})")
        page.goto(url)
        page.get_by_role("link", name="Introduction").first.wait_for()
        return page, complaints, addresses

    yield open_page
    for context in contexts:
        context.close()


def document_of(service):
    return requests.get(f"{service.url}/openapi.json", timeout=5).json()


@pytest.mark.parametrize("colors", ["light", "dark"])
def test_the_page_shows_the_document_without_a_complaint_and_asks_no_other_host(service, visit, colors):
    page, complaints, addresses = visit(f"{service.url}/docs", colors=colors)

    for tag in document_of(service)["tags"]:
        assert page.get_by_role("link", name=tag["name"]).first.is_visible()
    assert page.locator(f"body.{colors}-mode").count() == 1
    assert complaints == []
    own = urlsplit(service.url).netloc
    # Images in the style are data.
    assert {urlsplit(address).netloc for address in addresses} - {""} == {own}
    assert page.get_by_role("button", name="Generate SDK").count() == 0
    assert page.locator("a[href*='scalar.com']:visible").count() == 0


def test_each_operation_has_an_address_and_leads_to_the_console(service, visit):
    operation = document_of(service)["paths"]["/AwsAccount/{id}"]["put"]
    page, complaints, _ = visit(f"{service.url}/docs#tag/accounts/putAwsAccount")
    link = page.locator(f"a[href='{operation['externalDocs']['url']}']")
    link.wait_for()

    assert operation["tags"] == ["Accounts"]
    assert page.get_by_role("heading", name="Create or replace an account", exact=True).is_visible()
    assert link.inner_text().strip() == "Open this request in the console"
    assert complaints == []


def test_the_page_and_the_console_lead_to_each_other_at_an_operation(service, visit):
    page, complaints, _ = visit(f"{service.url}/docs#tag/sign-urls/signUpload")
    link = page.locator("a[href*='POST%20%2Faws'][href*='my-bucket%0A']").first
    page.goto(link.evaluate("it => it.href"))
    editor = page.get_by_role("textbox", name="Requests")
    expect(editor).to_have_value(re.compile("^POST /aws/storage/my-account/my-bucket\n\nfilename: example.txt\n"))
    # The console knows the operations as soon as it has read the document.
    page.wait_for_load_state("networkidle")
    # Scalar then writes the operation at which it scrolls into the address, which may be the one above.
    with page.expect_navigation(url=f"{service.url}/docs#tag/sign-urls/signUpload", wait_until="commit"):
        page.get_by_role("link", name="Docs of this request").click()
    page.get_by_role("heading", name="Sign an upload", exact=True).wait_for()

    assert complaints == []


def test_a_request_of_the_page_has_the_token_of_the_sign_in(visit):
    process = ServiceProcess(**ROOT)
    try:
        grant = {"grant_type": "client_credentials"}
        token = requests.post(f"{process.url}/auth/token", data=grant, headers=CREDENTIALS, timeout=5).json()
        storage = {"s3-signer.token": token["access_token"]}
        page, _, _ = visit(f"{process.url}/docs#tag/operations/version", storage=storage)
        page.locator("[id$='operations/version']").get_by_role("button", name="Test Request").first.click()
        with page.expect_response(lambda it: "/$version" in it.url) as answer:
            page.get_by_role("button", name="Send").first.click()

        assert answer.value.status == 200
        assert answer.value.request.headers["authorization"] == f"Bearer {token['access_token']}"
    finally:
        assert process.stop() == 0


def test_the_page_works_under_a_prefix(visit):
    process = ServiceProcess(SIGNER_PUBLIC_URL="https://s3.example.com/team/signer")
    try:
        _, complaints, _ = visit(f"{process.url}/docs")
        links = requests.get(f"{process.url}/openapi.json", timeout=5).json()["paths"]["/live"]["get"]["externalDocs"]

        assert complaints == []
        assert links["url"].startswith("https://s3.example.com/team/signer/#/")
    finally:
        assert process.stop() == 0


def test_the_policy_of_the_page_is_enforced(service, visit):
    page, complaints, _ = visit(f"{service.url}/docs")
    page.evaluate("document.body.append(Object.assign(document.createElement('script'), {text: '1'}))")
    failed = page.evaluate("fetch('https://s3.example.com/').then(() => false, () => true)")

    assert failed
    assert sum("Content Security Policy" in line for line in complaints) >= 2
