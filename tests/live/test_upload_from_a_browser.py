"""The pages of the guide on uploads from a browser, as it prints them, with Uppy from npm in Chromium."""

import asyncio
import hashlib
import json
import random
import re
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import chain, repeat
from pathlib import Path
from threading import Thread

import pytest
from aiohttp import ClientSession, encode_basic_auth
from documents import blocks, carry_out, examples
from live.raw_http import send
from playwright.sync_api import expect
from support import npm
from support.service import running
from support.waiting import eventually

pytestmark = pytest.mark.timeout(300)  # the first test may install the server and the packages

PAGE = "docs/how-to/upload-from-a-browser.md"
PACKAGES = Path(__file__).parent / "browser-uploads"
BUCKET = "my-bucket"
MIB = 1024 * 1024
# Slow enough to pause an upload of several parts before it ends, in bytes per second.
SLOW = 6 * MIB
UPLOAD_MS = 60_000


class Handler(SimpleHTTPRequestHandler):
    """Serves the pages, and gives a token to everyone."""

    def do_POST(self):
        answer = json.dumps({"access_token": next(self.server.tokens)}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        """Say nothing."""


class Site(ThreadingHTTPServer):
    """The site of the pages, in ``directory``."""

    def __init__(self, directory):
        super().__init__(("127.0.0.1", 0), partial(Handler, directory=directory))
        # A page of this name is a secure context, as one of https is.
        self.origin = f"http://localhost:{self.server_port}"
        self.tokens = iter(())
        Thread(target=self.serve_forever, daemon=True).start()


def printed(info):
    """The one block of the guide with this info string."""
    (block,) = (block for found, block in blocks(PAGE) if found == info)
    return block


@pytest.fixture(scope="module")
def s3(ministack):
    """A client of the S3 server itself, for what the service does not sign."""
    ministack.make_bucket(BUCKET)
    return ministack.client()


@pytest.fixture(scope="module")
def site(tmp_path_factory, ministack, s3):
    """The site with the pages of the guide, and a service and a bucket that are set up as the guide says."""
    directory = tmp_path_factory.mktemp("site")
    site = Site(directory)
    settings = dict(line.split("=", 1) for line in printed("sh settings").splitlines())
    with running(**{**settings, "SIGNER_CORS_ORIGINS": site.origin}) as service:
        root = {"Authorization": encode_basic_auth("root", settings["SIGNER_ROOT_CLIENT_SECRET"])}
        account = json.dumps(ministack.account("my-account")).encode()
        stored = send(f"{service.url}/AwsAccount", "PUT", account, {**root, "Content-Type": "application/json"})
        assert stored.status == 201
        # Playwright runs an event loop in this thread.
        with ThreadPoolExecutor(1) as thread:
            site.token = thread.submit(asyncio.run, set_up(service.url)).result()
        here = {"https://signer.example.com": service.url, "https://app.example.com": site.origin}
        rule = json.loads(in_place(printed("json cors.json"), here))
        s3.put_bucket_cors(Bucket=BUCKET, CORSConfiguration=rule)
        build(directory, here)
        site.service, site.root = service, root
        yield site
    site.shutdown()
    site.server_close()


async def set_up(url):
    """Send the requests of the guide, and return the token that it gets."""
    known = {}
    async with ClientSession(url) as client:
        for example in examples(PAGE):
            await carry_out(client, example, known)
    return known["<web-token>"]


def build(directory, here):
    """Write the pages, and bundle their scripts with the command of the guide."""
    (directory / "node_modules").symlink_to(npm.installed(PACKAGES) / "node_modules")
    script = printed("js upload.js")
    (line,) = re.findall("^const signRequest = .*\n", script, re.MULTILINE)
    scripts = {
        "guide": script,
        "limited": script.replace(line, printed("js limit")),
        # Its keys have a prefix that the Client may not use.
        "denied": script.replace("inbox/", "outbox/"),
    }
    for name, text in scripts.items():
        page = directory / name
        (page / "public").mkdir(parents=True)
        (page / "upload.js").write_text(in_place(text, here), encoding="utf-8")
        for file in ("index.html", "public/plain.html", "public/form.html"):
            html = printed(f"html {file.removeprefix('public/')}")
            (page / file).write_text(in_place(html, here), encoding="utf-8")
        subprocess.run(["sh", "-euc", printed("sh build")], cwd=page, capture_output=True, timeout=60, check=True)


def in_place(text, here):
    for documented, actual in here.items():
        text = text.replace(documented, actual)
    return text


@pytest.fixture
def page(browser, site):
    """A page of a new browser profile. Its script must end without an uncaught error."""
    site.tokens = repeat(site.token)
    errors = []
    with browser.new_context() as context:
        context.set_default_timeout(UPLOAD_MS)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        yield page
    assert errors == []


@pytest.fixture
def bucket(s3):
    """The bucket, emptied before the test."""
    bucket = Bucket(s3)
    for found in s3.list_objects_v2(Bucket=BUCKET).get("Contents", ()):
        s3.delete_object(Bucket=BUCKET, Key=found["Key"])
    for upload in bucket.uploads():
        s3.abort_multipart_upload(Bucket=BUCKET, **upload)
    return bucket


class Bucket:
    """What the bucket holds."""

    def __init__(self, s3):
        self.s3 = s3

    def the_object(self):
        """Key, content type and SHA-256 of the only object."""
        (found,) = self.s3.list_objects_v2(Bucket=BUCKET)["Contents"]
        kept = self.s3.get_object(Bucket=BUCKET, Key=found["Key"])
        return found["Key"], kept["ContentType"], hashlib.sha256(kept["Body"].read()).hexdigest()

    def is_empty(self):
        return "Contents" not in self.s3.list_objects_v2(Bucket=BUCKET)

    def uploads(self):
        """The key and the id of each open upload in parts."""
        found = self.s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads", ())
        return [{"Key": upload["Key"], "UploadId": upload["UploadId"]} for upload in found]

    def parts(self):
        """How many parts the open upload has."""
        return sum(len(self.s3.list_parts(Bucket=BUCKET, **upload).get("Parts", ())) for upload in self.uploads())


def make_file(path, size):
    """Write bytes of which no two parts are equal. Return their SHA-256."""
    content = random.Random(size).randbytes(size)  # noqa: S311 - no secret
    path.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def choose(page, path):
    page.locator(".uppy-Dashboard-input").first.set_input_files(path)


def click(page, name):
    page.locator(".uppy-Dashboard").get_by_role("button", name=name, exact=True).last.click()


def start(page):
    page.locator(".uppy-StatusBar-actionBtn--upload").click()


def retry(page, bucket):
    """Click as a person does, who clicks again if nothing happens: on a busy machine, the page may miss a click."""
    for _ in range(3):
        click(page, "Retry upload")
        if eventually(lambda: bucket.uploads() or not bucket.is_empty(), seconds=5):
            return


def expect_complete(page):
    expect(page.locator(".uppy-StatusBar.is-complete")).to_be_visible(timeout=UPLOAD_MS)


@contextmanager
def slow_network(page):
    """Limit the speed of the page's uploads."""
    session = page.context.new_cdp_session(page)
    limits = {"offline": False, "latency": 0, "downloadThroughput": -1}
    session.send("Network.emulateNetworkConditions", {**limits, "uploadThroughput": SLOW})
    yield
    session.send("Network.emulateNetworkConditions", {**limits, "uploadThroughput": -1})


def test_a_small_file_is_uploaded_with_its_type_and_an_ended_token_is_replaced(page, site, bucket, tmp_path):
    digest = make_file(tmp_path / "a photo é.png", 70_000)
    site.tokens = chain(["ended"], repeat(site.token))
    page.goto(f"{site.origin}/guide/public/")
    choose(page, tmp_path / "a photo é.png")
    start(page)
    expect_complete(page)
    key, content_type, kept = bucket.the_object()

    assert re.fullmatch("inbox/[0-9a-f-]{36}/a photo é.png", key)
    assert (content_type, kept) == ("image/png", digest)


def test_a_large_file_is_paused_and_resumed_also_after_a_reload(page, site, bucket, tmp_path):
    file = tmp_path / "video.mp4"
    digest = make_file(file, 100 * MIB)
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{site.origin}/guide/public/")
    with slow_network(page):
        choose(page, file)
        start(page)
        assert eventually(lambda: bucket.parts() >= 2)
        click(page, "Pause")
        paused = bucket.parts()
        opened = bucket.uploads()
        click(page, "Resume")
        assert eventually(lambda: bucket.parts() > paused)
        page.reload()
    kept = bucket.parts()
    # The browser does not keep a file of this size, so the person chooses it again.
    click(page, "Re-select")
    choose(page, file)
    start(page)
    expect_complete(page)
    key, content_type, stored = bucket.the_object()

    to_s3 = [url for url in asked if "X-Amz-Signature" in url]
    assert 2 <= paused < kept < 13
    # Thus a URL cannot expire during a pause.
    assert sum(url.endswith("$sign-request") for url in asked) >= len(to_s3) >= 15
    assert [upload["Key"] for upload in opened] == [key]
    assert (content_type, stored) == ("video/mp4", digest)
    assert bucket.uploads() == []


def test_a_cancelled_upload_leaves_no_object_and_no_parts(page, site, bucket, tmp_path):
    make_file(tmp_path / "video.mp4", 60 * MIB)
    page.goto(f"{site.origin}/guide/public/")
    with slow_network(page):
        choose(page, tmp_path / "video.mp4")
        start(page)
        assert eventually(lambda: bucket.parts() >= 1)
        click(page, "Cancel")
        assert eventually(lambda: not bucket.uploads())

    assert bucket.is_empty()


def test_an_upload_begins_again_when_its_parts_are_gone(page, site, s3, bucket, tmp_path):
    digest = make_file(tmp_path / "video.mp4", 40 * MIB)
    page.goto(f"{site.origin}/guide/public/")
    with slow_network(page):
        choose(page, tmp_path / "video.mp4")
        start(page)
        assert eventually(lambda: bucket.parts() >= 1)
        click(page, "Pause")
    (upload,) = bucket.uploads()
    s3.abort_multipart_upload(Bucket=BUCKET, **upload)
    click(page, "Resume")
    expect(page.locator(".uppy-StatusBar-statusPrimary")).to_contain_text("Upload failed")
    retry(page, bucket)
    expect_complete(page)

    assert bucket.the_object()[1:] == ("video/mp4", digest)


@pytest.mark.parametrize("size", [1000, 21 * MIB], ids=["one-put", "parts"])
def test_the_page_shows_why_a_key_is_denied(page, site, bucket, tmp_path, size):
    make_file(tmp_path / "photo.png", size)
    page.goto(f"{site.origin}/denied/public/")
    choose(page, tmp_path / "photo.png")
    start(page)
    expect(page.get_by_text("The caller may not do this; no access policy allows it", exact=True).first).to_be_visible()

    assert bucket.is_empty()
    assert bucket.uploads() == []


@pytest.mark.parametrize(
    ("method", "path", "fields"),
    [
        ("POST", "?expiration=60", {"filename": "inbox/x", "acl": "public-read"}),
        ("POST", "/$sign-request", {"method": "DELETE", "key": "inbox/x"}),
        ("POST", "/$sign-request", {"method": "PUT", "key": "inbox/x", "expiresIn": 901}),
        ("GET", "/inbox/x?expiration=60", None),
        ("GET", "?prefix=inbox/&expiration=60", None),
    ],
    ids=str,
)
def test_the_token_of_the_page_signs_nothing_else(site, method, path, fields):
    headers = {"Authorization": f"Bearer {site.token}", "Content-Type": "application/json"}
    url = f"{site.service.url}/aws/storage/my-account/{BUCKET}{path}"
    content = None if fields is None else json.dumps(fields).encode()

    assert send(url, method, content, headers).status == 403


@pytest.fixture(scope="module")
def forms(site):
    """Allow the Client of the pages to upload with forms."""
    form = {"params": {"operation": "form", "account": "my-account", "bucket": BUCKET, "key": "#^inbox/"}}
    policy = {"link": [{"reference": "Client/web-uploads"}], "engine": "matcho", "matcho": form}
    headers = {**site.root, "Content-Type": "application/json"}
    answer = send(f"{site.service.url}/AccessPolicy/web-forms", "PUT", json.dumps(policy).encode(), headers)
    assert answer.status == 201


def test_a_page_that_limits_the_size_sends_a_form(page, site, forms, bucket, tmp_path):
    digest = make_file(tmp_path / "photo.png", 70_000)
    methods = []
    page.on("request", lambda request: methods.append(request.method))
    page.goto(f"{site.origin}/limited/public/")
    choose(page, tmp_path / "photo.png")
    start(page)
    expect_complete(page)

    assert bucket.the_object()[1:] == ("image/png", digest)
    assert "PUT" not in methods


@pytest.mark.parametrize("name", ["plain", "form"])
def test_a_page_without_a_library_uploads_a_file(page, site, forms, bucket, tmp_path, name):
    digest = make_file(tmp_path / "photo.png", 70_000)
    page.goto(f"{site.origin}/guide/public/{name}.html")
    page.locator("input").set_input_files(tmp_path / "photo.png")
    expect(page.get_by_role("status")).to_have_text("Uploaded")
    key, content_type, kept = bucket.the_object()

    assert re.fullmatch("inbox/[0-9a-f-]{36}/photo.png", key)
    assert (content_type, kept) == ("image/png", digest)


def listens(port):
    with suppress(OSError), socket.create_connection(("localhost", port), timeout=1):
        return True
    return False


def test_the_site_of_the_guide_gives_a_token_and_serves_the_page(site, tmp_path, unused_tcp_port):
    (tmp_path / "plain.html").write_text(printed("html plain.html"), encoding="utf-8")
    here = {"https://signer.example.com": site.service.url, "3000": str(unused_tcp_port)}
    url = f"http://localhost:{unused_tcp_port}"
    command = [sys.executable, "-c", in_place(printed("python site.py"), here)]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL) as process:
        try:
            assert eventually(lambda: listens(unused_tcp_port))
            page = send(f"{url}/plain.html", "GET")
            token = send(f"{url}/upload-token", "POST", b"")
        finally:
            process.kill()

    assert page.status == 200
    assert json.loads(token.body).keys() == {"access_token", "token_type", "expires_in"}


def test_the_guide_installs_the_packages_that_are_tested():
    packages = json.loads((PACKAGES / "package.json").read_text(encoding="utf-8"))["dependencies"]

    assert {*printed("sh install").split()[2:]} == {*packages}
