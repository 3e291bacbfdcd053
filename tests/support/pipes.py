"""Pipes that take no more bytes, as one whose reader hangs."""

import os
from contextlib import suppress


def fill_pipe(descriptor):
    """Fill a pipe with blank lines, and leave its writing end blocking."""
    os.set_blocking(descriptor, False)
    with suppress(BlockingIOError):
        while True:
            os.write(descriptor, b" " * 4095 + b"\n")
    os.set_blocking(descriptor, True)
