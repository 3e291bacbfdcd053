"""The console in a browser, against the running service and a real S3 server that allows CORS."""

import hashlib
import json
import re
from urllib.parse import quote

import pytest
from documents import blocks
from playwright.sync_api import expect
from support.console import bucket_with_cors, console_page, run

pytestmark = pytest.mark.timeout(300)  # the first test may install the server

LARGE = bytes(range(256)) * 80_000  # 20 MB
ACCOUNT = "console"


@pytest.fixture(scope="module")
def bucket(ministack):
    return bucket_with_cors(ministack, "console")


@pytest.fixture(scope="module")
def storage(signer, ministack, bucket):
    """The path of a bucket that pages may use."""
    signer.put_account(ministack.account(ACCOUNT))
    return f"/aws/storage/{ACCOUNT}/{bucket}"


@pytest.fixture
def page(browser, service, storage):
    with console_page(browser, f"{service.url}/#/requests", accept_downloads=True) as page:
        yield page


@pytest.fixture
def large_file(tmp_path):
    path = tmp_path / "large.bin"
    path.write_bytes(LARGE)
    return path


def slow_down(page, bytes_per_second):
    session = page.context.new_cdp_session(page)
    rates = {"downloadThroughput": -1, "uploadThroughput": bytes_per_second}
    session.send("Network.enable")
    session.send("Network.emulateNetworkConditions", {"offline": False, "latency": 0, **rates})


def choose(page, path):
    page.locator("input[type=file]").first.set_input_files(path)


def test_the_whole_tutorial_is_clicked_through(browser, service, ministack, bucket, tmp_path):
    (tmp_path / "hello.txt").write_text("Hello, S3")
    with console_page(browser, service.url) as page:
        page.get_by_text("My own S3").click()
        for name, text in {
            "account": "tutorial-account",
            "bucket": bucket,
            "access-key-id": ministack.access_key_id,
            "secret-access-key": ministack.secret_access_key,
            "region": ministack.region,
            "host": f"http://{ministack.http}",
        }.items():
            page.locator(f"input[name={name}]").fill(text)
        steps = page.locator(".step")
        for number in range(5):
            steps.nth(number).get_by_role("button", name="Run").click()
            expect(steps.nth(number).locator(".answer-head .badge")).to_contain_text(re.compile("200|201"))

        upload, download, delete = steps.nth(1), steps.nth(2), steps.nth(3)
        choose(upload, tmp_path / "hello.txt")
        expect(upload.get_by_text("hello.txt is on S3")).to_be_visible()
        download.get_by_role("button", name="Preview").click()
        expect(download.get_by_label("Preview of example.txt")).to_have_text("Hello, S3")
        delete.get_by_role("button", name="Delete", exact=True).click()
        page.get_by_role("dialog").get_by_role("button", name="Delete").click()
        expect(delete.get_by_text("S3 answers 204")).to_be_visible()
        download.get_by_role("button", name="Preview").click()
        expect(download.get_by_text("The object does not exist")).to_be_visible()


def test_the_tutorial_has_the_requests_of_the_specification_in_order(browser, service):
    with console_page(browser, service.url) as page:
        page.locator("textarea").first.wait_for()
        shown = [area.input_value() for area in page.locator("textarea").all()]

    assert [text.split("\n")[0] for text in shown] == [
        "PUT /AwsAccount",
        "POST /aws/storage/my-account/aidboxtestbucket",
        "GET /aws/storage/my-account/aidboxtestbucket/example.txt",
        "DELETE /aws/storage/my-account/aidboxtestbucket/example.txt",
        "GET /aws/storage/my-account/aidboxtestbucket/example.txt?expiration=43200",
        "PUT /AwsAccount/my-minio",
    ]


def test_the_keys_of_the_local_s3_are_those_of_the_page_on_it(browser, service):
    with console_page(browser, service.url) as page:
        page.get_by_text("Local S3", exact=True).click()
        account = page.locator("textarea").first.input_value()
    (stored,) = [text for _, text in blocks("docs/tutorial.md") if "/AwsAccount/tutorial" in text]

    for line in account.splitlines()[3:]:
        assert line in stored


def test_a_large_file_goes_up_in_parts_with_progress_and_comes_down_as_it_was(page, storage, large_file):
    run(page, f"POST {storage}\n\nfilename: large é.bin")
    shown = page.evaluate_handle(
        """() => {
          const seen = [];
          new MutationObserver(() => {
            const bar = document.querySelector("progress");
            if (bar) seen.push(bar.value);
          }).observe(document.body, {subtree: true, childList: true, characterData: true});
          return seen;
        }"""
    )
    with page.expect_request(lambda request: "partNumber=2" in request.url):
        choose(page, large_file)
    expect(page.get_by_text("large.bin is on S3")).to_be_visible()
    seen = shown.json_value()
    page.get_by_role("button", name="Get a download URL").click()
    with page.expect_download() as started:
        page.get_by_role("button", name="Save").click()

    assert any(0 < value < len(LARGE) for value in seen)
    assert hashlib.sha256(started.value.path().read_bytes()).digest() == hashlib.sha256(LARGE).digest()
    assert started.value.suggested_filename == "large é.bin"


def test_a_cancelled_upload_goes_on_where_it_was_after_a_reload_of_the_page(page, storage, large_file):
    run(page, f"POST {storage}\n\nfilename: cancelled.bin")
    slow_down(page, 8_000_000)
    with page.expect_response(lambda response: "partNumber=" in response.url and response.status == 200):
        choose(page, large_file)
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("the upload can go on")).to_be_visible()
    page.reload()
    run(page, f"POST {storage}\n\nfilename: cancelled.bin")
    sent = []
    page.on("request", lambda request: sent.append(request.url) if "partNumber=" in request.url else None)
    slow_down(page, -1)
    choose(page, large_file)
    expect(page.get_by_text("large.bin is on S3")).to_be_visible()

    puts = {re.search("partNumber=([0-9]+)", url)[1] for url in sent}
    assert len(puts) < 3


def test_the_parts_of_a_cancelled_upload_can_be_discarded(page, storage, large_file):
    run(page, f"POST {storage}\n\nfilename: discarded.bin")
    slow_down(page, 4_000_000)
    with page.expect_request(lambda request: "partNumber=" in request.url):
        choose(page, large_file)
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Discard the parts").click()
    expect(page.get_by_text("The parts are deleted")).to_be_visible()

    assert page.evaluate("localStorage.getItem('s3-signer.uploads')") == "{}"


def test_an_upload_sends_the_headers_that_its_url_binds(page, storage, tmp_path):
    (tmp_path / "five.csv").write_text("a,b\n1")
    (tmp_path / "six.csv").write_text("a,b\n12")
    run(
        page, f"POST {storage}\n\nfilename: bound.csv\ncontent-type: text/csv\ncontent-length: 5\nmetadata:\n  owner: a"
    )
    choose(page, tmp_path / "six.csv")
    expect(page.get_by_text("a file of exactly 5 bytes")).to_be_visible()
    choose(page, tmp_path / "five.csv")
    expect(page.get_by_text("five.csv is on S3")).to_be_visible()


def test_a_form_uploads_a_file_under_its_name_and_refuses_a_large_one(page, storage, signer, ministack, tmp_path):
    (tmp_path / "five é.txt").write_text("12345")
    (tmp_path / "six.txt").write_text("123456")
    run(page, f"POST {storage}/$upload-form\n\nstarts-with: inbox/\nmax-size: 5\ncontent-type: text/plain")
    card = page.get_by_role("region", name="Upload a file with the form")
    expect(card).to_contain_text("S3 stores it as inbox/${filename}")
    choose(page, tmp_path / "six.txt")
    expect(card.locator(".failure")).to_have_attribute("data-cause", "EntityTooLarge")
    choose(page, tmp_path / "five é.txt")
    expect(card.get_by_text("five é.txt is on S3")).to_be_visible()
    card.get_by_role("button", name="Get a download URL").click()
    card.get_by_role("button", name="Preview").click()
    expect(card.get_by_label("Preview of inbox/five é.txt")).to_have_text("12345")
    url = signer.signed_url("GET", f"{storage.removeprefix('/aws/storage/')}/inbox/five%20%C3%A9.txt")

    assert ministack.send(url, "GET").headers["content-type"] == "text/plain"


def test_a_form_is_asked_for_again_in_any_notation(page, storage, tmp_path):
    (tmp_path / "a.txt").write_text("a")
    run(page, f'POST {storage}/$upload-form?expiration=60\n\n{{"filename": "form.txt"}}')
    choose(page, tmp_path / "a.txt")
    expect(page.get_by_text("a.txt is on S3")).to_be_visible()
    run(page, f"POST {storage}/$upload-form\n\nfilename: ''")

    expect(page.get_by_role("region", name="Upload a file with the form")).to_have_count(0)


@pytest.mark.parametrize("query", ["", "?details=true", "?_format=yaml&expiration=60"])
def test_a_copied_command_has_the_headers_that_its_url_binds(page, storage, query):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    run(page, f"POST {storage}{query}\n\nfilename: bound.csv\ncontent-type: text/csv")
    page.get_by_role("button", name="Copy as curl").click()
    expect(page.get_by_text("Copied")).to_be_visible()

    assert "-H 'content-type: text/csv'" in page.evaluate("navigator.clipboard.readText()")


def test_a_key_that_is_written_in_an_unusual_way_is_not_guessed(page, storage, signer, ministack, large_file):
    run(page, f"POST {storage}\n\nfilename: >-\n  folded\n  key.bin")
    choose(page, large_file)
    expect(page.get_by_text("large.bin is on S3")).to_be_visible()
    url = signer.signed_url("GET", f"{storage.removeprefix('/aws/storage/')}/folded%20key.bin")

    assert ministack.send(url, "GET").body == LARGE


def test_an_upload_goes_on_in_another_view(page, storage, large_file):
    run(page, f"POST {storage}\n\nfilename: background.bin")
    choose(page, large_file)
    page.get_by_role("link", name="History").click()
    expect(page.locator(".toast.success")).to_contain_text("large.bin is on S3")


@pytest.mark.parametrize(
    ("name", "content", "shown"),
    [
        ("page.html", b"<script>document.title = 'run'</script>", "pre"),
        (
            "dot.svg",
            b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'><script>alert(1)</script></svg>",
            "img",
        ),
        ("empty.txt", b"", "pre"),
        ("data.bin", b"\0\1\2", "p.notice"),
    ],
)
def test_a_preview_runs_nothing_of_the_file(page, storage, signer, ministack, name, content, shown):
    url = signer.signed_url("POST", storage.removeprefix("/aws/storage/"), {"filename": name})
    assert ministack.send(url, "PUT", content, {}).status == 200
    run(page, f"GET {storage}/{name}")
    page.get_by_role("button", name="Preview").click()
    expect(page.locator(f".preview-area {shown}").last).to_be_visible()

    assert page.title() == "Requests · s3-signer"


def test_a_listing_is_a_table_with_a_url_beside_each_object(page, storage, signer, ministack):
    for key in ("list/a b+é.txt", "list/deep/c.txt"):
        url = signer.signed_url("POST", storage.removeprefix("/aws/storage/"), {"filename": key})
        assert ministack.send(url, "PUT", b"listed", {}).status == 200
    run(page, f"GET {storage}?prefix=list/&delimiter=/")
    page.get_by_role("button", name="Show the objects").click()
    page.get_by_role("button", name="Sign list/a b+é.txt").click()
    page.get_by_role("button", name="Preview").click()
    expect(page.get_by_label("Preview of list/a b+é.txt")).to_have_text("listed")
    page.get_by_role("row", name="list/deep/").get_by_role("button", name="Open").click()
    expect(page.get_by_role("button", name="Sign list/deep/c.txt")).to_be_visible()


def test_a_bucket_without_a_cors_rule_is_explained(page, signer, ministack, tmp_path):
    signer.put_account(ministack.account("no-cors"))
    ministack.make_bucket("no-cors")
    (tmp_path / "a.txt").write_text("a")
    run(page, "POST /aws/storage/no-cors/no-cors\n\nfilename: a.txt")
    choose(page, tmp_path / "a.txt")
    failure = page.locator(".failure")
    expect(failure).to_have_attribute("data-cause", "cors")
    rule = json.loads(failure.locator("pre.code").first.inner_text())
    failure.get_by_role("button", name="Check the account").click()
    expect(failure.locator(".checks li").first).to_be_visible()
    expect(failure.get_by_text("S3 was not asked. Set SIGNER_LIVE_CHECK=true")).to_be_visible()

    assert rule["CORSRules"][0]["AllowedOrigins"] == [page.evaluate("location.origin")]


def test_a_server_that_does_not_answer_and_wrong_keys_are_explained(page, signer, ministack, bucket, tmp_path):
    (tmp_path / "a.txt").write_text("a")
    signer.put_account(ministack.account("nowhere") | {"host": "127.0.0.1:9"})
    signer.put_account(ministack.account("wrong") | {"secret-access-key": "another secret"})
    for account, cause in [("nowhere", "unreachable"), ("wrong", "SignatureDoesNotMatch")]:
        run(page, f"POST /aws/storage/{account}/{bucket}\n\nfilename: a.txt")
        choose(page, tmp_path / "a.txt")
        expect(page.locator(".failure")).to_have_attribute("data-cause", cause)


def test_the_browser_keeps_no_secret_and_no_signed_url(page, storage, ministack):
    run(page, f"PUT /AwsAccount/kept\n\naccess-key-id: AK\nsecret-access-key: {ministack.secret_access_key}")
    run(page, f"GET {storage}/example.txt")
    kept = page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}])")
    page.goto(page.url.split("#")[0] + "#/history")
    page.get_by_role("button", name="PUT /AwsAccount/kept").click()

    assert "AwsAccount/kept" in kept
    assert ministack.secret_access_key not in kept
    assert "X-Amz-" not in kept
    expect(page.get_by_role("textbox", name="Requests")).to_have_value(re.compile("secret-access-key: <secret>"))


def test_a_link_fills_the_editor_and_runs_nothing(browser, service):
    text = "DELETE /AwsAccount/my-account"
    with console_page(browser, f"{service.url}/#/requests?text={quote(text)}") as page:
        expect(page.get_by_role("textbox", name="Requests")).to_have_value(re.compile(text))
        expect(page.get_by_text("No answer yet")).to_be_visible()
