"""The query signature: credentials, an instant and a request in, the query of a presigned URL out. Pure.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html
"""

import hashlib
import time
from collections.abc import Mapping
from functools import lru_cache
from hashlib import sha256
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol
from urllib.parse import quote

ALGORITHM = "AWS4-HMAC-SHA256"
SERVICE = "s3"
TERMINATOR = "aws4_request"

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


class Credentials(Protocol):
    """An access key, which keeps what was last derived of it, and for which ``scope``; None at first.

    One key serves a whole day, and deriving it costs more than signing.
    """

    access_key_id: str | None
    secret_access_key: str | None
    session_token: str | None
    scope: Any
    signing_blocks: bytes
    """The signing key, as its HMAC begins."""

    encoded_id: str
    """The access key id as it stands in a query."""

    token_query: str


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
        credentials: Whose URL it is. They have an id and a secret.
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
    # Where more regions are in use than scope_of remembers, an equal one is another object.
    if scope is not credentials.scope and scope != credentials.scope:
        _derive(credentials, scope)
    lines, names = f"host:{host}\n", "host"
    dated = (
        f"X-Amz-Algorithm={ALGORITHM}&X-Amz-Credential={credentials.encoded_id}%2F{scope.encoded}"
        f"&X-Amz-Date={instant}&X-Amz-Expires={expires_in}"
    )
    signed_headers = "&X-Amz-SignedHeaders=host"
    if headers:
        lines, names = _canonical_headers(host, headers)
        signed_headers = f"&X-Amz-SignedHeaders={names.replace(';', '%3B')}"
    url_query = canonical_query = dated + signed_headers
    if token := credentials.token_query:
        # AWS' parameters are in a fixed order in the URL, but sorted in what is signed.
        url_query, canonical_query = f"{dated}{signed_headers}{token}", f"{dated}{token}{signed_headers}"
    if query:
        url_query = "&".join([*(f"{_encode(name)}={_encode(value)}" for name, value in query.items()), url_query])
        canonical_query = _sorted(url_query)

    canonical_request = f"{method}\n{path}\n{canonical_query}\n{lines}\n{names}\nUNSIGNED-PAYLOAD"
    digest = sha256(canonical_request.encode()).hexdigest()
    string_to_sign = f"{ALGORITHM}\n{instant}\n{scope.text}\n{digest}"
    return f"{url_query}&X-Amz-Signature={_hmac(credentials.signing_blocks, string_to_sign.encode()).hexdigest()}"


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


def _derive(credentials: Credentials, scope: Scope) -> None:
    access_key_id, token = credentials.access_key_id or "", credentials.session_token
    key = b"AWS4" + (credentials.secret_access_key or "").encode()
    for part in (scope.date, scope.region, SERVICE, TERMINATOR):
        key = _hmac(_blocks(key), part.encode()).digest()
    encoded_id = _encode(access_key_id)
    # Most often the same text, which need not be there twice.
    credentials.encoded_id = access_key_id if encoded_id == access_key_id else encoded_id
    credentials.token_query = f"&X-Amz-Security-Token={_encode(token)}" if token else ""
    credentials.signing_blocks = _blocks(key)
    credentials.scope = scope


def _blocks(key: bytes) -> bytes:
    """What HMAC-SHA256 begins its inner and its outer hash with, one behind the other.

    For messages as short as these, OpenSSL's own HMAC takes twice the time of the two hashes.
    Source: https://www.rfc-editor.org/rfc/rfc2104#section-2
    """
    block = (key if len(key) <= _BLOCK_BYTES else sha256(key).digest()).ljust(_BLOCK_BYTES, b"\0")
    return block.translate(_INNER) + block.translate(_OUTER)


def _hmac(blocks: bytes, message: bytes) -> "hashlib._Hash":
    """The outer hash."""
    return sha256(blocks[_BLOCK_BYTES:] + sha256(blocks[:_BLOCK_BYTES] + message).digest())


def _encode(text: str) -> str:
    return quote(text, safe="")
