"""Build the OpenAPI document from routes, metadata of their handlers, and schemas. Loaded on first use.

Source: https://spec.openapis.org/oas/v3.1.1
"""

import re
from collections.abc import Iterable, Sequence
from http import HTTPStatus
from urllib.parse import quote

import service
from service import errors
from service.access.types import RESOURCE_TYPES
from service.resources.types import ResourceType
from service.web.formats import codec
from service.web.formats.media import DEFAULT_TYPES, FORM, JSON_PATCH, MERGE_PATCH, RESPONSE_TYPES
from service.web.openapi import json_schema
from service.web.openapi.examples import EXAMPLES
from service.web.openapi.json_schema import Json
from service.web.openapi.metadata import Metadata, metadata_of
from service.web.openapi.parameters import HEADERS, PARAMETERS, PATH_PARAMETERS, SECURITY_SCHEMES
from service.web.openapi.responses import ERRORS, SUCCESSES, ErrorResponse
from service.web.openapi.schemas import SCHEMAS, bundle, reference
from service.web.openapi.texts import INTRODUCTION, NOUNS, TAGS, tag_of
from service.web.outcome import outcome
from service.web.routing import Guard, Route

_VERSION = "3.1.1"
# Errors of every route, of routes with negotiation, and of routes with a body.
_COMMON_ERRORS = (errors.InvalidRequest, errors.Forbidden, errors.Internal)
_NEGOTIATION_ERRORS = (errors.NotAcceptable, errors.Invalid)
_BODY_ERRORS = (errors.MalformedBody, errors.BodyTooLarge, errors.UnsupportedMediaType)
_AUTHENTICATION_ERRORS = (errors.Unauthenticated, errors.Throttled)
_COMMON_HEADERS = ("X-Request-Id", "X-Duration")
_WITHOUT_CONTENT = frozenset({HTTPStatus.FOUND, HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED})
_WITH_LOCATION = frozenset({HTTPStatus.FOUND, HTTPStatus.CREATED})
# aiohttp spells ETag as Etag.
_HEADERS = {name.lower(): name for name in HEADERS}
_VARIABLE = re.compile(r"\{(\w+)\}")
# Other names of JSON and YAML: the example of the usual names is enough.
_OTHER_SPELLINGS = RESPONSE_TYPES.keys() - DEFAULT_TYPES.values()
# The same routes for FHIR clients, which the introduction describes.
_ALIAS = "/fhir"


def document(routes: Sequence[Route], *, server: str) -> Json:
    """Return the document for these routes, as plain data. ``server`` is the base URL of their paths."""
    paths: Json = {}
    patterns = {route.pattern for route in routes}
    for route in routes:
        is_alias = route.pattern.startswith(_ALIAS) and route.pattern.removeprefix(_ALIAS) in patterns
        if route.in_document and not is_alias:
            paths.setdefault(route.pattern, {})[route.method.lower()] = _operation(route, server)
    return {
        "openapi": _VERSION,
        "info": {
            "title": "s3-signer",
            "version": service.__version__,
            "description": INTRODUCTION,
            "contact": {"name": "The maintainers of s3-signer"},
            "license": {"name": "MIT License", "identifier": "MIT"},
        },
        "servers": [{"url": server}],
        "externalDocs": {"description": "Open the console", "url": f"{server.rstrip('/')}/"},
        # Tools that know one way take the first.
        "security": [*({name: []} for name in SECURITY_SCHEMES), {}],
        "tags": [{"name": tag.name, "description": tag.description} for tag in TAGS],
        "paths": paths,
        "components": {
            "schemas": {**SCHEMAS, **_resource_schemas()},
            "responses": {error.name: _error(error) for error in ERRORS.values()},
            "examples": {
                **{name: {"value": value} for name, value in EXAMPLES.items()},
                **{error.name: {"value": outcome(error.example)} for error in ERRORS.values()},
            },
            "parameters": PARAMETERS,
            "headers": HEADERS,
            "securitySchemes": SECURITY_SCHEMES,
        },
    }


def _resource_schemas() -> Json:
    schemas: Json = {}
    for type_ in RESOURCE_TYPES:
        body = json_schema.of_request(type_)
        whole = json_schema.complete(type_, body)
        schemas |= {
            type_.kind: json_schema.of_response(type_),
            f"{type_.kind}Created": json_schema.of_created(type_),
            f"{type_.kind}Bundle": bundle(type_.kind),
            f"{type_.kind}Patch": body,
            f"{type_.kind}Replacement": whole,
            f"{type_.kind}New": json_schema.with_id(whole, required=False),
            f"{type_.kind}WithId": json_schema.with_id(whole, required=True),
        }
    return schemas


def _error(error: ErrorResponse, *, oauth: bool = False) -> Json:
    example = "" if oauth else error.name
    return {
        "description": error.causes,
        "headers": _headers(error.headers),
        "content": _content(RESPONSE_TYPES, "OAuthError" if oauth else "OperationOutcome", example),
    }


def _content(types: Iterable[str], schema: str, example: str) -> Json:
    """Return a body with a schema and an example, by their names. An empty name stands for no example."""
    plain: Json = {"schema": reference("schemas", schema)}
    shown = {**plain, "examples": {"example": reference("examples", example)}} if example else plain
    return {type_: plain if type_ in _OTHER_SPELLINGS else shown for type_ in types}


def _headers(names: Iterable[str]) -> Json:
    known = [_HEADERS[name.lower()] for name in (*_COMMON_HEADERS, *names)]
    return {name: reference("headers", name) for name in known}


def _operation(route: Route, server: str) -> Json:
    metadata, type_ = metadata_of(route.handler), _resource_type(route)
    names = {"kind": type_.kind, **NOUNS[type_.kind]} if type_ else {}

    def with_kind(text: str) -> str:
        return _VARIABLE.sub(lambda found: names[found[1]], text)

    body = with_kind(metadata.request_body or "")
    operation: Json = {
        "operationId": with_kind(metadata.name),
        "summary": with_kind(metadata.summary),
        "description": with_kind(metadata.description),
        "externalDocs": {
            "description": "Open this request in the console",
            "url": f"{server.rstrip('/')}/#/requests?text={quote(_request(route, type_, body), safe='')}",
        },
        "tags": [tag_of(route.pattern)],
        "parameters": _parameters(route, metadata),
        "responses": _responses(route, metadata, with_kind(metadata.response or "")),
    }
    if body:
        operation["requestBody"] = _request_body(route, body)
    if route.guard is Guard.PUBLIC:
        operation["security"] = [{}]
    return operation


def _resource_type(route: Route) -> ResourceType | None:
    segments = route.pattern.split("/")
    return next((type_ for type_ in RESOURCE_TYPES if type_.kind in segments), None)


def _request(route: Route, type_: ResourceType | None, body: str) -> str:
    """Return a request as the console shows it: the method and the path, and an empty line before the body."""
    path = _VARIABLE.sub(lambda found: _path_parameter(found[1], type_)["example"], route.pattern)
    return f"{route.method} {path}" + (f"\n\n{codec.dump_yaml(EXAMPLES[body]).decode()}" if body else "")


def _path_parameter(name: str, type_: ResourceType | None) -> Json:
    parameter = PATH_PARAMETERS[name]
    return {**parameter, "example": json_schema.example(type_)["id"]} if type_ else parameter


def _parameters(route: Route, metadata: Metadata) -> list[Json]:
    in_path = [
        {"name": name, "in": "path", "required": True, **_path_parameter(name, _resource_type(route))}
        for name in _VARIABLE.findall(route.pattern)
    ]
    query = json_schema.of_query(metadata.query) if metadata.query else {}
    in_query = [
        {"name": name, "in": "query", "description": schema.pop("description"), "schema": schema}
        for name, schema in query.items()
    ]
    common = ["X-Request-Id"] if route.fixed_media_type else ["_format", "_pretty", "X-Request-Id"]
    shared = [reference("parameters", name) for name in (*metadata.request_headers, *common)]
    return [*in_path, *in_query, *shared]


def _request_body(route: Route, name: str) -> Json:
    is_patch = name.endswith("Patch")
    # For each further type, generators make the same code again, or warn.
    types = [*DEFAULT_TYPES.values(), *([MERGE_PATCH] if is_patch else []), *([FORM] if route.form else [])]
    others = [type_ for type_ in RESPONSE_TYPES if type_ not in types]
    content = _content(types, name, name)
    if is_patch:
        content |= _content([JSON_PATCH], "JsonPatch", "JsonPatch")
    return {"required": True, "description": f"The same body may be {', '.join(others)}.", "content": content}


def _responses(route: Route, metadata: Metadata, schema: str) -> Json:
    raised = [
        *_COMMON_ERRORS,
        *metadata.errors,
        *(() if route.fixed_media_type else _NEGOTIATION_ERRORS),
        *(_BODY_ERRORS if metadata.request_body else ()),
        *(() if route.guard is Guard.PUBLIC else _AUTHENTICATION_ERRORS),
    ]
    responses = {str(status): _success(status, metadata, schema) for status in metadata.statuses}
    for status in sorted({error.status for error in raised}):
        error = ERRORS[status]
        responses[str(status)] = _error(error, oauth=True) if route.oauth else reference("responses", error.name)
    return responses


def _success(status: int, metadata: Metadata, schema: str) -> Json:
    headers = [] if status == HTTPStatus.NO_CONTENT else [*metadata.response_headers]
    headers += ["Location"] if status in _WITH_LOCATION else []
    response: Json = {"description": SUCCESSES[status], "headers": _headers(headers)}
    if status not in _WITHOUT_CONTENT:
        types = metadata.media_types or RESPONSE_TYPES
        response["content"] = _content(types, schema, schema if schema in EXAMPLES else "")
    return response
