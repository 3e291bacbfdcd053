"""Warn once of each account that signs http URLs for a public host."""

import logging
from ipaddress import ip_address, ip_network

from service.endpoints import Host, parse_host
from service.resources.types import AwsAccount

LOGGER = logging.getLogger(__name__)

# About 300 bytes each.
MAX_ACCOUNTS = 10_000

# Loopback, link-local, and addresses that the internet does not route (RFC 1918, 4193, 6598). ipaddress' own
# is_private leaves out 100.64.0.0/10, and includes addresses of documentation.
_PRIVATE_NETWORKS = [
    *map(ip_network, ("127.0.0.0/8", "169.254.0.0/16", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")),
    *map(ip_network, ("100.64.0.0/10", "::1/128", "fe80::/10", "fc00::/7")),
]
# Names outside public DNS (RFC 6761, 6762, 8375; ICANN's .internal), and Kubernetes' short name of a service.
_PRIVATE_DOMAINS = (".localhost", ".local", ".internal", ".home.arpa", ".svc")


def is_private(host: Host) -> bool:
    """Return whether a host is loopback or private. A name without a dot, such as a container's, is private."""
    if host.is_ip:
        address = ip_address(host.name.strip("[]"))
        return any(address in network for network in _PRIVATE_NETWORKS)
    return "." not in host.name or host.name.endswith(_PRIVATE_DOMAINS)


def https_advice(account: AwsAccount) -> str:
    """Return which field of an account to change, so that its URLs begin with https."""
    field = account.url_host_field
    if account.url_host is not None and parse_host(account.url_host).scheme:
        return f"begin {field} with https://"
    return f"set {field.replace('host', 'use-ssl')} to true"


class ExposureLog:
    """Warns of each exposed account, and again after a change of its ``host`` or ``use-ssl``.

    It warns of at most ``MAX_ACCOUNTS`` accounts, which bounds its memory and the log.
    """

    def __init__(self) -> None:
        self._warned: dict[str, tuple[str | None, bool | None]] = {}

    def report(self, account: AwsAccount, host: str, *, is_exposed: bool) -> None:
        """Record an account that signs for ``host``, and warn if it is exposed."""
        if not is_exposed:
            self._warned.pop(account.id, None)
            return
        settings = (account.url_host, account.url_use_ssl)
        is_full = len(self._warned) >= MAX_ACCOUNTS and account.id not in self._warned
        if is_full or self._warned.get(account.id) == settings:
            return
        self._warned[account.id] = settings
        LOGGER.warning(
            "AwsAccount/%s signs http:// URLs for %s, which is neither loopback nor private: anyone who reads a"
            " URL in transit can use it; %s",
            account.id,
            host,
            https_advice(account),
        )
