"""Packages from npm that `package-lock.json` of a directory pins, kept between runs under .cache/npm."""

import fcntl
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from support.tools import missing, tool

CACHE = Path(__file__).parents[2] / ".cache" / "npm"
# Minutes of a slow network, yet less than the tests' own time-out.
INSTALL_SECONDS = 240
BUNDLE_SECONDS = 60
FILES = ("package.json", "package-lock.json")


def installed(directory):
    """Return the directory whose `node_modules` holds exactly what the lock file in ``directory`` pins.

    Write lock files with `npm install --package-lock-only --omit-lockfile-registry-resolved`: they name no host then.
    """
    npm = tool("npm", package="npm")
    home = CACHE / Path(directory).name
    content = b"".join((Path(directory) / name).read_bytes() for name in FILES)
    stamp, wanted = home / "stamp", hashlib.sha256(content).hexdigest()
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{home.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if stamp.is_file() and stamp.read_text() == wanted:
            return home
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir()
        for name in FILES:
            shutil.copy(Path(directory) / name, home)
        done = subprocess.run(
            [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"],
            cwd=home,
            capture_output=True,
            text=True,
            timeout=INSTALL_SECONDS,
            check=False,
            env=os.environ | {"HOME": os.environ.get("HOME") or str(CACHE)},
        )
        if done.returncode:
            return missing(f"npm cannot install {directory} (is there a registry?): {done.stderr[-300:]}")
        stamp.write_text(wanted)
    return home


def bundled(source, home, directory):
    """Return the file that Node can run: ``source`` with the packages of ``home``, bundled in ``directory``."""
    modules = directory / "node_modules"
    if not modules.exists():
        modules.symlink_to(home / "node_modules")
    made = directory / f"{source.stem}.bundle.mjs"
    # Some packages are CommonJS.
    banner = "--banner:js=import { createRequire } from 'module'; const require = createRequire(import.meta.url);"
    options = ["--bundle", "--platform=node", "--format=esm", f"--outfile={made}", "--log-level=error", banner]
    subprocess.run([modules / ".bin" / "esbuild", source, *options], cwd=directory, check=True, timeout=BUNDLE_SECONDS)
    return made
