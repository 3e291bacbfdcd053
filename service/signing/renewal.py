"""Keys that end, and their renewal: requested once for all waiters, and again before they end."""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from math import inf

from botocore.exceptions import ClientError

LOGGER = logging.getLogger(__name__)

# A request waits for new keys for at most so long.
TIMEOUT_SECONDS = 5
RETRY_SECONDS = 5
# After a failure, requests that wait longer would fill the limit of concurrent ones while a server hangs.
RETRY_WAIT_SECONDS = 1
# Keys are renewed so long before they end, or after half of their time if that is later. botocore does the same.
RENEW_SECONDS = 15 * 60
# Keys of which nobody knows the end, such as those of a file, are read again after this time.
RELOAD_SECONDS = 5 * 60
# botocore has no class for this error, and its text has the URL, maybe with a password.
_INVALID_ENDPOINT = "Invalid endpoint: "
_NOT_IN_CODE = re.compile("[^A-Za-z0-9.]")
_MAX_CODE = 64


@dataclass(frozen=True, slots=True)
class TemporaryKeys:
    """``end`` is a Unix time, infinite if it is unknown."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(repr=False)
    end: float = inf


class NoKeysError(Exception):
    """There are no valid keys. Its text is for callers."""


class Renewal:
    """Keys that end, of one role session or of the environment. ``what`` names them in the log."""

    def __init__(self, what: str, fetch: Callable[[], Awaitable[TemporaryKeys]], clock: Callable[[], float]) -> None:
        self._what = what
        self._fetch = fetch
        self._clock = clock
        self._keys: TemporaryKeys | None = None
        self._renew_at = 0.0
        self._problem = ""
        self.task: asyncio.Task[None] | None = None

    async def keys(self) -> TemporaryKeys:
        """Return valid keys. A renewal before their end delays nobody.

        Raises:
            NoKeysError: there are none.
        """
        if self._clock() >= self._renew_at and self.task is None:
            self.task = asyncio.create_task(self._renew())
        if (keys := self._valid()) is None and self.task:
            # The task goes on for others if this caller leaves.
            await asyncio.wait({self.task}, timeout=RETRY_WAIT_SECONDS if self._problem else None)
            keys = self._valid()
        if keys is None:
            raise NoKeysError(self._problem)
        return keys

    def _valid(self) -> TemporaryKeys | None:
        return self._keys if self._keys and self._clock() < self._keys.end else None

    async def _renew(self) -> None:
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                keys = await self._fetch()
            if keys.end <= self._clock():
                raise NoKeysError("the keys that were received have ended; compare the clocks")  # noqa: TRY301
        except Exception as error:  # noqa: BLE001 - each provider of credentials has errors of its own
            self._renew_at = self._clock() + RETRY_SECONDS
            if isinstance(error, NoKeysError) and self._keys and self._keys.end == inf:
                # Their source exists no more.
                self._keys = None
            self._report(error)
        else:
            now = self._clock()
            self._keys, self._problem = keys, ""
            remaining = keys.end - now
            self._renew_at = now + (
                RELOAD_SECONDS if remaining == inf else max(remaining / 2, remaining - RENEW_SECONDS)
            )
        finally:
            self.task = None

    def _report(self, error: Exception) -> None:
        problem, detail = _describe(error)
        # A problem that lasts is logged once.
        if problem != self._problem:
            self._problem = problem
            still = "; those that it has are still valid" if self._valid() else ""
            LOGGER.warning("No new keys for %s: %s%s", self._what, detail, still)


def _describe(error: Exception) -> tuple[str, str]:
    """Return what a caller sees of an error, and what the log shows. Texts of other errors may quote an answer."""
    if isinstance(error, NoKeysError):
        return str(error), str(error)
    if isinstance(error, ClientError):
        code = _NOT_IN_CODE.sub("", str(error.response.get("Error", {}).get("Code", "")))[:_MAX_CODE]
        return f"STS refuses the request for its keys ({code})", str(error)[:500]
    if isinstance(error, ValueError) and str(error).startswith(_INVALID_ENDPOINT):
        problem = (
            "the endpoint of STS that its environment names is no URL; write AWS_ENDPOINT_URL_STS as http://host:port"
        )
        return problem, problem
    if isinstance(error, TimeoutError):
        problem = f"no keys were received within {TIMEOUT_SECONDS} seconds"
        return problem, problem
    return f"its keys cannot be requested ({type(error).__name__})", type(error).__name__
