"""The views of accounts, Clients and policies of the console, in a browser."""

import base64
import re

import pytest
import requests
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect
from support.console import console_page
from support.service import running

ROOT = {"SIGNER_ROOT_CLIENT_ID": "root", "SIGNER_ROOT_CLIENT_SECRET": "correct-horse-battery-staple"}
HEADERS = {"Authorization": f"Basic {base64.b64encode(':'.join(ROOT.values()).encode()).decode()}"}
SECRET = "5FoSKRGtE2vsoXdpWGHUoETA"
KEYS = {"access-key-id": "AKIAIOSFODNN7EXAMPLE", "secret-access-key": SECRET}
CLIENT_SECRET = "3nD0o4F4p2c0o9mJx0aB1V6Xq8mYk7sZ"
COUNT = 120


@pytest.fixture(scope="module")
def signer():
    """A service with accounts, a Client and a policy."""
    with running(**ROOT) as process, requests.Session() as session:
        session.headers.update(HEADERS)

        def put(kind, **body):
            answer = session.put(f"{process.url}/{kind}", json=body, timeout=10)
            assert answer.ok, answer.text

        for number in range(COUNT):
            put("AwsAccount", id=f"many-{number:03}", **KEYS)
        put("Client", id="uploader", secret=CLIENT_SECRET, grant_types=["client_credentials"], description="uploads")
        pattern = {"request-method": "post", "params": {"key": "#^inbox/"}}
        put("AccessPolicy", id="uploads", engine="matcho", matcho=pattern, link=[{"reference": "Client/uploader"}])
        process.put = put
        process.get = lambda path: session.get(f"{process.url}{path}", timeout=10)
        yield process


@pytest.fixture
def visit(browser, signer):
    """Return a function that opens a view with a token of root or of another Client."""

    def open_view(view, *, client="root", secret=ROOT["SIGNER_ROOT_CLIENT_SECRET"], **options):
        grant = {"grant_type": "client_credentials", "client_id": client, "client_secret": secret}
        token = requests.post(f"{signer.url}/auth/token", data=grant, timeout=10).json()["access_token"]
        return console_page(browser, f"{signer.url}/#/{view}", session={"s3-signer.token": token}, **options)

    return open_view


def stored(signer, path):
    return signer.get(path).json()


def test_an_account_is_added_with_a_preset_and_a_fault_stands_at_its_field(visit, signer):
    with visit("accounts") as page:
        page.get_by_role("button", name="Add an account").click()
        page.get_by_label("Preset").select_option("MinIO")
        page.get_by_label("id", exact=True).fill("my minio")
        page.get_by_label("access-key-id", exact=True).fill(KEYS["access-key-id"])
        page.get_by_role("button", name="Create").click()
        expect(page.get_by_label("id", exact=True)).to_have_attribute("aria-invalid", "true")
        expect(page.get_by_label("id", exact=True)).to_be_focused()
        expect(page.get_by_text("AwsAccount.secret-access-key is missing")).to_be_visible()
        page.get_by_label("id", exact=True).fill("my-minio")
        page.get_by_label("secret-access-key", exact=True).fill(SECRET)
        page.get_by_role("button", name="Create").click()
        page.get_by_text("AwsAccount/my-minio is stored").wait_for()

    account = stored(signer, "/AwsAccount/my-minio")
    assert (account["host"], account["path-style"], account["use-ssl"]) == ("127.0.0.1:9000", True, False)


def test_the_fields_have_the_help_of_the_api_document(visit, signer):
    rule = stored(signer, "/openapi.json")["components"]["schemas"]["AwsAccountWithId"]["properties"]["host"]
    with visit("accounts?id=") as page:
        field = page.get_by_label("host", exact=True)
        field.wait_for()
        help_id = field.get_attribute("aria-describedby").split()[0]

        assert page.locator(f"[id='{help_id}']").inner_text() == rule["description"]


def test_an_edit_keeps_the_secret_which_the_page_never_has(visit, signer):
    signer.put("AwsAccount", id="edited", **KEYS, **{"session-token": "a-session-token-of-a-test"})
    with visit("accounts?id=edited") as page:
        answers = []
        page.on("response", lambda answer: answers.append(answer.text()) if "AwsAccount" in answer.url else None)
        page.get_by_label("region", exact=True).fill("eu-central-1")
        page.get_by_label("Remove the stored session-token").check()
        assert page.get_by_label("secret-access-key", exact=True).input_value() == ""
        page.get_by_role("button", name="Save").click()
        page.get_by_text("AwsAccount/edited is stored").wait_for()

        assert SECRET not in "".join(answers) + page.content()
    account = stored(signer, "/AwsAccount/edited")
    assert account["region"] == "eu-central-1"
    assert "_secret-access-key" in account
    assert "_session-token" not in account


def test_an_edit_does_not_undo_the_change_of_someone_else(visit, signer):
    signer.put("AwsAccount", id="shared", **KEYS)
    with visit("accounts?id=shared") as page:
        page.get_by_label("region", exact=True).fill("eu-west-1")
        signer.put("AwsAccount", id="shared", **KEYS, **{"max-size": 1000})
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_role("alert")).to_contain_text("Somebody else has changed shared")
        expect(page.get_by_label("region", exact=True)).to_have_value("eu-west-1")
        page.get_by_role("button", name="Load the stored version").click()
        expect(page.get_by_label("max-size", exact=True)).to_have_value("1000")

    assert "region" not in stored(signer, "/AwsAccount/shared")


def test_a_deletion_names_what_it_deletes_and_can_be_cancelled(visit, signer):
    signer.put("AwsAccount", id="deleted", **KEYS)
    with visit("accounts?find=deleted") as page:
        page.get_by_role("button", name="Delete deleted").click()
        expect(page.get_by_role("dialog")).to_contain_text("Delete AwsAccount/deleted?")
        page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
        assert signer.get("/AwsAccount/deleted").status_code == 200
        page.get_by_role("button", name="Delete deleted").click()
        page.get_by_role("dialog").get_by_role("button", name="Delete deleted").click()
        page.get_by_text("AwsAccount/deleted is deleted").wait_for()
        expect(page.get_by_text("No id begins with deleted")).to_be_visible()

    assert signer.get("/AwsAccount/deleted").status_code == 404


def test_many_accounts_have_pages_and_are_found_by_the_beginning_of_their_id(visit):
    with visit("accounts?find=many-") as page:
        expect(page.get_by_role("status").first).to_have_text(f"1 to 50 of {COUNT} that begin with many-")
        page.get_by_role("button", name="Next").click()
        expect(page.get_by_role("link", name="many-050")).to_be_visible()
        page.get_by_role("button", name="Next").click()
        expect(page.get_by_role("button", name="Next")).to_be_disabled()
        expect(page.get_by_role("row")).to_have_count(COUNT - 100 + 1)
        page.get_by_role("searchbox").fill("many-07")
        page.get_by_role("searchbox").press("Enter")
        expect(page.get_by_role("status").first).to_have_text("1 to 10 of 10 that begin with many-07")

        assert page.get_by_role("row").nth(1).get_by_role("link").inner_text() == "many-070"


def test_an_account_is_checked_beside_it(visit):
    with visit("accounts?find=many-000") as page:
        page.get_by_role("button", name="Check many-000").click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_role("button", name="Check").click()
        expect(dialog.get_by_label("bucket")).to_have_attribute("aria-invalid", "true")
        dialog.get_by_label("bucket").fill("my-bucket")
        dialog.get_by_role("button", name="Check").click()
        expect(dialog.get_by_role("listitem").filter(has_text="credentials")).to_contain_text("pass")
        dialog.get_by_role("button", name="Close").click()
        expect(page.get_by_role("dialog")).to_have_count(0)


def test_a_client_gets_a_secret_that_is_shown_once_and_a_rotation_replaces_it(visit, signer):
    with visit("clients?id=") as page:
        page.get_by_label("id", exact=True).fill("generated")
        page.get_by_label("basic").check()
        page.get_by_role("button", name="Create").click()
        first = page.locator(".command code").inner_text()
        page.get_by_role("link", name="Done").click()
        page.get_by_role("button", name="Rotate the secret of generated").click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("previous-valid-for").fill("0")
        dialog.get_by_role("button", name="Rotate").click()
        second = dialog.locator(".command code").inner_text()

    statuses = [
        requests.get(f"{signer.url}/$version", auth=("generated", secret), timeout=10).status_code
        for secret in (first, second)
    ]
    # The new secret is known, and nothing is allowed to it.
    assert statuses == [401, 403]


def test_a_policy_is_edited_and_a_described_request_is_explained(visit, signer):
    with visit("policies") as page:
        panel = page.get_by_role("region", name="Try out a request")
        panel.get_by_label("client").fill('{"id": "uploader"}')
        panel.get_by_label("params").fill('{"key": "elsewhere/a"}')
        panel.get_by_role("button", name="Explain").click()
        expect(panel.get_by_text("Denied: no policy allows this request.")).to_be_visible()
        expect(panel.get_by_role("row").filter(has_text="uploads")).to_contain_text("params.key")
        panel.get_by_label("params").fill("{")
        panel.get_by_role("button", name="Explain").click()
        expect(panel.get_by_text("This is no JSON")).to_be_visible()
        panel.get_by_label("params").fill('{"key": "inbox/a"}')
        panel.get_by_role("button", name="Explain").click()
        expect(panel.get_by_text("Allowed by uploads")).to_be_visible()
        panel.get_by_role("link", name="uploads").click()
        page.get_by_label("max-expiration").fill("60")
        page.get_by_role("button", name="Save").click()
        page.get_by_text("AccessPolicy/uploads is stored").wait_for()

    policy = stored(signer, "/AccessPolicy/uploads")
    assert (policy["max-expiration"], policy["matcho"]["params"]) == (60, {"key": "#^inbox/"})


@pytest.mark.parametrize("view", ["accounts", "clients", "policies", "accounts?id=many-000"])
def test_a_caller_without_a_policy_reads_why_nothing_is_shown(visit, view):
    with visit(view, client="uploader", secret=CLIENT_SECRET) as page:
        expect(page.get_by_role("alert")).to_contain_text("Sign in as a caller who may do this")


@pytest.mark.parametrize(("theme", "width"), [("dark", 360), ("light", 1440)])
def test_no_view_has_a_fault_that_axe_knows(visit, signer, theme, width):
    options = {"color_scheme": theme, "viewport": {"width": width, "height": 900}, "reduced_motion": "reduce"}
    with visit("accounts?find=many-00", **options) as page:
        for view, ready in (
            ("accounts?find=many-00", page.get_by_role("button", name="Check many-000")),
            ("accounts?id=", page.get_by_role("button", name="Create")),
            ("accounts?id=many-000", page.get_by_role("button", name="Save")),
            ("clients", page.get_by_role("button", name="Rotate the secret of uploader")),
            ("policies", page.get_by_role("button", name="Explain")),
            ("policies?id=uploads", page.get_by_role("button", name="Save")),
        ):
            page.goto(f"{signer.url}/#/{view}")
            ready.wait_for()
            check(page, view)
        page.goto(f"{signer.url}/#/accounts?find=many-00")
        page.get_by_role("button", name="Check many-000").click()
        page.get_by_role("dialog").get_by_label("bucket").fill("my-bucket")
        page.get_by_role("dialog").get_by_role("button", name="Check").click()
        page.get_by_role("dialog").get_by_role("listitem").first.wait_for()
        check(page, "a check")


def check(page, state):
    found = Axe().run(page)
    assert found.violations_count == 0, f"{state}\n{found.generate_report()}"
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"), state


def test_a_form_is_filled_with_the_keyboard_alone(visit, signer):
    with visit("accounts?id=") as page:
        page.get_by_label("id", exact=True).focus()
        for text in ("typed", KEYS["access-key-id"], SECRET):
            page.keyboard.type(text)
            page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        page.get_by_text("AwsAccount/typed is stored").wait_for()
        expect(page).to_have_url(re.compile("#/accounts$"))

    assert stored(signer, "/AwsAccount/typed")["access-key-id"] == KEYS["access-key-id"]
