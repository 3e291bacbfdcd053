"""What the marshmallow schemas accept, and what resources look like when they are read, as JSON Schema. Pure.

Source: https://json-schema.org/draft/2020-12/json-schema-validation
"""

from collections.abc import Mapping
from functools import singledispatch
from typing import Any

from marshmallow import fields, missing, validate

from service.resources.fields import MASKED, Flag, Masked, Number, Text
from service.resources.schemas import WireSchema
from service.resources.types import ResourceType
from service.stores.record import ID

Json = dict[str, Any]

# JSON text has none of them that is not half of a pair, and not every dialect of patterns has a word for them.
_SURROGATES = r"\ud800-\udfff"
_ANY = "(?s:.)"
_NULL: Json = {"type": "null"}
_OWN = frozenset({"id", "meta", "resourceType"})


def of_field(field: fields.Field[Any]) -> Json:
    """What a field accepts, and what its ``metadata`` adds."""
    return {**_typed(field), **dict(field.metadata)}


def of_body(schema: type[WireSchema]) -> Json:
    """What a schema accepts: no field that it does not know, and null as absent where a field need not be there."""
    by_name = _by_name(schema)
    required = [name for name, field in by_name.items() if field.required]
    return {
        "type": "object",
        "properties": {
            name: of_field(field) if field.required else _or_null(of_field(field)) for name, field in by_name.items()
        },
        "additionalProperties": False,
        **({"required": required} if required else {}),
    }


def of_query(schema: type[WireSchema]) -> Json:
    """By name, what each query parameter accepts."""
    return {name: of_field(field) for name, field in _by_name(schema).items()}


def of_request(type_: ResourceType) -> Json:
    """A resource as it is sent, whatever its id may be; see ``with_id`` and ``complete``."""
    body = of_body(type_.schema)
    body.pop("required", None)
    for secret in type_.secrets:
        body["properties"][secret]["writeOnly"] = True
    body["properties"] = {
        # The URL's own wins over it.
        "id": {},
        **{name: rule for name, rule in body["properties"].items() if name not in _OWN},
        "meta": {"description": "the service's own, ignored"},
        "resourceType": _or_null({"const": type_.kind}),
    }
    return {**body, "examples": [example(type_)]}


def with_id(body: Json, *, required: bool) -> Json:
    """The same where the id counts."""
    id_ = {"type": "string", "pattern": f"^{ID.pattern}$"}
    properties = {**body["properties"], "id": id_ if required else _or_null(id_)}
    return {**body, "properties": properties, **({"required": ["id"]} if required else {})}


def complete(type_: ResourceType, body: Json) -> Json:
    """The same where nothing that is stored completes it: it meets the conditions, and what comes together does so."""
    if conditions := type_.schema.conditions:
        body = {**body, "allOf": [*conditions]}
    names = type_.schema.required_together
    if not names:
        return body
    given = {name: {"not": _NULL} for name in names}
    choices: list[Json] = [{"required": list(names), "properties": given}]
    choices += [
        {
            "required": [f"_{name}" if name == masked else name for name in names],
            "properties": {**given, masked: _NULL, f"_{masked}": {"not": _NULL}},
        }
        for masked in names
        if masked in type_.secrets
    ]
    return {**body, "anyOf": [*choices, {"properties": dict.fromkeys(names, _NULL)}]}


def of_answer(type_: ResourceType) -> Json:
    """A resource as it is read: its secrets masked."""
    shown = {
        name: of_field(field)
        for name, field in _by_name(type_.schema).items()
        if name not in type_.secrets and name not in _OWN
    }
    return {
        "type": "object",
        "properties": {
            "id": {"type": "string"},
            **shown,
            "meta": META,
            "resourceType": {"const": type_.kind},
        },
        "required": ["id", "meta", "resourceType"],
        "additionalProperties": False,
    }


def of_new(type_: ResourceType) -> Json:
    """A resource as the answer to its creation shows it: with the secrets that were generated for it."""
    answer = of_answer(type_)
    secrets = [name for name, secret in type_.secrets.items() if secret.generated]
    shown = {"type": "string", "description": "generated, and shown in this answer alone"}
    return {**answer, "properties": {**answer["properties"], **dict.fromkeys(secrets, shown)}}


def example(type_: ResourceType) -> Json:
    """A body of those fields that give an example."""
    return {
        name: field.metadata["examples"][0]
        for name, field in _by_name(type_.schema).items()
        if "examples" in field.metadata
    }


_INSTANT = {"type": "string", "format": "date-time"}
META: Json = {
    "type": "object",
    "description": "the service's own; versionId grows, and none is used twice for an id",
    "properties": {"versionId": {"type": "string"}, "createdAt": _INSTANT, "lastUpdated": _INSTANT},
    "required": ["versionId", "createdAt", "lastUpdated"],
    "additionalProperties": False,
}


def _by_name(schema: type[WireSchema]) -> dict[str, fields.Field[Any]]:
    return {str(field.data_key): field for field in schema().fields.values()}


@singledispatch
def _typed(_: fields.Field[Any]) -> Json:
    return {}


@_typed.register
def _(field: fields.String) -> Json:
    rules = (rule for rule in field.validators if isinstance(rule, validate.OneOf))
    return {"type": "string", **next(({"enum": list(rule.choices)} for rule in rules), {})}


@_typed.register
def _(field: Text) -> Json:
    if field.rule is None:
        return {"type": "string"}
    return {"type": "string", **_pattern(field.rule.pattern), "description": field.message.removeprefix("must be ")}


@_typed.register
def _(field: Number) -> Json:
    return {"type": "integer", "minimum": field.range[0], "maximum": field.range[-1], **_default(field)}


@_typed.register
def _(field: Flag) -> Json:
    return {"type": "boolean", **_default(field)}


@_typed.register
def _(_: Masked) -> Json:
    return {"const": MASKED, "description": "stands for the secret that is stored, and keeps it"}


@_typed.register
def _(field: fields.List) -> Json:  # type: ignore[type-arg]  # dispatch wants a plain class
    return {"type": "array", "items": of_field(field.inner)}


@_typed.register
def _(_: fields.Dict) -> Json:
    return {"type": "object"}


@_typed.register
def _(field: fields.Nested) -> Json:
    return of_body(type(field.schema)) if isinstance(field.schema, WireSchema) else {"type": "object"}


def _default(field: fields.Field[Any]) -> Json:
    return {} if field.load_default is missing else {"default": field.load_default}


def _pattern(rule: str) -> Json:
    if rule.startswith(_ANY):
        return {"maxLength": int(rule.rpartition(",")[2].rstrip("}"))}
    known = rule.replace(_SURROGATES, "")
    # The anchors belong to each of the alternatives.
    return {"pattern": f"^(?:{known})$" if "|" in known else f"^{known}$"}


def _or_null(schema: Mapping[str, Any]) -> Json:
    if "const" in schema:
        rest = {name: value for name, value in schema.items() if name != "const"}
        return {"enum": [schema["const"], None], **rest}
    if "enum" in schema:
        return {**schema, "enum": [*schema["enum"], None], "type": [schema["type"], "null"]}
    return {**schema, "type": [schema["type"], "null"]} if "type" in schema else dict(schema)
