"""Files that hold a secret, and should be readable by the service's user (and its group) alone."""

import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

# Docker's and Podman's own marks of a container.
MARKS = (".dockerenv", "run/.containerenv")
# Podman and systemd-nspawn set the first; a kubelet sets the second in every container, whatever its runtime.
VARIABLES = ("container", "KUBERNETES_SERVICE_HOST")


def in_container(environ: Mapping[str, str], root: Path = Path("/")) -> bool:
    """Whether the process runs in a container, where nobody else has an account."""
    return any(environ.get(name) for name in VARIABLES) or any((root / mark).exists() for mark in MARKS)


def warnings(files: Iterable[tuple[str, str]]) -> list[str]:
    """A sentence for each of ``files``, pairs of a variable and a path, that other users can read or change."""
    return [
        f"{variable} names a file that other users of this machine can {verb}; take that right away with chmod o-rwx"
        for variable, path in files
        if (verb := _others_can(Path(path)))
    ]


def _others_can(path: Path) -> str:
    """The verb for the rights of others; empty if they have none. Access control lists are not looked at."""
    try:
        real = path.resolve(strict=True)
        mode = real.stat().st_mode
        reachable = all(parent.stat().st_mode & stat.S_IXOTH for parent in real.parents)
    except (OSError, RuntimeError, ValueError):
        # Whoever opens it reports that it cannot be read.
        return ""
    if not reachable or not stat.S_ISREG(mode):
        return ""
    return "change" if mode & stat.S_IWOTH else "read" if mode & stat.S_IROTH else ""
