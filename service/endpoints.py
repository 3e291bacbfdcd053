"""Parse and validate the ``region`` and ``host`` of an account, so that every valid one can be signed for. Pure.

A message completes a sentence that begins with the field's name.
"""

import re
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from service.host_names import ascii_name, ends_in_number, is_readable_label, rewritten_ipv4
from service.invisible import NOT_A_VALUE, PLACEHOLDER

MAX_NAME_LENGTH = 253
MAX_PORT = 65535
DEFAULT_REGION = "us-east-1"
DEFAULT_PORTS = {"http": 80, "https": 443}

_AWS_REGION = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_PSEUDO_REGION = re.compile(r"aws(-[a-z0-9-]+)?-global|s3-external-1")
# A zone, such as eu-west-1a, is in a region. No name of a region ends so.
_ZONE = re.compile(r".*-[0-9]+[a-z]")
# The rules of an AWS region as one expression, for the OpenAPI document.
AWS_REGION_PATTERN = (
    rf"(?![0-9]*$)(?!.*(?:fips-|-fips))(?!(?:{_PSEUDO_REGION.pattern}|{_ZONE.pattern})$){_AWS_REGION.pattern}"
)
REGION_PATTERN = rf"(?!{NOT_A_VALUE}$)[!-+\--.0-~]{{1,64}}"
_REGION = re.compile(REGION_PATTERN)
_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_PORT = re.compile(r"[1-9][0-9]{0,4}")
_PREFIX = re.compile(r"(/[A-Za-z0-9._~-]*)*")
# How the regions of a partition of AWS begin, by its DNS suffixes; for all partitions with suffixes of their own.
_REGIONS_OF_SUFFIX = {
    **dict.fromkeys(("amazonaws.com.cn", "api.amazonwebservices.com.cn"), "cn-"),
    **dict.fromkeys(("amazonaws.eu", "api.amazonwebservices.eu"), "eusc-"),
    **dict.fromkeys(("c2s.ic.gov", "api.aws.ic.gov"), "us-iso-"),
    **dict.fromkeys(("sc2s.sgov.gov", "api.aws.scloud"), "us-isob-"),
    **dict.fromkeys(("cloud.adc-e.uk", "api.cloud-aws.adc-e.uk"), "eu-isoe-"),
    **dict.fromkeys(("csp.hci.ic.gov", "api.aws.hci.ic.gov"), "us-isof-"),
}
AWS_SUFFIXES = ("amazonaws.com", "api.aws", *_REGIONS_OF_SUFFIX)
_SUFFIX = rf"\.({'|'.join(map(re.escape, AWS_SUFFIXES))})"
_REGION_OF_NAMES = r"(?!fips-)[a-z]{2,4}(-[a-z]+)+-[0-9]+"
# S3's own names, also of interface endpoints in a VPC. Sources: https://docs.aws.amazon.com/general/latest/gr/s3.html,
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/privatelink-interface-endpoints.html
AWS_NAME = re.compile(
    rf"(s3|s3(-fips)?(\.dualstack)?[.-]{_REGION_OF_NAMES}|s3-external-1|s3-accelerate(\.dualstack)?"
    rf"|bucket\.vpce-[a-z0-9-]+\.s3\.{_REGION_OF_NAMES}\.vpce){_SUFFIX}"
)
# Servers of customers, which may be any S3: on EC2, behind a load balancer, or behind an endpoint service in a VPC.
_SERVER_AT_AWS = re.compile(
    rf".+\.(compute(-1)?|elb(\.{_REGION_OF_NAMES})?|vpce-svc-[0-9a-f]+\.{_REGION_OF_NAMES}\.vpce){_SUFFIX}"
)
_REGION_IN_NAME = re.compile(rf"[.-]({_REGION_OF_NAMES})(\.vpce)?{_SUFFIX}$")
_OF_AWS = re.compile(rf".*{_SUFFIX}")


class Host(NamedTuple):
    """A parsed ``host`` in canonical form, which every HTTP client sends unchanged.

    ``name`` is in lower case; an IPv6 address is compressed and in brackets. ``scheme`` and ``port`` are None if the
    text has none. ``prefix`` is empty, or a path that begins with a slash.
    """

    scheme: str | None
    name: str
    port: int | None
    prefix: str
    is_ip: bool

    @property
    def is_name_of_aws(self) -> bool:
        """Whether this is one of S3's own names."""
        return AWS_NAME.fullmatch(self.name) is not None

    @property
    def is_accelerated(self) -> bool:
        """Whether this is S3 Transfer Acceleration, which takes the bucket as one label in front of the host name.

        Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/transfer-acceleration.html
        """
        return self.name.startswith("s3-accelerate.") and self.is_name_of_aws

    def use_ssl(self, *, stated: bool | None) -> bool | None:
        """Return whether the scheme is https, or ``stated`` without a scheme. ValueError if the two contradict."""
        if self.scheme is None:
            return stated
        is_https = self.scheme == "https"
        if stated is not None and stated is not is_https:
            raise ValueError(
                f"must be {str(is_https).lower()}, or left out, for a host that begins with {self.scheme}://"
            )
        return is_https

    def base_url(self, *, use_ssl: bool) -> str:
        """Return the base URL of all buckets, without a default port.

        A Host header with a default port is ambiguous: most clients leave the port out, and some send it.
        """
        scheme = "https" if use_ssl else "http"
        return f"{scheme}://{self.netloc(use_ssl=use_ssl)}{self.prefix}"

    def netloc(self, *, use_ssl: bool) -> str:
        """Return the name, with the port if it is not the default one."""
        default = DEFAULT_PORTS["https" if use_ssl else "http"]
        return self.name if self.port in {None, default} else f"{self.name}:{self.port}"


def check_region(text: str) -> None:
    """Raise ValueError for a region that does not fit into a credential scope."""
    if not _REGION.fullmatch(text):
        raise ValueError(
            "must be 1 to 64 printable ASCII characters without space, comma or slash, not in quotes, and no "
            f"placeholder such as {PLACEHOLDER}"
        )


def check_aws_region(text: str) -> None:
    """Raise ValueError for a region that AWS does not have, for an account that signs for AWS."""
    if not _AWS_REGION.fullmatch(text) or text.isdecimal():
        raise ValueError(
            "must be a host label for an account that signs for AWS: 1 to 63 of a-z, 0-9 and -, neither first nor last"
            " a -, not only digits"
        )
    # botocore removes fips- and -fips from any part of a region, and signs for the rest.
    if "fips-" in text or "-fips" in text or _PSEUDO_REGION.fullmatch(text):
        raise ValueError(
            "must be a region of its own: a pseudo-region (FIPS, aws-global, s3-external-1) stands for another"
        )
    if _ZONE.fullmatch(text):
        raise ValueError("must be a region, not a zone in one: leave out the letter at the end of an availability zone")


def check_region_of_host(region: str, host: Host) -> None:
    """Raise ValueError for a region that one of S3's own hosts does not serve. S3 refuses a URL for it.

    Source: https://docs.aws.amazon.com/whitepapers/latest/aws-fault-isolation-boundaries/partitions.html
    """
    if not host.is_name_of_aws:
        return
    named = aws_region(host)
    if named is not None and named != region:
        raise ValueError(f"must be {named}, or left out, because {host.name} is in this region")
    check_aws_region(region)
    (suffix,) = (it for it in AWS_SUFFIXES if host.name.endswith(f".{it}"))
    served = _REGIONS_OF_SUFFIX.get(suffix)
    if served and not region.startswith(served):
        raise ValueError(f"must begin with {served}, as all regions of {suffix} do")
    if not served and region.startswith((*_REGIONS_OF_SUFFIX.values(),)):
        raise ValueError(f"must be a region of {suffix}; China and isolated partitions have other hosts")


def parse_host(text: str) -> Host:
    """Parse ``name[:port]``, ``1.2.3.4[:port]``, ``[v6][:port]``, or a base URL ``http(s)://…[/prefix]``.

    Raises:
        ValueError: names the broken rule. A spelling that only some HTTP clients rewrite has no canonical form.
    """
    if not text.isascii():
        raise ValueError(f"must be ASCII: write {_in_ascii(text) or 'an international name in its xn-- form'}")
    scheme, is_base_url, rest = text.rpartition("://")
    if is_base_url and scheme.lower() not in DEFAULT_PORTS:
        raise ValueError("must begin with http:// or https:// if it is a base URL")
    if set("@?#") & set(rest):
        raise ValueError("must have no user info, query or fragment")
    netloc, slash, path = rest.partition("/")
    if slash and not is_base_url:
        raise ValueError("must begin with http:// or https:// if it has a path prefix")
    name, port, is_ip = _parse_netloc(netloc)
    _check_prefix(slash + path)
    return Host(scheme.lower() or None, name, port, slash + path, is_ip)


def parse_account_host(text: str) -> Host:
    """Parse the ``host`` of an account. See ``parse_host``.

    Raises:
        ValueError: also for a name of AWS that may have a bucket in it. S3 reads the bucket from the URL, but policies
            see that of the request.
    """
    host = parse_host(text)
    is_endpoint = host.is_name_of_aws or _SERVER_AT_AWS.fullmatch(host.name)
    # In front of amazonaws.com itself, the bucket s3.eu-west-1 would name an endpoint.
    if _OF_AWS.fullmatch(f".{host.name}") and not is_endpoint:
        raise ValueError(
            "must not name a bucket, an access point or another service of AWS: write S3's own name, such as"
            " s3.eu-west-1.amazonaws.com"
        )
    if host.prefix.removesuffix("/") and host.is_name_of_aws:
        raise ValueError("must have no path after S3's own name, because S3 reads it as a bucket")
    return host


def aws_region(host: Host) -> str | None:
    """Return the region in a name of S3 itself, None without one and for any other host."""
    if not host.is_name_of_aws:
        return None
    found = _REGION_IN_NAME.search(host.name)
    # An old name of us-east-1.
    return found[1] if found else "us-east-1" if host.name.startswith("s3-external-1.") else None


def is_name_of_region(text: str) -> bool:
    """Return whether a text has the form of all regions of AWS, such as us-gov-west-1."""
    return re.fullmatch(_REGION_OF_NAMES, text) is not None


def default_region(*hosts: str) -> str:
    """Return the region of an account that states none: that in the name of one of its hosts, or else us-east-1."""
    for host in hosts:
        with suppress(ValueError):
            if named := aws_region(parse_host(host)):
                return named
    return DEFAULT_REGION


def _in_ascii(text: str) -> str | None:
    """Return a host with its international name in ASCII; None for other text.

    Raises:
        ValueError: for a name that is not valid in ASCII either.
    """
    name = re.sub(r"^.*://|[:/].*$", "", text, flags=re.DOTALL)
    written = None if name.isascii() else ascii_name(name)
    # User info may be a password.
    if not written or "@" in text:
        return None
    text = text.replace(name, written)
    return text if text.isascii() and parse_host(text) else None


def _parse_netloc(netloc: str) -> tuple[str, int | None, bool]:
    """Return the canonical name, the port, and whether the name is an IP address."""
    # The colons of [v6] are inside the brackets.
    end = netloc.find("]") + 1
    if not end and netloc.count(":") > 1:
        _check_brackets(netloc)
    if not end and netloc.startswith("["):
        raise ValueError("must have a ] after its IPv6 address")
    name, colon, port = netloc[end:].partition(":")
    if colon and not (_PORT.fullmatch(port) and int(port) <= MAX_PORT):
        raise ValueError(f"must have a port of 1 to {MAX_PORT}, without leading zeros, after its colon")
    number = int(port) if colon else None
    if end:
        return _parse_ipv6(netloc[:end] + name), number, True
    if ends_in_number(name):
        return _parse_ipv4(name), number, True
    return _parse_name(name), number, False


def _parse_ipv6(text: str) -> str:
    try:
        address = IPv6Address(text[1:-1]) if text[0] + text[-1] == "[]" else None
    except ValueError:
        address = None
    # A zone such as %eth0 is valid on one machine only.
    if address is None or address.scope_id is not None:
        raise ValueError("must have an IPv6 address, without a zone, between its brackets")
    if address.ipv4_mapped:
        raise ValueError(f"must be an IPv4 address if it stands for one: write {address.ipv4_mapped}")
    return f"[{address.compressed}]"


def _check_brackets(text: str) -> None:
    """Raise ValueError for an IPv6 address without brackets, and perhaps with a port."""
    address, _, port = text.rpartition(":")
    spellings = [_parse_ipv6(f"[{text}]")] if _is_ipv6(text) else []
    if _PORT.fullmatch(port) and _is_ipv6(address):
        spellings.append(f"{_parse_ipv6(f'[{address}]')}:{port}")
    if spellings:
        raise ValueError(f"must have an IPv6 address in brackets: write {' or '.join(spellings)}")


def _is_ipv6(text: str) -> bool:
    try:
        IPv6Address(text)
    except ValueError:
        return False
    return True


def _parse_ipv4(name: str) -> str:
    try:
        return str(IPv4Address(name))
    except ValueError:
        rule = "must be an IPv4 address of four plain numbers if it ends in a number"
        meant = rewritten_ipv4(name)
        raise ValueError(f"{rule}: write {meant}" if meant else rule) from None


def _parse_name(name: str) -> str:
    labels = name.removesuffix(".").split(".")
    if len(name) > MAX_NAME_LENGTH or not all(map(_LABEL.fullmatch, labels)):
        raise ValueError(
            "must be a host name: labels of 1 to 63 letters, digits and inner hyphens (no underscore),"
            f" at most {MAX_NAME_LENGTH} characters in all"
        )
    if name.endswith("."):
        raise ValueError("must not end in a dot: some HTTP clients leave it out, others send it; leave it out")
    name = name.lower()
    if not all(map(is_readable_label, name.split("."))):
        raise ValueError("must have xn-- labels that stand for an international name: browsers refuse any other")
    return name


def _check_prefix(prefix: str) -> None:
    if not _PREFIX.fullmatch(prefix):
        raise ValueError("must have a path prefix of unreserved characters (A-Z a-z 0-9 - . _ ~) and /")
    if {".", ".."} & set(prefix.split("/")):
        raise ValueError("must have no . or .. segment in its path prefix")
