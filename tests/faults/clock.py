"""A clock that steps, by libfaketime."""

from pathlib import Path

from support.tools import missing


def faketime(file, offset):
    """Return the environment of a process whose clock differs by the seconds in ``file``, now ``offset``.

    The monotonic clock is not changed, as with a real step.
    """
    libraries = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if not libraries:
        missing("libfaketime is not installed; on Debian: apt-get install faketime")
    file.write_text(f"{offset:+}")
    return {
        "LD_PRELOAD": str(libraries[0]),
        "FAKETIME_TIMESTAMP_FILE": str(file),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
