"""The OpenAPI document, made of routes, what their handlers are documented as, and schemas.

Loaded when it is first asked for. Source: https://spec.openapis.org/oas/v3.1.1
"""

import re
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

import service
from service import errors
from service.access.types import RESOURCE_TYPES
from service.resources.types import ResourceType
from service.web.formats.media import BODIES, FORM, MERGE_PATCH
from service.web.openapi import components, json_schema
from service.web.openapi.components import negotiated, reference
from service.web.openapi.json_schema import Json
from service.web.openapi.metadata import Description, description_of
from service.web.routing import Guard, Route

_VERSION = "3.1.1"
_ABOUT = """\
Keeps S3 accounts and hands out presigned URLs, in the idiom of Aidbox.

Bodies are YAML or JSON, both ways. In YAML every scalar is text, and the field gives it its type; null is as if the \
field were not there. An answer comes in the format that _format, Accept or the request's body asks for, else in JSON. \
Every answer of 400 or more is an OperationOutcome. GET answers HEAD as well; a method that a path does not have is a \
405."""

# What any request can meet.
_EVERYWHERE = (errors.InvalidRequest, errors.Forbidden, errors.Internal)
_NEGOTIATED = (errors.NotAcceptable, errors.Invalid)
_WITH_BODY = (errors.MalformedBody, errors.BodyTooLarge, errors.UnsupportedMediaType)
_OF_CALLERS = (HTTPStatus.UNAUTHORIZED, HTTPStatus.TOO_MANY_REQUESTS)
_TOLD = ("X-Request-Id", "X-Duration")
_BODILESS = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED, HTTPStatus.TEMPORARY_REDIRECT})
_HEADERS = {name.lower(): name for name in components.HEADERS}
_PLACE = re.compile(r"\{(\w+)\}")


def document(routes: Iterable[Route], *, server: str) -> Json:
    """The document for these routes, as plain data. ``server`` is the URL that their paths are relative to."""
    paths: Json = {}
    for route in routes:
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
            type_.kind: json_schema.of_answer(type_),
            f"{type_.kind}Created": json_schema.of_new(type_),
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
        "content": negotiated(reference("schemas", schema)),
    }


def _headers(names: Iterable[str]) -> Json:
    # aiohttp's word for one of them is Etag.
    known = [_HEADERS[name.lower()] for name in (*_TOLD, *names)]
    return {name: reference("headers", name) for name in known}


def _operation(route: Route) -> Json:
    description, kind = description_of(route.handler), _kind(route)

    def named(text: str) -> str:
        return text.replace("{kind}", kind.kind if kind else "")

    operation: Json = {
        "operationId": _operation_id(route, named(description.name)),
        "summary": named(description.summary),
        "tags": [_tag(route)],
        "parameters": _parameters(route, description),
        "responses": _responses(route, description, named(description.answer or "")),
    }
    if description.body:
        operation["requestBody"] = _request_body(route, named(description.body))
    if route.guard is Guard.PUBLIC:
        operation["security"] = []
    return operation


def _kind(route: Route) -> ResourceType | None:
    segments = route.pattern.split("/")
    return next((type_ for type_ in RESOURCE_TYPES if type_.kind in segments), None)


def _tag(route: Route) -> str:
    if kind := _kind(route):
        return kind.kind
    return "signing" if route.pattern.startswith("/aws/") else "operations"


def _operation_id(route: Route, name: str) -> str:
    return f"fhir{name[0].upper()}{name[1:]}" if route.pattern.startswith("/fhir/") else name


def _parameters(route: Route, description: Description) -> list[Json]:
    places = [
        {"name": name, "in": "path", "required": True, **components.PATH_PARAMETERS[name]}
        for name in _PLACE.findall(route.pattern)
    ]
    every = ["X-Request-Id"] if route.fixed_media_type else ["_format", "_pretty", "X-Request-Id"]
    return [
        *places,
        *(_query_parameters(description) if description.query else ()),
        *(reference("parameters", name) for name in (*description.heeds, *every)),
    ]


def _query_parameters(description: Description) -> list[Json]:
    properties: Mapping[str, Any] = json_schema.of_query(description.query) if description.query else {}
    return [{"name": name, "in": "query", "schema": schema} for name, schema in properties.items()]


def _request_body(route: Route, name: str) -> Json:
    types = [type_ for type_ in BODIES if type_ != MERGE_PATCH or name.endswith("Patch")]
    types += [FORM] if route.form else []
    return {"required": True, "content": {type_: {"schema": reference("schemas", name)} for type_ in types}}


def _responses(route: Route, description: Description, answer: str) -> Json:
    responses = {str(status): _success(status, description, answer) for status in description.statuses}
    told: list[type[errors.ServiceError]] = [*_EVERYWHERE, *description.errors]
    if not route.fixed_media_type:
        told += _NEGOTIATED
    if description.body:
        told += _WITH_BODY
    statuses = {error.status for error in told}
    if route.guard is not Guard.PUBLIC:
        statuses |= {int(status) for status in _OF_CALLERS}
    for status in sorted(statuses):
        name, meaning, headers = components.ERRORS[status]
        oauth = _error(meaning, headers, schema="OAuthError")
        responses[str(status)] = oauth if route.oauth else reference("responses", name)
    return responses


def _success(status: int, description: Description, answer: str) -> Json:
    headers = [] if status == HTTPStatus.NO_CONTENT else [*description.headers]
    if status in {HTTPStatus.CREATED, HTTPStatus.TEMPORARY_REDIRECT}:
        headers.append("Location")
    response: Json = {"description": HTTPStatus(status).phrase, "headers": _headers(headers)}
    if status not in _BODILESS:
        schema = reference("schemas", answer)
        own = {type_: {"schema": schema} for type_ in description.media}
        response["content"] = own or negotiated(schema)
    return response
