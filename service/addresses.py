"""Which addresses are one caller's. Pure."""

import ipaddress
from functools import lru_cache

IPV6_PREFIX = 64


@lru_cache(maxsize=4096)
def network(address: str) -> str:
    """The addresses that one caller has: an IPv4 address alone, or the /64 of an IPv6 address. Other text as it is.

    Source: https://www.rfc-editor.org/rfc/rfc6177
    """
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Network((parsed, IPV6_PREFIX), strict=False))
