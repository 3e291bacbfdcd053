"""Follows the files that settings name, such as those of a Kubernetes volume, without a restart."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from pathlib import Path
from time import monotonic, sleep
from typing import Any, TypeVar

from service.errors import Throttled, Unavailable
from service.settings.regular_file import MAX_BYTES, read_regular
from service.telemetry.metrics import MOUNTED_FILE_CHANGES, MOUNTED_FILE_CURRENT

logger = logging.getLogger(__name__)

POLL_SECONDS = 1.0
# Refused contents whose fault depends on the store are tried again after this time.
RETRY_SECONDS = 10.0
# At the start, for two equal reads in a row.
SETTLE_SECONDS, SETTLE_PAUSE_SECONDS = 10.0, 0.05

T = TypeVar("T")


class UnusableFile(ValueError):
    """Contents that cannot be read or used. The message gives the reason, and quotes no content."""

    depends_on_store = False
    """Whether the reason may lie in the store, so that the same contents may be usable later."""


def read_file(path: Path, *, limit: int = MAX_BYTES) -> bytes:
    """Return the contents of a regular file of at most ``limit`` bytes. Raises ``UnusableFile``."""
    try:
        return read_regular(path, max_bytes=limit)
    except (OSError, ValueError) as error:
        raise UnusableFile(getattr(error, "strerror", None) or "it is no path") from None


def read_text(path: Path, *, limit: int = MAX_BYTES) -> str:
    """Return the text of a regular file, as ``read_file`` does, without space at its ends."""
    try:
        return read_file(path, limit=limit).decode().strip()
    except UnicodeDecodeError:
        raise UnusableFile("it is not UTF-8 text") from None


def read_settled(read: Callable[[], T]) -> T:
    """Return what two reads in a row return, so that no file is read while it is replaced. Raises ``UnusableFile``."""
    last, deadline = read(), monotonic() + SETTLE_SECONDS
    while monotonic() < deadline:
        sleep(SETTLE_PAUSE_SECONDS)
        before, last = last, read()
        if before == last:
            return last
    raise UnusableFile("it changes all the time")


@dataclass(slots=True, eq=False)
class _File:
    """The file of a setting. ``read`` and ``use`` are those of ``MountedFiles.follow``."""

    setting: str
    read: Callable[[], Any]
    use: Callable[[Any], Awaitable[None]]
    used: Any
    """The contents in use; None before the first ones, and after a failure that may have changed the store."""

    seen: Any = None
    """The contents of the last read."""

    refused: Any = None
    retry_at: float = inf
    """When to try the refused contents again."""

    problem: str = ""
    """Why the newest contents are not in use; empty if they are."""


class MountedFiles:
    """Reads the files of settings each second. New contents are used once two reads in a row return them.

    Contents are compared, because a quick rewrite may leave the times of a file unchanged. The second read finds files
    that are being written. If new contents cannot be used, the earlier ones stay in use. Then there is a warning in the
    log, one in ``warnings`` and a gauge at 0, until the file is corrected.
    """

    def __init__(self) -> None:
        self._files: list[_File] = []
        self._task: asyncio.Task[None] | None = None

    def follow(
        self, setting: str, read: Callable[[], Any], use: Callable[[Any], Awaitable[None]], *, used: Any = None
    ) -> None:
        """Follow the file of ``setting``.

        Args:
            setting: The name of the environment variable.
            read: Returns the contents, in any form that can be compared. It runs in a thread. Raises ``UnusableFile``.
            use: Puts contents into use, or raises ``UnusableFile`` and keeps the earlier ones. It is called again with
                the same contents after ``Unavailable``, ``Throttled``, and faults that depend on the store. After these
                and any other error, earlier contents that return are used as new ones, because the failed ones may be
                in use in part.
            used: The contents that are in use already.
        """
        self._files.append(_File(setting, read, use, used))
        MOUNTED_FILE_CURRENT[setting,].set(1)

    def warnings(self) -> Sequence[str]:
        """Return a sentence for each file whose newest contents are not in use. Anyone may read it."""
        return [
            f"The newest contents of {file.setting} are not in use; the log has the reason"
            for file in self._files
            if file.problem
        ]

    async def open(self) -> None:
        """Use the contents of all files, and follow them from now on."""
        await self.check(again=False)
        self._task = asyncio.create_task(self._poll())

    async def close(self) -> None:
        if self._task:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def check(self, *, again: bool = True) -> None:
        """Read all files, and use new contents. ``again`` leaves contents that the last read did not have for later."""
        files = list(self._files)
        if not files:
            return
        for file, contents in zip(files, await asyncio.to_thread(lambda: [*map(_try_to_read, files)]), strict=True):
            is_settled = contents == file.seen or not again
            file.seen = contents
            if is_settled:
                await self._update(file, contents)

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(POLL_SECONDS)
            await self.check()

    async def _update(self, file: _File, contents: Any) -> None:
        if contents == file.used:
            if file.problem:
                self._set_problem(file, "")
                logger.info("%s has the contents in use again", file.setting)
        elif contents != file.refused or monotonic() >= file.retry_at:
            await self._use(file, contents)

    async def _use(self, file: _File, contents: Any) -> None:
        try:
            if isinstance(contents, _Failure):
                raise UnusableFile(contents.reason)  # noqa: TRY301 - handled as a failure to use them
            await file.use(contents)
        except (Unavailable, Throttled) as error:
            if not file.problem:
                logger.warning("%s is not in use yet: %s; trying again", file.setting, error)
            self._set_problem(file, str(error))
            file.used = None
        except UnusableFile as error:
            is_known = contents == file.refused
            self._refuse(file, contents, str(error))
            if error.depends_on_store:
                file.used, file.retry_at = None, monotonic() + RETRY_SECONDS
            if not is_known:
                stays = "" if file.used is None else "; what was in use stays"
                after = "; trying again" if error.depends_on_store else stays
                logger.warning("%s has new contents that cannot be used%s: %s", file.setting, after, error)
        except Exception:
            # With any uncaught error, no file would be followed.
            self._refuse(file, contents, "an unexpected error")
            file.used = None
            logger.exception("%s has new contents that cannot be used; what was in use stays", file.setting)
        else:
            # The first contents are no change.
            if file.used is not None or file.problem:
                MOUNTED_FILE_CHANGES[file.setting, "used"].inc()
                logger.info("%s has new contents, which are in use now", file.setting)
            file.used = contents
            self._set_problem(file, "")

    def _refuse(self, file: _File, contents: Any, reason: str) -> None:
        if contents != file.refused:
            MOUNTED_FILE_CHANGES[file.setting, "refused"].inc()
        self._set_problem(file, reason)
        file.refused = contents

    def _set_problem(self, file: _File, problem: str) -> None:
        file.problem = problem
        file.refused, file.retry_at = None, inf
        MOUNTED_FILE_CURRENT[file.setting,].set(not problem)


@dataclass(frozen=True, slots=True)
class _Failure:
    """Stands for the contents of a file that cannot be read."""

    reason: str


def _try_to_read(file: _File) -> Any:
    try:
        return file.read()
    except UnusableFile as error:
        return _Failure(str(error))
    except Exception as error:  # noqa: BLE001 - with any uncaught error, no file would be followed
        return _Failure(f"an unexpected {type(error).__name__}")
