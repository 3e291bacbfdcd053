"""The console in a browser, where it needs no S3 server: sign-in, keyboard, screen readers, sizes and prefixes."""

import json
import re
import urllib.request

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect
from support.console import console_page, run
from support.service import running

ROOT = {"SIGNER_ROOT_CLIENT_ID": "root", "SIGNER_ROOT_CLIENT_SECRET": "correct-horse-battery-staple"}
CLIENT = {"id": "uploader", "secret": "3nD0o4F4p2c0o9mJx0aB1V6Xq8mYk7sZ"}
VIEWS = ["tutorial", "requests", "history"]
PUBLIC = "https://s3.example.com/team/signer"


@pytest.fixture(scope="module")
def protected():
    with running(**ROOT) as process:
        yield process


def sign_in(page, id, secret):
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Client id").fill(id)
    dialog.get_by_label("Secret", exact=True).fill(secret)
    dialog.get_by_role("button", name="Sign in").click()
    return dialog


def kept(page):
    return page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}])")


def test_a_401_asks_for_credentials_and_the_request_runs_after_the_sign_in(browser, protected):
    with console_page(browser, f"{protected.url}/#/requests") as page:
        page.get_by_role("textbox", name="Requests").fill("GET /AwsAccount")
        page.get_by_role("textbox", name="Requests").press("Control+Enter")
        dialog = sign_in(page, "root", "wrong, and long enough")
        expect(dialog.get_by_role("alert")).to_be_visible()
        sign_in(page, "root", ROOT["SIGNER_ROOT_CLIENT_SECRET"])
        expect(page.locator(".answer-head .badge")).to_have_text("200 OK")

        assert ROOT["SIGNER_ROOT_CLIENT_SECRET"] not in kept(page)
        page.reload()
        expect(page.locator(".caller")).to_be_visible()
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_role("button", name="Sign in")).to_be_visible()
        assert "token" not in page.evaluate("JSON.stringify({...sessionStorage})")


def test_a_cancelled_sign_in_shows_the_401(browser, protected):
    with console_page(browser, f"{protected.url}/#/requests") as page:
        page.get_by_role("textbox", name="Requests").fill("GET /AwsAccount")
        page.get_by_role("textbox", name="Requests").press("Control+Enter")
        page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
        expect(page.locator(".answer-head .badge")).to_have_text("401 Unauthorized")


@pytest.mark.parametrize("grant_types", [["basic"], ["client_credentials"]])
def test_a_caller_without_a_policy_reads_why_not(browser, protected, grant_types):
    with console_page(browser, f"{protected.url}/#/requests") as page:
        page.get_by_role("button", name="Sign in").click()
        sign_in(page, "root", ROOT["SIGNER_ROOT_CLIENT_SECRET"]).wait_for(state="hidden")
        run(page, f"PUT /Client\n\n{json.dumps(CLIENT | {'grant_types': grant_types})}")
        page.get_by_role("button", name="Sign out").click()
        page.get_by_role("button", name="Sign in").click()
        sign_in(page, *CLIENT.values())
        expect(page.locator(".caller")).to_have_text("uploader")
        page.get_by_role("button", name="Run", exact=True).click()
        expect(page.locator(".answer-head .badge")).to_have_text("403 Forbidden")
        expect(page.get_by_text("no access policy allows it").first).to_be_visible()
        secrets_kept = kept(page)
        sign_out_names_token = page.evaluate("sessionStorage.getItem('s3-signer.token') !== null")

    assert CLIENT["secret"] not in secrets_kept
    assert sign_out_names_token == ("client_credentials" in grant_types)


def test_an_ended_token_leads_to_a_new_sign_in(browser, protected):
    with console_page(browser, f"{protected.url}/#/requests") as page:
        page.evaluate("sessionStorage.setItem('s3-signer.token', 'ended')")
        page.reload()
        expect(page.get_by_role("button", name="Sign in")).to_be_visible()
        expect(page.get_by_role("dialog")).to_have_count(0)
        page.get_by_role("textbox", name="Requests").fill("GET /AwsAccount")
        page.get_by_role("textbox", name="Requests").press("Control+Enter")
        expect(page.get_by_role("dialog")).to_be_visible()


def test_a_token_signs_in(browser, protected):
    body = json.dumps(
        {"grant_type": "client_credentials", "client_id": "root", "client_secret": ROOT["SIGNER_ROOT_CLIENT_SECRET"]}
    )
    request = urllib.request.Request(  # noqa: S310 - the test's own service
        f"{protected.url}/auth/token", body.encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
        token = json.load(answer)["access_token"]
    with console_page(browser, protected.url) as page:
        page.get_by_role("button", name="Sign in").click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_text("Token", exact=True).first.click()
        dialog.locator("input[name=token]").fill("nonsense")
        dialog.get_by_role("button", name="Sign in").click()
        expect(dialog.get_by_role("alert")).to_be_visible()
        dialog.locator("input[name=token]").fill(token)
        dialog.get_by_role("button", name="Sign in").click()
        expect(page.locator(".caller")).to_have_text("signed in by token")


def test_a_service_without_authentication_asks_for_no_sign_in(browser, service):
    with console_page(browser, service.url) as page:
        expect(page.get_by_text("No sign-in is needed")).to_be_visible()
        expect(page.get_by_role("button", name="Sign in")).to_have_count(0)


@pytest.mark.parametrize(("theme", "width"), [("dark", 360), ("light", 1440)])
def test_no_view_has_a_fault_that_axe_knows(browser, service, theme, width):
    options = {"color_scheme": theme, "viewport": {"width": width, "height": 900}, "reduced_motion": "reduce"}
    with console_page(browser, f"{service.url}/#/requests", **options) as page:
        for request in (
            "PUT /AwsAccount/axe\n\naccess-key-id: AKIAIOSFODNN7EXAMPLE\nsecret-access-key: x",
            "POST /aws/storage/axe/bucket\n\nfilename: a.txt",
            "GET /aws/storage/axe/bucket/a.txt?expiration=30",
            "DELETE /aws/storage/axe/bucket/a.txt",
            "PUT /AwsAccount/axe\n\nnothing: 1",
        ):
            run(page, request)
            check(page, request)
        for view in VIEWS:
            page.goto(f"{page.url.split('#')[0]}#/{view}")
            page.get_by_role("heading", level=1).wait_for()
            check(page, view)
        page.goto(f"{page.url.split('#')[0]}#/tutorial")
        for choice in ("Local S3", "My own S3"):
            page.get_by_text(choice, exact=True).click()
            check(page, choice)


def check(page, state):
    page.wait_for_timeout(50)
    found = Axe().run(page)
    assert found.violations_count == 0, f"{state}\n{found.generate_report()}"
    # Nothing is wider than the page.
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"), state


def test_the_dialog_has_no_fault_that_axe_knows(browser, protected):
    with console_page(browser, protected.url) as page:
        page.get_by_role("button", name="Sign in").click()
        check(page, "sign-in")
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_have_count(0)


def test_everything_is_reached_with_the_keyboard(browser, service):
    with console_page(browser, service.url) as page:
        page.get_by_role("heading", level=1).wait_for()
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        expect(page.get_by_role("radio", name="Example keys")).to_be_focused()
        page.keyboard.press("ArrowRight")
        expect(page.get_by_role("radio", name="Local S3")).to_be_checked()
        expect(page.get_by_text("make s3")).to_be_visible()
        page.get_by_role("link", name="History").press("Enter")
        expect(page.locator("#content")).to_be_focused()
        assert page.title() == "History · s3-signer"


def test_words_are_completed_from_the_api_document_and_the_accounts(browser, service):
    with console_page(browser, f"{service.url}/#/requests") as page:
        run(page, "PUT /AwsAccount/completed\n\naccess-key-id: a\nsecret-access-key: b")
        editor = page.get_by_role("textbox", name="Requests")
        editor.fill("")
        editor.press_sequentially("PO")
        editor.press("Tab")
        editor.press_sequentially("/aws/storage/comp")
        expect(page.get_by_role("option", name="/aws/storage/completed/{bucket}", exact=False).first).to_be_visible()
        editor.press("ArrowDown")
        editor.press("Enter")
        for _ in "{bucket}":
            editor.press("Backspace")
        editor.press_sequentially("bucket\n\nfilen")
        editor.press("Tab")
        editor.press_sequentially("a.txt")

        assert editor.input_value() == "POST /aws/storage/completed/bucket\n\nfilename: a.txt"
        editor.press("Control+Enter")
        expect(page.get_by_role("region", name="Upload a file")).to_be_visible()


def test_the_answer_has_the_format_of_the_request(browser, service):
    with console_page(browser, f"{service.url}/#/requests") as page:
        as_yaml = run(page, "GET /AwsAccount/nothing").locator("pre").inner_text()
        as_json = run(page, 'PUT /AwsAccount/format\n\n{"access-key-id": "a", "secret-access-key": "b"}').locator("pre")

        assert as_yaml.startswith("resourceType: OperationOutcome")
        assert json.loads(as_json.inner_text())["access-key-id"] == "a"


def test_a_request_is_copied_for_other_tools(browser, service):
    with console_page(browser, f"{service.url}/#/requests", permissions=["clipboard-read", "clipboard-write"]) as page:
        page.get_by_role("textbox", name="Requests").fill("PUT /AwsAccount/x\n\nregion: r")
        copied = []
        for tool in ("curl", "Python", "JavaScript"):
            page.get_by_role("button", name=tool).click()
            expect(page.get_by_text("Copied").last).to_be_visible()
            copied.append(page.evaluate("navigator.clipboard.readText()"))

    assert copied[0].startswith(f"curl -X PUT '{service.url}/AwsAccount/x'")
    assert "requests.request(" in copied[1]
    assert "await fetch(" in copied[2]


def test_the_time_of_a_url_counts_down(browser, service):
    with console_page(browser, f"{service.url}/#/requests") as page:
        run(page, "PUT /AwsAccount/expiry\n\naccess-key-id: a\nsecret-access-key: b")
        run(page, "GET /aws/storage/expiry/bucket/a.txt?expiration=2")
        expect(page.locator(".url-head .badge")).to_have_text("Expired")


def test_the_theme_of_the_system_can_be_replaced_and_is_remembered(browser, service):
    with console_page(browser, service.url, color_scheme="dark") as page:
        dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
        page.get_by_role("button", name="Theme: system").click()
        page.get_by_role("button", name="Theme: dark").click()
        page.reload()
        expect(page.get_by_role("button", name="Theme: light")).to_be_visible()

        assert page.evaluate("getComputedStyle(document.body).backgroundColor") != dark


def test_the_console_works_under_the_path_of_a_proxy(browser):
    with running(SIGNER_PUBLIC_URL=PUBLIC) as process, browser.new_context() as context:

        def forward(route):
            path = route.request.url.removeprefix(PUBLIC)
            route.fulfill(response=route.fetch(url=f"{process.url}{path or '/'}"))

        context.route(re.compile(f"^{re.escape(PUBLIC)}"), forward)
        page = context.new_page()
        asked = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(PUBLIC)
        page.locator(".step").first.get_by_role("button", name="Run").click()
        expect(page.locator(".answer-head .badge")).to_have_text("201 Created")

        assert all(url.startswith(PUBLIC) for url in asked)
