"""Where an issuer's public keys come from, a file or a URL, and how they are kept in step with it."""

import asyncio
import logging
import stat
from collections.abc import Callable, Sequence
from contextlib import suppress
from http import HTTPStatus
from math import inf
from pathlib import Path
from time import monotonic
from typing import Protocol, Self

from aiohttp import ClientSession, ClientTimeout
from yarl import URL

from service.access.jwt.jwk import KeySetError, ParsedKeySet, PublicKey, read_key_set

LOGGER = logging.getLogger(__name__)

MAX_BYTES = 1024 * 1024
FETCH_SECONDS = 5.0
RETRY_SECONDS = 10.0

# A few compressed bytes may be a lot of memory.
HEADERS = {"Accept": "application/jwk-set+json, application/json", "Accept-Encoding": "identity"}


class Source(Protocol):
    """Where a JWK set is read: every ``interval`` seconds, and for an unknown key once in ``pause`` seconds."""

    name: str
    interval: float
    pause: float

    async def read(self) -> bytes:
        """The set as it is now, at most ``MAX_BYTES`` of it. Raises whatever stands against it."""


class FileSource:
    """A file, which may be replaced, or be a symlink that turns to another, as in a Kubernetes volume.

    Its contents are compared rather than its stamp: that costs no more, once a second, and sees a rewrite in place too.
    """

    interval = 1.0
    pause = 1.0

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._path = path

    async def read(self) -> bytes:
        return await asyncio.to_thread(self._read)

    def _read(self) -> bytes:
        # To open a pipe would wait for a writer, for ever.
        if not stat.S_ISREG(self._path.stat().st_mode):
            raise KeySetError("it is no file")
        with self._path.open("rb") as file:
            document = file.read(MAX_BYTES + 1)
        _bound(len(document))
        return document


class UrlSource:
    """A URL, whose user info and query are for its server alone. A redirect is a failure: keys come from here."""

    interval = 300.0
    pause = 10.0

    def __init__(self, url: URL) -> None:
        self.name = str(url.with_user(None).with_query(None).with_fragment(None))
        self._url = url

    async def read(self) -> bytes:
        timeout = ClientTimeout(total=FETCH_SECONDS)
        async with (
            ClientSession(timeout=timeout, headers=HEADERS, auto_decompress=False) as session,
            session.get(self._url, allow_redirects=False) as response,
        ):
            if response.status != HTTPStatus.OK:
                raise KeySetError(f"it answers {response.status}")
            body = bytearray()
            async for chunk in response.content.iter_any():
                body += chunk
                _bound(len(body))
            return bytes(body)


class JwksProvider:
    """An issuer's public keys, in step with their source.

    ``generation`` grows whenever they change: what was concluded from older keys does not hold any more. A source that
    fails leaves them as they are, and is told of once an outage; a well-formed set is taken at its word, an empty one
    too. A clock counts seconds from anywhere.
    """

    def __init__(self, source: Source, *, clock: Callable[[], float] = monotonic) -> None:
        self.generation = 0
        self._source = source
        self._clock = clock
        self._document: bytes | None = None
        self._contents = ParsedKeySet(frozenset(), ())
        self._trouble: str | None = None
        self._asked_at = -inf
        self._look: asyncio.Task[None] | None = None
        self._keeper: asyncio.Task[None] | None = None

    @classmethod
    def at(cls, location: str) -> Self:
        """The set at an http(s) URL, or in the file of that path. ValueError for any other URL."""
        if "://" not in location:
            return cls(FileSource(Path(location)))
        with suppress(ValueError):
            url = URL(location)
            if url.scheme in {"http", "https"} and url.host:
                return cls(UrlSource(url))
        raise ValueError("must be an http or https URL, or the path of a file")

    async def open(self) -> None:
        """Read it, and begin to keep it. A source that fails is a warning, for it may come back."""
        await self._refresh()
        self._keeper = asyncio.create_task(self._keep())

    async def close(self) -> None:
        tasks = [task for task in (self._keeper, self._look) if task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def find(self, kid: str | None) -> Sequence[PublicKey]:
        """The keys of that name, or all for None. If there are none, after another look, unless one was just had."""
        found = self._named(kid)
        if not found and self._may_look():
            await self._refresh()
            found = self._named(kid)
        return found

    def _named(self, kid: str | None) -> Sequence[PublicKey]:
        return [key for key in self._contents.keys if kid is None or key.kid == kid]

    def _may_look(self) -> bool:
        if self._look is not None and not self._look.done():
            return True
        now = self._clock()
        if now - self._asked_at < self._source.pause:
            return False
        self._asked_at = now
        return True

    async def _keep(self) -> None:
        while True:
            interval = self._source.interval
            await asyncio.sleep(min(interval, RETRY_SECONDS) if self._trouble else interval)
            await self._refresh()

    async def _refresh(self) -> None:
        if self._look is None or self._look.done():
            self._look = asyncio.create_task(self._read())
        # Of all who wait, one may go away.
        await asyncio.shield(self._look)

    async def _read(self) -> None:
        try:
            document = await self._source.read()
            if document != self._document:
                self._take(read_key_set(document))
                self._document = document
        except Exception as error:  # noqa: BLE001 - whatever it is, a keeper that dies would keep these keys for ever
            self._turn(_reason(error))
        else:
            self._turn(None)

    def _take(self, contents: ParsedKeySet) -> None:
        if contents.complaints and contents.complaints != self._contents.complaints:
            LOGGER.warning("The JWK set %s: %s", self._source.name, "; ".join(contents.complaints))
        if contents.keys != self._contents.keys:
            self.generation += 1
            LOGGER.info("The JWK set %s has changed: keys in use %d", self._source.name, len(contents.keys))
        self._contents = contents

    def _turn(self, trouble: str | None) -> None:
        if trouble and not self._trouble:
            LOGGER.warning("The JWK set %s cannot be read: %s", self._source.name, trouble)
        if self._trouble and not trouble:
            LOGGER.info("The JWK set %s can be read again", self._source.name)
        self._trouble = trouble


def _bound(size: int) -> None:
    if size > MAX_BYTES:
        raise KeySetError(f"it is larger than {MAX_BYTES} bytes")


def _reason(error: Exception) -> str:
    # Some of aiohttp's own errors quote the URL, with its user info.
    told = str(error) if isinstance(error, KeySetError | OSError) else ""
    return told or type(error).__name__
