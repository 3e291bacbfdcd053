"""Warnings about files that other users of the machine can read or change."""

import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

# Docker creates the first in each container, Podman the second.
CONTAINER_FILES = (".dockerenv", "run/.containerenv")
# Podman and systemd-nspawn set the first; a kubelet sets the second with every container runtime.
CONTAINER_VARIABLES = ("container", "KUBERNETES_SERVICE_HOST")

READ, CHANGE = "read", "change"


def in_container(environ: Mapping[str, str], root: Path = Path("/")) -> bool:
    """Return whether the process runs in a container, which has no other users."""
    return any(environ.get(name) for name in CONTAINER_VARIABLES) or any(
        (root / name).exists() for name in CONTAINER_FILES
    )


def warnings(secret: Iterable[tuple[str, str]], trusted: Iterable[tuple[str, str]] = ()) -> list[str]:
    """Return a sentence for each file that other users can change, and for each ``secret`` one that they can read.

    Files are pairs of a variable and a path.
    """
    rights = [(variable, _rights_of_others(Path(path)), "o-rwx") for variable, path in secret]
    rights += [
        (variable, right, "o-w") for variable, path in trusted if (right := _rights_of_others(Path(path))) == CHANGE
    ]
    return [
        f"{variable} names a file that other users of this machine can {right}; take that right away with chmod {mode}"
        f"{', of its directories too' if right == CHANGE else ''}"
        for variable, right, mode in rights
        if right
    ]


def _rights_of_others(path: Path) -> str:
    """Return READ, CHANGE or "". Access control lists are ignored."""
    try:
        real = path.resolve(strict=True)
        mode = real.stat().st_mode
        parents = [parent.stat().st_mode for parent in real.parents]
    except (OSError, RuntimeError, ValueError):
        # The code that opens the file reports the error.
        return ""
    if not stat.S_ISREG(mode) or not all(parent & stat.S_IXOTH for parent in parents):
        return ""
    # Write access to a directory allows to replace its files, unless the directory is sticky.
    if mode & stat.S_IWOTH or any(parent & stat.S_IWOTH and not parent & stat.S_ISVTX for parent in parents):
        return CHANGE
    return READ if mode & stat.S_IROTH else ""
