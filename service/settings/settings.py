"""Declarations of all settings: name, default, parser and meaning."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from service.addresses import is_loopback
from service.settings import parsers
from service.settings.origins import parse_origin, parse_public_url
from service.settings.store_url import parse_store_url

PREFIX = "SIGNER_"
FILE_SUFFIX = "_FILE"


@dataclass(frozen=True, slots=True)
class Declaration:
    """Default and parser of a setting; both ``default`` and the input of ``parser`` are text as in the environment."""

    default: str
    parser: Callable[[str], Any]
    meaning: str
    secret: bool


def setting(default: str, parser: Callable[[str], Any], meaning: str, *, secret: bool = False) -> Any:
    return field(metadata={"declaration": Declaration(default, parser, meaning, secret)}, repr=not secret)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The configuration of the service. Each field is the environment variable ``SIGNER_<NAME>``."""

    host: str = setting(
        "127.0.0.1",
        parsers.listening_host,
        "Address to listen on. An address other than loopback requires authentication, or `SIGNER_AUTH=none`.",
    )
    port: int = setting("8080", parsers.port, "TCP port to listen on; 0 takes a free port, which the log shows.")
    socket: str = setting("", parsers.socket_path, "Path of a unix socket to listen on instead of TCP.")
    socket_mode: int = setting("0660", parsers.file_mode, "File mode of that socket.")
    tls_cert: str = setting(
        "", parsers.visible_text, "PEM file of a certificate and its chain, for TLS on `SIGNER_PORT`."
    )
    tls_key: str = setting(
        "",
        parsers.visible_text,
        "PEM file of its key, without a password. Both files are reloaded when they change.",
    )
    ops_host: str = setting(
        "127.0.0.1",
        parsers.listening_host,
        "Address for `SIGNER_OPS_PORT`. It may be any address, because this port signs nothing.",
    )
    ops_port: int | None = setting(
        "",
        parsers.optional_port,
        "A second TCP port, with only `/live`, `/ready`, `/health` and `/metrics`. The main port then has no "
        "`/metrics`. 0 takes a free port.",
    )
    workers: int = setting(
        "1",
        parsers.number(1, 64),
        "Processes that serve on the same address, at most one for each core. More than one requires Redis.",
    )
    auth: str = setting(
        "",
        parsers.choice("", "none"),
        "`none` allows any listening address without authentication, behind a mesh or gateway that authenticates.",
    )
    root_client_id: str = setting(
        "",
        parsers.root_client_id,
        "Id of the client that may do everything. If it is set, every other caller needs credentials and a policy.",
    )
    root_client_secret: str = setting(
        "",
        parsers.root_secret,
        "Secret of that client, at least 16 characters.",
        secret=True,
    )
    token_seconds: int = setting(
        "3600",
        parsers.number(1, 86_400),
        "Lifetime, in seconds, of a token from `/auth/token`; at most 900 for the root client.",
    )
    jwt_issuer: str = setting("", parsers.visible_text, "Issuer of trusted JWTs; must equal their `iss` exactly.")
    jwt_audience: str = setting("", parsers.visible_text, "Audience that the `aud` of a JWT must contain.")
    jwt_jwks: str = setting(
        "",
        parsers.visible_text,
        "Key set (JWKS) of that issuer: an https URL, or the path of a file. An http URL logs a warning: anyone who "
        "can tamper with the response can forge tokens.",
    )
    jwt_max_seconds: int = setting(
        "86400",
        parsers.number(60, 31_536_000),
        "Longest accepted lifetime of a JWT, in seconds from its `iat` (without `iat`: from now) to its `exp`.",
    )
    encryption_keys_file: str = setting(
        "",
        parsers.visible_text,
        "A file with a line `key-id: base64` for each key of 32 bytes. The first key encrypts secrets in the store.",
    )
    cors_origins: tuple[str, ...] = setting(
        "",
        parsers.entries(parse_origin),
        "Origins of web pages that may call the service, separated by commas and spelt as browsers send them: "
        "`https://app.example.com`, without a path, and with a port only if it is not the default one.",
    )
    public_url: str = setting(
        "",
        parse_public_url,
        "URL at which clients reach the service, such as `https://example.com/signer`, if a proxy changes it. Links, "
        "redirects and the OpenAPI document use it. Without authentication, requests for its host are accepted on "
        "loopback too. See [Serve under a path](deployment/proxies.md#serve-under-a-path).",
    )
    trusted_proxies: tuple[str, ...] = setting(
        "",
        parsers.entries(parsers.proxy),
        "Proxies whose header is trusted for the client's address, separated by commas: addresses, CIDRs such as "
        "`10.0.0.0/8`, or `unix` for a unix socket. See [Client addresses](security/audit.md#client-addresses).",
    )
    forwarded_header: str = setting(
        "x-forwarded-for",
        parsers.choice("x-forwarded-for", "forwarded"),
        "The header to which those proxies append the client's address: `x-forwarded-for`, or `forwarded` (RFC 7239).",
    )
    store_url: str = setting(
        "memory://",
        parse_store_url,
        "The store of accounts: `memory://` (lost when the process ends), or [a Redis](#url-of-a-redis): "
        "`redis://user:password@host:port/db`, `rediss://…` (TLS), `unix:///path?db=0`, "
        "`redis+sentinel://host:port,host:port/service/db` or `redis+cluster://host:port,host:port`. With "
        "`SIGNER_STORE_URL_FILE`, a new user and password in the file are used without a restart.",
        secret=True,
    )
    wait_replicas: int = setting(
        "0",
        parsers.number(0, 100),
        "How many replicas of Redis must confirm a change before it is answered; see "
        "[Lose no acknowledged change](redis.md#lose-no-acknowledged-change).",
    )
    key_prefix: str = setting("", parsers.visible_text, "Prefix of every key in Redis.")
    init_bundle: str = setting(
        "",
        parsers.visible_text,
        "A file with a FHIR Bundle of resources, in YAML or JSON. It is applied before the port opens, and again when "
        "it changes. See [Run as a sidecar](deployment/sidecar.md).",
    )
    cache_size: int = setting(
        "10000",
        parsers.number(0, 10_000_000),
        "Most resources from Redis in the cache of a process, 2 KB for an account. 0 turns the cache off.",
    )
    cache_ttl: int = setting(
        "60",
        parsers.number(1, 3600),
        "Longest time, in seconds, that a resource stays in the cache before Redis is read again.",
    )
    stale_seconds: int = setting(
        "60",
        parsers.number(0, 86_400),
        "How long, in seconds, cached accounts sign while Redis is unavailable. 0 for not at all.",
    )
    max_body: int = setting("1048576", parsers.number(1024, 64 * 1024 * 1024), "Largest request body, in bytes.")
    max_concurrency: int = setting(
        "1000",
        parsers.number(0, 1_000_000),
        "Most concurrent requests of a process, without those for operations; more get a 503. 0 for no limit.",
    )
    max_connections: int = setting(
        "10000",
        parsers.number(1, 1_000_000),
        "Most connections to a port of a process; more get a 503, or are closed with `SIGNER_TLS_CERT`. `ulimit -n` "
        "limits them too.",
    )
    idle_seconds: int = setting(
        "75",
        parsers.number(1, 86_400),
        "How long, in seconds, an idle connection stays open. Set it longer than the idle time-out of your proxy.",
    )
    default_use_ssl: bool = setting("false", parsers.flag, "Default for accounts without `use-ssl`.")
    allowed_hosts: tuple[str, ...] = setting(
        "",
        parsers.entries(parsers.allowed_host),
        "Hosts that accounts may sign for, separated by commas: names or addresses with or without a port, suffixes "
        "such as `*.example.com`, and `aws` for AWS itself. Spelt as an account's `host`, without scheme and path. An "
        "entry without a port allows every port. Empty allows any host.",
    )
    require_ssl: bool = setting("false", parsers.flag, "Whether every account must sign https URLs.")
    live_check: bool = setting(
        "false",
        parsers.flag,
        "Whether `POST /AwsAccount/{id}/$check` may connect to the account's S3 server, with `live: true`.",
    )
    ambient_credentials: bool = setting(
        "false",
        parsers.flag,
        "Whether accounts without keys sign with the credentials of the service's own environment: those of a "
        "Kubernetes service account, a container, an instance or `AWS_*` variables and files. See "
        "[Sign without stored keys](api.md#sign-without-stored-keys).",
    )
    drain_seconds: int = setting(
        "0",
        parsers.number(0, 300),
        "How long, in seconds, to keep serving after SIGTERM, with `/ready` at 503, before the port closes. "
        "See [Restart without failed requests](deployment/rolling.md).",
    )
    log_level: str = setting(
        "info",
        parsers.choice("debug", "info", "warning", "error"),
        "Least severe level that is logged: `debug`, `info`, `warning` or `error`.",
    )
    log_format: str = setting(
        "json", parsers.choice("json", "text"), "Format of the log on standard error: `json` or `text`."
    )
    access_log: str = setting(
        "false",
        parsers.choice("false", "true", "errors"),
        "A log line for each request, with its route but not its path: `true`, or `errors` for statuses from 400 on.",
    )
    commit: str = setting("", parsers.unicode_text, "Source revision in `/$version`; set in images.")
    secret_files: Mapping[str, str] = field(default_factory=dict)
    """The paths of files that secrets were read from, by the variable of the secret."""

    @property
    def is_open(self) -> bool:
        """Whether requests need no credentials."""
        return not self.root_client_id

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach ``host``."""
        return self.host.lower() == "localhost" or is_loopback(self.host)


def declarations() -> dict[str, tuple[str, Declaration]]:
    """Return all settings by environment variable: the name of the field, and its declaration."""
    return {
        f"{PREFIX}{entry.name.upper()}": (entry.name, entry.metadata["declaration"])
        for entry in dataclasses.fields(Settings)
        if entry.metadata
    }
