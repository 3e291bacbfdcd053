"""Find the address of a client behind trusted proxies. Pure: texts in, an address out.

Sources: https://www.rfc-editor.org/rfc/rfc7239, and for its predecessor
https://developer.mozilla.org/en-US/docs/Web/HTTP/Reference/Headers/X-Forwarded-For
"""

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, collapse_addresses, ip_address, ip_network
from itertools import islice
from typing import Final

from multidict import istr

UNIX_SOCKET: Final = "unix"
"""The address of a peer on a unix socket, and its name among the trusted proxies."""

FORWARDED: Final = "forwarded"

# Real chains of proxies are shorter. A header line could contain a thousand addresses.
MAX_HOPS: Final = 20

# [2001:db8::1]:80, 192.0.2.1:80 or 2001:db8::1. RFC 7239 also has obfuscated ports, such as _x.
_PORT = r"(?::(?:[0-9]{1,5}|_[A-Za-z0-9._-]+))?"
_NODE = re.compile(rf"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+)){_PORT}|([0-9A-Fa-f:.]+)")
MAX_NODE_CHARACTERS: Final = 64

# The quantifiers are possessive, because a client could make the time quadratic otherwise. Those around optional groups
# are not, because Python 3.11.2 accepts malformed lines then. A line can have thousands of elements, so none is read in
# Python but the last ones.
_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]++"
_QUOTED = r'"(?:[^"\\]++|\\.)*+"'
_PAIR = rf"{_WORD}=(?:{_WORD}|{_QUOTED})"
_LINE = re.compile(rf"(?:[ \t]*+(?:{_PAIR})?[ \t]*+[;,])*[ \t]*+(?:{_PAIR})?[ \t]*+")
_ELEMENT = re.compile(rf'((?:[^",]++|{_QUOTED})*+)(?:,|\Z)')
_NAME_AND_VALUE = re.compile(rf"({_WORD})=({_WORD}|{_QUOTED})")
_ESCAPE = re.compile(r"\\(.)")


class TrustedProxies:
    """Proxies that are trusted to set ``header``, as CIDRs or UNIX_SOCKET."""

    def __init__(self, trusted: Sequence[str], header: str) -> None:
        self.header = istr(header)
        self._hops = _forwarded_hops if header == FORWARDED else _x_forwarded_for_hops
        self._unix = UNIX_SOCKET in trusted
        self._ranges = _ranges(text for text in trusted if text != UNIX_SOCKET)
        self._is_trusted = lru_cache(maxsize=1024)(self._matches)

    def client(self, peer: str, lines: Sequence[str]) -> str:
        """Return the rightmost address that is not trusted; if all are trusted, the leftmost.

        Each proxy appends the address of its peer. A client can forge everything to the left of an untrusted address
        or of an invalid one.

        Args:
            peer: The address of the connection's other end, or UNIX_SOCKET.
            lines: The lines of ``header``, in the order of arrival.
        """
        address = peer
        if not self._is_trusted(peer):
            return peer
        for hop in islice(self._hops(lines), MAX_HOPS):
            node = parse_node(hop) if len(hop) <= MAX_NODE_CHARACTERS else None
            if node is None:
                break
            address = node
            if not self._is_trusted(address):
                break
        return address

    def _matches(self, address: str) -> bool:
        if address == UNIX_SOCKET:
            return self._unix
        try:
            parsed = _canonical(address)
        except ValueError:
            return False
        # A thousand networks and twenty hops would take some milliseconds one by one.
        index = bisect_left(self._ranges, (parsed.version, int(parsed) + 1))
        if not index:
            return False
        version, _, last = self._ranges[index - 1]
        return version == parsed.version and int(parsed) <= last


def _ranges(networks: Iterable[str]) -> list[tuple[int, ...]]:
    """Return the addresses of the networks in order, each range as (4 or 6, first, last). None overlaps another."""
    parsed = [ip_network(text) for text in networks]
    ipv4 = collapse_addresses(network for network in parsed if isinstance(network, IPv4Network))
    ipv6 = collapse_addresses(network for network in parsed if isinstance(network, IPv6Network))
    merged: list[IPv4Network | IPv6Network] = [*ipv4, *ipv6]
    return [(network.version, int(network.network_address), int(network.broadcast_address)) for network in merged]


@lru_cache(maxsize=1024)
def parse_node(text: str) -> str | None:
    """Return the address of ``192.0.2.1``, ``192.0.2.1:80``, ``2001:db8::1`` or ``[2001:db8::1]:80``, else None.

    An IPv4-mapped IPv6 address becomes the IPv4 address.
    """
    match = _NODE.fullmatch(text)
    if match is None:
        return None
    try:
        return str(_canonical(match[1] or match[2] or match[3]))
    except ValueError:
        return None


def _canonical(text: str) -> IPv4Address | IPv6Address:
    parsed = ip_address(text)
    return (parsed.version == 6 and parsed.ipv4_mapped) or parsed  # noqa: PLR2004 - IPv6


def _x_forwarded_for_hops(lines: Sequence[str]) -> Iterator[str]:
    for line in reversed(lines):
        rest, comma = line, ","
        while comma:
            rest, comma, hop = rest.rpartition(",")
            yield hop.strip(" \t")


def _forwarded_hops(lines: Sequence[str]) -> Iterator[str]:
    for line in reversed(lines):
        yield from reversed(_elements(line))


def _elements(line: str) -> list[str]:
    """Return the ``for`` of the last MAX_HOPS elements of a Forwarded line; empty for one with none or with several.

    A malformed line counts as one element without ``for``. Otherwise, an open quote of a client would hide the element
    that a proxy appends.
    """
    if not _LINE.fullmatch(line):
        return [""]
    elements = _ELEMENT.findall(line)
    if line and line[-1] != ",":
        # It found an empty one behind the last.
        elements.pop()
    return [_for(element) for element in elements[-MAX_HOPS:]]


def _for(element: str) -> str:
    nodes = [value for name, value in _NAME_AND_VALUE.findall(element) if name.lower() == "for"]
    if len(nodes) != 1:
        return ""
    return _ESCAPE.sub(r"\1", nodes[0][1:-1]) if nodes[0][0] == '"' else nodes[0]
