"""A screenshot of each state of the console, in build/shots: ``make shots``. People look at them."""

import re

import pytest
from documents import ROOT
from playwright.sync_api import expect
from support.console import answered, bucket_with_cors, console_page, run
from support.service import running

pytestmark = [pytest.mark.timeout(300), pytest.mark.long]

SHOTS = ROOT / "build" / "shots"
STORAGE = "/aws/storage/team-photos/holiday"
PICTURE = b"""<svg xmlns="http://www.w3.org/2000/svg" width="640" height="300">
<rect width="640" height="300" fill="#8ecae6"/><circle cx="520" cy="80" r="44" fill="#ffb703"/>
<path d="M0 300 190 110l120 120 90-80 240 150z" fill="#219ebc"/>
<path d="M0 300h640v-50c-200-40-400 30-640-10z" fill="#126782"/></svg>"""
DOCUMENT = f"""# A photo for the team
POST {STORAGE}

filename: beach.svg

# All photos of the year
GET {STORAGE}?prefix=2026/

# The link in the invitation, for a week
GET {STORAGE}/beach.svg?expiration=604800

DELETE {STORAGE}/old.jpg"""


@pytest.fixture(scope="module", autouse=True)
def photos(signer, ministack):
    SHOTS.mkdir(parents=True, exist_ok=True)
    bucket_with_cors(ministack, "holiday")
    ministack.make_bucket("private")
    signer.put_account(ministack.account("team-photos"))
    for key in ("beach.svg", "mountains.svg", "2026/packing list.txt"):
        url = signer.signed_url("POST", "team-photos/holiday", {"filename": key})
        ministack.send(url, "PUT", PICTURE, {"Content-Type": "image/svg+xml"})


@pytest.fixture(params=["360-light", "360-dark", "1280-light", "1280-dark"])
def look(request):
    return request.param


@pytest.fixture
def options(look):
    width, theme = look.split("-")
    return {"color_scheme": theme, "viewport": {"width": int(width), "height": 800}, "reduced_motion": "reduce"}


@pytest.fixture
def page(browser, service, options):
    with console_page(browser, f"{service.url}/#/requests", **options) as page:
        page.get_by_role("textbox", name="Requests").wait_for()
        yield page


@pytest.fixture
def shoot(look):
    def shoot(page, name):
        page.wait_for_timeout(150)
        page.screenshot(path=SHOTS / f"{name}-{look}.png")

    return shoot


def test_the_first_steps(browser, service, options, shoot):
    with console_page(browser, f"{service.url}/#/history", **options) as page:
        page.get_by_text("No requests yet").wait_for()
        shoot(page, "history-empty")
        page.get_by_role("button", name="Open the tutorial").click()
        for choice in ("Example keys", "Local S3", "My own S3"):
            page.get_by_text(choice, exact=True).click()
            shoot(page, f"tutorial-{choice.split()[0].lower()}")


def test_transfers(page, shoot, tmp_path):
    (tmp_path / "beach.mov").write_bytes(bytes(40_000_000))
    (tmp_path / "beach.svg").write_bytes(PICTURE)
    run(page, f"POST {STORAGE}\n\nfilename: beach.mov")
    shoot(page, "drop")
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    conditions = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 6_000_000}
    session.send("Network.emulateNetworkConditions", conditions)
    page.locator("input[type=file]").set_input_files(tmp_path / "beach.mov")
    expect(page.locator(".progress")).to_contain_text(re.compile("[3-9][0-9] %"), timeout=20_000)
    shoot(page, "progress")
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Resume").wait_for()
    shoot(page, "cancelled")
    session.send("Network.emulateNetworkConditions", conditions | {"uploadThroughput": -1})
    page.get_by_role("textbox", name="Requests").fill(DOCUMENT)
    page.get_by_role("button", name=f"Run POST {STORAGE}").click()
    answered(page)
    page.locator("input[type=file]").set_input_files(tmp_path / "beach.svg")
    page.get_by_role("button", name="Get a download URL").click()
    page.get_by_role("button", name="Preview").click()
    page.locator("img.preview").wait_for()
    page.evaluate("document.activeElement.blur()")
    shoot(page, "upload")
    run(page, f"GET {STORAGE}")
    page.get_by_role("button", name="Show the objects").click()
    page.get_by_role("table").wait_for()
    shoot(page, "listing")


def test_faults_and_questions(page, service, shoot, tmp_path):
    (tmp_path / "beach.svg").write_bytes(PICTURE)
    shoot(page, "requests-empty")
    run(page, f"DELETE {STORAGE}/beach.mov")
    page.get_by_role("button", name="Delete", exact=True).click()
    shoot(page, "delete")
    page.keyboard.press("Escape")
    run(page, "POST /aws/storage/team-photos/private\n\nfilename: beach.svg")
    page.locator("input[type=file]").set_input_files(tmp_path / "beach.svg")
    page.locator(".failure").wait_for()
    shoot(page, "cors")
    run(page, "PUT /AwsAccount/team-photos\n\npath_style: yes")
    shoot(page, "error")
    page.get_by_role("textbox", name="Requests").fill("")
    page.get_by_role("textbox", name="Requests").press_sequentially("GET /aws/")
    shoot(page, "completion")
    page.goto(f"{service.url}/#/history")
    page.locator(".history li").first.wait_for()
    shoot(page, "history")


def test_the_sign_in(browser, options, shoot):
    root = {"SIGNER_ROOT_CLIENT_ID": "root", "SIGNER_ROOT_CLIENT_SECRET": "correct-horse-battery-staple"}
    with running(**root) as process, console_page(browser, f"{process.url}/#/requests", **options) as page:
        page.get_by_role("button", name="Sign in").click()
        shoot(page, "sign-in")


def test_resources(browser, service, options, shoot):
    views = {
        "accounts": "Check team-photos",
        "accounts?id=": "Create",
        "accounts?id=team-photos": "Save",
        "clients": "Add a Client",
        "policies": "Explain",
    }
    with console_page(browser, f"{service.url}/#/accounts", **options) as page:
        for view, button in views.items():
            page.goto(f"{service.url}/#/{view}")
            page.get_by_role("button", name=button).first.wait_for()
            shoot(page, re.sub("[?=]+", "-", view).strip("-"))
