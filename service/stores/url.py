"""The parts of a valid store URL: how servers are found, and the redis-py URL of each server."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv6Address
from typing import NamedTuple
from urllib.parse import SplitResult, parse_qs, quote, unquote, urlencode, urlsplit

from service.settings.store_url import split_store_url

SENTINEL_PORT, REDIS_PORT = 26379, 6379
_SENTINEL_OPTIONS = ("sentinel-username", "sentinel-password")
_NAME, _IPV6 = re.compile(r"[\w.-]+"), re.compile(r"[0-9A-Fa-f:.]+(%[\w.-]+)?")
_CREDENTIAL_OPTIONS = ("username", "password", *_SENTINEL_OPTIONS)


class Address(NamedTuple):
    """Host and port of a server."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def names_host(self) -> bool:
        """Whether the host is a name, also one with underscores, or an IP address without brackets.

        An operator can make a server announce anything. In a URL, other text would lead elsewhere.
        """
        return _names_host(self.host)


# A Cluster names each node once for each range of its slots.
@lru_cache(maxsize=1024)
def _names_host(text: str) -> bool:
    try:
        if ":" in text:
            IPv6Address(text)
            return _IPV6.fullmatch(text) is not None
        text.encode("idna")
    except ValueError:
        return False
    return _NAME.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class StoreUrl:
    """A URL that ``service.settings.store_url`` accepts, but not ``memory://``."""

    text: str

    @property
    def description(self) -> str:
        """The URL without credentials and options."""
        if self._parts.scheme == "unix":
            return f"unix://{unquote(self._parts.path)}?db={self._option('db') or 0}"
        servers = ",".join(map(str, self.servers))
        service = f"/{self.service}" if self.service else ""
        database = "" if self.kind == "cluster" else f"/{self._database}"
        return f"{self._parts.scheme}://{servers}{service}{database}"

    @property
    def kind(self) -> str:
        """``sentinel``, ``cluster``, or "" for a single server."""
        return self._parts.scheme.partition("+")[2]

    @property
    def servers(self) -> Sequence[Address]:
        """The servers that the URL names: Sentinels, nodes of a Cluster, or the one Redis."""
        default = SENTINEL_PORT if self.kind == "sentinel" else REDIS_PORT
        split = [urlsplit(f"//{server}") for server in self._servers.split(",")]
        return [Address(unquote(part.hostname or "localhost"), part.port or default) for part in split]

    @property
    def service(self) -> str:
        """The name that Sentinels give to the primary and its replicas; "" without Sentinels."""
        return unquote(self._path[0]) if self.kind == "sentinel" else ""

    def at(self, address: Address | None) -> str:
        """Return the URL of one Redis with the credentials and options of this one; None is the only server."""
        if address is None:
            return self.text
        user, at, _ = self._parts.netloc.rpartition("@")
        return self._server_url(f"{user}{at}{address}", f"/{self._database}", dict(self._options()))

    def sentinel_at(self, address: Address) -> str:
        """Return the URL of a Sentinel, which has credentials of its own."""
        options = {n: v for n, v in self._options() if n not in ("db", "username", "password", "client_name")}
        name, password = self.sentinel_credentials
        user = f"{quote(name, safe='')}:{quote(password, safe='')}@" if password else ""
        return self._server_url(f"{user}{address}", "", options)

    @property
    def credentials(self) -> tuple[str, str]:
        """User and password for Redis; "" for none."""
        user = unquote(self._parts.username or "") or self._option("username")
        return user, unquote(self._parts.password or "") or self._option("password")

    @property
    def sentinel_credentials(self) -> tuple[str, str]:
        """User and password for Sentinels; "" for none."""
        return self._option("sentinel-username"), self._option("sentinel-password")

    @property
    def without_credentials(self) -> "StoreUrl":
        options = {name: value for name, value in self._query() if name not in _CREDENTIAL_OPTIONS}
        return StoreUrl(_join(self._parts.scheme, self._servers, self._parts.path, options))

    @property
    def _parts(self) -> SplitResult:
        return split_store_url(self.text)

    @property
    def _servers(self) -> str:
        return self._parts.netloc.rpartition("@")[2]

    @property
    def _path(self) -> list[str]:
        return self._parts.path.strip("/").split("/")

    @property
    def _database(self) -> str:
        in_path = self._path[1:] if self.kind == "sentinel" else self._path
        return (in_path[0] if in_path else "") or self._option("db") or "0"

    def _query(self) -> list[tuple[str, str]]:
        return [(name, values[0]) for name, values in parse_qs(self._parts.query).items()]

    def _options(self) -> list[tuple[str, str]]:
        """Return the options that redis-py takes."""
        return [(name, value) for name, value in self._query() if name not in _SENTINEL_OPTIONS and name != "db"]

    def _option(self, name: str) -> str:
        return dict(self._query()).get(name, "")

    def _server_url(self, netloc: str, path: str, options: dict[str, str]) -> str:
        return _join(self._parts.scheme.partition("+")[0], netloc, path, options)


def _join(scheme: str, netloc: str, path: str, options: dict[str, str]) -> str:
    # urlunsplit would write unix:/path.
    return f"{scheme}://{netloc}{path}?{urlencode(options, quote_via=quote)}"
