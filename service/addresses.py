"""IP addresses: loopback, and the networks that count as one caller. Pure."""

import ipaddress
from functools import lru_cache

IPV6_PREFIX = 64


def is_loopback(address: str) -> bool:
    """Return whether text is a loopback address, also an IPv4 one in IPv6 form. Other text is none.

    Python reads ``::ffff:127.0.0.1`` as loopback since 3.13 only.
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return (mapped or parsed).is_loopback


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
