"""Pinned programs in virtual environments of their own, kept between runs under .cache/s3."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent
CACHE = HERE.parents[1] / ".cache" / "s3"

# Minutes of a slow network, yet less than the tests' own time-out.
INSTALL_SECONDS = 240


class NotInstalled(Exception):
    """The program cannot be installed here; the text says what would have to be."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"install {constraints(name)} with pip into {CACHE / name} (is there a package index?): {why}")


def constraints(name: str) -> Path:
    return HERE / f"{name}-constraints.txt"


def python_with(name: str) -> Path:
    """Return the interpreter of an environment that holds exactly what `{name}-constraints.txt` pins.

    Raises:
        NotInstalled: there is no network, or no room, or no right to write.
    """
    try:
        if not _is_installed(name):
            _install(name)
    except subprocess.CalledProcessError as failure:
        raise NotInstalled(name, _last_line(failure.stderr)) from failure
    except (OSError, subprocess.TimeoutExpired) as failure:
        raise NotInstalled(name, str(failure)) from failure
    return _interpreter(name)


def _install(name: str) -> None:
    with _only_one(name) as lock:
        if _is_installed(name):  # by whoever held the lock before us
            return
        shutil.rmtree(CACHE / name, ignore_errors=True)
        # Our own pip does it: giving each environment one takes longer than all the rest.
        _run(lock, "venv", "--without-pip", str(CACHE / name))
        # The environment is the cache; pip needs none of its own.
        options = ("--quiet", "--no-input", "--no-cache-dir", "--retries", "2")
        pinned = ("--no-deps", "--require-hashes", "--only-binary", ":all:", "--requirement", str(constraints(name)))
        _run(lock, "pip", "--python", str(_interpreter(name)), "install", *options, *pinned)
        # Written last: an interrupted installation leaves no stamp and is made anew.
        _stamp(name).write_text(_wanted(name))


def _is_installed(name: str) -> bool:
    stamp = _stamp(name)
    return stamp.is_file() and stamp.read_text() == _wanted(name)


def _wanted(name: str) -> str:
    what = constraints(name).read_bytes() + f"{sys.version} {sys.base_prefix}".encode()
    return hashlib.sha256(what).hexdigest()


@contextmanager
def _only_one(name: str) -> Iterator[int]:
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # ends with the last process that has it open
        yield lock.fileno()


def _run(lock: int, module: str, *arguments: str) -> None:
    command = [sys.executable, "-I", "-m", module, *arguments]
    subprocess.run(
        command,
        check=True,
        capture_output=True,
        text=True,
        timeout=INSTALL_SECONDS,
        # Without HOME, pip asks the password database, which does not know every container's user.
        env=os.environ | {"HOME": os.environ.get("HOME") or str(CACHE)},
        # Where the tests are killed, nobody starts anew beside a pip that is still at work.
        pass_fds=[lock],
    )


def _stamp(name: str) -> Path:
    return CACHE / name / "constraints.sha256"


def _interpreter(name: str) -> Path:
    return CACHE / name / "bin" / "python"


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no message"])[-1]
