"""The documentation as a site: it builds without a warning, and needs no other host."""

import re
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from documents import ROOT
from support.make import made

pytestmark = pytest.mark.heavy

# What a browser loads by itself; links lead where they like.
LOADED = re.compile(
    r"""<(?:script|img|iframe|link(?=[^>]*stylesheet|[^>]*preload))[^>]*?(?:src|href)=["']?(https?:)?//"""
)


@pytest.fixture(scope="module")
def site():
    return made("site")


def test_each_page_is_on_the_site(site):
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    made = {page.relative_to(ROOT) for page in pages if (site / page.relative_to(ROOT)).with_suffix(".html").exists()}
    indexes = {page.relative_to(ROOT) for page in pages if page.name == "README.md"}

    assert {page.relative_to(ROOT) for page in pages} - made == indexes
    assert all((site / page.with_name("index.html")).exists() for page in indexes)


def test_the_site_loads_nothing_from_other_hosts(site):
    loaded = [
        f"{page.name}: {found[0]}" for page in site.rglob("*.html") for found in LOADED.finditer(page.read_text())
    ]

    assert loaded == []
    assert "url(http" not in "".join(style.read_text() for style in site.rglob("*.css"))


def test_each_block_of_a_page_is_a_block_of_the_site(site):
    for page in [*(ROOT / "docs").rglob("*.md"), ROOT / "README.md"]:
        made = (site / page.relative_to(ROOT)).with_suffix(".html")
        made = made.with_name("index.html") if page.name == "README.md" else made
        fences = len(re.findall("^ *```", page.read_text(encoding="utf-8"), re.MULTILINE))
        assert made.read_text(encoding="utf-8").count("<pre>") == fences // 2, page


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        """Print nothing."""


@pytest.mark.parametrize(
    ("words", "page_name"),
    [
        ("SignatureDoesNotMatch", "debug-signature-does-not-match"),
        ("CORS", "upload-from-a-browser"),
        ("policy language", "access"),
        ("rotate keys", "rotation"),
    ],
)
def test_a_reader_finds_a_page_by_the_search_without_another_host(site, browser, words, page_name):
    asked = []
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=site)) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        own = f"http://127.0.0.1:{server.server_port}/"
        page = browser.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.goto(own)
        # The search reads the words when a key goes up; it misses a fill() that comes after the index is loaded.
        page.locator("[data-md-component=search-query]").press_sequentially(words)
        page.locator(".md-search-result__link").first.click()
        page.wait_for_url(f"**/docs/**/{page_name}.html*")
        page.close()
        server.shutdown()

    assert [url for url in asked if not url.startswith(own)] == []
