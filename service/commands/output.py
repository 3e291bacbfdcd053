"""Standard output and standard error of commands, either of which may be closed, full or unread."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

EXIT_OUTPUT = 1


def print_line(text: str) -> int:
    """Print a line, and return the exit status of the command."""
    if sys.stdout is None:
        print_problems(["Cannot write to standard output: it is closed"])
        return EXIT_OUTPUT
    with standard_output():
        sys.stdout.write(f"{text}\n")
    return 0


@contextmanager
def standard_output() -> Iterator[None]:
    """Flush standard output at the end, and exit with a message if it cannot be written.

    There is no message if the reader has closed the pipe, as ``head`` does.
    """
    try:
        try:
            yield
        finally:
            if sys.stdout:
                sys.stdout.flush()
    except OSError as error:
        if not isinstance(error, BrokenPipeError):
            print_problems([f"Cannot write to standard output: {error.strerror}"])
        # Python flushes again at exit, and would print the error once more.
        discard(sys.stdout)
        sys.exit(EXIT_OUTPUT)


def print_problems(problems: list[str]) -> None:
    """Print each line of the problems to standard error, if it can be written."""
    with suppress(AttributeError, OSError):
        for line in "\n".join(problems).splitlines():
            sys.stderr.write(f"s3-signer: {line}\n")


def discard(stream: TextIO) -> None:
    """Redirect the descriptor of a stream to the null device."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
