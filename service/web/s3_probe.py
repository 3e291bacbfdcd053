"""Send one signed request to the S3 server of an account, to see whether the account works. The answer is not shown."""

import re
import socket
from collections.abc import Sequence
from contextlib import suppress
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from ipaddress import ip_address, ip_network
from time import time
from typing import NamedTuple

import aiohttp
from aiohttp import hdrs
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from service.http_client import http_session

TIMEOUT_SECONDS = 5
MAX_ANSWER_BYTES = 64 * 1024
_ERROR_CODE = re.compile(rb"<Code>([A-Za-z0-9]{1,64})</Code>")
# Errors about another region than the server expects, which is in the same error.
_WRONG_REGION = frozenset({"AuthorizationHeaderMalformed", "AuthorizationQueryParametersError"})
_EXPECTED_REGION = re.compile(rb"<Region>([A-Za-z0-9-]{1,64})</Region>")
# Garage has one code for all that it refuses; its message says why.
_CODES_OF_MESSAGES = {
    b"<Message>Forbidden: Invalid signature<": "SignatureDoesNotMatch",
    b"<Message>Forbidden: No such key:": "InvalidAccessKeyId",
}
# Link-local addresses, also behind NAT64, and the others at which clouds serve credentials to their machines.
_FORBIDDEN = [
    *map(ip_network, ("169.254.0.0/16", "fe80::/10", "64:ff9b::a9fe:0/112")),
    *map(ip_network, ("fd00:ec2::/64", "100.100.100.200/32", "192.0.0.192/32")),
]


class Probe(NamedTuple):
    """The result of a request. ``problem`` says why there is no answer; without one, ``status`` is that of HTTP.

    ``is_listing`` says whether the answer lists a bucket. ``code`` is S3's error code, or empty. ``clock_offset`` is
    the time of the server minus ours, in seconds, if it is known. ``region`` is that of the bucket, if the server
    states it.
    """

    problem: str = ""
    status: int = 0
    is_listing: bool = False
    code: str = ""
    clock_offset: float | None = None
    region: str | None = None

    @property
    def is_answered_by_s3(self) -> bool:
        """Whether S3 has answered for a bucket, even if it refuses the request."""
        return self.is_listing or bool(self.code)


class _ForbiddenAddressError(OSError):
    def __init__(self, host: str) -> None:
        super().__init__(f"{host} has a link-local address, which is never asked")


class _Resolver(AbstractResolver):
    """Refuses names with a forbidden address. The connection goes to the addresses that were checked."""

    def __init__(self) -> None:
        self._resolver = aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, family)
        _check_addresses(host, [entry["host"] for entry in found])
        return found

    async def close(self) -> None:
        await self._resolver.close()


def _check_literal(host: str) -> None:
    # aiohttp does not ask a resolver for an address.
    with suppress(ValueError):
        _check_addresses(host, [str(ip_address(host))])


def _check_addresses(host: str, addresses: Sequence[str]) -> None:
    for text in addresses:
        address = ip_address(text.partition("%")[0])
        mapped = getattr(address, "ipv4_mapped", None) or address
        if any(mapped in network for network in _FORBIDDEN):
            raise _ForbiddenAddressError(host)


async def probe(url: str) -> Probe:
    """GET a signed URL, without redirects, proxies or environment, within TIMEOUT_SECONDS."""
    target = URL(url, encoded=True)
    try:
        _check_literal(target.host or "")
        async with (
            http_session(TIMEOUT_SECONDS, resolver=_Resolver()) as session,
            session.get(target, allow_redirects=False) as answer,
        ):
            body = await _read(answer.content)
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        return Probe(_problem(error))
    code = _code(body)
    region = _EXPECTED_REGION.search(body) if code in _WRONG_REGION else None
    return Probe(
        status=answer.status,
        is_listing=answer.status == HTTPStatus.OK and b"ListBucketResult" in body,
        code=code,
        clock_offset=_clock_offset(answer.headers.get(hdrs.DATE)),
        region=region[1].decode() if region else answer.headers.get("x-amz-bucket-region"),
    )


async def _read(content: aiohttp.StreamReader) -> bytes:
    body = b""
    # One read returns only what has arrived.
    while len(body) < MAX_ANSWER_BYTES and (piece := await content.read(MAX_ANSWER_BYTES - len(body))):
        body += piece
    return body


def _code(body: bytes) -> str:
    for message, meaning in _CODES_OF_MESSAGES.items():
        if message in body:
            return meaning
    code = _ERROR_CODE.search(body)
    return code[1].decode() if code else ""


def _problem(error: Exception) -> str:
    cause = error
    while cause.__cause__ is not None and isinstance(cause.__cause__, Exception):
        cause = cause.__cause__
    if isinstance(cause, _ForbiddenAddressError):
        return str(cause)
    # Some errors of aiohttp quote the URL with its signature.
    return f"the server cannot be reached ({type(error).__name__})"


def _clock_offset(date: str | None) -> float | None:
    try:
        return parsedate_to_datetime(date).timestamp() - time() if date else None
    except (ValueError, OverflowError):
        return None
