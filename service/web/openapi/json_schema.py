"""Convert marshmallow schemas and resource types to JSON Schema. Pure.

Source: https://json-schema.org/draft/2020-12/json-schema-validation

Generators of clients make types from what they understand. Rules that they do not understand are where they skip them:
conditions between fields in ``then``, and fields whose names collide in a programming language in
``patternProperties``. Requests have no ``default``, because generated clients would send it.
"""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from marshmallow import EXCLUDE, fields, missing, validate

from service.resources.fields import ID_RULE, MASKED, Flag, Masked, Number, Text
from service.resources.schemas import WireSchema
from service.resources.signing_schemas.fields import TextMap
from service.resources.types import ResourceType
from service.stores.record import ID

Json = dict[str, Any]

# JSON text has no unpaired surrogates, and not every regex dialect can express them.
_SURROGATES = r"\ud800-\udfff"
# JavaScript reads such ranges only with the flag u, which few tools set.
_BEYOND_FFFF = re.compile("[\U00010000-\U0010ffff]-?")
_ANY = "(?s:.)"
_NULL: Json = {"type": "null"}
_OWN = frozenset({"id", "meta", "resourceType"})
_INSTANT = {"type": "string", "format": "date-time"}
META: Json = {
    "type": "object",
    "description": "Set by the service. versionId grows and is never used twice for an id.",
    "properties": {"versionId": {"type": "string"}, "createdAt": _INSTANT, "lastUpdated": _INSTANT},
    "required": ["versionId", "createdAt", "lastUpdated"],
    "additionalProperties": False,
}


def of_field(field: fields.Field[Any]) -> Json:
    """Return the values that a field accepts, with its ``metadata``."""
    schema: Json = {}
    match field:
        case Text(rule=re.Pattern() as rule, message=message):
            schema = {"type": "string", **_pattern(rule.pattern), "description": message}
        case Number(range=numbers):
            schema = {"type": "integer", "minimum": numbers[0], "maximum": numbers[-1]}
        case Flag():
            schema = {"type": "boolean"}
        case TextMap():
            schema = {
                "type": "object",
                "propertyNames": _pattern(field.names.pattern),
                "additionalProperties": {"type": "string", **_pattern(field.values.pattern)},
                "maxProperties": field.at_most,
                "description": f"must be {field.rule}",
            }
        case fields.String():
            schema = {"type": "string", **_choices(field)}
        case fields.List(inner=inner):
            schema = {"type": "array", "items": of_field(inner)}
        case fields.Nested(schema=WireSchema() as nested):
            schema = of_body(type(nested))
        case fields.Dict():
            schema = {"type": "object"}
    texts = [text for text in (field.metadata.get("description"), schema.get("description")) if text]
    described = {"description": _sentences(*texts)} if texts else {}
    return _with_default({**schema, **field.metadata, **described}, field.load_default)


def of_body(schema: type[WireSchema]) -> Json:
    """Return the objects that a schema accepts. Null means absent for optional fields."""
    by_name = {name: field for name, field in _by_name(schema).items() if not isinstance(field, Masked)}
    required = [name for name, field in by_name.items() if field.required]
    return {
        "type": "object",
        "properties": {
            name: of_field(field) if field.required else _or_null(of_field(field)) for name, field in by_name.items()
        },
        "additionalProperties": schema.Meta.unknown == EXCLUDE,
        **({"required": required} if required else {}),
        **_rules(schema.conditions),
    }


def of_query(schema: type[WireSchema]) -> Json:
    """Return the values that each query parameter accepts, by name."""
    return {name: of_field(field) for name, field in _by_name(schema).items()}


def of_request(type_: ResourceType) -> Json:
    """Return a resource in a request with any id and any subset of its fields; see ``with_id`` and ``complete``."""
    body = of_body(type_.schema)
    body.pop("required", None)
    # A patch leaves out fields that the conditions need.
    body.pop("if", None)
    body.pop("then", None)
    for secret in type_.secrets:
        body["properties"][secret]["writeOnly"] = True
    if type_.secrets:
        # The marker of a read resource stands for the stored secret, and keeps it.
        body["patternProperties"] = {f"^_({'|'.join(type_.secrets)})$": {"enum": [MASKED, None]}}
    body["properties"] = {
        # The id in the URL takes precedence.
        "id": {},
        **{name: rule for name, rule in body["properties"].items() if name not in _OWN},
        "meta": {"description": "Set by the service, ignored in requests."},
        "resourceType": _or_null({"type": "string", "enum": [type_.kind]}),
    }
    return {**body, "examples": [example(type_)]}


def with_id(body: Json, *, required: bool) -> Json:
    """Add the rule of ids to a request."""
    description = _sentences("the id of the resource", ID_RULE)
    id_ = {"type": "string", "pattern": f"^{ID.pattern}$", "description": description}
    properties = {**body["properties"], "id": id_ if required else _or_null(id_)}
    return {**body, "properties": properties, **({"required": ["id"]} if required else {})}


def complete(type_: ResourceType, body: Json) -> Json:
    """Add the rules of a request that replaces the whole resource: conditions, and fields that come together."""
    return {**body, **_rules([*type_.schema.conditions, *_required_together(type_)])}


def _required_together(type_: ResourceType) -> list[Json]:
    names = type_.schema.required_together
    if not names:
        return []
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
    return [{"anyOf": [*choices, {"properties": dict.fromkeys(names, _NULL)}]}]


def _rules(conditions: Iterable[Mapping[str, Any]]) -> Json:
    rules = [*conditions]
    if not rules:
        return {}
    return {"if": {}, "then": {"allOf": rules} if len(rules) > 1 else rules[0]}


def of_response(type_: ResourceType) -> Json:
    """Return a resource in a response, without its secrets."""
    properties = {
        name: {"$ref": f"#/components/schemas/{Masked.__name__}"} if isinstance(field, Masked) else of_field(field)
        for name, field in _by_name(type_.schema).items()
        if name not in type_.secrets and name not in _OWN
    }
    return {
        "type": "object",
        "properties": {
            "id": {"type": "string"},
            **properties,
            "meta": META,
            "resourceType": {"type": "string", "const": type_.kind},
        },
        "required": ["id", "meta", "resourceType"],
        "additionalProperties": False,
    }


def of_created(type_: ResourceType) -> Json:
    """Return a resource in the response to its creation, with its generated secrets."""
    response = of_response(type_)
    secrets = [name for name, secret in type_.secrets.items() if secret.generated]
    if not secrets:
        return response
    generated = {"type": "string", "description": "Generated, and shown in this response only."}
    properties = {**response["properties"], **dict.fromkeys(secrets, generated)}
    markers = {f"_{name}": properties.pop(f"_{name}") for name in secrets}
    return {
        **response,
        "properties": properties,
        "patternProperties": {f"^{name}$": schema for name, schema in markers.items()},
    }


def example(type_: ResourceType) -> Json:
    """Return a body of the fields that have an example."""
    by_name = _by_name(type_.schema).items()
    return {name: field.metadata["examples"][0] for name, field in by_name if "examples" in field.metadata}


def _by_name(schema: type[WireSchema]) -> dict[str, fields.Field[Any]]:
    return {str(field.data_key): field for field in schema().fields.values()}


def _sentences(*texts: str) -> str:
    return " ".join(f"{text[0].upper()}{text[1:].removesuffix('.')}." for text in texts)


def _choices(field: fields.Field[Any]) -> Json:
    choices = [choice for rule in field.validators if isinstance(rule, validate.OneOf) for choice in rule.choices]
    return {"enum": choices} if choices else {}


def _with_default(schema: Json, load_default: Any) -> Json:
    """Return the schema with its default as prose."""
    rest = {name: value for name, value in schema.items() if name != "default"}
    default = schema.get("default", load_default)
    if default is missing:
        return rest
    shown = default if isinstance(default, str) else json.dumps(default)
    texts = [text for text in (rest.get("description"), f"the default is {shown}") if text]
    return {**rest, "description": _sentences(*texts)}


def _pattern(rule: str) -> Json:
    if rule.startswith(_ANY):
        return {"maxLength": int(rule.rpartition(",")[2].rstrip("}"))}
    portable = _BEYOND_FFFF.sub("", rule.replace(_SURROGATES, ""))
    # The anchors must apply to each alternative.
    return {"pattern": f"^(?:{portable})$" if "|" in portable else f"^{portable}$"}


def _or_null(schema: Mapping[str, Any]) -> Json:
    if "const" in schema:
        rest = {name: value for name, value in schema.items() if name != "const"}
        return {"enum": [schema["const"], None], **rest}
    nullable = {**schema, "type": [schema["type"], "null"]} if "type" in schema else dict(schema)
    return {**nullable, "enum": [*schema["enum"], None]} if "enum" in schema else nullable
