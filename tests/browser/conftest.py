"""A browser: what is installed, or Debian's, installed where that is possible."""

import os
import shutil
import subprocess

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
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


def _installed():
    return next(filter(None, map(shutil.which, NAMES)), None)


def _install():
    if os.geteuid() == 0 and shutil.which("apt-get"):
        for arguments in (("update", "-qq"), ("install", "-qq", "-y", "--no-install-recommends", "chromium")):
            subprocess.run(["apt-get", *arguments], check=False, capture_output=True, timeout=300)
    return _installed()


@pytest.fixture(scope="session")
def chromium():
    """Its path."""
    if found := _installed() or _install():
        return found
    missing = "chromium is needed; on Debian: apt-get install chromium"
    if os.environ.get("CI") == "true":
        pytest.fail(missing)
    return pytest.skip(missing)


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
