"""Every setting once: its name, default, parser and meaning. The only module that reads the environment."""

import dataclasses
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from marshmallow import ValidationError, fields, validate

from service.settings.parsers import (
    Entry,
    Flag,
    Octal,
    OptionalPort,
    Port,
    WordList,
    allowed_host,
    choice,
    listening_host,
    number,
    origin,
    proxy,
    root_secret,
)
from service.settings.store_url import check_store_url

PREFIX = "SIGNER_"
FILE_SUFFIX = "_FILE"


class SettingsError(Exception):
    """Settings that the service cannot start with; ``problems`` has one sentence for each."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("; ".join(problems))


@dataclass(frozen=True, slots=True)
class Declaration:
    """How one setting is written: ``default`` as an operator would write it, ``parser`` from text to value."""

    default: str
    parser: fields.Field[Any]
    meaning: str
    secret: bool


def setting(default: str, parser: fields.Field[Any], meaning: str, *, secret: bool = False) -> Any:
    return field(metadata={"declaration": Declaration(default, parser, meaning, secret)}, repr=not secret)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the service runs with. Each field is the environment variable ``SIGNER_<NAME>``."""

    host: str = setting(
        "127.0.0.1",
        fields.String(validate=listening_host),
        "Address to listen on. Any address but loopback needs authentication, or `SIGNER_AUTH=none`.",
    )
    port: int = setting("8080", Port(), "TCP port to listen on; 0 takes a free one, which the log names.")
    socket: str = setting("", fields.String(), "Path of a unix socket to listen on instead of TCP.")
    socket_mode: int = setting("0660", Octal(), "File mode of that socket.")
    tls_cert: str = setting("", fields.String(), "PEM file of a certificate and its chain, for TLS on `SIGNER_PORT`.")
    tls_key: str = setting(
        "", fields.String(), "PEM file of its key, without a password. Both are followed when they change."
    )
    ops_host: str = setting(
        "127.0.0.1",
        fields.String(validate=listening_host),
        "Address for `SIGNER_OPS_PORT`; any will do, as nothing is signed there.",
    )
    ops_port: int | None = setting(
        "",
        OptionalPort(error_messages={"invalid": "must be a whole number"}),
        "A second TCP port, for `/live`, `/ready`, `/health` and `/metrics` alone; `/metrics` is then gone from the "
        "main one. 0 takes a free one.",
    )
    workers: int = setting(
        "1",
        number(1, 64),
        "Processes that serve on the same address, one for each core at most; more than one needs Redis.",
    )
    auth: str = setting(
        "",
        choice("", "none"),
        "`none` allows any listening address without authentication, for a mesh or gateway that has done it.",
    )
    root_client_id: str = setting(
        "",
        fields.String(
            validate=validate.Regexp(r"\A[A-Za-z0-9._-]{0,64}\Z", error="must be 1 to 64 of A-Z a-z 0-9 . _ -")
        ),
        "The client that may do everything. With it, every caller needs credentials and a policy.",
    )
    root_client_secret: str = setting(
        "",
        fields.String(validate=root_secret),
        "Its secret, of at least 16 characters.",
        secret=True,
    )
    token_seconds: int = setting(
        "3600",
        number(1, 86_400),
        "Lifetime, in seconds, of a token from `/auth/token`; at most 900 for the root client.",
    )
    jwt_issuer: str = setting("", fields.String(), "Issuer (`iss`) whose JWTs are trusted, to the letter.")
    jwt_audience: str = setting("", fields.String(), "Audience (`aud`) that such a JWT must name.")
    jwt_jwks: str = setting(
        "",
        fields.String(),
        "Where that issuer's key set is: an https URL, or the path of a file. An http URL is a warning, as "
        "whoever can change its answer can be anybody.",
    )
    jwt_max_seconds: int = setting(
        "86400",
        number(60, 31_536_000),
        "Longest life of a JWT, in seconds since its `iat`; without `iat`, its `exp` may be at most that far ahead.",
    )
    encryption_keys_file: str = setting(
        "",
        fields.String(),
        "A file with lines `key-id: base64` of 32 bytes each, the first of which seals secrets in the store.",
    )
    cors_origins: tuple[str, ...] = setting(
        "",
        WordList(Entry(origin)),
        "Origins of web pages that may call the service, separated by commas, as browsers send them: "
        "`https://app.example.com`, with a port only where it is not the default one, without a path.",
    )
    trusted_proxies: tuple[str, ...] = setting(
        "",
        WordList(Entry(proxy)),
        "Proxies whose header is believed about the client's address, separated by commas: addresses, CIDRs such as "
        "`10.0.0.0/8`, or `unix` for a unix socket. See [Client addresses](security/audit.md#client-addresses).",
    )
    forwarded_header: str = setting(
        "x-forwarded-for",
        choice("x-forwarded-for", "forwarded"),
        "The header in which those proxies append the client's address: `x-forwarded-for`, or `forwarded` (RFC 7239).",
    )
    store_url: str = setting(
        "memory://",
        fields.String(validate=check_store_url),
        "Where accounts are kept: `memory://` (forgotten when the process ends), or [a Redis](#url-of-a-redis): "
        "`redis://user:password@host:port/db`, `rediss://…` (TLS) or `unix:///path?db=0`.",
        secret=True,
    )
    key_prefix: str = setting("", fields.String(), "Text in front of every key in Redis.")
    cache_size: int = setting(
        "10000",
        number(0, 10_000_000),
        "Most resources from Redis that a process remembers, an account for two kilobytes; 0 turns the cache off.",
    )
    cache_ttl: int = setting(
        "60",
        number(1, 3600),
        "Longest time, in seconds, that an account is remembered without asking Redis again.",
    )
    stale_seconds: int = setting(
        "60",
        number(0, 86_400),
        "How long, in seconds, remembered accounts go on signing after Redis has gone away; 0 for not at all.",
    )
    max_body: int = setting("1048576", number(1024, 64 * 1024 * 1024), "Largest request body, in bytes.")
    max_concurrency: int = setting(
        "1000",
        number(0, 1_000_000),
        "Most requests that a process works on at once, beside those for operations; more are a 503. 0 for no limit.",
    )
    max_connections: int = setting(
        "10000",
        number(1, 1_000_000),
        "Most connections to a port of a process; more are a 503. `ulimit -n` bounds them too.",
    )
    idle_seconds: int = setting(
        "75",
        number(1, 86_400),
        "How long, in seconds, a connection may wait for its next request; longer than a proxy in front keeps its own.",
    )
    default_use_ssl: bool = setting("false", Flag(), "`use-ssl` of accounts that do not say.")
    allowed_hosts: tuple[str, ...] = setting(
        "",
        WordList(Entry(allowed_host)),
        "Hosts that accounts may sign for, separated by commas: names or addresses with or without a port, suffixes "
        "such as `*.example.com`, and `aws` for AWS itself. Spelt as an account's `host`, without scheme and path. An "
        "entry without a port is for every port. Any host if it is empty.",
    )
    require_ssl: bool = setting("false", Flag(), "Whether every account must sign https URLs.")
    drain_seconds: int = setting(
        "0",
        number(0, 300),
        "How long to go on serving, with `/ready` at 503, after SIGTERM and before the port closes.",
    )
    log_level: str = setting(
        "info",
        choice("debug", "info", "warning", "error"),
        "Least severe level that is logged: `debug`, `info`, `warning` or `error`.",
    )
    log_format: str = setting(
        "json", choice("json", "text"), "Form of the log lines on standard error: `json` or `text`."
    )
    access_log: str = setting(
        "false",
        choice("false", "true", "errors"),
        "A log line for each request, with its route and never its path: `true`, or `errors` for statuses from 400 on.",
    )
    commit: str = setting("", fields.String(), "Source revision that `/$version` tells; images have it built in.")

    @property
    def is_open(self) -> bool:
        """Whether nobody is asked for credentials."""
        return not self.root_client_id

    @property
    def is_loopback(self) -> bool:
        """Whether ``host`` can be reached from this machine alone."""
        if self.host.lower() == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def declarations() -> dict[str, tuple[str, Declaration]]:
    """Every setting by its environment variable: the name of its field, and its declaration."""
    return {
        f"{PREFIX}{entry.name.upper()}": (entry.name, entry.metadata["declaration"])
        for entry in dataclasses.fields(Settings)
    }


def load(environ: Mapping[str, str]) -> Settings:
    """Settings from environment variables.

    Raises:
        SettingsError: with every problem at once; no message holds the value of a secret.
    """
    problems: list[str] = []
    values: dict[str, Any] = {}
    for variable, (name, declaration) in declarations().items():
        try:
            text = _text(environ, variable, declaration)
            values[name] = declaration.parser.deserialize(text, name)
        except ValidationError as error:
            problems += [f"{variable} {message}" for message in _flat(error.messages)]
    if problems:
        raise SettingsError(problems)
    settings = Settings(**values)
    if problems := _contradictions(settings):
        raise SettingsError(problems)
    return settings


def unknown(environ: Mapping[str, str]) -> list[str]:
    """Variables that begin like ours and are none of ours: misspelt, most likely."""
    known = set(declarations()) | {
        f"{variable}{FILE_SUFFIX}" for variable, (_, declaration) in declarations().items() if declaration.secret
    }
    return sorted(variable for variable in environ if variable.startswith(PREFIX) and variable not in known)


def secret_files(environ: Mapping[str, str]) -> list[tuple[str, str]]:
    """Variables that name a file with a secret, each with the path."""
    variables = [
        *(f"{variable}{FILE_SUFFIX}" for variable, (_, declaration) in declarations().items() if declaration.secret),
        f"{PREFIX}ENCRYPTION_KEYS_FILE",
        f"{PREFIX}TLS_KEY",
    ]
    return [(variable, path) for variable in variables if (path := _given(environ, variable))]


def trusted_files(environ: Mapping[str, str]) -> list[tuple[str, str]]:
    """Variables that name a file which is no secret, and lets in whoever can change it; each with the path."""
    variable = f"{PREFIX}JWT_JWKS"
    path = _given(environ, variable)
    return [(variable, path)] if path and "://" not in path else []


def _text(environ: Mapping[str, str], variable: str, declaration: Declaration) -> str:
    text = _given(environ, variable)
    twin = f"{variable}{FILE_SUFFIX}"
    path = _given(environ, twin) if declaration.secret else ""
    if not path:
        return text or declaration.default
    if text:
        raise ValidationError(f"and {twin} are both set; keep one")
    try:
        content = Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        # Who takes the one variable for the other has put the secret where the path belongs.
        raise ValidationError(f"cannot be read from the file that {twin} names: {reason}") from None
    if not content:
        # A file is named on purpose: the default, such as accounts in memory, cannot be what is wanted.
        raise ValidationError(f"cannot be read from the file that {twin} names: it is empty")
    return content


def _given(environ: Mapping[str, str], variable: str) -> str:
    """The text of a variable. A blank one is not set: templates leave those for values that they do not have."""
    text = environ.get(variable, "")
    return "" if text.isspace() else text


def _flat(messages: Any) -> list[str]:
    if isinstance(messages, dict):
        return [text for nested in messages.values() for text in _flat(nested)]
    return [str(message) for message in messages]


def _access_contradictions(settings: Settings) -> list[str]:
    problems = []
    if bool(settings.root_client_id) is not bool(settings.root_client_secret):
        problems.append(f"{PREFIX}ROOT_CLIENT_ID and {PREFIX}ROOT_CLIENT_SECRET come together; set both or neither")
    if settings.root_client_id and settings.auth == "none":
        problems.append(f"{PREFIX}AUTH is none, and {PREFIX}ROOT_CLIENT_ID asks for credentials: keep one of them")
    jwt = {"JWT_ISSUER": settings.jwt_issuer, "JWT_AUDIENCE": settings.jwt_audience, "JWT_JWKS": settings.jwt_jwks}
    if any(jwt.values()):
        missing = " and ".join(f"{PREFIX}{name}" for name, text in jwt.items() if not text)
        if missing:
            problems.append(f"{missing} must be set too: issuer, audience and key set of JWTs come together")
        if settings.is_open:
            problems.append(
                f"{PREFIX}JWT_ISSUER needs {PREFIX}ROOT_CLIENT_ID, without which nobody is asked for a token"
            )
    return problems


def _contradictions(settings: Settings) -> list[str]:
    problems = []
    if settings.is_open and not (settings.socket or settings.is_loopback or settings.auth == "none"):
        problems.append(
            f"{PREFIX}HOST is {settings.host}, which others can reach, and no authentication is set: "
            f"set {PREFIX}ROOT_CLIENT_ID and {PREFIX}ROOT_CLIENT_SECRET, listen on 127.0.0.1 or {PREFIX}SOCKET, "
            f"or set {PREFIX}AUTH=none where a mesh or gateway has authenticated"
        )
    problems += _access_contradictions(settings)
    if settings.workers > 1 and settings.store_url == "memory://":
        problems.append(
            f"{PREFIX}WORKERS is {settings.workers}, and memory:// would give each worker accounts of its own: "
            f"set {PREFIX}STORE_URL to a Redis, or {PREFIX}WORKERS=1"
        )
    if bool(settings.tls_cert) != bool(settings.tls_key):
        given, missing = ("CERT", "KEY") if settings.tls_cert else ("KEY", "CERT")
        problems.append(f"{PREFIX}TLS_{given} is set and {PREFIX}TLS_{missing} is not; set both, or neither")
    if settings.tls_cert and settings.socket:
        problems.append(f"{PREFIX}TLS_CERT is for a port, and {PREFIX}SOCKET takes its place; unset one of them")
    if settings.ops_port and settings.ops_port == settings.port and not settings.socket:
        problems.append(f"{PREFIX}OPS_PORT is {settings.ops_port}, which is {PREFIX}PORT too; choose another")
    return problems
