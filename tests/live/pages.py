"""Carries out the commands of a page in one shell."""

import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import zip_longest
from pathlib import Path

from documents import blocks

MARK = "--- end of block ---"


def steps(page: str) -> Iterator[tuple[str, str | None]]:
    """Each block of the language ``sh`` exactly, and the block ``text`` that follows it and shows what it prints."""
    found = blocks(page)
    for (language, commands), (next_language, text) in zip_longest(found, found[1:], fillvalue=("", "")):
        if language == "sh":
            yield commands, text if next_language == "text" else None


@contextmanager
def shell(
    directory: Path, here: Mapping[str, str], environment: Mapping[str, str] = os.environ
) -> Iterator[Callable[[str], str]]:
    """A function that runs commands in one shell, and returns what they printed. A failed command ends the shell.

    The addresses and secrets of the page, the keys of ``here``, stand for those of the test. All processes of the shell
    end with the block.
    """
    errors = directory / "stderr"
    with (
        errors.open("wb") as stderr,
        subprocess.Popen(
            ["bash", "-euo", "pipefail"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            cwd=directory,
            env=environment,
            start_new_session=True,
        ) as process,
    ):
        assert process.stdin
        assert process.stdout
        stdin, stdout = process.stdin, process.stdout

        def run(commands: str) -> str:
            stdin.write(f"{_replace(commands, here)}\necho '{MARK}'\n")
            stdin.flush()
            printed = ""
            while not printed.endswith(f"{MARK}\n"):
                line = stdout.readline()
                assert line, f"a command failed:\n{commands}{errors.read_text()[-2000:]}"
                printed += line
            back = {actual: documented for documented, actual in here.items()}
            return _replace(printed.removesuffix(f"{MARK}\n"), back).strip()

        try:
            yield run
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def _replace(text: str, words: Mapping[str, str]) -> str:
    return re.sub("|".join(map(re.escape, words)), lambda found: words[found[0]], text)
