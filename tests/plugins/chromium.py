"""A browser that is installed."""

import subprocess

import pytest
from playwright.sync_api import sync_playwright
from support.tools import tool

# Without the last three, the browser asks its maker's servers at every start.
PLAYWRIGHT_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
FLAGS = (*PLAYWRIGHT_FLAGS, "--headless", "--enable-logging=stderr", "--virtual-time-budget=10000")
SECONDS = 60


@pytest.fixture(scope="session")
def chromium():
    """The path of the browser."""
    return tool("chromium", "chromium-browser", "google-chrome", package="chromium")


@pytest.fixture
def browse(chromium, tmp_path):
    """What a page is in the end, and what its console says."""

    def visit(url):
        done = subprocess.run(
            [chromium, *FLAGS, f"--user-data-dir={tmp_path}", "--dump-dom", url],
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=True,
        )
        return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]

    return visit


# Playwright runs an event loop in this thread while it is in use, and the tests of other files may need their own.
@pytest.fixture(scope="module")
def browser(chromium):
    """Debian's browser, driven by Playwright: `with browser.new_context() as context: page = context.new_page()`."""
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=[*PLAYWRIGHT_FLAGS])
        yield running
        running.close()
