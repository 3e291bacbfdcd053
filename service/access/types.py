"""The resources that access is made of: Client and AccessPolicy.

Sources: https://docs.aidbox.app/security/authorization/access-policies, https://docs.aidbox.app/reference/system-resources-reference
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from marshmallow import ValidationError, fields, validates_schema

from service.access.matcho import MalformedPattern, Pattern, compile_pattern
from service.resources.schemas import ID, ID_RULE, Masked, ResourceSchema, Text
from service.resources.stored_secret import HashedSecret, StoredSecret
from service.resources.types import AWS_ACCOUNT, ResourceType, Secret

BASIC, CLIENT_CREDENTIALS = "basic", "client_credentials"
GRANT_TYPES = (BASIC, CLIENT_CREDENTIALS)
ALLOW, MATCHO = "allow", "matcho"
MAX_LINKS = 1000

# What a pattern may look at: a misspelt name would be missing from every request, and so pass under nil? or $not.
REQUEST_NAMES = frozenset({"request-method", "uri", "params", "client", "jwt", "headers", "body"})

MIN_SECRET = 16
# How long the secret before a new one stays valid.
PREVIOUS_SECONDS, MAX_PREVIOUS_SECONDS = 86_400, 604_800

_SECRET_RULE = "must be 16 to 512 characters of Unicode, none of them a control character"  # noqa: S105 - a message
_DESCRIPTION_RULE = "must be at most 1024 characters, none of them a control character"


@dataclass(frozen=True, kw_only=True, slots=True)
class Client:
    """Somebody who may call."""

    id: str
    secret: StoredSecret | None = field(default=None, repr=False)
    grant_types: Sequence[str] = ()
    description: str | None = None

    def secrets_at(self, instant: float) -> Sequence[HashedSecret]:
        """The hashes of its secrets that are valid at ``instant``, in seconds since 1970."""
        return self.secret.valid_at(instant) if self.secret else ()


@dataclass(frozen=True, kw_only=True, slots=True)
class AccessPolicy:
    """What some callers may do. ``link`` has the ids of the clients it is for; none means every caller."""

    id: str
    engine: str
    pattern: Pattern | None
    link: frozenset[str] = frozenset()


class GrantTypes(fields.Field[Sequence[str]]):
    """A list of ways to log in."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Sequence[str]:
        del attr, data, kwargs
        if not isinstance(value, list) or not all(word in GRANT_TYPES for word in value):
            raise ValidationError(f"must be a list of {', '.join(GRANT_TYPES)}")
        return list(dict.fromkeys(value))


class Links(fields.Field[Sequence[Mapping[str, str]]]):
    """A list of references to Clients, as ``{reference: Client/x}`` or ``{id: x, resourceType: Client}``."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Sequence[Mapping[str, str]]:
        del attr, data, kwargs
        # Who takes the last link out of a list does not mean everybody, which is what no list means.
        if not isinstance(value, list) or not 0 < len(value) <= MAX_LINKS or None in map(linked_client, value):
            raise ValidationError(
                f"must be a list of 1 to {MAX_LINKS} references, each {{reference: Client/id}} "
                "or {id: id, resourceType: Client}; without one, the policy is for every caller"
            )
        return value


class Matcho(fields.Field[Any]):
    """A pattern, which is compiled once to see that it is one."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        del attr, data, kwargs
        try:
            pattern = compile_pattern(value)
        except MalformedPattern as error:
            raise ValidationError(
                [f"{fault.problem}; this is at {fault.path}" if fault.path else fault.problem for fault in error.faults]
            ) from None
        if unknown := sorted(pattern.names - REQUEST_NAMES):
            raise ValidationError(
                f"looks at {', '.join(unknown)}, which no request has; it has {', '.join(sorted(REQUEST_NAMES))}"
            )
        return value


def secret_field() -> Text:
    """A secret that somebody chooses for a Client."""
    return Text(
        metadata={"examples": ["<secret-of-16-characters>"]},
        rule=rf"[^\x00-\x1f\x7f\ud800-\udfff]{{{MIN_SECRET},512}}",
        message=_SECRET_RULE,
    )


class ClientSchema(ResourceSchema):
    """Who may call, and how."""

    kind = "Client"
    id = Text(ID.pattern, ID_RULE, visible=True, required=True, metadata={"examples": ["my-client"]})
    secret = secret_field()
    masked_secret = Masked(data_key="_secret")
    grant_types = GrantTypes(
        data_key="grant_types",
        metadata={"type": "array", "items": {"enum": list(GRANT_TYPES)}, "examples": [[CLIENT_CREDENTIALS]]},
    )
    description = Text(r"[^\x00-\x1f\x7f]{0,1024}", _DESCRIPTION_RULE)


class AccessPolicySchema(ResourceSchema):
    """What callers may do. The first policy that passes allows; without one, nothing is allowed."""

    kind = "AccessPolicy"
    id = Text(ID.pattern, ID_RULE, visible=True, required=True, metadata={"examples": ["my-policy"]})
    engine = Text("allow|matcho", "must be allow or matcho", required=True, metadata={"examples": [MATCHO]})
    matcho = Matcho(
        metadata={"type": "object", "description": "a pattern", "examples": [{"params": {"key": "#^team-a/"}}]}
    )
    link = Links(
        metadata={
            "type": "array",
            "minItems": 1,
            "maxItems": MAX_LINKS,
            "items": {"type": "object"},
            "examples": [[{"reference": "Client/my-client"}]],
        }
    )
    description = Text(r"[^\x00-\x1f\x7f]{0,1024}", _DESCRIPTION_RULE)

    @validates_schema(skip_on_field_errors=False, pass_original=True)
    def _pattern_goes_with_its_engine(self, data: Mapping[str, Any], original: Mapping[str, Any], **_: Any) -> None:
        given = original.get("matcho") is not None
        if data.get("engine") == MATCHO and not given:
            raise ValidationError("is missing; the engine matcho judges by it", "matcho")
        if data.get("engine") == ALLOW and given:
            raise ValidationError("is not looked at by the engine allow; leave it out", "matcho")


def linked_client(link: Any) -> str | None:
    """The id of the Client that a link refers to; None if it is no such link."""
    if not isinstance(link, dict):
        return None
    if link.keys() == {"reference"}:
        kind, _, id_ = str(link["reference"]).partition("/")
    elif link.keys() == {"id", "resourceType"}:
        kind, id_ = str(link["resourceType"]), str(link["id"])
    else:
        return None
    return id_ if kind == ClientSchema.kind and ID.fullmatch(id_) else None


def _policy(*, id: str, engine: str, matcho: Any = None, link: Sequence[Any] = (), **_: Any) -> AccessPolicy:
    pattern = compile_pattern(matcho) if engine == MATCHO else None
    clients = frozenset(id_ for id_ in map(linked_client, link) if id_)
    return AccessPolicy(id=id, engine=engine, pattern=pattern, link=clients)


def _client(*, secret: str | None = None, **values: Any) -> Client:
    return Client(secret=StoredSecret.parse(secret) if secret else None, **values)


CLIENT = ResourceType(ClientSchema, model=_client, secrets={"secret": Secret(hashed=True, generated=True)})
ACCESS_POLICY = ResourceType(AccessPolicySchema, model=_policy)

RESOURCE_TYPES = (AWS_ACCOUNT, CLIENT, ACCESS_POLICY)
