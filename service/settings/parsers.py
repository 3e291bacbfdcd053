"""Parsers of the text of environment variables: each returns the value, or raises ValueError.

A message completes a sentence that begins with the variable's name. It quotes only hosts, addresses and origins,
without user info.
"""

import re
from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from service.endpoints import MAX_PORT, parse_account_host, parse_host
from service.host_names import ascii_name, ends_in_number
from service.invisible import no_value_reason, pasted_hint

MIN_ROOT_SECRET = 16
AWS = "aws"

_HOST_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?\.?")
_WILDCARD = "*."
_MAX_QUOTED = 100
_IPV4_MAPPED = IPv6Network("::ffff:0:0/96")


def unicode_text(text: str) -> str:
    # Python keeps other bytes as lone surrogates, which no answer can contain.
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("must be UTF-8")
    return text


def visible_text(text: str) -> str:
    """Return a text that is compared as a whole, or a path: a pasted space, line end or quotes would match nothing.

    Anybody could guess a placeholder that stands for a secret.
    """
    if hint := pasted_hint(text):
        raise ValueError(f"must have no invisible character, and no space at an end: it was pasted with one{hint}")
    if reason := no_value_reason(text):
        raise ValueError(reason)
    return unicode_text(text)


def socket_path(text: str) -> str:
    if text.startswith("unix:"):
        raise ValueError("must be a path alone, without unix: in front")
    if text.startswith("@"):
        raise ValueError("must be a path; an abstract socket has no file mode that protects it")
    return visible_text(text)


def number(at_least: int, at_most: int) -> Callable[[str], int]:
    """Return a parser of whole numbers in a range."""

    def parse(text: str) -> int:
        # int() also accepts '8_080', ' 8080' and digits of other scripts.
        if not re.fullmatch("[0-9]{1,12}", text):
            raise ValueError("must be a whole number")
        if not at_least <= int(text) <= at_most:
            raise ValueError(f"must be from {at_least} to {at_most}")
        return int(text)

    return parse


def port(text: str) -> int:
    if text.startswith("tcp://"):
        raise ValueError(
            "looks like a Kubernetes service link; rename the Service or set enableServiceLinks: false on the pod"
        )
    return number(0, MAX_PORT)(text)


def optional_port(text: str) -> int | None:
    return port(text) if text else None


def file_mode(text: str) -> int:
    if not re.fullmatch("0?[0-7]{1,3}", text):
        raise ValueError("must be an octal file mode such as 0660")
    return int(text, 8)


def flag(text: str) -> bool:
    if text.lower() not in {"true", "false"}:
        raise ValueError("must be true or false")
    return text.lower() == "true"


def choice(*words: str) -> Callable[[str], str]:
    """Return a parser that accepts one of the words in any case."""

    def parse(text: str) -> str:
        if text.lower() not in words:
            raise ValueError(f"must be one of: {', '.join(filter(None, words))}")
        return text.lower()

    return parse


def entries(parse_entry: Callable[[str], str]) -> Callable[[str], tuple[str, ...]]:
    """Return a parser of lists that are separated by commas. It raises all errors of entries together."""

    def parse(text: str) -> tuple[str, ...]:
        parsed, errors = [], []
        for entry in filter(None, map(str.strip, text.split(","))):
            try:
                if any(map(str.isspace, entry)):
                    raise ValueError("must have no space in it: separate entries by commas")  # noqa: TRY301
                parsed.append(parse_entry(entry))
            except ValueError as error:
                errors.append(ValueError(f"has {_quote(entry)}, which {error}"))
        if errors:
            raise ExceptionGroup("invalid entries", errors)
        if text and not parsed:
            # An empty list of allowed hosts would allow all.
            raise ValueError("has no entry; unset it, or write entries with commas between them")
        return tuple(parsed)

    return parse


def root_client_id(text: str) -> str:
    if not re.fullmatch("[A-Za-z0-9._-]{0,64}", text):
        raise ValueError("must be 1 to 64 of A-Z a-z 0-9 . _ -")
    return text


def root_secret(text: str) -> str:
    if 0 < len(text) < MIN_ROOT_SECRET:
        raise ValueError(f"must be at least {MIN_ROOT_SECRET} characters; openssl rand -base64 32 makes one")
    return visible_text(text)


def listening_host(text: str) -> str:
    if is_ip_address(text):
        if mapped := _embedded_ipv4(text):
            # Our IPv6 sockets have IPV6_V6ONLY, and cannot bind such an address.
            raise ValueError(f"must be an IPv4 address if it stands for one: write {mapped}")
    # The system's resolver would read 127.1 or 0x7f000001 as an address.
    elif not _HOST_NAME.fullmatch(text) or ends_in_number(text):
        raise ValueError(
            "must be a host name, or an IP address such as 127.0.0.1 or ::1, without scheme, brackets and port"
        )
    return text


def is_ip_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def allowed_host(text: str) -> str:
    """Return the canonical form of ``aws``, ``*.name``, or a host with or without a port."""
    if text.lower() == AWS:
        return AWS
    is_suffix = text.startswith(_WILDCARD)
    rest = text.removeprefix(_WILDCARD)
    _check_common_mistakes(text, rest)
    # A suffix must complete a valid host name.
    host = parse_host(f"x.{rest}") if is_suffix else parse_account_host(rest)
    if is_suffix:
        suffix = f"{_WILDCARD}{host.name.removeprefix('x.')}"
        if host.port:
            raise ValueError(f"must have no port behind a suffix: write {suffix}, which is for every port")
        return suffix
    canonical = host.name if host.port is None else f"{host.name}:{host.port}"
    if host.scheme:
        raise ValueError(f"must have no scheme and no path: write {canonical}")
    return canonical


def _check_common_mistakes(text: str, rest: str) -> None:
    """Raise ValueError for mistakes for which ``parse_host`` would give no advice that fits a list."""
    if "@" in rest:
        # The advice would repeat the text, which may hold a password.
        raise ValueError("must have no user info")
    if "*" in rest:
        raise ValueError("must have a * at its front alone, such as *.example.com; leave the list empty for any host")
    if rest.startswith(".") and rest == text:
        raise ValueError(f"must have a * before its dot: write *{text}")
    if "/" in rest and "://" not in rest:
        raise ValueError("must be one host, without a path; name each address of a network")
    name = rest.partition(":")[0]
    if written := None if name.isascii() else ascii_name(name):
        raise ValueError(f"must be ASCII: write {text.replace(name, written)}")


def proxy(text: str) -> str:
    """Return ``unix``, an address or a network. IPv4-mapped IPv6 addresses are refused: no peer has one."""
    if text == "unix":
        return text
    try:
        network = ip_network(text)
    except ValueError:
        raise ValueError(_proxy_advice(text)) from None
    if isinstance(network, IPv6Network) and network.subnet_of(_IPV4_MAPPED):
        ipv4 = IPv4Network((int(network.network_address) & 0xFFFF_FFFF, network.prefixlen - _IPV4_MAPPED.prefixlen))
        if ipv4.prefixlen:
            raise ValueError(f"must be IPv4 if it stands for it: write {_short(ipv4)}")
        network = ipv4
    if network.prefixlen == 0:
        raise ValueError("must not trust every address, or clients could choose their own")
    return text


def _proxy_advice(text: str) -> str:
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        return "must be an address, a CIDR such as 10.0.0.0/8, or unix"
    return f"must be the first address of its network: write {network}, or {text.partition('/')[0]} alone"


def _short(network: IPv4Network) -> str:
    return str(network.network_address if network.prefixlen == network.max_prefixlen else network)


def _embedded_ipv4(address: str) -> str | None:
    """Return the IPv4 address in an IPv4-mapped IPv6 address, or None."""
    parsed = ip_address(address)
    return str(parsed.ipv4_mapped) if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped else None


def _quote(entry: str) -> str:
    """Quote an entry in one line, without the text before an @, which may be a password."""
    _, at, rest = entry.rpartition("@")
    text = f"...@{rest}" if at else entry
    return repr(text if len(text) <= _MAX_QUOTED else f"{text[:_MAX_QUOTED]}...")
