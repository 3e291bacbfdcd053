"""HTTP that sends a URL as it is written: signed paths survive no client that tidies them up."""

import http.client
import json
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Answer:
    """What came back; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class RawUrl:
    """A URL cut at its first slash, with nothing decoded and nothing normalised."""

    scheme: str
    authority: str
    target: str

    @classmethod
    def parse(cls, url: str) -> "RawUrl":
        scheme, _, rest = url.partition("://")
        authority, _, tail = rest.partition("/")
        return cls(scheme, authority, f"/{tail}")

    @property
    def host(self) -> str:
        return urlsplit(f"//{self.authority}").hostname

    @property
    def port(self) -> int:
        return urlsplit(f"//{self.authority}").port or (443 if self.scheme == "https" else 80)


def send(
    url: str,
    method: str,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    *,
    ca: Path | None = None,
    timeout: float = 10,
    address: str | None = LOOPBACK,
) -> Answer:
    """Send to the URL's port on loopback, whatever its host is called: neither DNS nor /etc/hosts is needed.

    `ca` is a PEM file to trust for https; the certificate has to bear the URL's own host name. With `address=None` the
    connection goes to the host of the URL; a name that ends in `.localhost` is loopback (RFC 6761).
    """
    parts = RawUrl.parse(url)
    if address is None:
        address = LOOPBACK if parts.host.endswith(".localhost") else parts.host
    connection = http.client.HTTPConnection(parts.host, parts.port, timeout=timeout)
    connection.sock = _connect(address, parts, ca, timeout)
    try:
        connection.putrequest(method, parts.target, skip_host=True, skip_accept_encoding=True)
        for name, value in _headers(parts, body, headers or {}).items():
            connection.putheader(name, value)
        connection.endheaders(body)
        return _answer(connection.getresponse())
    finally:
        connection.close()


def _connect(address: str, parts: RawUrl, ca: Path | None, timeout: float) -> socket.socket:
    plain = socket.create_connection((address, parts.port), timeout)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if parts.scheme != "https":
        return plain
    try:
        return _trusting(ca).wrap_socket(plain, server_hostname=parts.host)
    except OSError:
        plain.close()
        raise


@cache
def _trusting(ca: Path | None) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=ca)


def _headers(parts: RawUrl, body: bytes | None, headers: Mapping[str, str]) -> dict[str, str]:
    own = {"Host": parts.authority}
    if body is not None:
        own["Content-Length"] = str(len(body))
    given = {name.title(): value for name, value in headers.items()}
    return own | given


def _answer(response: http.client.HTTPResponse) -> Answer:
    headers = {name.lower(): value for name, value in response.getheaders()}
    return Answer(response.status, headers, response.read())
