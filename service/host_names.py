"""How HTTP clients read the names of hosts: international ones, and those that they take for an IPv4 address. Pure."""

import re
import socket
import unicodedata

import idna
from yarl import URL

_PUNYCODE = "xn--"
# HTTP clients parse a host as an IPv4 address if its last label is a number.
# Source: https://url.spec.whatwg.org/#ends-in-a-number-checker
_NUMBER = re.compile(r"[0-9]+|0[Xx][0-9A-Fa-f]*")


def ends_in_number(name: str) -> bool:
    """Return whether HTTP clients parse a name as an IPv4 address, or refuse it."""
    return _NUMBER.fullmatch(name.removesuffix(".").rpartition(".")[2]) is not None


def rewritten_ipv4(name: str) -> str | None:
    """Return the IPv4 address that clients make of 127.1, 0177.0.0.1, 0x7f.1 or 2130706433, or None if they refuse."""
    numbers = name.removesuffix(".")
    if not all(map(_NUMBER.fullmatch, numbers.split("."))):
        return None
    try:
        return socket.inet_ntoa(socket.inet_aton(numbers))
    except OSError:
        return None


def is_readable_label(label: str) -> bool:
    """Return whether browsers accept a label: it is not punycode, or the punycode of an international name."""
    if not label.startswith(_PUNYCODE):
        return True
    encoded = label.removeprefix(_PUNYCODE)
    try:
        text = encoded.encode().decode("punycode")
        # It has a Unicode version of its own, so that the answer does not depend on that of Python.
        is_canonical = idna.uts46_remap(text) == text
    except UnicodeError:
        return False
    # Joiners are valid in few places. A mark at the front combines with the character before it.
    is_invisible = "\u200c" in text or "\u200d" in text or unicodedata.category(text[0]).startswith("M")
    is_international = not text.isascii() and not is_invisible
    return is_canonical and is_international and text.encode("punycode").decode() == encoded


def ascii_name(name: str) -> str | None:
    """Return a host name with its international labels in their xn-- form, or None if it has no such form.

    Source: https://www.unicode.org/reports/tr46/
    """
    try:
        return name if name.isascii() else URL.build(scheme="http", host=name).raw_host
    except ValueError:
        return None
