"""Targets of the Makefile, with the Python that runs the tests."""

import subprocess
import sys
from pathlib import Path

from documents import ROOT

from support.tools import tool


def made(target):
    """Make a target, and return the directory in `build` that has its name."""
    make = tool("make", package="make")
    done = subprocess.run(
        [make, target, "STAMP=", f"BIN={Path(sys.executable).parent}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return ROOT / "build" / target
