"""The console's modules that need no page, in node."""

import subprocess
from pathlib import Path

import pytest
from support.tools import tool

pytestmark = pytest.mark.heavy

FILE = Path(__file__).with_name("console.test.mjs")
SECONDS = 60


def test_the_modules_of_the_console_do_what_their_own_tests_say():
    node = tool("node", package="nodejs")
    done = subprocess.run(
        [node, "--test", "--test-reporter=tap", FILE], capture_output=True, text=True, timeout=SECONDS, check=False
    )

    assert done.returncode == 0, done.stdout[-4000:]
    assert "# pass 0" not in done.stdout
