"""The resource types: name, schema, model and secret fields."""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any, NamedTuple

from service import json_text
from service.endpoints import default_region, parse_host
from service.errors import Issue
from service.invisible import invisible_hint
from service.resources.account_schema import AwsAccountSchema
from service.resources.fields import ID_RULE, MASKED, Flag, Text
from service.resources.queries import DEFAULT_EXPIRATION_SECONDS
from service.resources.schemas import MAX_EXPIRATION_SECONDS, ParsedBody, Reader, ResourceSchema
from service.resources.secrets.stored_secret import new_secret
from service.stores.record import ID, Resource

# Fields that are not stored; an operator can have stored them all the same.
_NOT_STORED = frozenset({"meta", "resourceType"})
NO_TEXTS: Mapping[str, str] = MappingProxyType({})
Exists = Callable[[str, str], Awaitable[bool]]
"""Returns whether a resource exists, by kind and id."""

ValueIssues = Callable[[Mapping[str, Any]], Sequence[Issue]]
WriteIssues = Callable[[Mapping[str, Any], Resource | None, Exists], Awaitable[Sequence[Issue]]]
"""Returns the faults of new values, by wire name, that depend on the stored resource and on others."""

NO_SECRETS: Mapping[str, "Secret"] = MappingProxyType({})


@dataclass(kw_only=True, slots=True, weakref_slot=True, eq=False)
class AwsAccount:
    """An account as signing needs it. Fields that the account does not have are None.

    Expirations are in seconds, ``max_size`` in bytes.

    Compared by identity, so that it can be a weak key of a cache.
    """

    id: str
    access_key_id: str | None = None
    secret_access_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    role_arn: str | None = None
    external_id: str | None = None
    region: str = ""
    """Without one, that in the name of an AWS host, or else us-east-1."""

    host: str | None = None
    use_ssl: bool | None = None
    path_style: bool | None = None
    public_host: str | None = None
    public_use_ssl: bool | None = None
    default_expiration: int | None = None
    max_expiration: int | None = None
    max_size: int | None = None
    role_session: str | None = None
    """The session of the role whose keys the account has; None for keys of its own. It is not stored."""

    keys_end: int | None = None
    """The Unix time at which borrowed keys end; None if it is unknown, or for keys of its own. It is not stored."""

    borrows_keys: bool = field(init=False)
    """Whether it signs with other keys than its own, which it does not have yet."""

    url_host: str | None = field(init=False)
    """The host of its URLs: ``public_host``, or else ``host``."""

    url_use_ssl: bool | None = field(init=False)
    url_expiration: int = field(init=False)
    """The lifetime of a URL whose request names none."""

    def __post_init__(self) -> None:
        has_keys = self.access_key_id is not None or self.secret_access_key is not None
        self.borrows_keys = not has_keys or (self.role_arn is not None and self.role_session is None)
        is_public = self.public_host is not None
        self.url_host = self.public_host if is_public else self.host
        self.url_use_ssl = self.public_use_ssl if is_public else self.use_ssl
        self.region = self.region or default_region(*filter(None, (self.public_host, self.host)))
        longest = self.max_expiration or MAX_EXPIRATION_SECONDS
        self.url_expiration = self.default_expiration or min(DEFAULT_EXPIRATION_SECONDS, longest)

    @property
    def url_host_field(self) -> str:
        """The wire name of the field that decides the host of its URLs."""
        return "host" if self.public_host is None else "public-host"

    @property
    def is_at_aws(self) -> bool:
        """Whether its URLs have one of S3's own host names."""
        return self.url_host is None or parse_host(self.url_host).is_name_of_aws


class Secret(NamedTuple):
    """A write-only field, which is stored encrypted, or ``hashed`` if it only needs to be verified.

    Attributes:
        owner: The field that it belongs to. A request that changes the owner must send the secret too.
        destination: The fields that decide where the secret is used. A request that changes one of them must send the
            secret too, unless its caller is unlimited. An equivalent spelling is not a change.
        generated: Whether a new resource without the secret gets a generated one.
    """

    owner: str | None = None
    hashed: bool = False
    destination: frozenset[str] = frozenset()
    generated: bool = False


async def _no_issues(*_: Any) -> Sequence[Issue]:
    return ()


def _no_value_issues(_: Mapping[str, Any]) -> Sequence[Issue]:
    return ()


class ResourceType:
    """One kind of resource, with its write-only fields.

    Args:
        schema: Validates requests.
        model: Makes a model from the values of a resource, which it takes as keyword arguments.
        secrets: The write-only fields, by wire name.
        stored_schema: Validates stored resources, if earlier versions stored more than a request may hold.
        value_issues: Validates what the schema has accepted, if both together would take too long in one turn.
        write_issues: Validates a write against what is stored.
    """

    def __init__(
        self,
        schema: type[ResourceSchema],
        *,
        model: Callable[..., Any],
        secrets: Mapping[str, Secret] = NO_SECRETS,
        stored_schema: type[ResourceSchema] | None = None,
        value_issues: ValueIssues = _no_value_issues,
        write_issues: WriteIssues = _no_issues,
    ) -> None:
        self.kind = schema.kind
        self.schema = schema
        self.secrets = secrets
        self.encrypted = frozenset(name for name, secret in secrets.items() if not secret.hashed)
        self._model = model
        self.value_issues = value_issues
        self.write_issues = write_issues
        self._reader = Reader(schema)
        self._stored_reader = Reader(stored_schema) if stored_schema else self._reader
        self.names = frozenset(self._reader.typed.names)
        fields = {field.data_key: field for field in self._reader.typed.fields.values()}
        # Fields stored as text that needs no parsing; the others are stored as JSON.
        self._flags = {name for name, field in fields.items() if isinstance(field, Flag)}
        self._plain = self._flags | {name for name, field in fields.items() if isinstance(field, Text)}
        self._structured = fields.keys() - self._plain - {"meta"}
        self._attributes = {name: name.replace("-", "_") for name in self.names - _NOT_STORED if name[0] != "_"}

    def read(self, body: ParsedBody) -> dict[str, Any]:
        """Return the values of a request's body, by wire name. Raises Invalid with every fault of the schema."""
        return self._reader.read(body, within=self.kind)

    def with_generated_secrets(self, body: ParsedBody) -> tuple[ParsedBody, dict[str, str]]:
        """Return the body with the generated secrets that it lacks, and these secrets by name."""
        generated = {
            name: new_secret()
            for name, secret in self.secrets.items()
            if secret.generated and body.values.get(name) is None and body.values.get(f"_{name}") is None
        }
        return ParsedBody({**body.values, **generated}, body.text), generated

    def check_patch(self, body: ParsedBody) -> None:
        """Raise Invalid for a merge patch that makes every stored resource invalid. Its id is ignored."""
        values = {name: value for name, value in body.values.items() if name != "id"}
        self._reader.check_patch(ParsedBody(values, body.text), within=self.kind)

    @staticmethod
    def is_id(id: str) -> bool:
        return ID.fullmatch(id) is not None

    def id_faults(self, id: str, field: str | None = None) -> list[Issue]:
        """Return the faults of an id from a path or a query, none if it is valid."""
        if self.is_id(id):
            return []
        name = field or f"{self.kind}.id"
        return [Issue(f"{name} {ID_RULE}{invisible_hint(id)}", name)]

    def decode(self, resource: Resource, decrypted: Mapping[str, str]) -> Any:
        """Return the model of a stored resource with these ``decrypted`` fields.

        Raises:
            Invalid: names each invalid field.
        """
        fields = {**decrypted, "id": resource.id}
        if resource.validated and fields.keys() <= self._plain:
            # Validating again takes twice the time of reading from Redis.
            values: Mapping[str, Any] = {
                name: Flag.words[text] if name in self._flags else text for name, text in fields.items()
            }
        else:
            values = self._stored_reader.read(ParsedBody(self._parsed(fields), text=True), within=self.kind)
        return self.model(values)

    def model(self, values: Mapping[str, Any]) -> Any:
        """Return the model of typed values by wire name."""
        return self._model(
            **{attribute: values[name] for name, attribute in self._attributes.items() if name in values}
        )

    def _parsed(self, fields: Mapping[str, str]) -> dict[str, Any]:
        return {name: _json(text) if name in self._structured else text for name, text in fields.items()}

    def represent(self, resource: Resource, *, shown: Mapping[str, str] = NO_TEXTS) -> dict[str, Any]:
        """Return the resource as plain data, in the order of the schema. Secrets are masked, except those ``shown``."""
        texts = {name: _unicode(text) for name, text in resource.fields.items()}
        # An operator can have stored an id among the fields, and have renamed the key since.
        values: dict[str, Any] = {**self._parsed(texts), "id": resource.id}
        for secret in self.secrets:
            if values.pop(secret, "") and secret not in shown:
                values[f"_{secret}"] = MASKED
        meta = resource.meta
        return {
            **self._reader.typed.dump({**values, **shown}),
            "meta": {
                "versionId": meta.version_id,
                "createdAt": _timestamp(meta.created_at),
                "lastUpdated": _timestamp(meta.last_updated),
            },
            "resourceType": self.kind,
        }

    def unknown_fields(self, resource: Resource) -> dict[str, str]:
        """Return the stored fields that the schema does not know, which an operator has added."""
        return {name: text for name, text in resource.fields.items() if name not in self.names}

    def fields(self, values: Mapping[str, Any]) -> dict[str, str]:
        """Return the text to store for values by wire name."""
        not_stored = {"id", *_NOT_STORED, *(f"_{secret}" for secret in self.secrets)}
        return {
            name: value if isinstance(value, str) else json.dumps(value)
            for name, value in values.items()
            if name not in not_stored
        }


def _json(text: str) -> Any:
    # An operator can have written anything here; the schema validates it.
    try:
        value = json_text.loads(text.encode())
        # Raises ValueError for NaN, infinities and lone surrogates, which no response can hold.
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except ValueError:
        return text
    # The service stores no null. As an absent field, a null by HSET would end a restriction, such as that of a link.
    return text if value is None else value


def _unicode(text: str) -> str:
    # Text from Redis that is not UTF-8 has surrogates, which no response can hold.
    return text if text.isascii() else text.encode(errors="surrogateescape").decode(errors="replace")


def _timestamp(instant: datetime) -> str:
    return instant.isoformat(timespec="microseconds").replace("+00:00", "Z")


DESTINATION = frozenset({"host", "use-ssl", "path-style", "public-host", "public-use-ssl"})

AWS_ACCOUNT = ResourceType(
    AwsAccountSchema,
    model=AwsAccount,
    secrets=dict.fromkeys(("secret-access-key", "session-token"), Secret("access-key-id", destination=DESTINATION)),
)
