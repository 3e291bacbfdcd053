"""Reads a file that a setting names, in bounded time and memory."""

import errno
import os
import stat
from pathlib import Path

# Enough for all certificate authorities of a distribution, several times.
MAX_BYTES = 4 * 1024 * 1024


class UnsuitableFile(OSError):
    """A file that can be opened, and that the service does not read; ``strerror`` is the reason."""

    def __init__(self, reason: str) -> None:
        super().__init__(errno.EINVAL, reason)

    def __str__(self) -> str:
        return str(self.strerror)


def read_regular(path: Path, *, max_bytes: int = MAX_BYTES) -> bytes:
    """Return the content of a regular file, or of one that a symlink leads to.

    Raises:
        OSError: also for a pipe, device or directory, and for a larger file; ``strerror`` is the reason.
        ValueError: this is no path.
    """
    with open(path, "rb", opener=_open_regular) as file:
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise UnsuitableFile(f"it is larger than {max_bytes} bytes")
    return content


def _open_regular(path: str, flags: int) -> int:
    # Without O_NONBLOCK, the opening of a pipe would wait for a writer.
    descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UnsuitableFile("it is not a regular file")
    return descriptor
