"""The file of a bundle, with the files and environment variables that it refers to."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from service.bundle import document
from service.bundle.document import ENV, BundleError, Entry
from service.mounted_files import UnusableFile, read_file, read_text
from service.resources.schemas import ParsedBody

# As large as a Secret or ConfigMap of Kubernetes can be.
MAX_BYTES = 1024 * 1024
# A session token has at most 8 KiB.
MAX_REFERRED_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Contents:
    """The bytes of a bundle, and for each file that it refers to its text, or why it cannot be read."""

    document: bytes = field(repr=False)
    texts: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    problems: tuple[tuple[str, str], ...] = ()


class BundleFile:
    """Reads a bundle. Files that it refers to are in its directory, or below."""

    def __init__(self, path: Path, environ: Mapping[str, str]) -> None:
        self._path = path
        self._environ = environ
        # The bundle is read each second, and rarely changes.
        self._parse = lru_cache(1)(_parse)

    def read(self) -> Contents:
        """Return the current contents of all files. Raises ``UnusableFile``."""
        content = read_file(self._path, limit=MAX_BYTES)
        bundle = self._parse(content)
        texts, problems = {}, {}
        for name in [] if isinstance(bundle, BundleError) else document.file_names(bundle):
            try:
                texts[name] = self._read_text(name)
            except UnusableFile as error:
                problems[name] = str(error)
        return Contents(content, tuple(texts.items()), tuple(problems.items()))

    def entries(self, contents: Contents) -> list[Entry]:
        """Return the entries of a bundle, without references. Raises ``BundleError`` with every fault."""
        bundle = self._parse(contents.document)
        if isinstance(bundle, BundleError):
            raise bundle
        texts, problems = dict(contents.texts), dict(contents.problems)

        def look_up(kind: str, name: str) -> str:
            if kind == ENV:
                if text := self._environ.get(name, "").strip():
                    return text
                raise ValueError("names an environment variable that is not set")
            if name in problems:
                raise ValueError(f"cannot be read: {problems[name]}")
            return texts[name]

        return document.entries(bundle, look_up)

    def _read_text(self, name: str) -> str:
        directory = self._path.parent
        try:
            # The files of a Kubernetes volume are symlinks to another directory of the volume.
            path = (directory / name).resolve(strict=True)
            is_inside = path.is_relative_to(directory.resolve())
        except (OSError, ValueError, RuntimeError) as error:
            raise UnusableFile(getattr(error, "strerror", None) or "it is no path") from None
        if not is_inside:
            raise UnusableFile("it is not in the directory of the bundle")
        text = read_text(path, limit=MAX_REFERRED_BYTES)
        if not text:
            raise UnusableFile("it is empty")
        return text


def _parse(content: bytes) -> ParsedBody | BundleError:
    """Return the error instead of raising it, so that the cache keeps it."""
    try:
        return document.parse(content)
    except BundleError as error:
        return error
