"""Valid store URLs mean what redis-py reads, and invalid ones are refused without quoting them."""

import re
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from live.certificates import make_certificates
from redis.asyncio import ConnectionPool

from service.settings import SettingsError, load
from service.settings.store_url import parse_store_url

SECRET = "s3cr3t"


def problem(url):
    """Return the message for an invalid URL, None for a valid one."""
    try:
        parse_store_url(url)
    except ValueError as error:
        return str(error)
    return None


def read_by_redis_py(url):
    pool = ConnectionPool.from_url(url)
    # redis-py validates most options only here.
    pool.make_connection()
    return pool.connection_kwargs


@pytest.mark.parametrize(
    ("url", "read"),
    [
        ("redis://h", {"host": "h"}),
        ("REDIS://H", {"host": "h"}),
        ("redis://h/", {"host": "h"}),
        ("redis://h?", {"host": "h"}),
        ("redis://h:6380", {"host": "h", "port": 6380}),
        ("redis://h:1/0", {"host": "h", "port": 1, "db": 0}),
        ("redis://h:65535/15", {"host": "h", "port": 65535, "db": 15}),
        ("redis://h:/0", {"host": "h", "db": 0}),
        ("redis://h/007", {"host": "h", "db": 7}),
        ("redis://h/1/", {"host": "h", "db": 1}),
        ("redis://h?db=3", {"host": "h", "db": 3}),
        ("redis://h/?db=3", {"host": "h", "db": 3}),
        ("redis://my_redis-1.example.", {"host": "my_redis-1.example."}),
        ("redis://bücher.example", {"host": "bücher.example"}),
        ("redis://10.0.0.1", {"host": "10.0.0.1"}),
        ("redis://[::1]:6379/0", {"host": "::1", "port": 6379, "db": 0}),
        ("redis://[fe80::1%25eth0]", {"host": "fe80::1%eth0"}),
        ("redis://:p@h", {"host": "h", "password": "p"}),
        ("redis://u:p@h", {"host": "h", "username": "u", "password": "p"}),
        ("redis://:@h", {"host": "h"}),
        ("redis://:p%40%2F%3A%25%23é@h", {"host": "h", "password": "p@/:%#é"}),
        ("redis://:p%E2%80%8B@h", {"host": "h", "password": "p\u200b"}),
        ("redis://:p:q@h", {"host": "h", "password": "p:q"}),
        ("redis://h?username=u&password=p%2B", {"host": "h", "username": "u", "password": "p+"}),
        ("redis://u@h?password=p", {"host": "h", "username": "u", "password": "p"}),
        ("redis://h?client_name=s3-signer", {"host": "h", "client_name": "s3-signer"}),
        ("redis://h?socket_keepalive=No", {"host": "h", "socket_keepalive": False}),
        ("rediss://h?socket_keepalive=true", {"host": "h", "socket_keepalive": True}),
        ("unix:///run/redis.sock", {"path": "/run/redis.sock"}),
        ("unix:///run/my%20redis.sock?db=2", {"path": "/run/my redis.sock", "db": 2}),
        ("unix://u:p@/run/redis.sock", {"path": "/run/redis.sock", "username": "u", "password": "p"}),
        ("rediss://h?ssl_cert_reqs=none&ssl_check_hostname=false", {"host": "h", "ssl_check_hostname": False}),
        ("rediss://h?ssl_min_version=772", {"host": "h", "ssl_min_version": 772}),
        ("rediss://h?ssl_ciphers=ECDHE%2BAESGCM", {"host": "h", "ssl_ciphers": "ECDHE+AESGCM"}),
        ("rediss://h?ssl_exclude_verify_flags=[VERIFY_X509_STRICT,%20VERIFY_X509_TRUSTED_FIRST]", {"host": "h"}),
    ],
)
def test_a_url_means_what_redis_py_reads(url, read):
    assert problem(url) is None
    found = read_by_redis_py(url)
    assert {name: found.get(name) for name in read} == read
    assert found.get("db", 0) == read.get("db", 0)


@pytest.mark.parametrize(
    "url",
    [
        "redis+sentinel://h/service",
        "redis+sentinel://u:p@h:26379,[::1]:1,10.0.0.1/my.service_1-x/3?sentinel-username=s&sentinel-password=%26",
        "redis+sentinel://h/service?db=3&socket_keepalive=true",
        "rediss+sentinel://h/service?ssl_min_version=772",
        "redis+cluster://:p@h1:7000,h2:7001",
        "redis+cluster://h/",
        "rediss+cluster://h?ssl_min_version=772",
    ],
)
def test_urls_of_sentinels_and_clusters_are_valid(url):
    assert problem(url) is None


@pytest.mark.parametrize(
    ("url", "why"),
    [
        *(
            (url, "must begin with one of: memory://, redis://, rediss://, unix://, ")
            for url in [
                "s3cr3t",
                "http://:s3cr3t@h",
                "redis:s3cr3t",
                "redis:/h",
                "redis+proxy://h",
                "unix:/run/s",
                "://h",
            ]
        ),
        ("sentinel://:s3cr3t@h", r"write redis\+sentinel://host:port,host:port/service"),
        ("redis-cluster://h", r"write redis\+cluster://host:port,host:port"),
        ("valkey://h", "write redis://host:port/db"),
        ("redis+sentinel://h", "must name the service that the Sentinels monitor"),
        ("redis+sentinel://h/", "must name the service that the Sentinels monitor"),
        ("redis+sentinel://h/my%20service", "must name the service that the Sentinels monitor"),
        ("redis+sentinel://h/service/one", "or the number of a database"),
        ("redis+sentinel://h/service/1?db=1", "names a database twice"),
        ("redis+sentinel://h,/service", "names no host"),
        ("redis+sentinel://u:s3cr3t@h1,u:s3cr3t@h2/service", "must have one @"),
        ("redis+sentinel://h1,u:s3cr3t@h2/service", "must have one @"),
        ("rediss+cluster://:s3cr3t@h1:7000,:s3cr3t@h2:7001", "must have one @"),
        ("redis://u:s3cr3t@h1,u:s3cr3t@h2", "must have one @"),
        ("redis+sentinel://h/service?sentinel-username=s3cr3t", "names a user without a password"),
        ("redis+sentinel://h/service?ssl_ciphers=x", "must not have ssl_ciphers"),
        ("rediss+sentinel://h/service?ssl_ca_certs=/nowhere", "has ssl_ca_certs, which cannot be read"),
        ("rediss+cluster://h?ssl_ca_certs=/nowhere", "has ssl_ca_certs, which cannot be read"),
        ("redis+cluster://h/0", "must name no database, because a Cluster has only one"),
        ("redis+cluster://h?db=1", "must name no database, because a Cluster has only one"),
        ("redis+cluster://h,h:0", "names a port that is not from 1 to"),
        ("redis://h?sentinel-password=s3cr3t", "must have no options but"),
        ("memory://x", "must be memory:// and nothing else"),
        ("memory://?db=1", "must be memory:// and nothing else"),
        ("MEMORY://", "must be memory:// and nothing else"),
        ("redis://h/0 ", "must not have a space"),
        ("redis://h/0\n", "must not have a space"),
        ("redis://:s3cr3t\t@h", "must not have a space"),
        (f"rediss://h?ssl_ca_data={'a' * 9000}\n", "must not have a space"),
        ("redis://:s3cr3t\u200b@h", "must not have .* it has U[+]200B ZERO WIDTH SPACE"),
        ("redis://\ufeffu:s3cr3t@h", "must not have .* it has U[+]FEFF ZERO WIDTH NO-BREAK SPACE"),
        ("redis://h?password=s3cr3t\xa0", "must not have .* it has U[+]00A0 NO-BREAK SPACE"),
        ("redis+sentinel://h/s?sentinel-password=s3cr3t\u2028", "must not have .* it has U[+]2028 LINE SEPARATOR"),
        ("rediss://h?ssl_ca_certs=/ca.pem\u200e", "must not have .* it has U[+]200E LEFT-TO-RIGHT MARK"),
        ("unix:///redis.sock\u200b", "must not have .* it has U[+]200B ZERO WIDTH SPACE"),
        ("redis://:s3cr3t%@h", "has a % that begins no escape"),
        ("redis://:s3cr3t%zz@h", "has a % that begins no escape"),
        ("redis://:s3cr3t%ff@h", "must be UTF-8"),
        ("redis://:s3cr3t\udcff@h", "must be UTF-8"),
        ("redis://:s3cr3t#1@h", "must not have a #"),
        ("redis://h/0#s3cr3t", "must not have a #"),
        ("redis://[::1", "is not a URL"),
        ("redis://:s3cr3t[@h", "is not a URL"),
        ("redis://", "names no host"),
        ("redis:///0", "names no host"),
        ("redis://:6379", "names no host"),
        ("redis://u:s3cr3t@", "names no host"),
        ("redis://u:s3cr3t@:6379", "names no host"),
        ("redis://a,b", r"names several hosts; write redis\+sentinel://host:port,host:port/service for"),
        ("redis://:s3cr3t@a:6379,b:6379/0", "names several hosts"),
        ("redis://h:port", "must name a host, or host:port"),
        ("redis://h:-1", "must name a host, or host:port"),
        ("redis://h:1:2", "must name a host, or host:port"),
        ("redis://fe80::1:6379", "must name a host, or host:port"),
        ("redis://:s3cr3t/@h", "names no host"),
        ("redis://h:0", "names a port that is not from 1 to 65535"),
        ("redis://h:65536", "names a port that is not from 1 to 65535"),
        ("redis://h:99999", "names a port that is not from 1 to 65535"),
        ("redis://h:" + "9" * 5000, "names a port that is not from 1 to 65535"),
        ("redis://a..b", "no name and no address"),
        ("redis://" + "a" * 64, "no name and no address"),
        ("redis://[1.2.3.4]", "is not a URL|no name and no address"),
        ("redis://[::g]", "is not a URL|no name and no address"),
        ("redis://my%20host", "must name a host, or host:port"),
        ("redis://h/abc", "or the number of a database"),
        ("redis://h/-1", "or the number of a database"),
        ("redis://h/+1", "or the number of a database"),
        ("redis://h/1_0", "or the number of a database"),
        ("redis://h/%31", "or the number of a database"),
        ("redis://h/1/2", "or the number of a database"),
        ("redis://h//1", "or the number of a database"),
        ("redis://h/1.5", "or the number of a database"),
        ("redis://h/" + "9" * 5000, "or the number of a database"),
        ("redis://h/٣", "or the number of a database"),
        ("redis://h/0?db=1", "names a database twice"),
        ("redis://h?db=1&db=2", "gives db twice"),
        ("redis://h?db=-1", "has db, which must be the number of a database"),
        ("redis://h?db=", "has db, which must be"),
        ("redis://h?db", "has db, which must be"),
        ("redis://h?password=", "has password, which must be more than nothing"),
        ("redis://h?password=a+b", r"has a \+ in an option"),
        ("redis://s3cr3t@h", "names a user without a password"),
        ("redis://s3cr3t:@h", "names a user without a password"),
        ("redis://h?username=s3cr3t", "names a user without a password"),
        ("redis://:s3cr3t@h?password=p", "gives a user or password twice"),
        ("redis://u:s3cr3t@h?username=v", "gives a user or password twice"),
        ("redis://h/0?foo=1", "must have no options but db, username, password, client_name, socket_keepalive;"),
        ("redis://h/0?=1", "must have no options but"),
        ("redis://u:1?s3cr3t=x@h", "must have no options but"),
        ("redis://h?client_name=a%20b", "has client_name, which must be printable ASCII"),
        ("redis://h?socket_keepalive=off", "has socket_keepalive, which must be true or false"),
        *(
            (f"redis://h?{name}=1", f"must not have {name}, which the service sets itself")
            for name in [
                "socket_timeout",
                "max_connections",
                "decode_responses",
                "protocol",
                "health_check_interval",
                "timeout",
            ]
        ),
        ("redis://h?ssl_cert_reqs=none", "must not have ssl_cert_reqs, which is for rediss:// and its like alone"),
        ("unix:///s?ssl_ciphers=x", "must not have ssl_ciphers, which is for rediss:// and its like alone"),
        ("unix:///s?socket_keepalive=true", "must have no options but db, username, password, client_name;"),
        ("rediss://h?ssl_cert_reqs=maybe", "has ssl_cert_reqs, which must be none, optional or required"),
        ("rediss://h?ssl_check_hostname=nope", "has ssl_check_hostname, which must be true or false"),
        ("rediss://h?ssl_min_version=1.2", "has ssl_min_version, which must be 771"),
        ("rediss://h?ssl_ciphers=s3cr3t", "has ssl_ciphers, which OpenSSL does not take"),
        ("rediss://h?ssl_ca_data=s3cr3t", "has ssl_ca_data, which OpenSSL does not take"),
        ("rediss://h?ssl_ca_certs=/s3cr3t", "has ssl_ca_certs, which cannot be read: No such file or directory"),
        ("rediss://h?ssl_ca_path=/s3cr3t", "has ssl_ca_path, which must be a directory"),
        ("rediss://h?ssl_certfile=/s3cr3t", "has ssl_certfile, which cannot be read: No such file"),
        ("rediss://h?ssl_keyfile=/s3cr3t", "has ssl_keyfile without ssl_certfile"),
        ("rediss://h?ssl_password=s3cr3t", "has ssl_password without ssl_certfile"),
        *(
            (
                f"rediss://h?ssl_cert_reqs=none&{option}",
                f"has {option.partition('=')[0]}, which ssl_cert_reqs=none leaves",
            )
            for option in (
                "ssl_check_hostname=true",
                "ssl_check_hostname=1",
                "ssl_ca_certs=/s3cr3t",
                "ssl_ca_path=/",
                "ssl_ca_data=s3cr3t",
                "ssl_include_verify_flags=VERIFY_X509_STRICT",
                "ssl_exclude_verify_flags=VERIFY_X509_STRICT",
            )
        ),
        (
            "rediss://h?ssl_include_verify_flags=VERIFY_X509_STRICT&ssl_exclude_verify_flags=VERIFY_X509_STRICT",
            "names VERIFY_X509_STRICT in both ssl_include_verify_flags and ssl_exclude_verify_flags; keep one",
        ),
        ("rediss://h?ssl_min_version=772&ssl_ciphers=HIGH", "has ssl_ciphers, which TLS 1.3 does not use"),
        ("rediss://h?ssl_include_verify_flags=s3cr3t", "has ssl_include_verify_flags, which must be names of"),
        ("unix://", "names no socket path"),
        ("unix:///", "names no socket path"),
        ("unix://u:s3cr3t@", "names no socket path"),
        ("unix://run/redis.sock", "must have three slashes"),
        ("unix://u:s3cr3t@run/redis.sock", "must have three slashes"),
        ("unix:///" + "x" * 107, "must name a socket path of at most 107 bytes"),
        ("unix:///run/%00", "must name a socket path of at most 107 bytes, none of them NUL"),
    ],
    ids=lambda text: ascii(text)[:60],
)
def test_a_url_that_redis_py_refuses_or_misreads_is_refused_in_one_line(url, why):
    message = problem(url)

    assert re.search(why, message or "valid")
    assert "\n" not in message
    assert SECRET not in message


def test_an_invalid_url_is_a_problem_of_its_setting():
    with pytest.raises(SettingsError) as refusal:
        load({"SIGNER_STORE_URL": "redis://h/0?foo=1"})

    assert refusal.value.problems[0].startswith("SIGNER_STORE_URL must have no options but db, ")


def test_certificates_are_loaded_before_the_first_connection(tmp_path):
    files = make_certificates(tmp_path, "s3.test")
    certificate = quote(str(files.certificate), safe="")
    garbage = tmp_path / "garbage"
    garbage.write_text("no PEM")

    authority, key = quote(str(files.ca), safe=""), quote(str(files.key), safe="")
    assert problem(f"rediss://h?ssl_certfile={certificate}&ssl_keyfile={key}&ssl_ca_certs={authority}") is None
    assert "ssl_ca_certs, which OpenSSL does not take" in problem(f"rediss://h?ssl_ca_certs={garbage}")
    assert "ssl_keyfile, which OpenSSL does not take" in problem(
        f"rediss://h?ssl_certfile={certificate}&ssl_keyfile={garbage}"
    )
    assert "ssl_ca_path, which must be a directory" in problem(f"rediss://h?ssl_ca_path={garbage}")
    assert problem(f"rediss://h?ssl_ca_path={quote(str(tmp_path))}") is None


PIECES = [
    *(
        "redis://",
        "rediss://",
        "unix://",
        "memory://",
        "user",
        ":",
        "pw",
        "@",
        "host",
        "[::1]",
        ":6379",
        ":0",
        "/",
        "/0",
    ),
    *("/x", "-1", "?", "&", "=", "db", "db=1", "password=x", "client_name=a", "ssl_cert_reqs=none", "socket_timeout=1"),
    *("%20", "%zz", "%ff", "%", "+", "#", ",", " ", "é", "\0", "]", "["),
]


@given(st.lists(st.sampled_from(PIECES), max_size=10).map("".join), st.sampled_from(["", "redis://", "unix:///"]))
def test_redis_py_accepts_every_valid_url(rest, start):
    url = start + rest
    if problem(url) is not None or url == "memory://":
        return
    pool = ConnectionPool.from_url(url)
    connection = pool.make_connection()

    assert re.fullmatch("[0-9]+", str(connection.db))
    assert str(pool.connection_kwargs.get("db", 0)) == str(connection.db)


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), st.text(st.characters(exclude_categories=["Cs"])))
def test_any_password_can_be_written(password, user):
    url = f"redis://{quote(user, safe='')}:{quote(password, safe='')}@h:1/2"

    assert problem(url) is None
    found = read_by_redis_py(url)
    assert (found["password"], found.get("username", ""), found["db"]) == (password, user, 2)


@given(
    st.text(st.sampled_from("/?#[]@%:&=+, é\n"), max_size=6), st.text(st.sampled_from("/?#[]@%:&=+, é\n"), max_size=6)
)
def test_no_message_quotes_a_piece_of_a_password(before, after):
    for around in ("redis://:{}@h:1/0", "redis://u:{}@h", "unix://u:{}@/run/s", "redis://h?password={}", "x://:{}@h"):
        assert SECRET not in (problem(around.format(before + SECRET + after)) or "")
