import itertools
from contextlib import nullcontext

import pytest
from botocore.loaders import Loader
from hypothesis import given, settings
from hypothesis import strategies as st
from urllib3.util import parse_url
from yarl import URL

from service.endpoints import (
    AWS_SUFFIXES,
    Host,
    aws_region,
    check_aws_region,
    check_region,
    check_region_of_host,
    is_name_of_region,
    parse_account_host,
    parse_host,
)
from service.errors import Invalid
from service.resources.host_rules import HostRules, is_aws
from service.resources.types import AwsAccount
from service.settings.parsers import allowed_host

LOADER = Loader(extra_search_paths=[Loader.BUILTIN_DATA_PATH], include_default_search_paths=False)


@pytest.mark.parametrize("host", ["s3-accelerate.amazonaws.com", "https://S3-accelerate.dualstack.amazonaws.com"])
def test_path_style_is_refused_for_transfer_acceleration(host):
    with pytest.raises(Invalid, match="path-style must not be true for s3-accelerate"):
        HostRules().check(AwsAccount(id="a", host=host, path_style=True))

    for other in (None, False):
        HostRules().check(AwsAccount(id="a", host=host, path_style=other))
    HostRules().check(AwsAccount(id="a", host="s3.amazonaws.com", path_style=True))


@pytest.mark.parametrize(
    "region", ["us-east-1", "cn-north-1", "us-gov-west-1", "garage", "a", "1a", "x--y", "a" * 63, "global", "fips"]
)
def test_a_region_of_aws_is_accepted(region):
    check_aws_region(region)
    check_region(region)


@pytest.mark.parametrize(
    "region", ["", "-foo", "foo-", "a" * 64, "123", "US-EAST-1", "a.b", "a_b", "a b", "a\n", "é", "٣", "a/b", "\ud800"]
)
def test_a_region_of_aws_must_be_a_host_label(region):
    with pytest.raises(ValueError, match="must be a host label"):
        check_aws_region(region)


@pytest.mark.parametrize(
    "region",
    ["fips-us-east-1", "us-east-1-fips", "my-fips-zone", "xfips-y", "aws-global", "aws-cn-global", "s3-external-1"],
)
def test_a_pseudo_region_is_not_a_region_of_aws(region):
    with pytest.raises(ValueError, match="pseudo-region"):
        check_aws_region(region)


@pytest.mark.parametrize(
    ("host", "region"),
    [
        *((None, "us-east-1"), ("minio:9000", "us-east-1"), ("s3.amazonaws.com", "us-east-1"), ("a b", "us-east-1")),
        ("https://S3.eu-west-1.amazonaws.com", "eu-west-1"),
        ("s3.cn-north-1.amazonaws.com.cn", "cn-north-1"),
        ("bucket.vpce-1a2b-3c4d.s3.us-west-2.vpce.amazonaws.com", "us-west-2"),
        ("s3-external-1.amazonaws.com", "us-east-1"),
    ],
)
def test_the_default_region_is_that_of_the_host(host, region):
    assert AwsAccount(id="a", host=host).region == region
    assert AwsAccount(id="a", host="minio", public_host=host or "b").region == region
    assert AwsAccount(id="a", host=host, region="eu-north-1").region == "eu-north-1"


def test_each_region_of_botocore_has_the_form_of_one():
    partitions = LOADER.load_data("partitions")
    regions = {region for partition in partitions["partitions"] for region in partition["regions"]}

    assert {region for region in regions if not is_name_of_region(region)} == {
        region for region in regions if region.endswith("-global")
    }
    assert not any(
        map(is_name_of_region, ("garage", "auto", "us-east1", "RegionOne", "eu-west-1a", "fips-us-east-1", ""))
    )


def partitions():
    """Return the regions and the names of S3 without a region of each partition of botocore."""
    for partition in LOADER.load_data("partitions")["partitions"]:
        outputs = partition["outputs"]
        hosts = [f"s3.{outputs['dnsSuffix']}", f"s3-accelerate.{outputs['dualStackDnsSuffix']}"]
        yield {it for it in partition["regions"] if is_name_of_region(it)}, {parse_host(host) for host in hosts}


def test_an_aws_host_serves_the_regions_of_its_partition():
    for regions, own in partitions():
        for others, hosts in partitions():
            for region, host in itertools.product(regions, hosts):
                is_served = region in others or host in own
                with nullcontext() if is_served else pytest.raises(ValueError, match="must be"):
                    check_region_of_host(region, host)


@pytest.mark.parametrize("host", ["s3.cn-north-1.amazonaws.com", "s3.eu-west-1.amazonaws.com.cn"])
def test_a_name_with_a_region_of_another_partition_serves_no_region(host):
    for region in ("cn-north-1", "eu-west-1"):
        with pytest.raises(ValueError, match="must be"):
            check_region_of_host(region, parse_host(host))


@pytest.mark.parametrize(
    "host", ["s3.dualstack.amazonaws.com", "s3-fips.amazonaws.com", "s3.fips-us-east-1.amazonaws.com"]
)
def test_a_name_that_s3_does_not_have_is_refused(host):
    with pytest.raises(ValueError, match="must not name a bucket"):
        parse_account_host(host)


@pytest.mark.parametrize("region", ["eu-west-1a", "us-gov-west-1b", "us-west-2-lax-1a", "us-east-1-bos-wlz-1f"])
def test_a_zone_is_not_a_region_of_aws(region):
    check_region(region)
    with pytest.raises(ValueError, match="must be a region, not a zone in one"):
        check_aws_region(region)


@pytest.mark.parametrize(
    "region", ["RegionOne", "DE", "a_b", "a.b", "-", "123", "fips-x", "aws-global", "a:b;c=d&e%2F+", "a" * 64]
)
def test_a_region_of_a_custom_host_is_any_part_of_a_credential_scope(region):
    check_region(region)


@pytest.mark.parametrize(
    "region", ["", "a/b", "a b", "a,b", "a" * 65, "a\n", '"a"', "'a'", "\t", "é", "\x7f", "\ud800"]
)
def test_a_region_of_a_custom_host_must_fit_into_a_credential_scope(region):
    with pytest.raises(ValueError, match="must be 1 to 64 printable ASCII characters without space, comma or slash"):
        check_region(region)


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("minio", Host(None, "minio", None, "", is_ip=False)),
        ("minio:9000", Host(None, "minio", 9000, "", is_ip=False)),
        ("S3.Example.COM", Host(None, "s3.example.com", None, "", is_ip=False)),
        ("xn--bcher-kva.example", Host(None, "xn--bcher-kva.example", None, "", is_ip=False)),
        ("XN--BCHER-KVA.example", Host(None, "xn--bcher-kva.example", None, "", is_ip=False)),
        ("xn--ls8h.example", Host(None, "xn--ls8h.example", None, "", is_ip=False)),
        # U+31350 is of Unicode 15, which Python 3.11 does not know. Cherokee has capitals as its canonical form.
        ("xn--8o8n.example", Host(None, "xn--8o8n.example", None, "", is_ip=False)),
        ("xn--58d.example", Host(None, "xn--58d.example", None, "", is_ip=False)),
        ("1.2.3.4", Host(None, "1.2.3.4", None, "", is_ip=True)),
        ("1.2.3.4:65535", Host(None, "1.2.3.4", 65535, "", is_ip=True)),
        ("1a.2b", Host(None, "1a.2b", None, "", is_ip=False)),
        ("0xfg", Host(None, "0xfg", None, "", is_ip=False)),
        ("1.2.3.4.nip.io", Host(None, "1.2.3.4.nip.io", None, "", is_ip=False)),
        ("[::1]", Host(None, "[::1]", None, "", is_ip=True)),
        ("[0:0:0:0:0:0:0:1]:9000", Host(None, "[::1]", 9000, "", is_ip=True)),
        ("[FE80::0001]:9000", Host(None, "[fe80::1]", 9000, "", is_ip=True)),
        ("[::2:3:4:5:6:7:8]", Host(None, "[0:2:3:4:5:6:7:8]", None, "", is_ip=True)),
        ("[1:0:0:2:0:0:0:3]", Host(None, "[1:0:0:2::3]", None, "", is_ip=True)),
        ("[64:ff9b::1.2.3.4]", Host(None, "[64:ff9b::102:304]", None, "", is_ip=True)),
        ("http://h", Host("http", "h", None, "", is_ip=False)),
        ("HTTPS://H:443/", Host("https", "h", 443, "/", is_ip=False)),
        ("https://h/a-B_c.d~e//f/", Host("https", "h", None, "/a-B_c.d~e//f/", is_ip=False)),
        ("http://[::1]:9000/.../x", Host("http", "[::1]", 9000, "/.../x", is_ip=True)),
        (".".join(["a" * 62] * 4), Host(None, ".".join(["a" * 62] * 4), None, "", is_ip=False)),
    ],
)
def test_a_host_is_parsed_into_its_canonical_form(text, host):
    assert parse_host(text) == host


@pytest.mark.parametrize(
    ("text", "use_ssl", "url"),
    [
        ("h", False, "http://h"),
        ("h", True, "https://h"),
        ("H:80", False, "http://h"),
        ("h:80", True, "https://h:80"),
        ("h:443", True, "https://h"),
        ("h:443", False, "http://h:443"),
        ("http://h:80/P/", False, "http://h/P/"),
        ("HTTPS://h:443", True, "https://h"),
        ("[::80]", False, "http://[::80]"),
        ("[::1]:80", False, "http://[::1]"),
        ("1.2.3.4:9000", False, "http://1.2.3.4:9000"),
    ],
)
def test_the_url_of_a_host_has_no_default_port(text, use_ssl, url):
    assert parse_host(text).base_url(use_ssl=use_ssl) == url


labels = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?", fullmatch=True)
names = st.one_of(
    st.lists(labels, min_size=1, max_size=5).map(".".join),
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(lambda address: f"[{address.exploded.upper()}]"),
    st.text("0123456789abcdefABCDEF.:x[]", max_size=24),
)
ports = st.one_of(st.just(""), st.integers(1, 65535).map(":{}".format), st.sampled_from([":80", ":443"]))


@settings(deadline=None)
@given(names, ports, st.booleans())
@pytest.mark.slow
def test_a_client_sends_a_canonical_host_unchanged(name, port, use_ssl):
    try:
        url = parse_host(f"{name}{port}").base_url(use_ssl=use_ssl)
    except ValueError:
        return
    host = url.partition("://")[2]

    # What requests, and what aiohttp sends.
    assert parse_url(url).netloc == host
    assert URL(url).host_port_subcomponent == host
    assert parse_host(host).base_url(use_ssl=use_ssl) == url


@settings(deadline=None)
@given(names, ports)
@pytest.mark.slow
def test_every_valid_host_can_be_allowed(name, port):
    text = f"{name}{port}"
    try:
        parse_host(text)
    except ValueError:
        with pytest.raises(ValueError, match="must "):
            allowed_host(text)
        return

    HostRules((allowed_host(text),)).check(AwsAccount(id="a", host=text))


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "host name"),
        (".", "host name"),
        ("a..b", "host name"),
        (".a", "host name"),
        ("my_minio:9000", "no underscore"),
        ("h-", "host name"),
        ("-h", "host name"),
        ("h-.example", "host name"),
        ("a b", "host name"),
        ("h\n", "host name"),
        ("h\\x", "host name"),
        ("h%41", "host name"),
        ("a" * 64, "host name"),
        (".".join(["a" * 63] * 4), "253"),
        ("bücher.example", "ASCII: write xn--bcher-kva.example$"),
        ("https://BÜCHER.example:9000/bücher", "ASCII: write an international name in its xn-- form$"),
        ("https://BÜCHER.example:9000/a", "ASCII: write https://xn--bcher-kva.example:9000/a$"),
        ("https://u:p@bücher.example", "ASCII: write an international name"),
        ("localhost\u3002", "leave it out"),
        ("\u00ad.example", "ASCII: write an international name"),
        ("h:", "port"),
        ("h:0", "port"),
        ("h:99999", "port"),
        ("h:65536", "port"),
        ("h:080", "port"),
        ("h:-1", "port"),
        ("h:1:2", "port"),
        ("::1", "in brackets: write \\[::1\\]$"),
        ("http://0:0:0:0:0:0:0:1/x", "in brackets: write \\[::1\\]$"),
        ("2001:DB8::1", "in brackets: write \\[2001:db8::1\\]$"),
        ("::1:9000", "in brackets: write \\[::1:9000\\] or \\[::1\\]:9000$"),
        ("http://2001:db8::1:443", "in brackets: write \\[2001:db8::1:443\\] or \\[2001:db8::1\\]:443$"),
        ("1:2:3:4:5:6:7:8", "in brackets: write \\[1:2:3:4:5:6:7:8\\]$"),
        ("::ffff:10.0.0.1", "write 10.0.0.1$"),
        ("fe80::1%eth0", "without a zone"),
        ("h:9000\n", "port"),
        ("999.1.1.1", "four plain numbers if it ends in a number$"),
        ("a.0x7f", "four plain numbers if it ends in a number$"),
        ("0x100000000", "four plain numbers if it ends in a number$"),
        ("a 1.1", "four plain numbers if it ends in a number$"),
        ("1.2.3", "IPv4 .*: write 1.2.0.3$"),
        ("127.1", "IPv4 .*: write 127.0.0.1$"),
        ("127.1:9000", "IPv4 .*: write 127.0.0.1$"),
        ("010.0.0.1", "IPv4 .*: write 8.0.0.1$"),
        ("0177.0.0.1", "IPv4 .*: write 127.0.0.1$"),
        ("0X7F.1", "IPv4 .*: write 127.0.0.1$"),
        ("1.2.3.0x4", "IPv4 .*: write 1.2.3.4$"),
        ("2130706433", "IPv4 .*: write 127.0.0.1$"),
        ("0x7f000001", "IPv4 .*: write 127.0.0.1$"),
        ("1.2.3.4.", "IPv4 .*: write 1.2.3.4$"),
        ("123", "IPv4 .*: write 0.0.0.123$"),
        ("[::ffff:1.2.3.4]:1", "write 1.2.3.4$"),
        ("[::FFFF:7f00:1]", "write 127.0.0.1$"),
        ("h.", "leave it out"),
        ("S3.Example.COM.:9000", "leave it out"),
        ("xn--a", "xn--"),
        ("a.xn--", "host name"),
        ("xn--zz--.example", "host name"),
        ("xn--1ug", "xn--"),
        ("xn--ab-m1t", "xn--"),
        ("xn--zva", "xn--"),
        ("xn--0fa", "xn--"),
        ("xn--99999999", "xn--"),
        ("xn--a-ubb.x", "xn--"),
        ("\uff1127.0.0.1", "ASCII: write 127.0.0.1$"),
        ("a\u3002b", "ASCII"),
        ("[::1", "after its IPv6 address$"),
        ("[::1:9000", "after its IPv6 address$"),
        ("::1]", "brackets"),
        ("[]", "brackets"),
        ("[1.2.3.4]", "brackets"),
        ("[fe80::1%eth0]", "brackets"),
        ("[fe80::1%25eth0]", "brackets"),
        ("[::1]x", "brackets"),
        ("x[::1]", "brackets"),
        ("[v1.a]", "brackets"),
        ("ftp://h", "http://"),
        ("://h", "http://"),
        ("http://http://h", "http://"),
        ("h/prefix", "http://"),
        ("h/", "http://"),
        ("//h", "http://"),
        ("http://", "host name"),
        ("http:///x", "host name"),
        ("http://u:p@h", "user info"),
        ("u@h", "user info"),
        ("http://h?x", "query"),
        ("http://h/#x", "fragment"),
        ("http://h/a b", "unreserved"),
        ("http://h/%41", "unreserved"),
        ("http://h/a;b", "unreserved"),
        ("http://h/a\n", "unreserved"),
        ("http://h/a\\b", "unreserved"),
        ("http://h/.", "segment"),
        ("http://h/a/../b", "segment"),
        ("http://h/./b", "segment"),
    ],
)
def test_an_error_about_a_host_names_the_rule(text, rule):
    with pytest.raises(ValueError, match=f"must .*{rule}"):
        parse_host(text)


@pytest.mark.parametrize(
    ("text", "stated", "use_ssl"),
    [
        ("h", None, None),
        ("h", True, True),
        ("h", False, False),
        ("http://h", None, False),
        ("https://h", None, True),
        ("https://h", True, True),
    ],
)
def test_a_scheme_sets_use_ssl(text, stated, use_ssl):
    assert parse_host(text).use_ssl(stated=stated) is use_ssl


@pytest.mark.parametrize(("text", "stated"), [("http://h", True), ("https://h", False)])
def test_a_scheme_must_agree_with_use_ssl(text, stated):
    with pytest.raises(ValueError, match="or left out, for a host that begins with"):
        parse_host(text).use_ssl(stated=stated)


@pytest.mark.parametrize(
    "host",
    [
        "bucket.s3.amazonaws.com",
        "https://my.bucket.s3.eu-west-1.amazonaws.com",
        "Bucket.S3.dualstack.eu-west-1.amazonaws.com:443",
        "bucket.s3-eu-west-1.amazonaws.com",
        "bucket.s3.cn-north-1.amazonaws.com.cn",
        "bucket.s3-accelerate.amazonaws.com",
        "bucket.s3-fips.us-east-1.amazonaws.com",
        "bucket.s3-fips-us-gov-west-1.amazonaws.com",
        "bucket.s3-fips.dualstack.us-gov-west-1.amazonaws.com",
        "bucket.s3-external-1.amazonaws.com",
        "bucket.s3.eusc-de-east-1.amazonaws.eu",
        "bucket.s3.us-iso-east-1.c2s.ic.gov",
        "ap-123456789012.s3-accesspoint.us-east-1.amazonaws.com",
        "ap-123456789012.s3-object-lambda.us-east-1.amazonaws.com",
        "mrap.accesspoint.s3-global.amazonaws.com",
        "bucket.s3express-use1-az4.us-east-1.amazonaws.com",
        "bucket.bucket.vpce-1a2b3c4d-5e6f.s3.us-east-1.vpce.amazonaws.com",
        "ap-123456789012.accesspoint.vpce-1a2b3c4d-5e6f.s3.us-east-1.vpce.amazonaws.com",
        "control.vpce-1a2b3c4d-5e6f.s3.us-east-1.vpce.amazonaws.com",
        "bucket.s3-website-us-east-1.amazonaws.com",
        "bucket.s3.unknown.amazonaws.com",
        *("amazonaws.com", "https://AmazonAWS.com:443", "amazonaws.com.cn", "api.aws"),
        "123456789012.s3-control.us-east-1.amazonaws.com",
        "bucket.s3.us-east-1.api.aws",
        "xs3.amazonaws.com",
    ],
)
def test_a_host_that_names_a_bucket_of_aws_is_refused(host):
    with pytest.raises(ValueError, match="must not name a bucket"):
        parse_account_host(host)


@pytest.mark.parametrize(
    "host",
    [
        "https://s3.amazonaws.com/bucket",
        "http://s3.eu-west-1.amazonaws.com/bucket/",
        "https://s3-fips.us-east-1.amazonaws.com/secret",
        "https://s3.amazonaws.com//",
        "https://bucket.vpce-1a2b3c4d-5e6f.s3.us-east-1.vpce.amazonaws.com/secret",
    ],
)
def test_a_path_after_the_name_of_aws_is_refused(host):
    with pytest.raises(ValueError, match="must have no path"):
        parse_account_host(host)


def s3_endpoints():
    """Return the names of S3 in botocore's data."""
    for partition in LOADER.load_data("endpoints")["partitions"]:
        s3 = partition["services"]["s3"]
        suffix = partition["dnsSuffix"]
        for region, endpoint in s3["endpoints"].items():
            yield endpoint.get("hostname", f"s3.{region}.{suffix}")
            yield from (variant["hostname"] for variant in endpoint.get("variants", ()))


@pytest.mark.parametrize("host", sorted({*s3_endpoints()}))
def test_every_endpoint_of_s3_is_accepted_without_a_bucket(host):
    assert is_aws(parse_account_host(host))
    with pytest.raises(ValueError, match="must not name a bucket"):
        parse_account_host(f"bucket.{host}")


def test_the_suffixes_of_aws_are_those_of_botocore():
    outputs = [partition["outputs"] for partition in LOADER.load_data("partitions")["partitions"]]

    assert sorted({output[name] for output in outputs for name in ("dnsSuffix", "dualStackDnsSuffix")}) == sorted(
        AWS_SUFFIXES
    )


@pytest.mark.parametrize(
    "host",
    [
        "https://s3.eu-west-1.amazonaws.com/",
        "s3-eu-west-1.amazonaws.com",
        "s3-us-gov-west-1.amazonaws.com",
        "s3-fips-us-gov-west-1.amazonaws.com",
        "s3-accelerate.dualstack.amazonaws.com",
        "bucket.vpce-1a2b3c4d-5e6f.s3.us-east-1.vpce.amazonaws.com",
        "bucket.vpce-1a2b3c4d-5e6f-us-east-1a.s3.us-east-1.vpce.amazonaws.com",
    ],
)
def test_other_endpoints_of_s3_are_accepted(host):
    assert is_aws(parse_account_host(host))


@pytest.mark.parametrize(
    "host",
    [
        "bucket.s3.example.com",
        "s3.amazonaws.com.example.org",
        "ec2-1-2-3-4.compute-1.amazonaws.com",
        "https://ec2-1-2-3-4.eu-west-1.compute.amazonaws.com:9000/prefix",
        "s3-1234567890.us-east-1.elb.amazonaws.com",
        "minio-1234567890.elb.us-east-1.amazonaws.com",
        "vpce-1a2b-3c4d.vpce-svc-0123456789abcdef0.us-east-1.vpce.amazonaws.com",
    ],
)
def test_servers_of_others_are_accepted_and_are_not_aws(host):
    assert not is_aws(parse_account_host(host))


@pytest.mark.parametrize(
    ("host", "region"),
    [
        ("s3.eu-west-1.amazonaws.com", "eu-west-1"),
        ("https://s3-us-west-2.amazonaws.com", "us-west-2"),
        ("s3-fips.dualstack.us-gov-west-1.amazonaws.com", "us-gov-west-1"),
        ("s3-fips-us-gov-west-1.amazonaws.com", "us-gov-west-1"),
        ("s3.cn-north-1.amazonaws.com.cn", "cn-north-1"),
        ("bucket.vpce-0a-1.s3.eu-west-1.vpce.amazonaws.com", "eu-west-1"),
        ("s3.amazonaws.com", None),
        ("s3-accelerate.amazonaws.com", None),
        ("s3.eu-west-1.example.com", None),
        # Servers of customers may expect any region.
        ("x.elb.eu-west-1.amazonaws.com", None),
    ],
)
def test_the_region_in_a_host_of_aws_is_found(host, region):
    assert aws_region(parse_host(host)) == region
