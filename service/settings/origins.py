"""Validation of web origins, as browsers send them in the Origin header, and of the service's own URL.

A message completes a sentence that begins with the entry.

Sources: https://html.spec.whatwg.org/multipage/browsers.html#ascii-serialisation-of-an-origin,
https://url.spec.whatwg.org/#host-parsing
"""

import re
from ipaddress import IPv6Address

from service.endpoints import DEFAULT_PORTS, MAX_NAME_LENGTH, MAX_PORT
from service.host_names import ascii_name, ends_in_number, is_readable_label, rewritten_ipv4

_URL = re.compile(r"(?P<scheme>https?)://(?P<netloc>[^/\\?#]*).*", re.IGNORECASE | re.DOTALL)
_SERVER = re.compile(r"(?P<host>\[[^\]]*\]|[^:]*)(?::(?P<port>[0-9]{0,9}))?")
_PUBLIC_URL = re.compile(r"(?P<origin>[^/?#\\]*//[^/?#\\]*)(?P<path>(?:/[A-Za-z0-9._~-]+)*)/?")
_NOT_ONE_ORIGIN = "must name one site: there are no wildcards, and null is sent for pages of any site"
# Unlike the host of an account, an origin may have underscores and a final dot; browsers send both.
_LABEL = re.compile(r"[a-z0-9_-]{1,63}")


def parse_origin(text: str) -> str:
    """Return the text if browsers send it as an origin, else raise ValueError with the right spelling if there is one.

    ``null`` and ``*`` are refused because they would match pages of any site.
    """
    if text in {"*", "null"}:
        raise ValueError(_NOT_ONE_ORIGIN)
    sent = _serialize(text)
    if text != sent:
        raise ValueError(f"is not what browsers send: write {sent}")
    return text


def parse_public_url(text: str) -> str:
    """Return a URL of an origin and perhaps a path, without a final slash; empty for an empty text.

    Links repeat the path, so it has only characters that need no escape, and no segment that clients would remove.
    """
    if not text:
        return ""
    url = _PUBLIC_URL.fullmatch(text)
    if url is None or {".", ".."} & {*url["path"].split("/")}:
        raise ValueError(
            "must be a URL such as https://s3.example.com or https://example.com/signer, without query, fragment, "
            "escapes and empty or dot segments"
        )
    try:
        return parse_origin(url["origin"]) + url["path"]
    except ValueError as error:
        raise ValueError(f"has an origin that {error}") from None


def _serialize(text: str) -> str:
    """Return the origin of a URL as browsers send it."""
    url = _URL.fullmatch(text)
    if url is None:
        raise ValueError("must be an origin such as https://app.example.com")
    server = _SERVER.fullmatch(url["netloc"].rpartition("@")[2])
    if server is None:
        raise ValueError("must be an origin such as https://app.example.com, or https://app.example.com:8443")
    scheme = url["scheme"].lower()
    port = int(server["port"] or DEFAULT_PORTS[scheme])
    if not 1 <= port <= MAX_PORT:
        raise ValueError(f"must have a port of 1 to {MAX_PORT}, or none")
    shown_port = "" if port == DEFAULT_PORTS[scheme] else f":{port}"
    return f"{scheme}://{_serialize_host(server['host'])}{shown_port}"


def _serialize_host(host: str) -> str:
    if host.startswith("["):
        return f"[{_serialize_ipv6(host[1:-1])}]"
    if "*" in host:
        raise ValueError(_NOT_ONE_ORIGIN)
    name = (ascii_name(host) or "").lower()
    if ends_in_number(name):
        address = rewritten_ipv4(name)
        if address is None:
            raise ValueError("must have an IPv4 address of four plain numbers, as its host ends in a number")
        return address
    labels = name.removesuffix(".").split(".")
    if len(name) > MAX_NAME_LENGTH or not all(_LABEL.fullmatch(label) and is_readable_label(label) for label in labels):
        raise ValueError("must have a host name that browsers accept: write an international name in its xn-- form")
    return name


def _serialize_ipv6(text: str) -> str:
    try:
        address = IPv6Address(text)
    except ValueError:
        address = None
    if address is None or address.scope_id is not None:
        raise ValueError("must have an IPv6 address, without a zone, between its brackets")
    if address.ipv4_mapped:
        # From 3.13 on, Python writes the last 32 bits as IPv4; browsers do not.
        high, low = divmod(int(address.ipv4_mapped), 1 << 16)
        return f"::ffff:{high:x}:{low:x}"
    return address.compressed
