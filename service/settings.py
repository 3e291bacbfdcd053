"""Every setting once: its name, default, parser and meaning. The only module that reads the environment."""

import dataclasses
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from marshmallow import ValidationError, fields, validate

PREFIX = "SIGNER_"
FILE_SUFFIX = "_FILE"
STORE_SCHEMES = ("memory", "redis", "rediss", "unix")


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


class WholeNumber(fields.Integer):
    default_error_messages = {"invalid": "must be a whole number"}

    def _deserialize(self, value: str, attr: str | None, data: Any, **kwargs: Any) -> int:
        # int() takes '8_080', ' 8080' and other scripts' digits too.
        if not re.fullmatch("[0-9]{1,12}", value):
            raise self.make_error("invalid")
        return super()._deserialize(value, attr, data, **kwargs) or 0


class Port(WholeNumber):
    def _deserialize(self, value: str, attr: str | None, data: Any, **kwargs: Any) -> int:
        if value.startswith("tcp://"):
            raise ValidationError(
                "looks like a Kubernetes service link; rename the Service or set enableServiceLinks: false on the pod"
            )
        number = super()._deserialize(value, attr, data, **kwargs)
        return validate.Range(0, 65535, error="must be from 0 to 65535")(number)


class OptionalPort(Port):
    def _deserialize(self, value: str, attr: str | None, data: Any, **kwargs: Any) -> int | None:  # type: ignore[override]
        return super()._deserialize(value, attr, data, **kwargs) if value else None


class Octal(fields.String):
    def _deserialize(self, value: str, attr: str | None, data: Any, **kwargs: Any) -> int:  # type: ignore[override]
        del attr, data, kwargs
        mode = int(value, 8) if re.fullmatch("[0-7]{1,4}", value) else -1
        return validate.Range(0, 0o777, error="must be an octal file mode such as 0660")(mode)


class Flag(fields.Boolean):
    truthy = {"true"}
    falsy = {"false"}
    default_error_messages = {"invalid": "must be true or false"}


class WordList(fields.List[str]):
    def _deserialize(self, value: str, attr: str | None, data: Any, **kwargs: Any) -> tuple[str, ...]:  # type: ignore[override]
        words = [word.strip() for word in value.split(",") if word.strip()]
        return tuple(word for word in super()._deserialize(words, attr, data, **kwargs) if word)


def _number(at_least: int, at_most: int) -> fields.Field[int]:
    rule = validate.Range(at_least, at_most, error=f"must be from {at_least} to {at_most}")
    return WholeNumber(validate=rule)


def _choice(*words: str) -> fields.Field[str]:
    return fields.String(
        validate=validate.OneOf(words, error=f"must be one of: {', '.join(word or '(empty)' for word in words)}")
    )


def _store_url(url: str) -> None:
    # The value may hold a password: no message repeats it.
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - raises for a port that is none
    except ValueError:
        raise ValidationError("is not a URL") from None
    if parts.scheme not in STORE_SCHEMES:
        raise ValidationError(f"must begin with one of: {', '.join(f'{scheme}://' for scheme in STORE_SCHEMES)}")
    if parts.scheme == "memory" and url != "memory://":
        raise ValidationError("takes nothing after memory://")
    if parts.scheme in {"redis", "rediss"} and not parts.hostname:
        raise ValidationError("names no host")
    if parts.scheme == "unix" and not parts.path:
        raise ValidationError("names no socket path")


def _origin(origin: str) -> None:
    parts = urlsplit(origin)
    if parts.scheme not in {"http", "https"} or not parts.netloc or origin != f"{parts.scheme}://{parts.netloc}":
        raise ValidationError("must be origins such as https://app.example.com, separated by commas")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the service runs with. Each field is the environment variable ``SIGNER_<NAME>``."""

    host: str = setting(
        "127.0.0.1",
        fields.String(validate=validate.Length(min=1, error="must not be empty")),
        "Address to listen on. Any address but loopback needs authentication, or `SIGNER_AUTH=none`.",
    )
    port: int = setting(
        "8080",
        Port(),
        "TCP port to listen on; 0 takes a free one, which the log names.",
    )
    socket: str = setting("", fields.String(), "Path of a unix socket to listen on instead of TCP.")
    socket_mode: int = setting("0660", Octal(), "File mode of that socket.")
    ops_host: str = setting(
        "127.0.0.1",
        fields.String(validate=validate.Length(min=1, error="must not be empty")),
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
        _number(1, 64),
        "Processes that serve on the same address, one for each core at most; more than one needs Redis.",
    )
    auth: str = setting(
        "",
        _choice("", "none"),
        "`none` allows any listening address without authentication, for a mesh or gateway that has done it.",
    )
    cors_origins: tuple[str, ...] = setting(
        "",
        WordList(fields.String(validate=_origin)),
        "Origins of web pages that may call the service, separated by commas.",
    )
    store_url: str = setting(
        "memory://",
        fields.String(validate=_store_url),
        "Where accounts are kept: `memory://` (forgotten when the process ends), `redis://host:port/db`, "
        "`rediss://…` (TLS) or `unix://path`.",
        secret=True,
    )
    key_prefix: str = setting("", fields.String(), "Text in front of every key in Redis.")
    cache_size: int = setting(
        "10000",
        _number(0, 10_000_000),
        "Most accounts from Redis that a process remembers, for two kilobytes each; 0 turns the cache off.",
    )
    cache_ttl: int = setting(
        "60",
        _number(1, 3600),
        "Longest time, in seconds, that an account is remembered without asking Redis again.",
    )
    stale_seconds: int = setting(
        "60",
        _number(0, 86_400),
        "How long, in seconds, remembered accounts go on signing after Redis has gone away; 0 for not at all.",
    )
    max_body: int = setting("1048576", _number(1024, 64 * 1024 * 1024), "Largest request body, in bytes.")
    default_use_ssl: bool = setting("false", Flag(), "`use-ssl` of accounts that do not say.")
    drain_seconds: int = setting(
        "0",
        _number(0, 300),
        "How long to go on serving, with `/ready` at 503, after SIGTERM and before the port closes.",
    )
    log_level: str = setting("info", _choice("debug", "info", "warning", "error"), "Least severe level that is logged.")
    log_format: str = setting("json", _choice("json", "text"), "Form of the log lines on standard error.")
    commit: str = setting("", fields.String(), "Source revision that `/$version` tells; images have it built in.")

    @property
    def is_loopback(self) -> bool:
        """Whether ``host`` can be reached from this machine alone."""
        if self.host == "localhost":
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


def _text(environ: Mapping[str, str], variable: str, declaration: Declaration) -> str:
    path = environ.get(f"{variable}{FILE_SUFFIX}") if declaration.secret else None
    if path is None:
        return environ.get(variable, declaration.default)
    if variable in environ:
        raise ValidationError(f"and {variable}{FILE_SUFFIX} are both set; keep one")
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        # Who takes the one variable for the other has put the secret where the path belongs.
        raise ValidationError(f"cannot be read from the file that {variable}{FILE_SUFFIX} names: {reason}") from None


def _flat(messages: Any) -> list[str]:
    if isinstance(messages, dict):
        return [text for nested in messages.values() for text in _flat(nested)]
    return [str(message) for message in messages]


def _contradictions(settings: Settings) -> list[str]:
    problems = []
    if not (settings.socket or settings.is_loopback or settings.auth == "none"):
        problems.append(
            f"{PREFIX}HOST is {settings.host}, which others can reach, and no authentication is set: "
            f"listen on 127.0.0.1 or {PREFIX}SOCKET, or set {PREFIX}AUTH=none where a mesh or gateway has authenticated"
        )
    if settings.workers > 1 and settings.store_url == "memory://":
        problems.append(
            f"{PREFIX}WORKERS is {settings.workers}, and memory:// would give each worker accounts of its own: "
            f"set {PREFIX}STORE_URL to a Redis, or {PREFIX}WORKERS=1"
        )
    if settings.ops_port and settings.ops_port == settings.port and not settings.socket:
        problems.append(f"{PREFIX}OPS_PORT is {settings.ops_port}, which is {PREFIX}PORT too; choose another")
    return problems
