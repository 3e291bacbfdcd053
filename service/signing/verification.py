"""Finds out why a server would refuse a presigned URL. Pure: asks no server.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import NamedTuple
from urllib.parse import quote, unquote, unquote_to_bytes

from service.endpoints import DEFAULT_PORTS
from service.resources.schemas import MAX_EXPIRATION_SECONDS
from service.resources.types import AwsAccount
from service.signing.endpoint import Endpoint
from service.signing.operations import OPERATIONS
from service.signing.presigned_url import CREDENTIAL, DATE, EXPIRES, REQUIRED, SIGNED_HEADERS, PresignedUrl
from service.signing.sigv4 import (
    UNSIGNED,
    Credentials,
    canonical_header_lines,
    encode,
    request_signature,
    sorted_query,
)

PASS, WARN, FAIL = "pass", "warn", "fail"
METHODS = ("GET", "PUT", "HEAD", "DELETE", "POST")
# A server refuses a URL whose time is further in the future.
MAX_SKEW_SECONDS = 900
# For each parameter, a changed URL is signed and compared. No real URL has so many.
MAX_PARAMETERS = 100
_TOKEN = "X-Amz-Security-Token"  # noqa: S105 - the name of a parameter


class Finding(NamedTuple):
    """One thing that a server checks. ``advice`` is empty if there is nothing to change."""

    name: str
    status: str
    output: str
    advice: str = ""


def time_findings(url: PresignedUrl, now: int) -> Iterator[Finding]:
    """Yield what a server says about the times of a URL at ``now``, in Unix time."""
    end = url.at + url.expires_in
    if not 1 <= url.expires_in <= MAX_EXPIRATION_SECONDS:
        output = f"{EXPIRES} is {url.expires_in}, and must be 1 to {MAX_EXPIRATION_SECONDS}"
        yield Finding("expiration", FAIL, output, "sign a new URL")
    elif now > end:
        yield Finding("expiration", FAIL, f"the URL expired at {instant(end)}, {now - end} s ago", "sign a new URL")
    else:
        yield Finding("expiration", PASS, f"the URL is valid until {instant(end)}")
    if url.at - now > MAX_SKEW_SECONDS:
        yield Finding(
            "clock",
            FAIL,
            f"the URL was signed at {instant(url.at)}, {url.at - now} s after the time of this machine",
            "synchronize the clocks of the machine that signs and of this one by NTP",
        )
    else:
        yield Finding("clock", PASS, f"this machine shows {instant(now)}; compare the clock of the server")
    if url.scope_date != url.date_time[:8]:
        output = f"{CREDENTIAL} has the day {url.scope_date}, and {DATE} the day {url.date_time[:8]}"
        yield Finding("date", FAIL, output, "one of them was changed after signing; sign a new URL")


def header_findings(url: PresignedUrl, headers: Mapping[str, str]) -> Iterator[Finding]:
    """Yield what is wrong with the ``headers`` of a request, by names in lower case."""
    if missing := missing_headers(url, headers):
        yield Finding(
            "headers",
            WARN,
            f"the request must send {', '.join(missing)}, with the values that were signed",
            "verify the answer of details=true, or add each by --header 'NAME: VALUE'",
        )
    unsigned = [name for name in headers if name.startswith("x-amz-") and name not in url.signed_headers]
    if unsigned:
        output = f"the request sends {', '.join(unsigned)}, which the URL does not sign"
        yield Finding("headers", FAIL, output, "do not send it, or sign a URL that carries it")


def missing_headers(url: PresignedUrl, headers: Mapping[str, str]) -> list[str]:
    """Return the signed headers whose values are not known."""
    return [name for name in url.signed_headers if name != "host" and name not in headers]


def signed_method(
    url: PresignedUrl, credentials: Credentials, headers: Mapping[str, str], methods: Sequence[str] = METHODS
) -> str | None:
    """Return the method that a URL is signed for with ``credentials``; None if a part of it does not fit."""
    names = {name: headers[name] for name in url.signed_headers if name in headers}
    lines, signed = canonical_header_lines(headers.get("host", url.host), names)
    query = sorted_query("&".join(f"{encode(name)}={encode(value)}" for name, value in url.query))
    # S3 decodes the path and encodes it again.
    path = quote(unquote_to_bytes(url.path), safe="/~")
    payload = dict(url.query).get("X-Amz-Content-Sha256", UNSIGNED)
    end = f"\n{path}\n{query}\n{lines}\n{signed}\n{payload}"
    for method in methods:
        made = request_signature(credentials, url.region, date_time=url.date_time, canonical_request=method + end)
        if made == url.signature:
            return method
    return None


def find_change(
    url: PresignedUrl,
    account: AwsAccount,
    headers: Mapping[str, str],
    *,
    endpoints: Sequence[Endpoint],
    others: Mapping[str, Credentials],
) -> Finding:
    """Return the part of a URL that was changed after signing, or whose secret signed it.

    Args:
        url: A URL whose signature does not fit ``account``.
        account: The account of its access key, with keys.
        headers: The headers of the request.
        endpoints: The endpoints that the account may have signed for.
        others: The credentials of other accounts, by id.
    """
    for id_, other in others.items():
        if signed_method(url, other, headers):
            output = f"the URL is signed with the secret of AwsAccount/{id_}, and names the access key of {account.id}"
            return Finding("secret", FAIL, output, "store access-key-id and secret-access-key that belong together")
    credentials = account_credentials(account)
    for finding, changed in _changes(url, account, endpoints):
        if signed_method(changed, credentials, headers):
            return finding
    return Finding(
        "signature",
        FAIL,
        f"the secret of AwsAccount/{account.id} makes another signature, and no single known change explains it",
        "the URL was signed with another secret, for example before the keys were rotated, or its bucket, its key,"
        " X-Amz-Date, another value in its query or a header was changed; compare it with its audit line",
    )


def account_credentials(account: AwsAccount) -> Credentials:
    """Return the credentials of an account with keys."""
    return Credentials(account.access_key_id or "", account.secret_access_key or "", account.session_token)


def instant(seconds: int) -> str:
    """Return Unix time as ``2013-05-24T00:00:00Z``."""
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat() + "Z"


def _changes(
    url: PresignedUrl, account: AwsAccount, endpoints: Sequence[Endpoint]
) -> Iterator[tuple[Finding, PresignedUrl]]:
    """Yield URLs that may have been signed, each with what was changed in it since; the quick ones first."""
    for region in dict.fromkeys((account.region, *(it.region for it in endpoints), "us-east-1", "auto", "")):
        output = f"the URL names the region {url.region}, and is signed for {region or 'none'}"
        yield Finding("region", FAIL, output, "do not change X-Amz-Credential"), url.in_region(region)
    yield from _hosts(url, endpoints)
    yield from _paths(url)
    yield from _parameters(url, account)
    yield from _times(url)


def _hosts(url: PresignedUrl, endpoints: Sequence[Endpoint]) -> Iterator[tuple[Finding, PresignedUrl]]:
    _, _, rest = url.path.lstrip("/").partition("/")
    for host in (f"{url.host}:{port}" for port in DEFAULT_PORTS.values()):
        output = f"the URL is signed for the host {host}, with a port that clients do not send"
        yield Finding("host", FAIL, output, "sign for the host without its default port"), replace(url, host=host)
    for endpoint in endpoints:
        output = f"the URL names the host {url.host}, and is signed for {endpoint.host}"
        advice = "send it to that host, and let proxies keep Host; set public-host if clients use another name"
        for path in dict.fromkeys((url.path, f"{endpoint.prefix}{url.path}", f"{endpoint.prefix}/{rest}")):
            if endpoint.host != url.host:
                yield Finding("host", FAIL, output, advice), replace(url, host=endpoint.host, path=path)
            elif path != url.path:
                changed = f"the path of the URL is signed as {unquote(path)}"
                yield Finding("path", FAIL, changed, "let no proxy change the path"), replace(url, path=path)


def _paths(url: PresignedUrl) -> Iterator[tuple[Finding, PresignedUrl]]:
    decoded = unquote(url.path)
    no_proxy = "let no client, proxy or framework change the path"
    for text, what in (
        (unquote(decoded), "is encoded twice"),
        (quote(decoded, safe="/~"), "was decoded"),
        (quote(quote(decoded, safe="/~"), safe="/~"), "was decoded twice"),
        (decoded.replace("+", " "), "has a + for a space; write %20"),
        (decoded.replace(" ", "+"), "has a space for a +; write %2B"),
        (unicodedata.normalize("NFC", decoded), "has characters with marks of their own (NFD)"),
        (unicodedata.normalize("NFD", decoded), "has characters with composed marks (NFC)"),
        (re.sub("/+", "/", decoded), "has more slashes"),
        (f"/{decoded}", "has fewer slashes"),
        (f"{decoded}/", "has no slash at its end"),
        (decoded.rstrip("/") or "/", "has a slash at its end"),
        (f"/{decoded.lstrip('/').partition('/')[2]}", "has one more segment at its front"),
    ):
        if text != decoded:
            finding = Finding("path", FAIL, f"the path of the URL {what}, and is signed otherwise", no_proxy)
            yield finding, replace(url, path=quote(text, safe="/~"))


def _parameters(url: PresignedUrl, account: AwsAccount) -> Iterator[tuple[Finding, PresignedUrl]]:
    kept = "let no client or proxy change the query"
    if url.query_with_plus != url.query:
        finding = Finding("parameter", FAIL, "servers read the + in the query as a space", "write %2B")
        yield finding, replace(url, query=url.query_with_plus)
    removable = [name for name, _ in url.query if name not in REQUIRED]
    for names in [*({name} for name in removable[:MAX_PARAMETERS]), {*removable}]:
        finding = Finding("parameter", FAIL, f"{', '.join(sorted(names))} was added after signing", kept)
        yield finding, replace(url, query=tuple(pair for pair in url.query if pair[0] not in names))
    present = {name for name, _ in url.query}
    known = [{**operation.query, **operation.last} for operation in OPERATIONS]
    added = [{name: value} for fixed in known for name, value in fixed.items()] + known
    if account.session_token:
        added.append({_TOKEN: account.session_token})
    for fixed in added:
        if lacking := {name: value for name, value in fixed.items() if name not in present}:
            finding = Finding("parameter", FAIL, f"{', '.join(sorted(lacking))} was removed after signing", kept)
            yield finding, replace(url, query=(*url.query, *lacking.items()))
    for name, value in url.query[:MAX_PARAMETERS]:
        if name == _TOKEN and account.session_token:
            output = f"{_TOKEN} is not the session token of AwsAccount/{account.id}"
            yield Finding("parameter", FAIL, output, kept), url.with_parameter(name, account.session_token)
        for text in {unquote(value), quote(value, safe=""), value.replace("+", " "), value.replace(" ", "+")} - {value}:
            output = f"the value of {name} was encoded or decoded once more after signing"
            yield Finding("parameter", FAIL, output, kept), url.with_parameter(name, text)
    finding = Finding("parameter", FAIL, f"{SIGNED_HEADERS} was changed after signing", kept)
    yield finding, replace(url.with_parameter(SIGNED_HEADERS, "host"), signed_headers=("host",))


def _times(url: PresignedUrl) -> Iterator[tuple[Finding, PresignedUrl]]:
    # Every second up to ten minutes, every minute up to a day, every hour up to a week: more would take long.
    for seconds in (*range(1, 600), *range(600, 86_400, 60), *range(86_400, MAX_EXPIRATION_SECONDS + 1, 3600)):
        output = f"{EXPIRES} is {url.expires_in}, and was {seconds} when signed"
        finding = Finding("parameter", FAIL, output, "a URL cannot be prolonged; sign a new one")
        yield finding, url.with_parameter(EXPIRES, str(seconds))
