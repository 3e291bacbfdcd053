import pytest
from documents import blocks

from service.settings import SettingsError, load
from service.settings.environment import unknown_variables
from service.settings.settings import PREFIX, declarations

EVERYWHERE = "0.0.0.0"  # noqa: S104 - whether that is refused is the point


ROOT = {"SIGNER_ROOT_CLIENT_ID": "root", "SIGNER_ROOT_CLIENT_SECRET": "0123456789abcdef"}
JWT = {"SIGNER_JWT_ISSUER": "i", "SIGNER_JWT_AUDIENCE": "a", "SIGNER_JWT_JWKS": "/jwks.json"}
COMPANIONS = (ROOT, {**ROOT, **JWT})


def problems(**environ):
    with pytest.raises(SettingsError) as refusal:
        load(environ)
    return refusal.value.problems


def test_without_variables_every_setting_has_its_default():
    loaded = load({})

    assert (loaded.host, loaded.port, loaded.socket, loaded.socket_mode) == ("127.0.0.1", 8080, "", 0o660)
    assert (loaded.auth, loaded.cors_origins, loaded.store_url, loaded.key_prefix) == ("", (), "memory://", "")
    assert (loaded.max_body, loaded.default_use_ssl, loaded.drain_seconds) == (1024 * 1024, False, 0)
    assert (loaded.log_level, loaded.log_format, loaded.commit) == ("info", "json", "")


@pytest.mark.parametrize(
    ("variable", "text", "value"),
    [
        ("SIGNER_HOST", "::1", "::1"),
        ("SIGNER_HOST", "localhost", "localhost"),
        ("SIGNER_PORT", "0", 0),
        ("SIGNER_PORT", "65535", 65535),
        ("SIGNER_SOCKET", "/run/s3-signer.sock", "/run/s3-signer.sock"),
        ("SIGNER_SOCKET_MODE", "0600", 0o600),
        ("SIGNER_SOCKET_MODE", "777", 0o777),
        ("SIGNER_TLS_CERT", "", ""),
        ("SIGNER_TLS_KEY", "", ""),
        ("SIGNER_OPS_HOST", "0.0.0.0", "0.0.0.0"),  # noqa: S104
        ("SIGNER_OPS_PORT", "0", 0),
        ("SIGNER_OPS_PORT", "9090", 9090),
        ("SIGNER_OPS_PORT", "", None),
        ("SIGNER_WORKERS", "1", 1),
        ("SIGNER_AUTH", "none", "none"),
        ("SIGNER_CORS_ORIGINS", "https://a.example, http://b:8080 ,", ("https://a.example", "http://b:8080")),
        ("SIGNER_CORS_ORIGINS", " ", ()),
        ("SIGNER_PUBLIC_URL", "", ""),
        ("SIGNER_PUBLIC_URL", "https://a.example/", "https://a.example"),
        ("SIGNER_PUBLIC_URL", "http://127.0.0.1:8000/a-b/c.d~/", "http://127.0.0.1:8000/a-b/c.d~"),
        ("SIGNER_ROOT_CLIENT_ID", "root", "root"),
        ("SIGNER_ROOT_CLIENT_SECRET", "0123456789abcdef", "0123456789abcdef"),
        ("SIGNER_TOKEN_SECONDS", "60", 60),
        ("SIGNER_JWT_ISSUER", "https://idp.example", "https://idp.example"),
        ("SIGNER_JWT_AUDIENCE", "s3-signer", "s3-signer"),
        ("SIGNER_JWT_JWKS", "/etc/jwks.json", "/etc/jwks.json"),
        ("SIGNER_JWT_MAX_SECONDS", "600", 600),
        ("SIGNER_ENCRYPTION_KEYS_FILE", "/etc/keys", "/etc/keys"),
        ("SIGNER_STORE_URL", "redis://:p%40ss@redis:6379/1", "redis://:p%40ss@redis:6379/1"),
        ("SIGNER_STORE_URL", "rediss://redis", "rediss://redis"),
        ("SIGNER_STORE_URL", "unix:///run/redis.sock", "unix:///run/redis.sock"),
        ("SIGNER_STORE_URL", "redis://h/0?client_name=s3", "redis://h/0?client_name=s3"),
        ("SIGNER_STORE_URL", "memory://", "memory://"),
        ("SIGNER_STORE_URL", "redis+sentinel://h1,h2/accounts/1", "redis+sentinel://h1,h2/accounts/1"),
        ("SIGNER_STORE_URL", "redis+cluster://h1:7000,h2", "redis+cluster://h1:7000,h2"),
        ("SIGNER_WAIT_REPLICAS", "0", 0),
        ("SIGNER_KEY_PREFIX", "prod:", "prod:"),
        ("SIGNER_INIT_BUNDLE", "/bundle.yaml", "/bundle.yaml"),
        ("SIGNER_CACHE_SIZE", "0", 0),
        ("SIGNER_CACHE_TTL", "1", 1),
        ("SIGNER_STALE_SECONDS", "0", 0),
        ("SIGNER_MAX_BODY", "1024", 1024),
        ("SIGNER_MAX_BODY", "67108864", 67108864),
        ("SIGNER_MAX_CONCURRENCY", "0", 0),
        ("SIGNER_MAX_CONNECTIONS", "1", 1),
        ("SIGNER_IDLE_SECONDS", "3630", 3630),
        ("SIGNER_DEFAULT_USE_SSL", "true", True),
        ("SIGNER_REQUIRE_SSL", "true", True),
        ("SIGNER_LIVE_CHECK", "true", True),
        ("SIGNER_AMBIENT_CREDENTIALS", "true", True),
        ("SIGNER_ALLOWED_HOSTS", "aws, *.s3.example, minio:9000,[::1]", ("aws", "*.s3.example", "minio:9000", "[::1]")),
        ("SIGNER_DRAIN_SECONDS", "300", 300),
        ("SIGNER_LOG_LEVEL", "debug", "debug"),
        ("SIGNER_LOG_LEVEL", "INFO", "info"),
        ("SIGNER_AUTH", "None", "none"),
        ("SIGNER_REQUIRE_SSL", "True", True),
        ("SIGNER_LOG_LEVEL", "Warning", "warning"),
        ("SIGNER_LOG_FORMAT", "text", "text"),
        ("SIGNER_ACCESS_LOG", "true", "true"),
        ("SIGNER_ACCESS_LOG", "Errors", "errors"),
        ("SIGNER_TRUSTED_PROXIES", "10.0.0.0/8, ::1,unix", ("10.0.0.0/8", "::1", "unix")),
        ("SIGNER_FORWARDED_HEADER", "Forwarded", "forwarded"),
        ("SIGNER_LOG_FORMAT", "JSON", "json"),
        ("SIGNER_COMMIT", "0123abc", "0123abc"),
    ],
)
def test_a_setting_is_read(variable, text, value):
    name, _ = declarations()[variable]

    companions = next((names for names in COMPANIONS if variable in names), {})
    assert getattr(load({**companions, variable: text}), name) == value


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("SIGNER_ROOT_CLIENT_ID", "a b"),
        ("SIGNER_COMMIT", "\udcff"),
        ("SIGNER_JWT_ISSUER", "https://idp.example/\udcff"),
        ("SIGNER_JWT_AUDIENCE", "\udcff"),
        ("SIGNER_ROOT_CLIENT_SECRET", "0123456789abcde"),
        ("SIGNER_TOKEN_SECONDS", "0"),
        ("SIGNER_PORT", "http"),
        ("SIGNER_PORT", "-1"),
        ("SIGNER_PORT", "65536"),
        ("SIGNER_PORT", "80.5"),
        ("SIGNER_PORT", "0x50"),
        ("SIGNER_PORT", "9" * 5000),
        ("SIGNER_SOCKET_MODE", "rw"),
        ("SIGNER_SOCKET_MODE", "0680"),
        ("SIGNER_SOCKET_MODE", "1777"),
        ("SIGNER_SOCKET_MODE", "-1"),
        ("SIGNER_OPS_PORT", "x"),
        ("SIGNER_OPS_PORT", "tcp://10.0.0.1:9090"),
        ("SIGNER_OPS_PORT", "8080"),
        ("SIGNER_WAIT_REPLICAS", "-1"),
        ("SIGNER_WORKERS", "0"),
        ("SIGNER_WORKERS", "65"),
        ("SIGNER_WORKERS", "auto"),
        ("SIGNER_WORKERS", "2"),
        ("SIGNER_AUTH", "nobody"),
        ("SIGNER_AUTH", "basic"),
        ("SIGNER_CORS_ORIGINS", "*"),
        ("SIGNER_CORS_ORIGINS", "example.com"),
        ("SIGNER_CORS_ORIGINS", "https://a.example/"),
        ("SIGNER_CORS_ORIGINS", "https://a.example/path"),
        ("SIGNER_CORS_ORIGINS", "https://a.example, ftp://b"),
        ("SIGNER_PUBLIC_URL", "/signer"),
        ("SIGNER_PUBLIC_URL", "a.example/signer"),
        ("SIGNER_PUBLIC_URL", "ftp://a.example"),
        ("SIGNER_PUBLIC_URL", "https://a.example:443/signer"),
        ("SIGNER_PUBLIC_URL", "https://user:password@a.example/signer"),
        ("SIGNER_PUBLIC_URL", "https://a.example/signer?x=1"),
        ("SIGNER_PUBLIC_URL", "https://a.example/signer#x"),
        ("SIGNER_PUBLIC_URL", "https://a.example/a//b"),
        ("SIGNER_PUBLIC_URL", "https://a.example//"),
        ("SIGNER_PUBLIC_URL", "https://a.example/a/../b"),
        ("SIGNER_PUBLIC_URL", "https://a.example/%61"),
        ("SIGNER_PUBLIC_URL", "https://a.example/a\n"),
        ("SIGNER_STORE_URL", "redis://h/abc"),
        ("SIGNER_STORE_URL", "redis://h/0?foo=1"),
        ("SIGNER_STORE_URL", "http://redis"),
        ("SIGNER_STORE_URL", "redis:6379"),
        ("SIGNER_STORE_URL", "redis://"),
        ("SIGNER_STORE_URL", "redis://redis:port"),
        ("SIGNER_STORE_URL", "redis://redis:99999"),
        ("SIGNER_STORE_URL", "redis://[::1"),
        ("SIGNER_STORE_URL", "unix://"),
        ("SIGNER_STORE_URL", "memory://x"),
        ("SIGNER_CACHE_SIZE", "-1"),
        ("SIGNER_CACHE_TTL", "0"),
        ("SIGNER_CACHE_TTL", "3601"),
        ("SIGNER_STALE_SECONDS", "-1"),
        ("SIGNER_MAX_BODY", "1023"),
        ("SIGNER_MAX_BODY", "67108865"),
        ("SIGNER_MAX_BODY", "1MiB"),
        ("SIGNER_MAX_BODY", "1e6"),
        ("SIGNER_TLS_CERT", "/tls.crt"),
        ("SIGNER_TLS_KEY", "/tls.key"),
        ("SIGNER_MAX_CONCURRENCY", "-1"),
        ("SIGNER_MAX_CONNECTIONS", "0"),
        ("SIGNER_IDLE_SECONDS", "0"),
        ("SIGNER_DEFAULT_USE_SSL", "yes"),
        ("SIGNER_REQUIRE_SSL", "yes"),
        ("SIGNER_ROOT_CLIENT_SECRET", "rootsecret-0123456789 "),
        ("SIGNER_ROOT_CLIENT_SECRET", "rootsecret-0123456789\u200b"),
        ("SIGNER_ALLOWED_HOSTS", "http://minio"),
        ("SIGNER_ALLOWED_HOSTS", "*"),
        ("SIGNER_DEFAULT_USE_SSL", "1"),
        ("SIGNER_DRAIN_SECONDS", "-1"),
        ("SIGNER_DRAIN_SECONDS", "301"),
        ("SIGNER_DRAIN_SECONDS", "1.5"),
        ("SIGNER_LOG_LEVEL", "trace"),
        ("SIGNER_LOG_FORMAT", "xml"),
        ("SIGNER_ACCESS_LOG", "yes"),
        ("SIGNER_TRUSTED_PROXIES", "*"),
        ("SIGNER_TRUSTED_PROXIES", "0.0.0.0/0"),
        ("SIGNER_TRUSTED_PROXIES", "10.0.0.1, ::/0"),
        ("SIGNER_TRUSTED_PROXIES", "10.0.0.1/8"),
        ("SIGNER_TRUSTED_PROXIES", "proxy.example"),
        ("SIGNER_TRUSTED_PROXIES", "10.0.0.1:80"),
        ("SIGNER_FORWARDED_HEADER", "x-forwarded-for,forwarded"),
        ("SIGNER_FORWARDED_HEADER", "x-real-ip"),
    ],
    ids=lambda text: text[:40],
)
def test_a_wrong_value_is_told_in_one_sentence_that_names_it(variable, text):
    (problem,) = problems(**{variable: text})

    assert problem.startswith(f"{variable} ")
    assert "\n" not in problem


@pytest.mark.parametrize(
    ("entry", "read"),
    [
        ("MinIO", "minio"),
        ("S3.Example.COM:9000", "s3.example.com:9000"),
        ("AWS", "aws"),
        ("*.S3.Example.COM", "*.s3.example.com"),
        ("*.com", "*.com"),
        ("XN--bcher-kva.example", "xn--bcher-kva.example"),
        ("10.0.0.5:9000", "10.0.0.5:9000"),
        ("[0:0:0:0:0:0:0:1]", "[::1]"),
        ("[FE80:0::0001]:9000", "[fe80::1]:9000"),
        ("minio:80", "minio:80"),
    ],
)
def test_an_allowed_host_is_read_as_the_host_of_an_account_is(entry, read):
    assert load({"SIGNER_ALLOWED_HOSTS": f"first,{entry}"}).allowed_hosts == ("first", read)


@pytest.mark.parametrize(
    ("entry", "advice"),
    [
        ("127.1", "write 127.0.0.1"),
        ("0x7f.1", "write 127.0.0.1"),
        ("2130706433", "write 127.0.0.1"),
        ("999.1.1.1", "four plain numbers"),
        ("[::ffff:10.0.0.1]", "write 10.0.0.1"),
        ("::ffff:10.0.0.1", "write 10.0.0.1"),
        ("0:0:0:0:0:0:0:1", "write [::1]"),
        ("[fe80::1%eth0]", "without a zone"),
        ("h.", "leave it out"),
        ("*.p.example.", "leave it out"),
        ("x:080", "without leading zeros"),
        ("x:0", "1 to 65535"),
        ("x:99999", "1 to 65535"),
        ("x:", "1 to 65535"),
        ("*.p.example:80", "write *.p.example, which is for every port"),
        ("*.10.0.0.1", "four plain numbers"),
        ("*.[::1]", "brackets"),
        ("*", "leave the list empty for any host"),
        ("s3.*.example", "at its front alone"),
        ("*.*.example", "at its front alone"),
        ("*example", "at its front alone"),
        ("https://*.example", "at its front alone"),
        (".p.example", "write *.p.example"),
        ("*.", "leave it out"),
        ("a..b", "must be a host name"),
        ("my_minio", "no underscore"),
        ("-", "must be a host name"),
        ("a b", "separate entries by commas"),
        ("a\nb", "separate entries by commas"),
        ("bücher.example", "write xn--bcher-kva.example"),
        ("*.Bücher.example", "write *.xn--bcher-kva.example"),
        ("\uff11\uff12\uff17.0.0.1:9000", "write 127.0.0.1:9000"),
        ("https://bücher.example", "write https://xn--bcher-kva.example"),
        ("xn--a", "xn--"),
        ("é..b", "ASCII"),
        ("h\u200b", "ASCII"),
        ("10.0.0.0/8", "one host"),
        ("minio/prefix", "one host"),
        ("http://MinIO:9000/prefix", "write minio:9000"),
        ("https://minio", "write minio"),
        ("ftp://minio", "http://"),
        ("h" * 300, "at most 253"),
    ],
    ids=lambda text: ascii(text[:40]),
)
def test_an_invalid_allowed_host_is_refused_with_advice(entry, advice):
    (problem,) = problems(SIGNER_ALLOWED_HOSTS=f"first,{entry}")

    assert problem.startswith(f"SIGNER_ALLOWED_HOSTS has {repr(entry)[:100]}")
    assert ", which must " in problem
    assert advice in problem
    assert "\n" not in problem


@pytest.mark.parametrize(
    "origin",
    [
        "https://a.example",
        "http://localhost:3000",
        "http://my_app:3000",
        "https://a.example.",
        "https://xn--bcher-kva.example",
        "http://10.0.0.5:8080",
        "http://[::1]:3000",
        "http://[::ffff:102:304]",
        "http://a.example:443",
        "https://a.example:80",
    ],
)
def test_an_origin_as_browsers_send_it_is_accepted(origin):
    assert load({"SIGNER_CORS_ORIGINS": f"https://first,{origin}"}).cors_origins == ("https://first", origin)


@pytest.mark.parametrize(
    ("entry", "sent"),
    [
        ("https://a.example:443", "https://a.example"),
        ("http://a.example:80", "http://a.example"),
        ("https://a.example:", "https://a.example"),
        ("https://a.example:0443", "https://a.example"),
        ("https://a.example:08443", "https://a.example:8443"),
        ("https://a.example/", "https://a.example"),
        ("https://a.example/path?q#f", "https://a.example"),
        ("https://a.example/*", "https://a.example"),
        ("https://a.example?", "https://a.example"),
        ("https://a.example\\x", "https://a.example"),
        ("https://A.Example", "https://a.example"),
        ("HTTPS://a.example", "https://a.example"),
        ("http://127.1:3000", "http://127.0.0.1:3000"),
        ("http://0x7f000001", "http://127.0.0.1"),
        ("http://010.0.0.1", "http://8.0.0.1"),
        ("http://1.2.3.4.", "http://1.2.3.4"),
        ("http://[0:0:0:0:0:0:0:1]:3000", "http://[::1]:3000"),
        ("http://[FE80::1]", "http://[fe80::1]"),
        ("http://[::ffff:1.2.3.4]", "http://[::ffff:102:304]"),
        ("https://bücher.example:8443", "https://xn--bcher-kva.example:8443"),
        ("https://Straße.example", "https://xn--strae-oqa.example"),
        ("https://☃.example", "https://xn--n3h.example"),
        ("http://１２７.1", "http://127.0.0.1"),  # noqa: RUF001 - what a person may paste
        ("https://a。example", "https://a.example"),
    ],
)
def test_an_origin_in_another_spelling_is_refused_with_the_spelling_of_browsers(entry, sent):
    (problem,) = problems(SIGNER_CORS_ORIGINS=f"https://first,{entry}")

    assert problem == f"SIGNER_CORS_ORIGINS has {entry!r}, which is not what browsers send: write {sent}"
    assert load({"SIGNER_CORS_ORIGINS": sent}).cors_origins == (sent,)


@pytest.mark.parametrize(
    ("entry", "rule"),
    [
        ("*", "must name one site"),
        ("null", "must name one site"),
        ("https://*.example", "must name one site"),
        ("https://a.*", "must name one site"),
        ("a.example", "such as https://app.example.com"),
        ("a.example:443", "such as https://app.example.com"),
        ("//a.example", "such as https://app.example.com"),
        ("ftp://a.example", "such as https://app.example.com"),
        ("chrome-extension://abc", "such as https://app.example.com"),
        ("https://", "host name"),
        ("https:///a", "host name"),
        ("https://:443", "host name"),
        ("https://a..b", "host name"),
        ("https://.", "host name"),
        ("https://a%2eb", "host name"),
        ("https://é..b", "host name"),
        ("https://\u200b", "host name"),
        ("https://xn--a", "host name"),
        ("https://a<b", "host name"),
        (f"https://{'a' * 64}", "host name"),
        (f"https://{'.'.join(['a' * 63] * 4)}", "host name"),
        ("http://999.1.1.1", "IPv4"),
        ("http://a.1", "IPv4"),
        ("http://[::1", "such as https://app.example.com"),
        ("http://::1", "such as https://app.example.com"),
        ("http://[::1]x", "such as https://app.example.com"),
        ("http://[fe80::1%eth0]", "IPv6"),
        ("http://[]", "IPv6"),
        ("https://a:b", "such as https://app.example.com"),
        ("https://a:-1", "such as https://app.example.com"),
        ("https://a:0", "port"),
        ("https://a:65536", "port"),
        ("https://a:" + "9" * 5000, "such as https://app.example.com"),
        ("https://a.example https://b.example", "separate entries by commas"),
        ("https://a\tb", "separate entries by commas"),
    ],
    ids=lambda text: ascii(text[:40]),
)
def test_an_invalid_origin_is_refused(entry, rule):
    (problem,) = problems(SIGNER_CORS_ORIGINS=f"https://first,{entry}")

    assert problem.startswith(f"SIGNER_CORS_ORIGINS has {repr(entry)[:100]}")
    assert ", which must " in problem
    assert rule in problem
    assert "\n" not in problem


@pytest.mark.parametrize(
    ("entry", "advice"),
    [
        ("::ffff:10.0.0.1", "write 10.0.0.1"),
        ("::FFFF:a00:1/128", "write 10.0.0.1"),
        ("::ffff:10.0.0.0/104", "write 10.0.0.0/8"),
        ("::ffff:0:0/96", "must not trust every address"),
        ("10.0.0.1/8", "write 10.0.0.0/8, or 10.0.0.1 alone"),
        ("10.1", "must be an address"),
        ("010.0.0.1", "must be an address"),
        ("[::1]", "must be an address"),
        ("127.0.0.1:80", "must be an address"),
        ("10.0.0.1 10.0.0.2", "separate entries by commas"),
    ],
)
def test_an_invalid_proxy_is_refused_with_advice(entry, advice):
    (problem,) = problems(SIGNER_TRUSTED_PROXIES=f"unix,{entry}")

    assert problem.startswith(f"SIGNER_TRUSTED_PROXIES has {entry!r}, which must ")
    assert advice in problem


@pytest.mark.parametrize("text", [",", " , ,", ",,"])
@pytest.mark.parametrize("variable", ["SIGNER_ALLOWED_HOSTS", "SIGNER_CORS_ORIGINS", "SIGNER_TRUSTED_PROXIES"])
def test_a_list_without_an_entry_is_refused(variable, text):
    assert problems(**{variable: text}) == [
        f"{variable} has no entry; unset it, or write entries with commas between them"
    ]


@pytest.mark.parametrize("variable", ["SIGNER_ALLOWED_HOSTS", "SIGNER_CORS_ORIGINS", "SIGNER_TRUSTED_PROXIES"])
def test_each_refused_entry_is_quoted_without_its_password(variable):
    found = problems(**{variable: "https://user:s3cr3t@a_b/,c/"})

    assert [problem.partition(", which ")[0] for problem in found] == [
        f"{variable} has '...@a_b/'",
        f"{variable} has 'c/'",
    ]
    assert "s3cr3t" not in str(found)


@pytest.mark.parametrize("entry", ["usér:s3cr3t@minio", ".user:s3cr3t@minio"])
def test_advice_on_an_allowed_host_has_no_password(entry):
    (problem,) = problems(SIGNER_ALLOWED_HOSTS=entry)

    assert problem == "SIGNER_ALLOWED_HOSTS has '...@minio', which must have no user info"


@pytest.mark.parametrize("variable", ["SIGNER_HOST", "SIGNER_OPS_HOST"])
def test_an_ipv4_mapped_address_cannot_be_listened_on(variable):
    (problem,) = problems(**{variable: "::ffff:127.0.0.1"})

    assert problem == f"{variable} must be an IPv4 address if it stands for one: write 127.0.0.1"


def test_every_setting_is_tested_here():
    read = {mark.args[1][i][0] for mark in test_a_setting_is_read.pytestmark for i in range(len(mark.args[1]))}

    assert read == declarations().keys()


@pytest.mark.parametrize("alone", [*ROOT, *JWT])
def test_settings_that_require_each_other_are_reported(alone):
    environ = {name: text for name, text in {**ROOT, **JWT}.items() if name != alone}
    found = problems(**environ)

    assert all(alone in problem or "ROOT_CLIENT_ID" in problem for problem in found)


def test_jwt_settings_require_a_root_client():
    assert any("SIGNER_ROOT_CLIENT_ID" in problem for problem in problems(**JWT))


def test_credentials_and_no_authentication_contradict_each_other():
    (problem,) = problems(**ROOT, SIGNER_AUTH="none")

    assert "SIGNER_AUTH" in problem


def test_with_a_root_client_any_address_is_allowed():
    assert not load({**ROOT, "SIGNER_HOST": EVERYWHERE}).is_open


@pytest.mark.parametrize(
    ("pasted", "named"),
    [
        pytest.param("{} ", "U+0020 SPACE", id="space"),
        pytest.param("{}\n", "U+000A LINE FEED", id="line end"),
        pytest.param("\xa0{}", "U+00A0 NO-BREAK SPACE", id="no-break space"),
        pytest.param("{}\u200b x", "U+200B ZERO WIDTH SPACE", id="zero width space"),
        pytest.param("{}\ufe0f", "U+FE0F VARIATION SELECTOR-16", id="variation selector"),
        pytest.param("{}\u3164", "U+3164 HANGUL FILLER", id="filler"),
        pytest.param("{}\u2800", "U+2800 BRAILLE PATTERN BLANK", id="blank pattern"),
    ],
)
@pytest.mark.parametrize(
    "variable",
    [
        *("SIGNER_ROOT_CLIENT_SECRET", "SIGNER_JWT_ISSUER", "SIGNER_JWT_AUDIENCE", "SIGNER_KEY_PREFIX"),
        *("SIGNER_SOCKET", "SIGNER_TLS_CERT", "SIGNER_TLS_KEY", "SIGNER_JWT_JWKS", "SIGNER_ENCRYPTION_KEYS_FILE"),
        "SIGNER_INIT_BUNDLE",
    ],
)
def test_a_text_pasted_with_an_invisible_character_is_refused_with_its_name(variable, pasted, named):
    jwt = {"SIGNER_JWT_ISSUER": "a", "SIGNER_JWT_AUDIENCE": "b", "SIGNER_JWT_JWKS": "https://idp.example.com/keys"}
    text = "0123456789 abcdef"
    (problem,) = problems(**{**ROOT, **jwt, variable: pasted.format(text)})

    assert problem.startswith(f"{variable} must have no invisible character")
    assert problem.endswith(f"it has {named}")
    assert text not in problem


@pytest.mark.parametrize("pasted", ['"{}"', "'{}'", "\u201c{}\u201d"])
@pytest.mark.parametrize(
    "variable", ["SIGNER_ROOT_CLIENT_SECRET", "SIGNER_JWT_ISSUER", "SIGNER_JWT_AUDIENCE", "SIGNER_KEY_PREFIX"]
)
def test_a_text_in_the_quotes_of_an_env_file_is_refused(variable, pasted):
    jwt = {"SIGNER_JWT_ISSUER": "a", "SIGNER_JWT_AUDIENCE": "b", "SIGNER_JWT_JWKS": "https://idp.example.com/keys"}
    (problem,) = problems(**{**ROOT, **jwt, variable: pasted.format("0123456789abcdef")})

    assert problem == f"{variable} is in quotes; leave them out"


@pytest.mark.parametrize("placeholder", ["$(SECRET_OF_CLIENT)", "${SECRET_OF_CLIENT}", "{{ secret_of_client }}"])
@pytest.mark.parametrize("variable", ["SIGNER_ROOT_CLIENT_SECRET", "SIGNER_JWT_AUDIENCE", "SIGNER_KEY_PREFIX"])
def test_a_placeholder_that_nothing_has_replaced_is_refused(variable, placeholder):
    jwt = {"SIGNER_JWT_ISSUER": "a", "SIGNER_JWT_AUDIENCE": "b", "SIGNER_JWT_JWKS": "https://idp.example.com/keys"}
    (problem,) = problems(**{**ROOT, **jwt, variable: placeholder})

    assert problem == f"{variable} is a placeholder such as ${{NAME}}; write the value"


def test_a_socket_that_is_written_as_a_url_is_refused():
    (problem,) = problems(SIGNER_SOCKET="unix:/run/s3-signer.sock")

    assert problem == "SIGNER_SOCKET must be a path alone, without unix: in front"


def test_an_abstract_socket_is_refused():
    (problem,) = problems(SIGNER_SOCKET="@s3-signer")

    assert problem == "SIGNER_SOCKET must be a path; an abstract socket has no file mode that protects it"


def test_a_short_root_secret_is_not_quoted():
    (problem,) = problems(SIGNER_ROOT_CLIENT_ID="root", SIGNER_ROOT_CLIENT_SECRET="s3cr3t")

    assert "s3cr3t" not in problem


def test_a_kubernetes_service_link_gets_an_explanation():
    (problem,) = problems(SIGNER_PORT="tcp://10.0.0.1:8080")

    assert problem.startswith("SIGNER_PORT looks like a Kubernetes service link")
    assert "enableServiceLinks: false" in problem


def test_all_problems_are_reported_together():
    found = problems(SIGNER_PORT="x", SIGNER_LOG_LEVEL="x", SIGNER_STORE_URL="x")

    assert [problem.split()[0] for problem in found] == ["SIGNER_PORT", "SIGNER_STORE_URL", "SIGNER_LOG_LEVEL"]


@pytest.mark.parametrize("url", ["http://:s3cr3t@redis", "redis://:s3cr3t@redis:port", "memory://s3cr3t", "s3cr3t"])
def test_problems_do_not_quote_secrets(url, tmp_path):
    file = tmp_path / "url"
    file.write_text(url)

    assert "s3cr3t" not in str(problems(SIGNER_STORE_URL=url))
    assert "s3cr3t" not in str(problems(SIGNER_STORE_URL_FILE=str(file)))
    assert "s3cr3t" not in str(problems(SIGNER_STORE_URL_FILE=url))


def test_the_repr_of_settings_has_no_secret():
    assert "s3cr3t" not in repr(load({"SIGNER_STORE_URL": "redis://:s3cr3t@redis"}))


def test_a_secret_may_come_from_a_file(tmp_path):
    file = tmp_path / "url"
    file.write_text("redis://redis:6379\n")

    assert load({"SIGNER_STORE_URL_FILE": str(file)}).store_url == "redis://redis:6379"


def test_a_secret_and_its_file_cannot_both_be_set(tmp_path):
    (problem,) = problems(SIGNER_STORE_URL="memory://", SIGNER_STORE_URL_FILE=str(tmp_path / "url"))

    assert problem == "SIGNER_STORE_URL and SIGNER_STORE_URL_FILE are both set; keep one"


@pytest.mark.parametrize("content", [None, b"\xff\xfe", b""], ids=["missing", "not UTF-8", "empty"])
def test_an_unusable_file_is_reported(tmp_path, content):
    file = tmp_path / "url"
    if content is not None:
        file.write_bytes(content)
    (problem,) = problems(SIGNER_STORE_URL_FILE=str(file))

    assert problem.startswith("SIGNER_STORE_URL ")


@pytest.mark.parametrize("path", ["\0", "/", "/nope/nope"], ids=repr)
def test_an_invalid_path_is_reported(path):
    (problem,) = problems(SIGNER_STORE_URL_FILE=path)

    assert problem.startswith("SIGNER_STORE_URL cannot be read from the file that SIGNER_STORE_URL_FILE names: ")


def test_an_empty_file_is_reported_and_does_not_mean_the_default(tmp_path):
    file = tmp_path / "empty"
    file.write_text(" \n")
    found = [
        problems(**{f"{variable}_FILE": str(file)}) for variable in ("SIGNER_STORE_URL", "SIGNER_ROOT_CLIENT_SECRET")
    ]

    assert [len(each) for each in found] == [1, 1]
    assert all("_FILE names: it is empty" in problem for (problem,) in found)


@pytest.mark.parametrize("blank", ["", " ", "\t", "\n", " \r\n"], ids=repr)
@pytest.mark.parametrize("variable", declarations())
def test_a_blank_variable_counts_as_not_set(variable, blank):
    assert load({variable: blank}) == load({})


@pytest.mark.parametrize("blank", ["", " "], ids=repr)
def test_a_blank_file_variable_counts_as_not_set(tmp_path, blank):
    file = tmp_path / "url"
    file.write_text("redis://from-file")

    assert load({"SIGNER_STORE_URL_FILE": blank}) == load({})
    assert load({"SIGNER_STORE_URL_FILE": blank, "SIGNER_STORE_URL": "redis://h"}).store_url == "redis://h"
    assert load({"SIGNER_STORE_URL_FILE": str(file), "SIGNER_STORE_URL": blank}).store_url == "redis://from-file"


def test_only_secrets_have_a_file_variable():
    twins = {f"{variable}_FILE": "x" for variable in declarations()}

    assert set(twins) - set(unknown_variables(twins)) == {"SIGNER_STORE_URL_FILE", "SIGNER_ROOT_CLIENT_SECRET_FILE"}


def test_unknown_variables_with_our_prefix_are_reported_and_allowed():
    environ = {
        "SIGNER_PROT": "1",
        "SIGNER_": "x",
        "SIGNER_port": "1",
        "PATH": "/",
        "XSIGNER_PORT": "1",
        "SIGNER_PORT": "1",
    }

    assert unknown_variables(environ) == ["SIGNER_", "SIGNER_PROT", "SIGNER_port"]
    assert load(environ).port == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_loopback_needs_no_authentication(host):
    assert load({"SIGNER_HOST": host}).is_loopback


@pytest.mark.parametrize(
    "host",
    [
        "[::1]",
        "127.0.0.1:80",
        "http://127.0.0.1",
        "127.1",
        "0x7f000001",
        "127.1.",
        "1.2.3.4.",
        "127.0.0.1 ",
        "a b",
        "-",
        "a..1",
    ],
)
@pytest.mark.parametrize("variable", ["SIGNER_HOST", "SIGNER_OPS_HOST"])
def test_an_invalid_listening_host_is_refused(variable, host):
    (problem,) = problems(**{variable: host})

    assert problem.startswith(f"{variable} must be a host name, or an IP address such as 127.0.0.1 or ::1, without")


def test_the_page_on_containers_shows_the_message_of_a_missing_root_client():
    (shown,) = [block for info, block in blocks("docs/deployment/container.md") if info == "text"]

    assert shown.split() == ["s3-signer:", *problems(SIGNER_HOST=EVERYWHERE)[0].split()]


@pytest.mark.parametrize("host", [EVERYWHERE, "::", "10.0.0.1", "example.com", "localhost.example.com"])
def test_an_address_that_others_can_reach_requires_authentication(host):
    (problem,) = problems(SIGNER_HOST=host)

    assert problem.startswith(f"SIGNER_HOST is {host}, which others can reach")
    assert load({"SIGNER_HOST": host, "SIGNER_AUTH": "none"}).host == host
    assert load({"SIGNER_HOST": host, "SIGNER_SOCKET": "/run/s"}).socket == "/run/s"


def test_several_workers_require_a_shared_store():
    assert load({"SIGNER_WORKERS": "2", "SIGNER_STORE_URL": "redis://redis"}).workers == 2


def test_replicas_that_confirm_changes_require_a_redis():
    (problem,) = problems(SIGNER_WAIT_REPLICAS="2")

    assert problem.startswith("SIGNER_WAIT_REPLICAS is 2, and memory:// has no replicas")
    assert load({"SIGNER_WAIT_REPLICAS": "2", "SIGNER_STORE_URL": "redis://redis"}).wait_replicas == 2


def test_with_a_unix_socket_the_operations_port_may_be_any_port():
    assert load({"SIGNER_SOCKET": "/run/s", "SIGNER_OPS_PORT": "8080"}).ops_port == 8080


def test_a_certificate_and_its_key_are_set_together():
    loaded = load({"SIGNER_TLS_CERT": "/tls.crt", "SIGNER_TLS_KEY": "/tls.key"})

    assert (loaded.tls_cert, loaded.tls_key) == ("/tls.crt", "/tls.key")


def test_tls_requires_a_port():
    (problem,) = problems(SIGNER_TLS_CERT="/tls.crt", SIGNER_TLS_KEY="/tls.key", SIGNER_SOCKET="/run/s")

    assert problem == "SIGNER_TLS_CERT is for a port, and SIGNER_SOCKET takes its place; unset one of them"


def test_all_contradictions_are_reported_together():
    found = problems(SIGNER_HOST="10.0.0.1", SIGNER_WORKERS="2", SIGNER_PORT="1", SIGNER_OPS_PORT="1")

    assert [problem.split()[0] for problem in found] == ["SIGNER_HOST", "SIGNER_WORKERS", "SIGNER_OPS_PORT"]


def test_every_declaration_has_a_meaning_and_a_valid_default():
    for variable, (name, declaration) in declarations().items():
        assert variable == f"{PREFIX}{name.upper()}"
        assert declaration.meaning.endswith(".")
        assert load({variable: declaration.default}) == load({})
