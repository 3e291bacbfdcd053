"""From the text of an environment variable to a value: marshmallow fields and rules, with messages for operators.

A message completes a sentence that begins with the variable's name, and never repeats a value.
"""

import re
from typing import Any
from urllib.parse import urlsplit

from marshmallow import ValidationError, fields, validate

STORE_SCHEMES = ("memory", "redis", "rediss", "unix")
SHORTEST_ROOT_SECRET = 16


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


def number(at_least: int, at_most: int) -> fields.Field[int]:
    rule = validate.Range(at_least, at_most, error=f"must be from {at_least} to {at_most}")
    return WholeNumber(validate=rule)


def choice(*words: str) -> fields.Field[str]:
    return fields.String(
        validate=validate.OneOf(words, error=f"must be one of: {', '.join(word or '(empty)' for word in words)}")
    )


def store_url(url: str) -> None:
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


def client_id(text: str) -> None:
    if not re.fullmatch("[A-Za-z0-9._-]{0,64}", text):
        raise ValidationError("must be 1 to 64 of A-Z a-z 0-9 . _ -")


def root_secret(secret: str) -> None:
    if 0 < len(secret) < SHORTEST_ROOT_SECRET:
        raise ValidationError(f"must be at least {SHORTEST_ROOT_SECRET} characters; openssl rand -base64 32 makes one")


def origin(origin: str) -> None:
    parts = urlsplit(origin)
    if parts.scheme not in {"http", "https"} or not parts.netloc or origin != f"{parts.scheme}://{parts.netloc}":
        raise ValidationError("must be origins such as https://app.example.com, separated by commas")
