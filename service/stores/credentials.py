"""Credentials from the file with the store's URL, which is read again whenever a connection logs in."""

import logging
from pathlib import Path

from redis.credentials import CredentialProvider

from service.settings.regular_file import read_regular
from service.settings.store_url import parse_store_url
from service.stores.url import StoreUrl

LOGGER = logging.getLogger(__name__)


class FileCredentials(CredentialProvider):
    """Returns user and password of the URL in ``path``, and those of ``url`` until the file has been read.

    If the file cannot be used, the last credentials remain, and the log has one warning.
    """

    def __init__(self, url: StoreUrl, path: Path) -> None:
        self._url = url
        self._path = path
        self._current = url.credentials
        self._warned: str | None = None

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        """Return the password, or user and password, as redis-py sends them."""
        problem = self._read()
        if problem and problem != self._warned:
            LOGGER.warning("The file of SIGNER_STORE_URL_FILE %s", problem)
        self._warned = problem
        user, password = self._current
        return (user, password) if user else (password,)

    async def get_credentials_async(self) -> tuple[str] | tuple[str, str]:
        """Return the same as ``get_credentials``: reading a small file blocks for less time than a thread takes."""
        return self.get_credentials()

    def _read(self) -> str | None:
        """Read the file. Return what is wrong with it, without a part of the URL."""
        try:
            url = StoreUrl(parse_store_url(read_regular(self._path).decode().strip()))
        except OSError as error:
            return f"cannot be read, so the old password is used: {error.strerror}"
        except ValueError:
            return "has no valid URL, so the old password is used"
        if url.text == "memory://" or not url.credentials[1]:
            return "has no password, so the old one is used"
        self._current = url.credentials
        if url.without_credentials != self._url.without_credentials:
            return "has another URL, of which only user and password are used until the service restarts"
        return None
