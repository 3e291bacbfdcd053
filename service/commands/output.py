"""Standard output and standard error of commands, either of which may be closed, full or unread."""

import io
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, TextIO

EXIT_OUTPUT = 1

_COLOURS = {"pass": 32, "valid": 32, "warn": 33, "unknown": 33, "fail": 31, "refused": 31}
_STATUS = re.compile(rf"^([ -]*status: )({'|'.join(_COLOURS)})$", re.MULTILINE)


def without_empty(members: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members of an object that are not empty texts."""
    return {name: value for name, value in members.items() if value != ""}


def print_data(data: Any, form: str) -> int:
    """Print plain data as ``yaml`` or ``json``, and return the exit status of the command.

    On a terminal, the words of a ``status`` in YAML have colours, unless NO_COLOR is set (https://no-color.org).
    """
    # The formats take longer to import than the help takes to print.
    from service.web.formats import codec  # noqa: PLC0415

    if form == "json":
        return print_line(codec.dump_json(data, pretty=True).decode())
    text = codec.dump_yaml(data).decode().removesuffix("\n")
    if sys.stdout and sys.stdout.isatty() and not os.environ.get("NO_COLOR"):
        text = _STATUS.sub(lambda it: f"{it[1]}\x1b[{_COLOURS[it[2]]}m{it[2]}\x1b[0m", text)
    return print_line(text)


def print_line(text: str) -> int:
    """Print a line in UTF-8, and return the exit status of the command."""
    if sys.stdout is None:
        print_problems(["Cannot write to standard output: it is closed"])
        return EXIT_OUTPUT
    if isinstance(sys.stdout, io.TextIOWrapper):
        # The encoding of the locale may lack a character, and programs that read the output expect UTF-8.
        sys.stdout.reconfigure(encoding="utf-8")
    with standard_output():
        _write_all(sys.stdout, f"{text}\n")
    return 0


def _write_all(stream: TextIO, text: str) -> None:
    """Write the whole text, or raise OSError."""
    if not isinstance(stream, io.TextIOWrapper) or not isinstance(stream.buffer, io.RawIOBase):
        stream.write(text)
        return
    # Without a buffer, as with PYTHONUNBUFFERED, Python loses what a full disk does not take, without an error.
    rest = text.encode()
    while rest:
        rest = rest[os.write(stream.fileno(), rest) :]


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
