"""The hosts that accounts may sign for, and how their servers read a bucket."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from service.endpoints import DEFAULT_PORTS, Host, parse_host
from service.errors import Invalid, Issue
from service.resources.repository import Repository
from service.resources.schemas import Flag
from service.resources.types import AWS_ACCOUNT, AwsAccount
from service.settings.parsers import AWS

# InFlightRead so many at the start takes some seconds of a background task.
MAX_CHECKED, PAGE_SIZE = 10_000, 100
# S3's own endpoints. Under a longer name, such as bucket.s3.amazonaws.com, another bucket would be read.
# Source: https://docs.aws.amazon.com/general/latest/gr/s3.html
_AWS = re.compile(r"s3(\.dualstack|-accelerate(\.dualstack)?)?([.-][a-z]{2}(-[a-z]+)+-[0-9])?\.amazonaws\.com(\.cn)?")


@dataclass(frozen=True, slots=True)
class HostRules:
    """An account without ``host`` signs for AWS.

    Args:
        allowed: Canonical hosts, with or without a port; suffixes as ``*.example.com``; ``aws``. Empty allows any.
        require_ssl: Whether every account must sign https URLs.
        default_use_ssl: For accounts without ``use-ssl``.
    """

    allowed: tuple[str, ...] = ()
    require_ssl: bool = False
    default_use_ssl: bool = False

    def check(self, account: AwsAccount) -> None:
        """Raise Invalid, with an issue for each rule, if the account may not sign for its host."""
        issues = []
        host = parse_host(account.host) if account.host else None
        if self.allowed and not self._allows(account, host):
            issues.append(Issue("AwsAccount.host is not one that SIGNER_ALLOWED_HOSTS allows", "AwsAccount.host"))
        if self.require_ssl and not self._use_ssl(account.use_ssl, host):
            issues.append(Issue("AwsAccount.use-ssl must be true, as SIGNER_REQUIRE_SSL is set", "AwsAccount.use-ssl"))
        if issues:
            raise Invalid(*issues)

    def _allows(self, account: AwsAccount, host: Host | None) -> bool:
        if (host is None or is_aws(host)) and AWS in self.allowed:
            return True
        return host is not None and self._names(host, self._port(account, host))

    def _names(self, host: Host, port: int) -> bool:
        # `aws` is no host: an account may have a host of that name.
        names = {host.name, f"{host.name}:{port}"} - {AWS}
        return any(
            host.name.endswith(entry.removeprefix("*")) if entry.startswith("*.") else entry in names
            for entry in self.allowed
        )

    def _port(self, account: AwsAccount, host: Host) -> int:
        return host.port or DEFAULT_PORTS["https" if self._use_ssl(account.use_ssl, host) else "http"]

    def canonical(self, fields: Mapping[str, str]) -> Mapping[str, str] | None:
        """The stored fields of an account, with the same ``host`` and ``use-ssl`` for every spelling of an endpoint.

        None where they are not valid, as an operator may have written them.
        """
        try:
            host = parse_host(fields["host"]) if "host" in fields else None
            secure = self._use_ssl(Flag.words[fields["use-ssl"]] if "use-ssl" in fields else None, host)
        except (KeyError, ValueError):
            return None
        # What is signed has one slash less at the end of a prefix.
        url = {"host": host.base_url(use_ssl=secure).removesuffix("/")} if host else {}
        return {**fields, **url, "use-ssl": str(secure)}

    def _use_ssl(self, stated: bool | None, host: Host | None) -> bool:  # noqa: FBT001 - what an account says of it
        use_ssl = host.use_ssl(stated=stated) if host else stated
        return self.default_use_ssl if use_ssl is None else use_ssl


def is_aws(host: Host) -> bool:
    """Whether a host is an endpoint of S3 itself, which reads the bucket from the host name."""
    return _AWS.fullmatch(host.name) is not None and not host.prefix


def is_ambiguous(account: AwsAccount) -> bool:
    """Whether nobody has said how the server reads the account's URLs.

    A path-style server reads ``http://public.host/secret/key`` as the bucket ``secret``, where a policy saw ``public``.
    """
    if account.host is None or account.path_style is not None:
        return False
    host = parse_host(account.host)
    return not (host.is_ip or is_aws(host))


async def ambiguous_accounts(repository: Repository) -> list[str]:
    """Return the ids of the accounts that are ambiguous, of the first MAX_CHECKED. Raises StoreUnavailable."""
    ids: list[str] = []
    for offset in range(0, MAX_CHECKED, PAGE_SIZE):
        page = await repository.page(AWS_ACCOUNT, offset=offset, count=PAGE_SIZE)
        models = [repository.model_if_valid(AWS_ACCOUNT, resource) for resource in page.resources]
        ids += [account.id for account in models if account and is_ambiguous(account)]
        if offset + PAGE_SIZE >= page.total:
            break
    return ids
