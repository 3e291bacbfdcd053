"""Files that the service's user (and its group) alone should read, or change."""

import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

# Docker's and Podman's own marks of a container.
MARKS = (".dockerenv", "run/.containerenv")
# Podman and systemd-nspawn set the first; a kubelet sets the second in every container, whatever its runtime.
VARIABLES = ("container", "KUBERNETES_SERVICE_HOST")


CHANGE = "change"


def in_container(environ: Mapping[str, str], root: Path = Path("/")) -> bool:
    """Whether the process runs in a container, where nobody else has an account."""
    return any(environ.get(name) for name in VARIABLES) or any((root / mark).exists() for mark in MARKS)


def warnings(secret: Iterable[tuple[str, str]], trusted: Iterable[tuple[str, str]] = ()) -> list[str]:
    """A sentence for each file that other users can change, and for each ``secret`` one that they can read.

    Files are pairs of a variable and a path.
    """
    found = [(variable, _others_can(Path(path)), "o-rwx") for variable, path in secret]
    found += [(variable, _others_can(Path(path)), "o-w") for variable, path in trusted]
    return [
        f"{variable} names a file that other users of this machine can {verb}; take that right away with chmod {mode}"
        f"{', of its directories too' if verb == CHANGE else ''}"
        for variable, verb, mode in found
        if verb == CHANGE or (verb and mode == "o-rwx")
    ]


def _others_can(path: Path) -> str:
    """The verb for the rights of others; empty if they have none. Access control lists are not looked at."""
    try:
        real = path.resolve(strict=True)
        mode = real.stat().st_mode
        above = [parent.stat().st_mode for parent in real.parents]
    except (OSError, RuntimeError, ValueError):
        # Whoever opens it reports that it cannot be read.
        return ""
    if not stat.S_ISREG(mode) or not all(directory & stat.S_IXOTH for directory in above):
        return ""
    # Who can write to a directory can put another file in the place of one there, unless the directory is sticky.
    if mode & stat.S_IWOTH or any(directory & stat.S_IWOTH and not directory & stat.S_ISVTX for directory in above):
        return CHANGE
    return "read" if mode & stat.S_IROTH else ""
