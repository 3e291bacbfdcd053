import pytest

from service.resources.endpoints import Host, parse_host, parse_region


@pytest.mark.parametrize(
    "region", ["us-east-1", "cn-north-1", "us-gov-west-1", "garage", "a", "1a", "x--y", "a" * 63, "global", "fips"]
)
def test_a_region_is_itself(region):
    assert parse_region(region) == region


@pytest.mark.parametrize(
    "region", ["", "-foo", "foo-", "a" * 64, "123", "US-EAST-1", "a.b", "a_b", "a b", "a\n", "é", "٣", "a/b", "\ud800"]
)
def test_a_region_is_a_host_label(region):
    with pytest.raises(ValueError, match="must be a host label"):
        parse_region(region)


@pytest.mark.parametrize(
    "region", ["fips-us-east-1", "us-east-1-fips", "my-fips-zone", "xfips-y", "aws-global", "aws-cn-global"]
)
def test_a_pseudo_region_is_none(region):
    with pytest.raises(ValueError, match="pseudo-region"):
        parse_region(region)


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("minio", Host(None, "minio", "", is_ip=False)),
        ("minio:9000", Host(None, "minio:9000", "", is_ip=False)),
        ("S3.Example.COM.", Host(None, "S3.Example.COM.", "", is_ip=False)),
        ("xn--bcher-kva.example", Host(None, "xn--bcher-kva.example", "", is_ip=False)),
        ("1.2.3.4", Host(None, "1.2.3.4", "", is_ip=True)),
        ("1.2.3.4:65535", Host(None, "1.2.3.4:65535", "", is_ip=True)),
        ("1a.2b", Host(None, "1a.2b", "", is_ip=False)),
        ("[::1]", Host(None, "[::1]", "", is_ip=True)),
        ("[FE80::1]:9000", Host(None, "[FE80::1]:9000", "", is_ip=True)),
        ("[::ffff:1.2.3.4]:1", Host(None, "[::ffff:1.2.3.4]:1", "", is_ip=True)),
        ("http://h", Host("http", "h", "", is_ip=False)),
        ("HTTPS://H:443/", Host("https", "H:443", "/", is_ip=False)),
        ("https://h/a-b_c.d~e//f/", Host("https", "h", "/a-b_c.d~e//f/", is_ip=False)),
        ("http://[::1]:9000/.../x", Host("http", "[::1]:9000", "/.../x", is_ip=True)),
        (".".join(["a" * 62] * 4), Host(None, ".".join(["a" * 62] * 4), "", is_ip=False)),
    ],
)
def test_a_host_is_parsed(text, host):
    assert parse_host(text) == host


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
        ("bücher.example", "xn--"),
        ("h:", "port"),
        ("h:0", "port"),
        ("h:99999", "port"),
        ("h:65536", "port"),
        ("h:080", "port"),
        ("h:-1", "port"),
        ("h:1:2", "port"),
        ("::1", "port"),
        ("h:9000\n", "port"),
        ("999.1.1.1", "IPv4"),
        ("1.2.3", "IPv4"),
        ("127.1", "IPv4"),
        ("010.0.0.1", "IPv4"),
        ("1.2.3.4.", "IPv4"),
        ("123", "IPv4"),
        ("[::1", "port"),
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
def test_a_host_that_cannot_be_signed_for_is_told_the_rule(text, rule):
    with pytest.raises(ValueError, match=f"must .*{rule}"):
        parse_host(text)


@pytest.mark.parametrize(
    ("text", "wanted", "use_ssl"),
    [
        ("h", None, None),
        ("h", True, True),
        ("h", False, False),
        ("http://h", None, False),
        ("https://h", None, True),
        ("https://h", True, True),
    ],
)
def test_a_scheme_sets_ssl(text, wanted, use_ssl):
    assert parse_host(text).use_ssl(wanted=wanted) is use_ssl


@pytest.mark.parametrize(("text", "wanted"), [("http://h", True), ("https://h", False)])
def test_a_scheme_does_not_contradict_ssl(text, wanted):
    with pytest.raises(ValueError, match="or left out, for a host that begins with"):
        parse_host(text).use_ssl(wanted=wanted)
