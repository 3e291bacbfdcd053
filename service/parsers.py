"""From the text of an environment variable to a value: marshmallow fields and rules, with messages for operators.

A message completes a sentence that begins with the variable's name, and never repeats a value.
"""

import re
from ipaddress import ip_address, ip_network
from typing import Any
from urllib.parse import urlsplit

from marshmallow import ValidationError, fields, validate

SHORTEST_ROOT_SECRET = 16


_HOST_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?\.?")
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")
_ALLOWED_HOST = re.compile(r"aws|(\*\.)?[a-z0-9_.-]+(:[0-9]{1,5})?|\[[0-9a-f:.]+\](:[0-9]{1,5})?")


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

    def _deserialize(self, value: str, attr: str | None, data: Any, **kwargs: Any) -> bool:
        return super()._deserialize(value.lower(), attr, data, **kwargs)


class WordList(fields.List[str]):
    def _deserialize(self, value: str, attr: str | None, data: Any, **kwargs: Any) -> tuple[str, ...]:  # type: ignore[override]
        words = [word.strip() for word in value.split(",") if word.strip()]
        return tuple(word for word in super()._deserialize(words, attr, data, **kwargs) if word)


def number(at_least: int, at_most: int) -> fields.Field[int]:
    rule = validate.Range(at_least, at_most, error=f"must be from {at_least} to {at_most}")
    return WholeNumber(validate=rule)


class LowerCase(fields.String):
    def _deserialize(self, value: str, attr: str | None, data: Any, **kwargs: Any) -> str:
        return super()._deserialize(value.lower(), attr, data, **kwargs) or ""


def choice(*words: str) -> fields.Field[str]:
    return LowerCase(validate=validate.OneOf(words, error=f"must be one of: {', '.join(filter(None, words))}"))


def root_secret(secret: str) -> None:
    if 0 < len(secret) < SHORTEST_ROOT_SECRET:
        raise ValidationError(f"must be at least {SHORTEST_ROOT_SECRET} characters; openssl rand -base64 32 makes one")
    if not secret.isprintable() or secret != secret.strip():
        raise ValidationError("must have no invisible character, and no space at an end: it was pasted with one")


def listening_host(host: str) -> None:
    # The system would read 127.1 or 0x7f000001 as an address.
    if not is_ip_address(host) and (not _HOST_NAME.fullmatch(host) or _NUMBER.fullmatch(host.rpartition(".")[2])):
        raise ValidationError(
            "must be a host name, or an IP address such as 127.0.0.1 or ::1, without scheme, brackets and port"
        )


def is_ip_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def allowed_host(host: str) -> None:
    if not _ALLOWED_HOST.fullmatch(host):
        raise ValidationError("must be hosts in lower case, suffixes such as *.example.com, or aws")


def origin(origin: str) -> None:
    parts = urlsplit(origin)
    if parts.scheme not in {"http", "https"} or not parts.netloc or origin != f"{parts.scheme}://{parts.netloc}":
        raise ValidationError("must be origins such as https://app.example.com, separated by commas")


def proxy(text: str) -> None:
    if text == "unix":
        return
    try:
        network = ip_network(text)
    except ValueError:
        raise ValidationError("must be addresses, CIDRs such as 10.0.0.0/8, or unix, separated by commas") from None
    if network.prefixlen == 0:
        raise ValidationError("must not trust every address, or clients could choose their own")
