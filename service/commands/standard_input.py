"""Standard input of commands, which may be closed."""

import sys

from service.settings import SettingsError

STANDARD_INPUT = "-"
"""The argument that names it."""


def read(limit: int) -> bytes:
    """Return at most ``limit`` bytes. Raises SettingsError if they cannot be read."""
    if sys.stdin is None:
        raise SettingsError(["Cannot read standard input: it is closed"])
    try:
        return sys.stdin.buffer.read(limit)
    except OSError as error:
        raise SettingsError([f"Cannot read standard input: {error.strerror}"]) from None
