"""The resource types: name, schema, secret fields. A further one is an entry here, and a schema."""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any, NamedTuple

from service import json_text
from service.errors import Issue
from service.resources.invisible import invisible_hint
from service.resources.schemas import (
    ID_RULE,
    MASKED,
    AwsAccountSchema,
    Flag,
    ParsedBody,
    Reader,
    ResourceSchema,
    Text,
)
from service.resources.secrets.stored_secret import new_secret
from service.stores.record import ID, Resource

# What a resource says of itself, and an operator may have stored with the rest of it.
_SELF_DESCRIPTION = frozenset({"meta", "resourceType"})
NO_TEXTS: Mapping[str, str] = MappingProxyType({})
Exists = Callable[[str, str], Awaitable[bool]]
"""Whether there is a resource, by kind and id."""

WriteIssues = Callable[[Mapping[str, Any], Resource | None, Exists], Awaitable[Sequence[Issue]]]
"""What is wrong with values, by wire name, that are to be written in place of a stored resource."""

NO_SECRETS: Mapping[str, "Secret"] = MappingProxyType({})


@dataclass(kw_only=True, slots=True, weakref_slot=True, eq=False)
class AwsAccount:
    """An account as signing needs it. ``use_ssl`` and ``path_style`` are None for an account without them.

    Compared by identity, so that it can be a weak key of a cache.
    """

    id: str
    access_key_id: str | None = None
    secret_access_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    region: str = "us-east-1"
    host: str | None = None
    use_ssl: bool | None = None
    path_style: bool | None = None


class Secret(NamedTuple):
    """How a write-only field is stored: hashed, so that it can only be verified, or encrypted.

    A request that changes ``owner``, the field it belongs to, must send it again. So must a request that changes one of
    ``aims``, the fields that say where it is used, unless it comes from a caller who may do everything. Another
    spelling that means the same is no change.
    One that is ``generated`` is made for a new resource that comes without it.
    """

    owner: str | None = None
    hashed: bool = False
    aims: frozenset[str] = frozenset()
    generated: bool = False


async def _no_issues(*_: Any) -> Sequence[Issue]:
    return ()


class ResourceType:
    """One kind of resource, with its write-only fields.

    Args:
        schema: What a request may hold.
        model: Makes of the values of a stored resource what the service works with.
        secrets: The write-only fields.
        stored_schema: What the store may hold, where that is more, as earlier versions have written it.
        write_issues: What no schema knows, as it depends on what is stored.
    """

    def __init__(
        self,
        schema: type[ResourceSchema],
        *,
        model: Callable[..., Any],
        secrets: Mapping[str, Secret] = NO_SECRETS,
        stored_schema: type[ResourceSchema] | None = None,
        write_issues: WriteIssues = _no_issues,
    ) -> None:
        self.kind = schema.kind
        self.schema = schema
        self.secrets = secrets
        self.sealed = frozenset(name for name, secret in secrets.items() if not secret.hashed)
        self._model = model
        self.write_issues = write_issues
        self._reader = Reader(schema)
        self._stored_reader = Reader(stored_schema) if stored_schema else self._reader
        self.names = frozenset(self._reader.typed.names)
        fields = {field.data_key: field for field in self._reader.typed.fields.values()}
        self._flags = {name for name, field in fields.items() if isinstance(field, Flag)}
        self._plain = self._flags | {name for name, field in fields.items() if isinstance(field, Text)}
        self._structured = fields.keys() - self._plain - {"meta"}
        self._attributes = {name: name.replace("-", "_") for name in self.names - _SELF_DESCRIPTION if name[0] != "_"}

    def read(self, document: ParsedBody) -> dict[str, Any]:
        """The values of a request's body, by wire name.

        Raises:
            Invalid: with every fault.
        """
        return self._reader.read(document, within=self.kind)

    def with_generated_secrets(self, document: ParsedBody) -> tuple[ParsedBody, dict[str, str]]:
        """The document with a new secret for each that is generated and not sent, and those secrets by name."""
        missing = [name for name, secret in self.secrets.items() if secret.generated]
        generated = {
            name: new_secret()
            for name in missing
            if document.values.get(name) is None and document.values.get(f"_{name}") is None
        }
        return ParsedBody({**document.values, **generated}, document.text), generated

    def check_patch(self, document: ParsedBody) -> None:
        """Raise Invalid for a merge patch that could make no stored resource valid. It says nothing of what is stored.

        An id does not count, as the resource has one.
        """
        values = {name: value for name, value in document.values.items() if name != "id"}
        self._reader.check_patch(ParsedBody(values, document.text), within=self.kind)

    @staticmethod
    def is_id(id: str) -> bool:
        return ID.fullmatch(id) is not None

    def id_faults(self, id: str, field: str | None = None) -> list[Issue]:
        """What is wrong with an id from a path or query; empty if nothing is."""
        if self.is_id(id):
            return []
        name = field or f"{self.kind}.id"
        return [Issue(f"{name} {ID_RULE}{invisible_hint(id)}", name)]

    def decode(self, resource: Resource, opened: Mapping[str, str]) -> Any:
        """The stored resource, whose fields are ``opened``, as what is worked with.

        Raises:
            Invalid: names each field of what is stored that is not valid.
        """
        fields = {**opened, "id": resource.id}
        if resource.validated and fields.keys() <= self._plain:
            # To judge it again takes twice the time of reading it from Redis.
            values: Mapping[str, Any] = {
                name: Flag.words[text] if name in self._flags else text for name, text in fields.items()
            }
        else:
            values = self._stored_reader.read(ParsedBody(self._parsed(fields), text=True), within=self.kind)
        return self.model(values)

    def model(self, values: Mapping[str, Any]) -> Any:
        """The model of typed values by wire name."""
        own = self._attributes.items()
        return self._model(**{attribute: values[name] for name, attribute in own if name in values})

    def _parsed(self, fields: Mapping[str, str]) -> dict[str, Any]:
        return {name: _json(text) if name in self._structured else text for name, text in fields.items()}

    def represent(self, resource: Resource, *, shown: Mapping[str, str] = NO_TEXTS) -> dict[str, Any]:
        """The resource as plain data for an answer, fields in the schema's order. Secrets are masked, or ``shown``."""
        texts = {name: _unicode(text) for name, text in resource.fields.items()}
        # An operator may have stored an id among the fields, and renamed the key since.
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

    def unknown(self, resource: Resource) -> dict[str, str]:
        """What an operator stored under names that the schema does not have."""
        return {name: text for name, text in resource.fields.items() if name not in self.names}

    def fields(self, values: Mapping[str, Any]) -> dict[str, str]:
        """Values by wire name as the text that stores keep."""
        own = {"id", *_SELF_DESCRIPTION, *(f"_{secret}" for secret in self.secrets)}
        return {
            name: value if isinstance(value, str) else json.dumps(value)
            for name, value in values.items()
            if name not in own
        }


def _json(text: str) -> Any:
    # An operator may have written anything here: the schema judges it.
    try:
        value = json_text.loads(text.encode())
        # ValueError for NaN, infinities and lone surrogates, which no answer can hold.
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except ValueError:
        return text
    return value


def _unicode(text: str) -> str:
    # What is not UTF-8 in Redis is kept with surrogates, which no answer can hold.
    return text if text.isascii() else text.encode(errors="surrogateescape").decode(errors="replace")


def _timestamp(instant: datetime) -> str:
    return instant.isoformat(timespec="microseconds").replace("+00:00", "Z")


_AIMS = frozenset({"host", "use-ssl", "path-style"})

AWS_ACCOUNT = ResourceType(
    AwsAccountSchema,
    model=AwsAccount,
    secrets=dict.fromkeys(("secret-access-key", "session-token"), Secret("access-key-id", aims=_AIMS)),
)
