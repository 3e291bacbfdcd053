"""Users and passwords of the store's URL, which may be replaced while the service runs."""

from redis.credentials import CredentialProvider

from service.mounted_files import UnusableFile
from service.settings.store_url import parse_store_url
from service.stores.url import StoreUrl


class Login(CredentialProvider):
    """A user and a password, which redis-py asks for whenever a connection logs in."""

    def __init__(self, user: str, password: str) -> None:
        self.user, self.password = user, password

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        """Return the password, or user and password, as redis-py sends them."""
        return (self.user, self.password) if self.user else (self.password,)

    async def get_credentials_async(self) -> tuple[str] | tuple[str, str]:
        """Return the same as ``get_credentials``."""
        return self.get_credentials()


class StoreCredentials:
    """The logins at Redis and at Sentinels; None where the URL has no password."""

    def __init__(self, url: StoreUrl) -> None:
        self._url = url
        self.redis = Login(*url.credentials) if url.credentials[1] else None
        self.sentinel = Login(*url.sentinel_credentials) if url.sentinel_credentials[1] else None

    async def use(self, text: str) -> None:
        """Take users and passwords from another text of the URL. Raises ``UnusableFile`` if it differs in more."""
        try:
            url = StoreUrl(parse_store_url(text))
        except ValueError:
            raise UnusableFile("it is not a valid URL") from None
        new = StoreCredentials(url) if url.text != "memory://" else None
        if (
            new is None
            or url.without_credentials != self._url.without_credentials
            or (new.redis is None, new.sentinel is None) != (self.redis is None, self.sentinel is None)
        ):
            raise UnusableFile("it differs in more than users and passwords, which needs a restart")
        for login, other in ((self.redis, new.redis), (self.sentinel, new.sentinel)):
            if login and other:
                login.user, login.password = other.user, other.password
