"""The provider of an issuer's public keys: it reads a JWK set from a file or a URL, and refreshes it."""

import asyncio
import logging
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from http import HTTPStatus
from math import inf
from pathlib import Path
from time import monotonic
from typing import Protocol, Self

from yarl import URL

from service.access.jwt.jwk import JwksError, ParsedJwks, PublicKey, parse_jwks
from service.http_client import http_session
from service.mounted_files import read_file
from service.telemetry.metrics import JWKS_READ

LOGGER = logging.getLogger(__name__)

MAX_BYTES = 1024 * 1024
FETCH_SECONDS = 5.0
RETRY_SECONDS = 10.0

HEADERS = {"Accept": "application/jwk-set+json, application/json", "Accept-Encoding": "identity"}


class Source(Protocol):
    """The source of a JWK set.

    The provider reads it every ``interval`` seconds; never if that is infinite, as for a file that is followed.
    An unknown kid causes at most one read in ``pause`` seconds.
    """

    name: str
    interval: float
    pause: float

    async def read(self) -> bytes:
        """Return the current set, of at most ``MAX_BYTES``. Raises any exception."""


class FileSource:
    """A file, which the service follows as it follows all files of settings. An unknown kid may read it sooner."""

    interval = inf
    pause = 1.0

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self.path = path

    async def read(self) -> bytes:
        return await asyncio.to_thread(read_file, self.path, limit=MAX_BYTES)


class UrlSource:
    """A URL. Its user info and query are not logged, and a redirect is an error, as keys must come from here."""

    interval = 300.0
    pause = 10.0

    def __init__(self, url: URL) -> None:
        self.name = str(url.with_user(None).with_query(None).with_fragment(None))
        self._url = url

    async def read(self) -> bytes:
        async with (
            http_session(FETCH_SECONDS, headers=HEADERS) as session,
            session.get(self._url, allow_redirects=False) as response,
        ):
            if response.status != HTTPStatus.OK:
                raise JwksError(f"it answers {response.status}")
            body = bytearray()
            async for chunk in response.content.iter_any():
                body += chunk
                _check_size(len(body))
            return bytes(body)


class JwksProvider:
    """The public keys of an issuer.

    ``generation`` grows with each change of the keys, which invalidates results of earlier keys. If the source fails,
    the last keys stay, with one warning for each outage. A valid set replaces them, even if it is empty.
    """

    def __init__(self, source: Source, *, clock: Callable[[], float] = monotonic) -> None:
        self.generation = 0
        self.path = source.path if isinstance(source, FileSource) else None
        self._source = source
        self._clock = clock
        self._document: bytes | None = None
        self._lock = asyncio.Lock()
        self._jwks = ParsedJwks(frozenset(), ())
        self._error: str | None = None
        self._last_lookup = -inf
        self._reading: asyncio.Task[None] | None = None
        self._refresher: asyncio.Task[None] | None = None

    @classmethod
    def at(cls, location: str) -> Self:
        """Return the provider for an http(s) URL or the path of a file. Raises ValueError for any other URL."""
        # A URL with one slash would be a path that does not exist.
        if "://" not in location and not re.match("https?:", location, re.IGNORECASE):
            return cls(FileSource(Path(location)))
        with suppress(ValueError):
            url = URL(location)
            if url.scheme in {"http", "https"} and url.host and "," not in url.host:
                return cls(UrlSource(url))
        raise ValueError("must be one http:// or https:// URL, or the path of a file")

    async def open(self) -> None:
        """Read the keys of a URL and start to refresh them. A failure is logged, as the source may recover."""
        JWKS_READ.set_to_current_time()
        if self.path:
            return
        await self._refresh()
        self._refresher = asyncio.create_task(self._refresh_periodically())

    async def close(self) -> None:
        tasks = [task for task in (self._refresher, self._reading) if task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def find(self, kid: str | None) -> Sequence[PublicKey]:
        """Return the keys with that kid, or all for None. An unknown kid causes one read in each ``pause``."""
        found = self._named(kid)
        if not found and self._may_read():
            await self._refresh()
            found = self._named(kid)
        return found

    def read_file(self, path: Path) -> bytes:
        """Return the contents of the file. It runs in a thread. Raises ``UnusableFile``."""
        document = read_file(path, limit=MAX_BYTES)
        if document == self._document:
            JWKS_READ.set_to_current_time()
        return document

    async def use(self, document: bytes) -> None:
        """Replace the keys by those of a JWK set. Raises ``JwksError``, and keeps them, if it is not valid."""
        # In the order of the calls, so that an older set never replaces a newer one.
        async with self._lock:
            if document != self._document:
                # A set of the largest size takes up to 80 ms.
                self._update(await asyncio.to_thread(parse_jwks, document))
                self._document = document
        JWKS_READ.set_to_current_time()

    def _named(self, kid: str | None) -> Sequence[PublicKey]:
        return [key for key in self._jwks.keys if kid is None or key.kid == kid]

    def _may_read(self) -> bool:
        if self._reading is not None and not self._reading.done():
            return True
        now = self._clock()
        if now - self._last_lookup < self._source.pause:
            return False
        self._last_lookup = now
        return True

    async def _refresh_periodically(self) -> None:
        while True:
            interval = self._source.interval
            await asyncio.sleep(min(interval, RETRY_SECONDS) if self._error else interval)
            await self._refresh()

    async def _refresh(self) -> None:
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read())
        # A cancelled request must not cancel the read of the others.
        await asyncio.shield(self._reading)

    async def _read(self) -> None:
        try:
            await self.use(await self._source.read())
        except Exception as error:  # noqa: BLE001 - with any uncaught error, the refresher would end
            self._set_error(_reason(error))
        else:
            self._set_error(None)

    def _update(self, jwks: ParsedJwks) -> None:
        if jwks.warnings and jwks.warnings != self._jwks.warnings:
            LOGGER.warning("The JWK set %s: %s", self._source.name, "; ".join(jwks.warnings))
        if jwks.keys != self._jwks.keys:
            self.generation += 1
            LOGGER.info("The JWK set %s has changed: keys in use %d", self._source.name, len(jwks.keys))
        self._jwks = jwks

    def _set_error(self, error: str | None) -> None:
        if self.path:
            # The service reports the faults of files that it follows.
            return
        if error and not self._error:
            LOGGER.warning("The JWK set %s cannot be read: %s", self._source.name, error)
        if self._error and not error:
            LOGGER.info("The JWK set %s can be read again", self._source.name)
        self._error = error


def _check_size(size: int) -> None:
    if size > MAX_BYTES:
        raise JwksError(f"it is larger than {MAX_BYTES} bytes")


def _reason(error: Exception) -> str:
    # Some errors of aiohttp quote the URL with its user info.
    message = str(error) if isinstance(error, JwksError | OSError) else ""
    return message or type(error).__name__
