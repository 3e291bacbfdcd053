"""Validation of store URLs, so that redis-py understands a valid URL as intended and accepts all of its options.

A message completes a sentence that begins with the setting's name. It quotes no part of the URL, because a badly
escaped URL can have a piece of the password anywhere.

Sources: https://www.rfc-editor.org/rfc/rfc3986, https://redis.readthedocs.io/en/stable/connections.html
"""

import re
from collections.abc import Callable, Mapping
from functools import partial
from ipaddress import IPv6Address
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import SplitResult, parse_qsl, unquote, unquote_to_bytes, urlsplit

from service.invisible import invisible_hint
from service.settings.regular_file import read_regular

if TYPE_CHECKING:
    import ssl

SENTINEL_SCHEMES: Final = ("redis+sentinel", "rediss+sentinel")
CLUSTER_SCHEMES: Final = ("redis+cluster", "rediss+cluster")
SCHEMES: Final = ("memory", "redis", "rediss", "unix", *SENTINEL_SCHEMES, *CLUSTER_SCHEMES)
SENTINEL_FORM = "redis+sentinel://host:port,host:port/service"
CLUSTER_FORM = "redis+cluster://host:port,host:port"
MAX_PORT = 65535
# Bytes of a socket's path on Linux, without the final NUL.
MAX_SOCKET_PATH = 107

_BOOLEAN = ("(?i:true|yes|1|false|no|0)", "true or false")
_ANYTHING = ("(?s:.+)", "")
# Pattern and description of the value of each option.
OPTIONS: Final[Mapping[str, tuple[str, str]]] = {
    "db": ("[0-9]{1,9}", "the number of a database"),
    "username": _ANYTHING,
    "password": _ANYTHING,
    "client_name": ("[!-~]+", "printable ASCII without a space"),
}
TCP_OPTIONS: Final[Mapping[str, tuple[str, str]]] = {"socket_keepalive": _BOOLEAN}
SENTINEL_OPTIONS: Final[Mapping[str, tuple[str, str]]] = {
    "sentinel-username": _ANYTHING,
    "sentinel-password": _ANYTHING,
}
TLS_OPTIONS: Final[Mapping[str, tuple[str, str]]] = {
    "ssl_cert_reqs": ("none|optional|required", "none, optional or required"),
    "ssl_check_hostname": _BOOLEAN,
    "ssl_min_version": ("77[12]", "771 (TLS 1.2) or 772 (TLS 1.3)"),
    "ssl_ca_certs": _ANYTHING,
    "ssl_ca_path": _ANYTHING,
    "ssl_ca_data": _ANYTHING,
    "ssl_certfile": _ANYTHING,
    "ssl_keyfile": _ANYTHING,
    "ssl_password": _ANYTHING,
    "ssl_ciphers": _ANYTHING,
    "ssl_include_verify_flags": _ANYTHING,
    "ssl_exclude_verify_flags": _ANYTHING,
}
_VERIFYING = ("ssl_ca_certs", "ssl_ca_path", "ssl_ca_data", "ssl_include_verify_flags", "ssl_exclude_verify_flags")
# Options of redis-py that the service sets itself.
_RESERVED = frozenset(
    {
        *("decode_responses", "encoding", "encoding_errors", "health_check_interval", "legacy_responses"),
        *("max_connections", "protocol", "retry_on_error", "retry_on_timeout"),
        *("socket_connect_timeout", "socket_read_size", "socket_timeout", "timeout"),
    }
)
_SERVER = re.compile(r"(?:\[(?P<v6>[^\[\]]+)\]|(?P<name>[\w.-]+))(?::(?P<port>[0-9]*))?")
_DATABASE = re.compile("/?|/(?P<db>[0-9]{1,9})/?")
_SERVICE = re.compile("/(?P<service>[A-Za-z0-9._-]+)(?P<database>/.*)?")
# What other programs call these schemes.
_OTHER_SCHEMES = {"sentinel": SENTINEL_FORM, "cluster": CLUSTER_FORM, "valkey": "redis://host:port/db"}
_ADVICE = "in a user or password, write : / ? # [ ] @ % , as %3A %2F %3F %23 %5B %5D %40 %25 %2C"


def parse_store_url(url: str) -> str:
    """Return the URL if it is ``memory://`` or that of a Redis, of Sentinels or of a Cluster."""
    _check_characters(url)
    scheme = url.partition("://")[0].lower() if "://" in url else ""
    if scheme not in SCHEMES:
        meant = next((f"; write {form}" for word, form in _OTHER_SCHEMES.items() if word in scheme), "")
        raise ValueError(f"must begin with one of: {', '.join(f'{scheme}://' for scheme in SCHEMES)}{meant}")
    if scheme == "memory":
        if url != "memory://":
            raise ValueError("must be memory:// and nothing else, where accounts are kept in memory")
        return url
    try:
        parts = split_store_url(url)
    except ValueError:
        raise ValueError(f"is not a URL; {_ADVICE}") from None
    if "#" in url:
        raise ValueError(f"must not have a #; {_ADVICE}")
    options = _options(parts)
    if scheme == "unix":
        _check_socket(parts)
    else:
        _check_servers(parts)
        _check_path(parts, options)
    _check_user(parts, options)
    if scheme.startswith("rediss"):
        _check_tls(options)
    return url


def split_store_url(url: str) -> SplitResult:
    """Return the parts of a URL with a list of servers. Raises ValueError for a server that is malformed in a URL.

    ``urlsplit`` alone refuses an IPv6 address behind the first server in newer releases of Python.
    """
    scheme, _, rest = url.partition("://")
    netloc = re.split("[/?#]", rest, maxsplit=1)[0]
    end = rest.removeprefix(netloc)
    user, at, servers = netloc.rpartition("@")
    parts = [urlsplit(f"{scheme}://{user}{at}{server}{end}") for server in servers.split(",")]
    return parts[0]._replace(netloc=netloc)


def _check_characters(url: str) -> None:
    # Redis would refuse a password that was pasted with such a character, without the reason.
    hint = invisible_hint(url)
    # The hint is about the first characters alone.
    if hint or re.search(r"[\x00-\x20\x7f]", url):
        raise ValueError(f"must not have a space or another invisible character; write a space as %20{hint}")
    if re.search("%(?![0-9A-Fa-f]{2})", url):
        raise ValueError("has a % that begins no escape; write %25")
    try:
        unquote_to_bytes(url).decode()
    except UnicodeError:
        raise ValueError("must be UTF-8, its escapes too") from None


def _check_servers(parts: SplitResult) -> None:
    user, _, hosts = parts.netloc.rpartition("@")
    # A user in front of each host would be read as a long password in front of the last one.
    if "@" in user or ("," in user and "+" in parts.scheme):
        raise ValueError(f"must have one @, behind the user and password and before all hosts; {_ADVICE}")
    servers = hosts.split(",")
    if len(servers) > 1 and "+" not in parts.scheme:
        raise ValueError(f"names several hosts; write {SENTINEL_FORM} for Sentinels, or {CLUSTER_FORM} for a Cluster")
    for server in servers:
        _check_server(server)


def _check_server(server: str) -> None:
    if not server or server.startswith(":"):
        raise ValueError(f"names no host; {_ADVICE}")
    found = _SERVER.fullmatch(server)
    if found is None:
        raise ValueError(f"must name a host, or host:port, with an IPv6 address in brackets; {_ADVICE}")
    if found["port"] and not (len(found["port"]) <= len(str(MAX_PORT)) and 1 <= int(found["port"]) <= MAX_PORT):
        raise ValueError(f"names a port that is not from 1 to {MAX_PORT}")
    try:
        if found["v6"]:
            IPv6Address(unquote(found["v6"]))
        else:
            # The resolver encodes names in the same way, but its error has no useful message.
            found["name"].encode("idna")
    except ValueError:
        raise ValueError("names a host that is no name and no address") from None


def _check_path(parts: SplitResult, options: Mapping[str, str]) -> None:
    path = parts.path
    if parts.scheme in CLUSTER_SCHEMES:
        if path.strip("/") or "db" in options:
            raise ValueError(f"must name no database, because a Cluster has only one; write {CLUSTER_FORM}")
        return
    if parts.scheme in SENTINEL_SCHEMES:
        found = _SERVICE.fullmatch(path)
        if found is None:
            raise ValueError(
                f"must name the service that the Sentinels monitor, in letters, digits and . _ -; write {SENTINEL_FORM}"
            )
        path = found["database"] or ""
    _check_database(path, options)


def _check_database(path: str, options: Mapping[str, str]) -> None:
    found = _DATABASE.fullmatch(path)
    if found is None:
        raise ValueError("must have nothing behind the host or service, or the number of a database, such as /0")
    if found["db"] and "db" in options:
        raise ValueError("names a database twice, by its path and by db")


def _check_socket(parts: SplitResult) -> None:
    path = unquote(parts.path)
    if parts.netloc.rpartition("@")[2]:
        raise ValueError("must have three slashes before the path of a socket: unix:///run/redis.sock")
    if not path.strip("/"):
        raise ValueError("names no socket path")
    if len(path.encode()) > MAX_SOCKET_PATH or "\0" in path:
        raise ValueError(f"must name a socket path of at most {MAX_SOCKET_PATH} bytes, none of them NUL")


def _check_user(parts: SplitResult, options: Mapping[str, str]) -> None:
    if (parts.username and "username" in options) or (parts.password and "password" in options):
        raise ValueError("gives a user or password twice, before the host and as an option")
    named = [(parts.username or options.get("username"), parts.password or options.get("password"))]
    named += [(options.get("sentinel-username"), options.get("sentinel-password"))]
    if any(user and not password for user, password in named):
        # Other clients read a single word as the password, redis-py as the user.
        raise ValueError("names a user without a password; a password alone is written redis://:password@host")


def _options(parts: SplitResult) -> dict[str, str]:
    allowed = {**OPTIONS, **({} if parts.scheme == "unix" else TCP_OPTIONS)}
    allowed |= TLS_OPTIONS if parts.scheme.startswith("rediss") else {}
    allowed |= SENTINEL_OPTIONS if parts.scheme in SENTINEL_SCHEMES else {}
    if "+" in parts.query:
        raise ValueError("has a + in an option, which would be a space; write %2B, or %20")
    options: dict[str, str] = {}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name not in allowed:
            raise ValueError(_unknown_option(name, allowed))
        pattern, rule = allowed[name]
        if not re.fullmatch(pattern, value):
            raise ValueError(f"has {name}, which must be {rule or 'more than nothing'}")
        if name in options:
            raise ValueError(f"gives {name} twice")
        options[name] = value
    return options


def _unknown_option(name: str, allowed: Mapping[str, object]) -> str:
    if name in _RESERVED:
        return f"must not have {name}, which the service sets itself"
    if name in TLS_OPTIONS:
        return f"must not have {name}, which is for rediss:// and its like alone"
    # The message has no name: after an unescaped ? it would be a piece of the password.
    return f"must have no options but {', '.join(allowed)}; {_ADVICE}"


def _check_tls(options: Mapping[str, str]) -> None:
    import ssl  # noqa: PLC0415 - a service without TLS never loads it

    # Unlike the default context that redis-py creates, this one loads no certificates of the system. A running service
    # validates a new URL in its event loop, and loading them takes about 40 ms.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    flags: set[str] = set()
    for name in ("ssl_include_verify_flags", "ssl_exclude_verify_flags"):
        named = set(re.sub(r"[\[\] ]", "", options[name]).split(",")) if name in options else set()
        if not named <= ssl.VerifyFlags.__members__.keys():
            raise ValueError(f"has {name}, which must be names of Python's ssl.VerifyFlags with commas")
        if named & flags:
            raise ValueError(f"names {min(named & flags)} in both ssl_include_verify_flags and {name}; keep one")
        flags |= named
    _check_combinations(options)
    if "ssl_ca_path" in options and not Path(options["ssl_ca_path"]).is_dir():
        raise ValueError("has ssl_ca_path, which must be a directory")
    _load_certificates(context, options)


def _check_combinations(options: Mapping[str, str]) -> None:
    """Refuse options that other options leave without effect."""
    for name in ("ssl_keyfile", "ssl_password"):
        if name in options and "ssl_certfile" not in options:
            raise ValueError(f"has {name} without ssl_certfile")
    if options.get("ssl_cert_reqs") == "none":
        unused = [name for name in _VERIFYING if name in options]
        if _is_true(options.get("ssl_check_hostname", "false")):
            unused.append("ssl_check_hostname")
        if unused:
            raise ValueError(f"has {unused[0]}, which ssl_cert_reqs=none leaves without effect; keep one of the two")
    if "ssl_ciphers" in options and options.get("ssl_min_version") == "772":
        raise ValueError("has ssl_ciphers, which TLS 1.3 does not use, and ssl_min_version=772; keep one of the two")


def _is_true(text: str) -> bool:
    return text.lower() in {"true", "yes", "1"}


def _load_certificates(context: "ssl.SSLContext", options: Mapping[str, str]) -> None:
    # Without this callback, OpenSSL would prompt for the password of an encrypted key.
    password = options.get("ssl_password") or (lambda: "")
    for name in ("ssl_certfile", "ssl_keyfile", "ssl_ca_certs"):
        if name in options:
            _try(name, partial(read_regular, Path(options[name])))
    if certificate := options.get("ssl_certfile"):
        key = options.get("ssl_keyfile")
        _try("ssl_certfile or ssl_keyfile", lambda: context.load_cert_chain(certificate, key, password))
    if authorities := options.get("ssl_ca_certs"):
        _try("ssl_ca_certs", lambda: context.load_verify_locations(cafile=authorities))
    if data := options.get("ssl_ca_data"):
        _try("ssl_ca_data", lambda: context.load_verify_locations(cadata=data))
    if ciphers := options.get("ssl_ciphers"):
        _try("ssl_ciphers", lambda: context.set_ciphers(ciphers))


def _try(name: str, load: Callable[[], object]) -> None:
    import ssl  # noqa: PLC0415 - a service without TLS never loads it

    try:
        load()
    except (ssl.SSLError, ValueError):
        raise ValueError(f"has {name}, which OpenSSL does not take") from None
    except OSError as error:
        raise ValueError(f"has {name}, which cannot be read: {error.strerror}") from None
