"""The query signature: credentials, an instant and a request in, the query of a presigned URL out. Pure.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from types import MappingProxyType
from typing import NamedTuple
from urllib.parse import quote

ALGORITHM = "AWS4-HMAC-SHA256"
SERVICE = "s3"
TERMINATOR = "aws4_request"
_ALGORITHM = f"X-Amz-Algorithm={ALGORITHM}"

_BLOCK_BYTES = sha256().block_size
_INNER, _OUTER = (bytes(byte ^ pad for byte in range(256)) for pad in (0x36, 0x5C))

NOTHING: Mapping[str, str] = MappingProxyType({})


class Scope(NamedTuple):
    """What a signing key is derived for: a day (``YYYYMMDD``, UTC) in a region. ``text`` is the credential scope.

    Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
    """

    date: str
    region: str
    text: str
    encoded: str
    """The text as it stands in a query."""


# One for all accounts: each that is not at hand in the processor's caches takes as long as a call.
@lru_cache(maxsize=256)
def scope_of(date: str, region: str) -> Scope:
    text = f"{date}/{region}/{SERVICE}/{TERMINATOR}"
    return Scope(date, region, text, _encode(text))


@dataclass(slots=True, eq=False)
class Credentials:
    """An access key, which remembers the signing key that it derived last.

    One key serves a whole day, and deriving it costs more than signing.
    """

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)
    encoded_id: str = field(init=False, repr=False)
    """The access key id as it stands in a query."""

    token_query: str = field(init=False, repr=False)
    _scope: Scope | None = field(default=None, init=False, repr=False)
    _inner: bytes = field(default=b"", init=False, repr=False)
    _outer: bytes = field(default=b"", init=False, repr=False)

    def __post_init__(self) -> None:
        token, encoded_id = self.session_token, _encode(self.access_key_id)
        self.encoded_id = self.access_key_id if encoded_id == self.access_key_id else encoded_id
        self.token_query = f"&X-Amz-Security-Token={_encode(token)}" if token else ""

    def sign(self, string_to_sign: str, scope: Scope) -> str:
        """The signature, in hexadecimal."""
        if scope is not self._scope:
            self._derive(scope)
        return sha256(self._outer + sha256(self._inner + string_to_sign.encode()).digest()).hexdigest()

    def _derive(self, scope: Scope) -> None:
        key = b"AWS4" + self.secret_access_key.encode()
        for part in (scope.date, scope.region, SERVICE, TERMINATOR):
            inner, outer = _padded(key)
            key = sha256(outer + sha256(inner + part.encode()).digest()).digest()
        self._inner, self._outer = _padded(key)
        self._scope = scope


def sign_query(
    credentials: Credentials,
    region: str,
    *,
    method: str,
    host: str,
    path: str,
    at: int,
    expires_in: int,
    headers: Mapping[str, str] = NOTHING,
    query: Mapping[str, str] = NOTHING,
) -> str:
    """The query of the presigned URL, from its first parameter to its signature.

    Args:
        credentials: Whose URL it is.
        region: The region of the credential scope.
        method: In capitals.
        host: As clients send it: in lower case, without a default port.
        path: As it stands in the URL, percent-encoded once.
        at: Unix time in seconds.
        expires_in: Seconds, 1 to 604800.
        headers: What else the client must send, under names in lower case.
        query: What else is in the query, in the order of the URL, not encoded.
    """
    instant, date = _instant(at)
    scope = scope_of(date, region)
    lines, names = f"host:{host}\n", "host"
    credential = f"{credentials.encoded_id}%2F{scope.encoded}"
    dated = f"{_ALGORITHM}&X-Amz-Credential={credential}&X-Amz-Date={instant}&X-Amz-Expires={expires_in}"
    token, signed_headers = credentials.token_query, "&X-Amz-SignedHeaders=host"
    if headers:
        lines, names = _canonical_headers(host, headers)
        signed_headers = f"&X-Amz-SignedHeaders={names.replace(';', '%3B')}"
    # AWS' parameters are in a fixed order in the URL, but sorted in what is signed.
    url_query = f"{dated}{signed_headers}{token}"
    canonical_query = f"{dated}{token}{signed_headers}"
    if query:
        url_query = "&".join([*(f"{_encode(name)}={_encode(value)}" for name, value in query.items()), url_query])
        canonical_query = _sorted(url_query)

    canonical_request = f"{method}\n{path}\n{canonical_query}\n{lines}\n{names}\nUNSIGNED-PAYLOAD"
    digest = sha256(canonical_request.encode()).hexdigest()
    signature = credentials.sign(f"{ALGORITHM}\n{instant}\n{scope.text}\n{digest}", scope)
    return f"{url_query}&X-Amz-Signature={signature}"


def timestamp(at: int) -> str:
    """A Unix time as X-Amz-Date has it, ``20130524T000000Z``."""
    return _instant(at)[0]


# A busy service signs many URLs in one second.
@lru_cache(maxsize=8)
def _instant(at: int) -> tuple[str, str]:
    """Also the date alone."""
    instant = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(at))
    return instant, instant[:8]


def _canonical_headers(host: str, headers: Mapping[str, str]) -> tuple[str, str]:
    """The canonical headers, each with its newline, and the list of signed headers."""
    trimmed = {name: " ".join(value.split()) for name, value in headers.items()}
    ordered = sorted({**trimmed, "host": host}.items())
    return "".join(f"{name}:{value}\n" for name, value in ordered), ";".join(name for name, _ in ordered)


def _sorted(query: str) -> str:
    # By name and then by value: "=" sorts after "-", so that whole parameters would sort otherwise.
    return "&".join("".join(parts) for parts in sorted(pair.partition("=") for pair in query.split("&")))


def _padded(key: bytes) -> tuple[bytes, bytes]:
    """A key as the two hashes of HMAC begin with it, of which each is ``sha256(outer + sha256(inner + message))``.

    For messages as short as these, OpenSSL's own HMAC takes twice the time of the two hashes.
    Source: https://www.rfc-editor.org/rfc/rfc2104#section-2
    """
    block = (key if len(key) <= _BLOCK_BYTES else sha256(key).digest()).ljust(_BLOCK_BYTES, b"\0")
    return block.translate(_INNER), block.translate(_OUTER)


def _encode(text: str) -> str:
    return quote(text, safe="")
