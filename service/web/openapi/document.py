"""Build the OpenAPI document from routes, metadata of their handlers, and schemas. Loaded on first use.

Source: https://spec.openapis.org/oas/v3.1.1
"""

import re
from collections.abc import Iterable
from http import HTTPStatus

import service
from service import errors
from service.access.types import RESOURCE_TYPES
from service.resources.types import ResourceType
from service.web.formats.media import DEFAULT_TYPES, FORM, JSON_PATCH, MERGE_PATCH, RESPONSE_TYPES
from service.web.openapi import components, json_schema
from service.web.openapi.components import reference
from service.web.openapi.json_schema import Json
from service.web.openapi.metadata import Metadata, metadata_of
from service.web.routing import Guard, Route

_VERSION = "3.1.1"
_ABOUT = """\
Stores S3 accounts and returns presigned URLs, in the style of Aidbox.

Requests and responses are YAML or JSON. In YAML every scalar is text, and the field determines its type. A null field \
is an absent field. The format of a response is the one that _format, Accept or the request's body names, else JSON. \
Every response of 400 or more is an OperationOutcome. Every GET route supports HEAD. A method that a path does not \
support is a 405."""

# Errors of every route, of routes with negotiation, and of routes with a body.
_COMMON_ERRORS = (errors.InvalidRequest, errors.Forbidden, errors.Internal)
_NEGOTIATION_ERRORS = (errors.NotAcceptable, errors.Invalid)
_BODY_ERRORS = (errors.MalformedBody, errors.BodyTooLarge, errors.UnsupportedMediaType)
_AUTHENTICATION_ERRORS = (errors.Unauthenticated, errors.Throttled)
_COMMON_HEADERS = ("X-Request-Id", "X-Duration")
_REDIRECTS = frozenset({HTTPStatus.FOUND, HTTPStatus.TEMPORARY_REDIRECT})
_WITHOUT_CONTENT = _REDIRECTS | {HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED}
_WITH_LOCATION = _REDIRECTS | {HTTPStatus.CREATED}
# aiohttp spells ETag as Etag.
_HEADERS = {name.lower(): name for name in components.HEADERS}
_PATH_PARAMETER = re.compile(r"\{(\w+)\}")


def document(routes: Iterable[Route], *, server: str) -> Json:
    """Return the document for these routes, as plain data. ``server`` is the base URL of their paths."""
    paths: Json = {}
    for route in routes:
        if not route.in_document:
            continue
        paths.setdefault(route.pattern, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": _VERSION,
        "info": {
            "title": "s3-signer",
            "version": service.__version__,
            "description": _ABOUT,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": server}],
        "security": [{}, *({name: []} for name in components.SECURITY_SCHEMES)],
        "tags": [{"name": name} for name in dict.fromkeys(_tag(route) for route in routes)],
        "paths": paths,
        "components": {
            "schemas": {**components.SCHEMAS, **_resource_schemas()},
            "responses": {name: _error(meaning, headers) for name, meaning, headers in components.ERRORS.values()},
            "parameters": components.PARAMETERS,
            "headers": components.HEADERS,
            "securitySchemes": components.SECURITY_SCHEMES,
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
            f"{type_.kind}Bundle": components.bundle(type_.kind),
            f"{type_.kind}Patch": body,
            f"{type_.kind}Replacement": whole,
            f"{type_.kind}New": json_schema.with_id(whole, required=False),
            f"{type_.kind}WithId": json_schema.with_id(whole, required=True),
        }
    return schemas


def _error(meaning: str, headers: Iterable[str], *, schema: str = "OperationOutcome") -> Json:
    return {
        "description": meaning,
        "headers": _headers(headers),
        "content": {type_: {"schema": reference("schemas", schema)} for type_ in RESPONSE_TYPES},
    }


def _headers(names: Iterable[str]) -> Json:
    known = [_HEADERS[name.lower()] for name in (*_COMMON_HEADERS, *names)]
    return {name: reference("headers", name) for name in known}


def _operation(route: Route) -> Json:
    metadata, type_ = metadata_of(route.handler), _resource_type(route)

    def with_kind(text: str) -> str:
        return text.replace("{kind}", type_.kind if type_ else "")

    operation: Json = {
        "operationId": _operation_id(route, with_kind(metadata.name)),
        "summary": with_kind(metadata.summary),
        "tags": [_tag(route)],
        "parameters": _parameters(route, metadata),
        "responses": _responses(route, metadata, with_kind(metadata.response or "")),
    }
    if metadata.request_body:
        operation["requestBody"] = _request_body(route, with_kind(metadata.request_body))
    if route.guard is Guard.PUBLIC:
        operation["security"] = []
    return operation


def _resource_type(route: Route) -> ResourceType | None:
    segments = route.pattern.split("/")
    return next((type_ for type_ in RESOURCE_TYPES if type_.kind in segments), None)


def _tag(route: Route) -> str:
    if type_ := _resource_type(route):
        return type_.kind
    return "signing" if route.pattern.startswith("/aws/") else "operations"


def _operation_id(route: Route, name: str) -> str:
    return f"fhir{name[0].upper()}{name[1:]}" if route.pattern.startswith("/fhir/") else name


def _parameters(route: Route, metadata: Metadata) -> list[Json]:
    in_path = [
        {"name": name, "in": "path", "required": True, **components.PATH_PARAMETERS[name]}
        for name in _PATH_PARAMETER.findall(route.pattern)
    ]
    query = json_schema.of_query(metadata.query) if metadata.query else {}
    in_query = [{"name": name, "in": "query", "schema": schema} for name, schema in query.items()]
    common = ["X-Request-Id"] if route.fixed_media_type else ["_format", "_pretty", "X-Request-Id"]
    shared = [reference("parameters", name) for name in (*metadata.request_headers, *common)]
    return [*in_path, *in_query, *shared]


def _request_body(route: Route, name: str) -> Json:
    is_patch = name.endswith("Patch")
    # For each further type, generators make the same code again, or warn.
    types = [*DEFAULT_TYPES.values(), *([MERGE_PATCH] if is_patch else []), *([FORM] if route.form else [])]
    others = [type_ for type_ in RESPONSE_TYPES if type_ not in types]
    content = {type_: {"schema": reference("schemas", name)} for type_ in types}
    if is_patch:
        content[JSON_PATCH] = {"schema": reference("schemas", "JsonPatch")}
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
        name, meaning, headers = components.ERRORS[status]
        oauth = _error(meaning, headers, schema="OAuthError")
        responses[str(status)] = oauth if route.oauth else reference("responses", name)
    return responses


def _success(status: int, metadata: Metadata, schema: str) -> Json:
    headers = [] if status == HTTPStatus.NO_CONTENT else [*metadata.response_headers]
    headers += ["Location"] if status in _WITH_LOCATION else []
    response: Json = {"description": HTTPStatus(status).phrase, "headers": _headers(headers)}
    if status not in _WITHOUT_CONTENT:
        types = metadata.media_types or RESPONSE_TYPES
        response["content"] = {type_: {"schema": reference("schemas", schema)} for type_ in types}
    return response
