"""AWS Signature Version 4 in the query of a presigned URL, or in the fields of a form. Pure.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html
"""

import hashlib
import json
import time
from base64 import b64encode
from collections.abc import Mapping
from functools import lru_cache
from hashlib import sha256
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import quote

ALGORITHM = "AWS4-HMAC-SHA256"
SERVICE = "s3"
TERMINATOR = "aws4_request"
UNSIGNED = "UNSIGNED-PAYLOAD"

_BLOCK_BYTES = sha256().block_size
_IPAD, _OPAD = (bytes(byte ^ pad for byte in range(256)) for pad in (0x36, 0x5C))
_EMPTY: Mapping[str, str] = MappingProxyType({})


class CredentialScope(NamedTuple):
    """The day (``YYYYMMDD``, UTC) and the region of a signing key. ``encoded`` is ``text`` for a query.

    Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
    """

    date: str
    region: str
    text: str
    encoded: str


# Accounts share scopes: an object of each account's own costs 0.3 µs, a miss of the processor's caches.
@lru_cache(maxsize=256)
def credential_scope(date: str, region: str) -> CredentialScope:
    text = f"{date}/{region}/{SERVICE}/{TERMINATOR}"
    return CredentialScope(date, region, text, encode(text))


class Credentials:
    """An access key, with the signing key of the last credential scope. A repr shows neither.

    A signing key is valid for a day, and deriving it costs more than signing.
    """

    __slots__ = ("_secret_access_key", "encoded_id", "padded_key", "scope", "token_query")

    def __init__(self, access_key_id: str, secret_access_key: str, session_token: str | None = None) -> None:
        self._secret_access_key = secret_access_key
        self.encoded_id = encode(access_key_id)
        self.token_query = f"&X-Amz-Security-Token={encode(session_token)}" if session_token else ""
        self.scope: CredentialScope | None = None
        self.padded_key = b""

    def derive_signing_key(self, scope: CredentialScope) -> None:
        key = b"AWS4" + self._secret_access_key.encode()
        for part in (scope.date, scope.region, SERVICE, TERMINATOR):
            key = _hmac(_padded(key), part.encode()).digest()
        self.padded_key = _padded(key)
        self.scope = scope


def sign_query(
    credentials: Credentials,
    region: str,
    *,
    method: str,
    host: str,
    path: str,
    at: int,
    expires_in: int,
    headers: Mapping[str, str] = _EMPTY,
    query: Mapping[str, str] = _EMPTY,
) -> str:
    """Return the query of a presigned URL, from its first parameter to its signature.

    Args:
        credentials: The access key that signs.
        region: The region of the credential scope.
        method: In capitals.
        host: The Host header: in lower case, without a default port.
        path: The path of the URL, percent-encoded once.
        at: Unix time in seconds.
        expires_in: Seconds, 1 to 604800.
        headers: Further headers that the client must send, under names in lower case.
        query: Further parameters, in the order of the URL, not encoded.
    """
    date_time = amz_date(at)
    scope = _enter_scope(credentials, date_time, region)
    canonical_headers, signed_headers = canonical_header_lines(host, headers) if headers else (f"host:{host}\n", "host")
    parameters = (
        f"X-Amz-Algorithm={ALGORITHM}&X-Amz-Credential={credentials.encoded_id}%2F{scope.encoded}"
        f"&X-Amz-Date={date_time}&X-Amz-Expires={expires_in}"
    )
    # Names of metadata may have characters such as #.
    signed = f"&X-Amz-SignedHeaders={encode(signed_headers) if headers else signed_headers}"
    url_query = canonical_query = parameters + signed
    if token := credentials.token_query:
        # The URL has AWS' parameters in a fixed order, the canonical query has them sorted.
        url_query, canonical_query = f"{parameters}{signed}{token}", f"{parameters}{token}{signed}"
    if query:
        url_query = "&".join([*(f"{encode(name)}={encode(value)}" for name, value in query.items()), url_query])
        canonical_query = sorted_query(url_query)

    canonical_request = f"{method}\n{path}\n{canonical_query}\n{canonical_headers}\n{signed_headers}\n{UNSIGNED}"
    return f"{url_query}&X-Amz-Signature={_signature(credentials, date_time, scope, canonical_request)}"


def request_signature(credentials: Credentials, region: str, *, date_time: str, canonical_request: str) -> str:
    """Return the signature of a canonical request, for a ``date_time`` in the form of X-Amz-Date."""
    scope = _enter_scope(credentials, date_time, region)
    return _signature(credentials, date_time, scope, canonical_request)


def _signature(credentials: Credentials, date_time: str, scope: CredentialScope, canonical_request: str) -> str:
    digest = sha256(canonical_request.encode()).hexdigest()
    string_to_sign = f"{ALGORITHM}\n{date_time}\n{scope.text}\n{digest}"
    return _hmac(credentials.padded_key, string_to_sign.encode()).hexdigest()


def sign_policy(
    credentials: Credentials,
    region: str,
    policy: Mapping[str, Any],
    *,
    access_key_id: str,
    session_token: str | None,
    at: int,
) -> dict[str, str]:
    """Return the fields of a form that is signed with a POST policy, from its algorithm to its signature.

    ``policy`` has ``expiration`` and ``conditions``; the conditions of the signature are added.

    Source: https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-UsingHTTPPOST.html
    """
    date_time = amz_date(at)
    scope = _enter_scope(credentials, date_time, region)
    fields = {
        "x-amz-algorithm": ALGORITHM,
        "x-amz-credential": f"{access_key_id}/{scope.text}",
        "x-amz-date": date_time,
    }
    if session_token:
        fields["x-amz-security-token"] = session_token
    conditions = [*policy["conditions"], *({name: value} for name, value in fields.items())]
    encoded = b64encode(json.dumps({**policy, "conditions": conditions}).encode())
    return {**fields, "policy": encoded.decode(), "x-amz-signature": _hmac(credentials.padded_key, encoded).hexdigest()}


# A busy service signs many URLs in one second.
@lru_cache(maxsize=8)
def amz_date(at: int) -> str:
    """Return a Unix time in the form of X-Amz-Date, ``20130524T000000Z``."""
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(at))


def _enter_scope(credentials: Credentials, date_time: str, region: str) -> CredentialScope:
    """Return the credential scope, for which the credentials then have their signing key."""
    scope = credential_scope(date_time[:8], region)
    # The cache of scopes is bounded, so an equal scope can be another object.
    if scope is not credentials.scope and scope != credentials.scope:
        credentials.derive_signing_key(scope)
    return scope


def canonical_header_lines(host: str, headers: Mapping[str, str]) -> tuple[str, str]:
    """Return the canonical headers, each with its newline, and the list of signed headers."""
    trimmed = {name: " ".join(value.split()) for name, value in headers.items()}
    ordered = sorted({**trimmed, "host": host}.items())
    return "".join(f"{name}:{value}\n" for name, value in ordered), ";".join(name for name, _ in ordered)


def sorted_query(query: str) -> str:
    """Return the canonical form of an encoded query."""
    # By name, then by value: "=" sorts after "-", so sorting whole parameters gives another order.
    return "&".join("".join(parts) for parts in sorted(pair.partition("=") for pair in query.split("&")))


def _padded(key: bytes) -> bytes:
    """Return the inner and the outer padded key of HMAC-SHA256, one after the other.

    For messages as short as these, OpenSSL's own HMAC takes twice the time of the two hashes.
    Source: https://www.rfc-editor.org/rfc/rfc2104#section-2
    """
    block = (key if len(key) <= _BLOCK_BYTES else sha256(key).digest()).ljust(_BLOCK_BYTES, b"\0")
    return block.translate(_IPAD) + block.translate(_OPAD)


def _hmac(padded_key: bytes, message: bytes) -> "hashlib._Hash":
    return sha256(padded_key[_BLOCK_BYTES:] + sha256(padded_key[:_BLOCK_BYTES] + message).digest())


def encode(text: str) -> str:
    """Return text percent-encoded for a query, as AWS does it."""
    return quote(text, safe="")
