"""A browser that is installed."""

import subprocess

import pytest
from support.tools import tool

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
    "--virtual-time-budget=10000",
)
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
