"""Where a bucket of an account is addressed, as aiobotocore resolves it, remembered."""

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

from botocore.exceptions import BotoCoreError

from service.endpoints import Host, check_aws_region, check_region, parse_host
from service.errors import Invalid, Issue
from service.resources.types import AwsAccount
from service.signing.clients import Clients, Settings
from service.signing.exposure import is_private
from service.signing.sigv4 import SERVICE

# About 600 bytes each.
MAX_ENDPOINTS = 10_000

PROBE_KEY = "k"
# Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/VirtualHosting.html
PATH, VIRTUAL_HOSTED = "path", "virtual-hosted"
# A custom host is the same for every region, and botocore refuses the names of many.
ANY_REGION = "us-east-1"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What every URL of a bucket has in common.

    A URL is ``origin``, ``prefix`` (empty, or a path that begins with a slash; in path style it ends with the bucket),
    a slash and the key. ``host`` is the Host header that clients send, exactly as it stands in ``origin``. ``region``
    is that of the credential scope. ``is_exposed``: URLs are http, for a host that is neither loopback nor private.
    ``style`` is PATH or VIRTUAL_HOSTED.
    """

    origin: str
    prefix: str
    host: str
    region: str
    is_exposed: bool = field(default=False, compare=False)
    style: str = field(default=VIRTUAL_HOSTED, compare=False)


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
        probed = await _probe(client, bucket)
        if settings.style == "virtual" and not _is_host(probed.host):
            # Clients cannot send to a name such as xn--a.minio, or to one of more than 253 characters.
            probed = await _probe(await self._clients.get(settings._replace(style="path")), bucket)
        host = parse_host(account.host) if account.host else None
        endpoint = replace(
            probed,
            region=account.region if host else probed.region,
            style=_style(probed, host),
            is_exposed=not (settings.use_ssl or (host and is_private(host))),
        )
        self._remembered[_remembered_under(account, bucket)] = endpoint
        if len(self._remembered) > MAX_ENDPOINTS:
            # The oldest: to keep the order of use, each URL would have to pay.
            self._remembered.popitem(last=False)
        return endpoint

    async def close(self) -> None:
        await self._clients.close()

    def _settings(self, account: AwsAccount) -> Settings:
        style = "path" if account.path_style else "virtual"
        if account.host is None:
            with _refusing("region"):
                check_aws_region(account.region)
            return Settings(account.region, None, self._use_ssl(account.use_ssl), style)
        with _refusing("region"):
            check_region(account.region)
        with _refusing("host"):
            host = parse_host(account.host)
        with _refusing("use-ssl"):
            use_ssl = self._use_ssl(host.use_ssl(wanted=account.use_ssl))
        # Left to itself, botocore puts a dotted bucket in front of an address: a.b.127.0.0.1.
        style = "path" if host.is_ip else style
        return Settings(ANY_REGION, host.base_url(use_ssl=use_ssl), use_ssl, style)

    def _use_ssl(self, wanted: bool | None) -> bool:  # noqa: FBT001 - the only thing it is about
        return self._default_use_ssl if wanted is None else wanted


def _style(endpoint: Endpoint, host: Host | None) -> str:
    # botocore chooses path style for the names of many buckets.
    base = host.prefix if host else ""
    return VIRTUAL_HOSTED if endpoint.prefix.rstrip("/") == base.rstrip("/") else PATH


def _is_host(netloc: str) -> bool:
    try:
        parse_host(netloc)
    except ValueError:
        return False
    return True


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
    prefix = parts.path.removesuffix(f"/{PROBE_KEY}")
    return Endpoint(f"{parts.scheme}://{parts.netloc}", prefix, parts.netloc, region)
