"""Group client addresses into networks. Pure."""

import ipaddress
from functools import lru_cache

IPV6_PREFIX = 64


@lru_cache(maxsize=4096)
def network(address: str) -> str:
    """Return an IPv4 address, or the /64 network of an IPv6 address, as text. Other text is returned unchanged.

    One client usually has a whole /64. Source: https://www.rfc-editor.org/rfc/rfc6177
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
