"""Takes a presigned URL apart.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html
"""

import re
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from urllib.parse import unquote, unquote_plus, urlsplit

from service.endpoints import DEFAULT_PORTS
from service.invisible import INVISIBLE, invisible_hint
from service.signing.sigv4 import ALGORITHM, SERVICE, TERMINATOR

_SIGNATURE = "X-Amz-Signature"
DATE, EXPIRES, CREDENTIAL, SIGNED_HEADERS = "X-Amz-Date", "X-Amz-Expires", "X-Amz-Credential", "X-Amz-SignedHeaders"
REQUIRED = ("X-Amz-Algorithm", CREDENTIAL, DATE, EXPIRES, SIGNED_HEADERS, _SIGNATURE)
_VERSION_2 = frozenset({"AWSAccessKeyId", "GoogleAccessId"})

# What a mail, a chat or an editor puts around a URL: quotes, white space and a byte order mark.
_AROUND = "'\"<>`\u201c\u201d\u2018\u2019\ufeff\u200b\u2060\u00a0 \t\r\n"

Query = tuple[tuple[str, str], ...]
"""Names and values, decoded, in the order of the URL."""


class NotPresigned(ValueError):
    """A text that no server takes as a presigned URL. The message completes "the URL cannot be read: "."""


@dataclass(frozen=True, slots=True)
class PresignedUrl:
    """The parts of a presigned URL. ``host`` and ``path`` are as a server gets them; ``at`` is Unix time in seconds."""

    host: str
    path: str
    query: Query = field(repr=False)
    """Without the signature."""

    signature: str = field(repr=False)
    access_key_id: str
    scope_date: str
    region: str
    date_time: str
    at: int
    expires_in: int
    signed_headers: tuple[str, ...]
    query_with_plus: Query = field(repr=False)
    """The query, if each + is read as a plus. Servers read it as a space."""

    @property
    def parameters(self) -> list[str]:
        """The names of what the query carries besides the signature."""
        return [name for name, _ in self.query if not name.startswith("X-Amz-")]

    def with_parameter(self, name: str, value: str) -> "PresignedUrl":
        """Return the URL with another value of a parameter, which is added if it is missing."""
        others = tuple(pair for pair in self.query if pair[0] != name)
        return replace(self, query=(*others, (name, value)))

    def in_region(self, region: str) -> "PresignedUrl":
        """Return the URL as it would be for another region."""
        scope = f"{self.access_key_id}/{self.scope_date}/{region}/{SERVICE}/{TERMINATOR}"
        return replace(self.with_parameter(CREDENTIAL, scope), region=region)


def parse(text: str) -> PresignedUrl:
    """Return the parts of a URL. Raises NotPresigned."""
    text = text.strip(_AROUND)
    if re.search("[\ud800-\udfff]", text):
        raise NotPresigned("it is not UTF-8")
    if found := re.search(f"[{INVISIBLE}]", text):
        hint = invisible_hint(text[found.start() :])
        raise NotPresigned(f"it has white space in it; remove the line breaks, and encode a space as %20{hint}")
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError as error:
        raise NotPresigned(f"it is no URL: {error}") from None
    if url.scheme not in DEFAULT_PORTS or not url.hostname:
        raise NotPresigned("it does not begin with http:// or https:// and a host")
    if url.netloc != url.netloc.lower():
        # curl sends Host as it stands in the URL; urllib3 and aiohttp send it in lower case, which is signed.
        raise NotPresigned("its host has capital letters, which some clients send; write it in lower case")
    if "&amp;" in url.query:
        raise NotPresigned("it is escaped for HTML; replace each &amp; by &")
    # As servers do, which parse a query as a form: https://url.spec.whatwg.org/#urlencoded-parsing
    pairs = [pair.partition("=")[::2] for pair in url.query.split("&") if pair]
    query = tuple((unquote_plus(name), unquote_plus(value)) for name, value in pairs)
    with_plus = tuple((unquote(name), unquote(value)) for name, value in pairs)
    name = f"[{url.hostname}]" if ":" in url.hostname else url.hostname
    host = name if port in {None, DEFAULT_PORTS[url.scheme]} else f"{name}:{port}"
    return _parsed(host, url.path or "/", query, with_plus)


def _parsed(host: str, path: str, query: Query, with_plus: Query) -> PresignedUrl:
    names = [name for name, _ in query]
    values = dict(query)
    if _VERSION_2 & values.keys():
        raise NotPresigned("it is signed with Signature Version 2, which this service does not make or verify")
    if missing := [name for name in REQUIRED if name not in values]:
        raise NotPresigned(f"it has no {', '.join(missing)}; was it cut off?")
    if repeated := sorted({name for name in names if name.startswith("X-Amz-") and names.count(name) > 1}):
        raise NotPresigned(f"it has {', '.join(repeated)} more than once")
    if values["X-Amz-Algorithm"] != ALGORITHM:
        raise NotPresigned(f"its X-Amz-Algorithm is not {ALGORITHM}")
    if not re.fullmatch("[0-9a-f]{64}", values[_SIGNATURE]):
        raise NotPresigned(f"its {_SIGNATURE} is not 64 digits of 0-9 and a-f; was it cut off?")
    access_key_id, scope_date, region = _scope(values[CREDENTIAL])
    try:
        # strptime() also takes digits of other scripts.
        at = datetime.strptime(values[DATE].encode("ascii").decode(), "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise NotPresigned(f"its {DATE} is no time such as 20130524T000000Z") from None
    if not re.fullmatch("[0-9]{1,9}", values[EXPIRES]):
        raise NotPresigned(f"its {EXPIRES} is no number of seconds")
    try:
        at + timedelta(seconds=int(values[EXPIRES]))
    except OverflowError:
        raise NotPresigned("it ends after the year 9999") from None
    return PresignedUrl(
        host=host,
        path=path,
        query=_unsigned(query),
        signature=values[_SIGNATURE],
        access_key_id=access_key_id,
        scope_date=scope_date,
        region=region,
        date_time=values[DATE],
        at=int(at.timestamp()),
        expires_in=int(values[EXPIRES]),
        signed_headers=tuple(values[SIGNED_HEADERS].lower().split(";")),
        query_with_plus=_unsigned(with_plus),
    )


def _scope(credential: str) -> tuple[str, str, str]:
    """Return the access key, the day and the region of a credential."""
    if "%2f" in credential.lower():
        raise NotPresigned("its query is encoded twice: write % where it has %25")
    # No access key and no region has one.
    if " " in credential:
        raise NotPresigned(f"its {CREDENTIAL} has a space; servers read a + as one, so write %2B")
    scope = credential.rsplit("/", 4)
    if len(scope) != 5 or scope[3:] != [SERVICE, TERMINATOR]:  # noqa: PLR2004 - the parts of a credential
        raise NotPresigned(f"its {CREDENTIAL} is not <access key>/<day>/<region>/{SERVICE}/{TERMINATOR}")
    return scope[0], scope[1], scope[2]


def _unsigned(query: Query) -> Query:
    return tuple(pair for pair in query if pair[0] != _SIGNATURE)
