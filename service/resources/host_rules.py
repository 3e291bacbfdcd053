"""Rules for the hosts of accounts, and a check for accounts whose URLs are ambiguous."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from service.endpoints import DEFAULT_PORTS, Host, parse_host
from service.errors import Invalid, Issue
from service.resources.fields import Flag
from service.resources.repository import Repository
from service.resources.types import AWS_ACCOUNT, AwsAccount
from service.settings.parsers import AWS

# Reading so many takes some seconds of a background task at the start.
MAX_CHECKED = 10_000


@dataclass(frozen=True, slots=True)
class HostRules:
    """The rules of the settings. An account without ``host`` signs for AWS.

    Args:
        allowed: Canonical hosts, with or without a port; suffixes as ``*.example.com``; ``aws``. Empty allows any.
        require_ssl: Whether every account must sign https URLs.
        default_use_ssl: The default for accounts without ``use-ssl``.
    """

    allowed: tuple[str, ...] = ()
    require_ssl: bool = False
    default_use_ssl: bool = False

    def check(self, account: AwsAccount) -> None:
        """Raise Invalid, with an issue for each broken rule."""
        issues = [*self._issues("", account.host, account.use_ssl)]
        if account.public_host is not None:
            # No URL is signed for the host behind the public one.
            issues = [issue for issue in issues if issue.expression != "AwsAccount.use-ssl"]
            issues += self._issues("public-", account.public_host, account.public_use_ssl)
        if account.path_style and account.url_host and parse_host(account.url_host).is_accelerated:
            problem = "must not be true for s3-accelerate, which takes the bucket in the host name alone"
            issues.append(Issue(f"AwsAccount.path-style {problem}", "AwsAccount.path-style"))
        if issues:
            raise Invalid(*issues)

    def _issues(self, prefix: str, text: str | None, stated: bool | None) -> Iterator[Issue]:  # noqa: FBT001 - the account's own value
        host = parse_host(text) if text else None
        host_field, ssl_field = f"AwsAccount.{prefix}host", f"AwsAccount.{prefix}use-ssl"
        if self.allowed and not self._allows(host, stated):
            yield Issue(f"{host_field} is not one that SIGNER_ALLOWED_HOSTS allows", host_field)
        if self.require_ssl and not self._use_ssl(stated, host):
            yield Issue(f"{ssl_field} must be true, as SIGNER_REQUIRE_SSL is set", ssl_field)

    def _allows(self, host: Host | None, stated: bool | None) -> bool:  # noqa: FBT001 - the account's own value
        if (host is None or is_aws(host)) and AWS in self.allowed:
            return True
        return host is not None and self._is_listed(host, self._port(host, stated))

    def _is_listed(self, host: Host, port: int) -> bool:
        # The entry `aws` is not a host, but an account can have a host of that name.
        names = {host.name, f"{host.name}:{port}"} - {AWS}
        return any(
            host.name.endswith(entry.removeprefix("*")) if entry.startswith("*.") else entry in names
            for entry in self.allowed
        )

    def _port(self, host: Host, stated: bool | None) -> int:  # noqa: FBT001 - the account's own value
        return host.port or DEFAULT_PORTS["https" if self._use_ssl(stated, host) else "http"]

    def canonical(self, fields: Mapping[str, str]) -> Mapping[str, str] | None:
        """Return the stored fields of an account with its hosts and ``use-ssl`` flags in canonical form.

        None for invalid fields, which an operator can have written.
        """
        try:
            public = self._canonical(fields, "public-") if "public-host" in fields else {}
            return {**fields, **self._canonical(fields, ""), **public}
        except (KeyError, ValueError):
            return None

    def _canonical(self, fields: Mapping[str, str], prefix: str) -> Mapping[str, str]:
        host_field, ssl_field = f"{prefix}host", f"{prefix}use-ssl"
        host = parse_host(fields[host_field]) if host_field in fields else None
        secure = self._use_ssl(Flag.words[fields[ssl_field]] if ssl_field in fields else None, host)
        # A signed URL has one slash less at the end of the prefix.
        url = {host_field: host.base_url(use_ssl=secure).removesuffix("/")} if host else {}
        return {**url, ssl_field: str(secure)}

    def _use_ssl(self, stated: bool | None, host: Host | None) -> bool:  # noqa: FBT001 - the account's own value
        use_ssl = host.use_ssl(stated=stated) if host else stated
        return self.default_use_ssl if use_ssl is None else use_ssl


def is_aws(host: Host) -> bool:
    """Return whether a host is an endpoint of S3 itself, which reads the bucket from the host name."""
    return host.is_name_of_aws and not host.prefix.removesuffix("/")


def is_ambiguous(account: AwsAccount) -> bool:
    """Return whether the account does not state how its server finds the bucket in a URL.

    A path-style server reads ``http://public.host/secret/key`` as the bucket ``secret``, but the policy saw ``public``.
    """
    if account.url_host is None or account.path_style is not None:
        return False
    host = parse_host(account.url_host)
    return not (host.is_ip or is_aws(host))


async def accounts_that(repository: Repository, holds: Callable[[AwsAccount], bool]) -> list[str]:
    """Return the ids of the accounts for which ``holds``, among the first MAX_CHECKED. Raises StoreUnavailable."""
    ids: list[str] = []
    unchecked = MAX_CHECKED
    async for resource in repository.each(AWS_ACCOUNT):
        account = repository.model_if_valid(AWS_ACCOUNT, resource)
        if account and holds(account):
            ids.append(account.id)
        unchecked -= 1
        if not unchecked:
            break
    return ids
