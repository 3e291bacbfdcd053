"""What an account's ``region`` and ``host`` may be, so that whatever passes can be signed for. Pure.

A message completes a sentence that begins with the field's name.
"""

import re
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

MAX_NAME_LENGTH = 253
MAX_PORT = 65535

_REGION = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_GLOBAL_REGION = re.compile(r"aws(-[a-z0-9-]+)?-global")
# Both of the above in one, for readers of the OpenAPI document.
REGION_PATTERN = rf"(?![0-9]*$)(?!.*(?:fips-|-fips))(?!{_GLOBAL_REGION.pattern}$){_REGION.pattern}"
_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_PORT = re.compile(r"[1-9][0-9]{0,4}")
_PREFIX = re.compile(r"(/[A-Za-z0-9._~-]*)*")


class Host(NamedTuple):
    """A parsed ``host``. ``netloc`` and ``prefix`` are verbatim; ``scheme`` is None unless it was a base URL."""

    scheme: str | None
    netloc: str
    prefix: str
    is_ip: bool

    def use_ssl(self, *, wanted: bool | None) -> bool | None:
        """What the scheme says, else what is wanted. ValueError if the two contradict each other."""
        if self.scheme is None:
            return wanted
        secure = self.scheme == "https"
        if wanted is not None and wanted is not secure:
            raise ValueError(
                f"must be {str(secure).lower()}, or left out, for a host that begins with {self.scheme}://"
            )
        return secure


def parse_region(text: str) -> str:
    """The region itself. ValueError if no credential scope can hold it."""
    if not _REGION.fullmatch(text) or text.isdecimal():
        raise ValueError(
            "must be a host label: 1 to 63 of a-z, 0-9 and -, neither first nor last a -, not digits alone"
        )
    # botocore cuts fips- and -fips out of a region wherever they stand, and signs for what is left.
    if "fips-" in text or "-fips" in text or _GLOBAL_REGION.fullmatch(text):
        raise ValueError("must be a region of its own: a pseudo-region (FIPS, aws-global) stands for another")
    return text


def parse_host(text: str) -> Host:
    """``name[:port]``, ``1.2.3.4[:port]``, ``[v6][:port]``, or a base URL ``http(s)://…[/prefix]``.

    ValueError, with a message that names the rule, for anything else.
    """
    if not text.isascii():
        raise ValueError("must be ASCII: write an international name in its xn-- form")
    scheme, is_base_url, rest = text.rpartition("://")
    if is_base_url and scheme.lower() not in ("http", "https"):
        raise ValueError("must begin with http:// or https:// if it is a base URL")
    if set("@?#") & set(rest):
        raise ValueError("must have no user info, query or fragment")
    netloc, slash, path = rest.partition("/")
    if slash and not is_base_url:
        raise ValueError("must begin with http:// or https:// if it has a path prefix")
    is_ip = _check_netloc(netloc)
    _check_prefix(slash + path)
    return Host(scheme.lower() or None, netloc, slash + path, is_ip)


def _check_netloc(netloc: str) -> bool:
    """Whether the netloc, name or address with or without a port, is an IP address."""
    # The last colon of [v6] is within the brackets.
    end = netloc.find("]") + 1
    name, colon, port = netloc[end:].partition(":")
    if colon and not (_PORT.fullmatch(port) and int(port) <= MAX_PORT):
        raise ValueError(f"must have a port of 1 to {MAX_PORT} after its colon")
    if end:
        _check_ipv6(netloc[:end] + name)
        return True
    return _check_name(name)


def _check_ipv6(text: str) -> None:
    try:
        # A zone such as %eth0 means something on one machine alone.
        is_address = text[0] + text[-1] == "[]" and IPv6Address(text[1:-1]).scope_id is None
    except ValueError:
        is_address = False
    if not is_address:
        raise ValueError("must have an IPv6 address, without a zone, between its brackets")


def _check_name(name: str) -> bool:
    """Whether the name is an IPv4 address."""
    labels = name.removesuffix(".").split(".")
    if labels[-1].isdecimal():
        # What ends in a number is an address to every HTTP client, and is rewritten or refused if it is an odd one.
        try:
            IPv4Address(name)
        except ValueError:
            raise ValueError("must be an IPv4 address of four plain numbers if it ends in a number") from None
        return True
    if len(name) > MAX_NAME_LENGTH or not all(map(_LABEL.fullmatch, labels)):
        raise ValueError(
            "must be a host name: labels of 1 to 63 letters, digits and inner hyphens (no underscore),"
            f" at most {MAX_NAME_LENGTH} characters in all"
        )
    return False


def _check_prefix(prefix: str) -> None:
    if not _PREFIX.fullmatch(prefix):
        raise ValueError("must have a path prefix of unreserved characters (A-Z a-z 0-9 - . _ ~) and /")
    if {".", ".."} & set(prefix.split("/")):
        raise ValueError("must have no . or .. segment in its path prefix")
