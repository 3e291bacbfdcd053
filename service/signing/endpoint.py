"""Where a bucket of an account is addressed, as aiobotocore resolves it, remembered."""

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

from botocore.exceptions import BotoCoreError

from service.errors import Invalid, Issue
from service.resources.endpoints import parse_host, parse_region
from service.resources.types import AwsAccount
from service.signing.clients import Clients, Settings
from service.signing.sigv4 import SERVICE

# About 600 bytes each.
MAX_ENDPOINTS = 10_000

PROBE_KEY = "k"
DEFAULT_PORTS = {"http": ":80", "https": ":443"}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What every URL of a bucket has in common.

    A URL is ``origin``, ``prefix`` (empty, or a path that begins with a slash; in path style it ends with the bucket),
    a slash and the key. ``host`` is the Host header that clients send, ``region`` the one of the credential scope.
    """

    origin: str
    prefix: str
    host: str
    region: str


class Endpoints:
    """The endpoints of all accounts. They do not depend on credentials, so accounts share them."""

    def __init__(self, *, default_use_ssl: bool) -> None:
        self._default_use_ssl = default_use_ssl
        self._clients = Clients()
        self._remembered: OrderedDict[tuple[object, ...], Endpoint] = OrderedDict()

    def remembered(self, account: AwsAccount, bucket: str) -> Endpoint | None:
        """The endpoint, if it was resolved before and not forgotten since."""
        return self._remembered.get(_remembered_under(account, bucket))

    async def resolve(self, account: AwsAccount, bucket: str) -> Endpoint:
        """Ask aiobotocore, and remember. Raises Invalid for what it refuses to sign for."""
        settings = self._settings(account)
        try:
            client = await self._clients.get(settings)
        except (BotoCoreError, ValueError) as refusal:
            field = "AwsAccount.region" if settings.url is None else "AwsAccount.host"
            raise Invalid(Issue(f"{field} cannot be signed for: {refusal}", field)) from refusal
        endpoint = await _probe(client, bucket)
        self._remembered[_remembered_under(account, bucket)] = endpoint
        if len(self._remembered) > MAX_ENDPOINTS:
            # The oldest: to keep the order of use, each URL would have to pay.
            self._remembered.popitem(last=False)
        return endpoint

    async def close(self) -> None:
        await self._clients.close()

    def _settings(self, account: AwsAccount) -> Settings:
        with _refusing("region"):
            region = parse_region(account.region)
        style = "path" if account.path_style else "virtual"
        use_ssl = account.use_ssl
        if account.host is None:
            return Settings(region, None, self._default_use_ssl if use_ssl is None else use_ssl, style)
        with _refusing("host"):
            host = parse_host(account.host)
        with _refusing("use-ssl"):
            use_ssl = host.use_ssl(wanted=use_ssl)
        if use_ssl is None:
            use_ssl = self._default_use_ssl
        # Left to itself, botocore puts a dotted bucket in front of an address: a.b.127.0.0.1.
        if host.is_ip:
            style = "path"
        return Settings(region, f"{'https' if use_ssl else 'http'}://{host.netloc}{host.prefix}", use_ssl, style)


@contextmanager
def _refusing(field: str) -> Iterator[None]:
    try:
        yield
    except ValueError as rule:
        raise Invalid(Issue(f"AwsAccount.{field} {rule}", f"AwsAccount.{field}")) from rule


def _remembered_under(account: AwsAccount, bucket: str) -> tuple[object, ...]:
    return (account.region, account.host, account.use_ssl, account.path_style, bucket)


async def _probe(client: Any, bucket: str) -> Endpoint:
    """Presign a URL, and take from it what all URLs of the bucket have in common."""
    try:
        url = await client.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": PROBE_KEY})
    except (BotoCoreError, ValueError) as refusal:
        raise Invalid(Issue(f"bucket cannot be signed for: {refusal}", "bucket")) from refusal
    parts = urlsplit(url)
    (credential,) = parse_qs(parts.query)["X-Amz-Credential"]
    _, _, region, service, _ = credential.split("/")
    if service != SERVICE:
        raise Invalid(Issue(f"bucket cannot be signed for: it belongs to the service {service}", "bucket"))
    host = parts.netloc.lower().removesuffix(DEFAULT_PORTS[parts.scheme])
    prefix = parts.path.removesuffix(f"/{PROBE_KEY}")
    return Endpoint(f"{parts.scheme}://{parts.netloc}", prefix, host, region)
