"""The resource type Client: a program that calls the service, with its secret and grant types."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from marshmallow import ValidationError, fields

from service.invisible import NOT_A_VALUE, PLACEHOLDER
from service.resources.fields import ID_RULE, VISIBLE, Masked, Text
from service.resources.schemas import ResourceSchema
from service.resources.secrets.stored_secret import HashedSecret, StoredSecret
from service.resources.types import ResourceType, Secret
from service.stores.record import ID

BASIC, CLIENT_CREDENTIALS = "basic", "client_credentials"
GRANT_TYPES = (BASIC, CLIENT_CREDENTIALS)

MIN_SECRET = 16
# How long the previous secret stays valid after a rotation.
PREVIOUS_SECONDS, MAX_PREVIOUS_SECONDS = 86_400, 604_800

_SECRET_RULE = (
    "must be 16 to 512 visible characters of Unicode, with spaces only inside, not in quotes, and no placeholder such "
    f"as {PLACEHOLDER}"
)
_DESCRIPTION_RULE = "must be at most 1024 characters, none of them a control character"


@dataclass(frozen=True, kw_only=True, slots=True)
class Client:
    """A client of the service, with its secret and grant types."""

    id: str
    secret: StoredSecret | None = field(default=None, repr=False)
    grant_types: Sequence[str] = ()
    description: str | None = None

    def secrets_at(self, instant: float) -> Sequence[HashedSecret]:
        """Return the hashes of its secrets that are valid at ``instant``, in seconds since 1970."""
        return self.secret.valid_at(instant) if self.secret else ()


class GrantTypes(fields.Field[Sequence[str]]):
    """A list of grant types."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Sequence[str]:
        del attr, data, kwargs
        if not isinstance(value, list) or not all(word in GRANT_TYPES for word in value):
            raise ValidationError(f"must be a list of {', '.join(GRANT_TYPES)}")
        return list(dict.fromkeys(value))


def description_field(description: str) -> Text:
    return Text(r"[^\x00-\x1f\x7f]{0,1024}", _DESCRIPTION_RULE, metadata={"description": description})


def secret_field() -> Text:
    """Return the field of a chosen secret."""
    return Text(
        metadata={
            "description": "The secret with which the Client logs in. It can be replaced, but not read back.",
            "examples": ["<secret-of-16-characters>"],
        },
        # Anybody could guess a placeholder, and a caller without the quotes would not log in.
        rule=rf"(?!{NOT_A_VALUE}$)(?! )(?:{VISIBLE}| ){{{MIN_SECRET - 1},511}}{VISIBLE}",
        message=_SECRET_RULE,
        visible=True,
    )


class ClientSchema(ResourceSchema):
    """A client of the service, with its secret and grant types."""

    kind = "Client"
    id = Text(
        ID.pattern,
        ID_RULE,
        visible=True,
        required=True,
        metadata={"description": "The name with which the Client logs in.", "examples": ["my-client"]},
    )
    secret = secret_field()
    masked_secret = Masked(data_key="_secret")
    grant_types = GrantTypes(
        data_key="grant_types",
        metadata={
            "type": "array",
            "items": {"enum": list(GRANT_TYPES)},
            "description": "How the Client may log in: basic sends its secret with each request, client_credentials"
            " gets a token for it.",
            "examples": [[CLIENT_CREDENTIALS]],
        },
    )
    description = description_field("What the Client is for, for people.")


def _client(*, secret: str | None = None, **values: Any) -> Client:
    return Client(secret=StoredSecret.parse(secret) if secret else None, **values)


CLIENT = ResourceType(ClientSchema, model=_client, secrets={"secret": Secret(hashed=True, generated=True)})
