"""OpenAPI components: schemas that are no resource, and shared parameters, headers and errors. Pure data."""

from typing import Any

from service.resources.json_patch import MAX_OPERATIONS
from service.resources.schemas import WireSchema
from service.resources.signing_schemas import BatchSchema, FormFields, UploadSchema, WidgetRequest
from service.signing.names import BUCKET_PATTERN, KEY_PATTERN
from service.signing.operations import OPERATIONS
from service.stores.record import ID
from service.web.formats.media import RESPONSE_TYPES
from service.web.handlers.account_check import CheckRequest
from service.web.handlers.client_secrets import Rotation
from service.web.handlers.policy_explain import DescribedRequest
from service.web.handlers.token_endpoint import RevocationRequest, TokenRequest
from service.web.openapi.json_schema import of_body
from service.web.openapi.metadata import IF_ABSENT

Json = dict[str, Any]


def record(required: Json, optional: Json | None = None) -> Json:
    """Return an object schema with exactly these properties."""
    return {
        "type": "object",
        "properties": {**required, **(optional or {})},
        "required": list(required),
        "additionalProperties": False,
    }


def reference(kind: str, name: str) -> Json:
    """Return a reference to a component, such as ``reference("schemas", "Upload")``."""
    return {"$ref": f"#/components/{kind}/{name}"}


def _with_key(schema: type[WireSchema], name: str) -> Json:
    body = of_body(schema)
    body["properties"][name]["pattern"] = f"^{KEY_PATTERN}$"
    return body


def _with_prefix(body: Json, name: str) -> Json:
    # An empty prefix allows any key.
    body["properties"][name]["pattern"] = f"^(?:{KEY_PATTERN})?$"
    return body


_TEXT: Json = {"type": "string"}
_CHECK_STATUS: Json = {"type": "string", "enum": ["pass", "warn", "fail"]}
_ABOUT = {"version": _TEXT, "commit": _TEXT, "python": _TEXT}

OUTCOME = record(
    {
        "resourceType": {"type": "string", "const": "OperationOutcome"},
        "id": {"type": "string", "description": "the first issue's code"},
        "text": record({"status": {"type": "string", "const": "generated"}, "div": _TEXT}),
        "issue": {
            "type": "array",
            "minItems": 1,
            "items": record(
                {"severity": {"type": "string", "const": "fatal"}, "code": _TEXT, "diagnostics": _TEXT},
                {
                    "expression": {
                        "type": "array",
                        "items": _TEXT,
                        "description": "the invalid field or query parameter",
                    }
                },
            ),
        },
    }
)

OAUTH_ERROR = {
    **OUTCOME,
    "properties": {**OUTCOME["properties"], "error": _TEXT, "error_description": _TEXT},
    "required": [*OUTCOME["required"], "error", "error_description"],
}

_URL: Json = {"url": {"type": "string", "format": "uri"}}
_DETAILS: Json = {
    "method": {"type": "string", "enum": list(dict.fromkeys(operation.method for operation in OPERATIONS))},
    "headers": {
        "type": "object",
        "additionalProperties": _TEXT,
        "description": "the client must send exactly these",
    },
    "expiration": {"type": "integer"},
    "expires-at": {
        "type": "string",
        "format": "date-time",
        "description": "the end of the URL, or of the keys that sign it if they end before it",
    },
    "warnings": {"type": "array", "items": _TEXT, "description": "why the URL ends before its expiration"},
}

_EXTENSION = record({"url": _TEXT, "valueCode": _TEXT})

SCHEMAS: dict[str, Json] = {
    "Masked": {
        **record({"extension": {"type": "array", "items": _EXTENSION}}),
        "description": "Stands for a stored secret in a response. A request that sends it back keeps the secret.",
    },
    "OperationOutcome": OUTCOME,
    "OAuthError": OAUTH_ERROR,
    "Upload": _with_key(UploadSchema, "filename"),
    "SignedUrl": record(_URL, _DETAILS),
    "Batch": of_body(BatchSchema),
    "SignedUrls": record(
        {
            "items": {
                "type": "array",
                "description": "in the order of the request",
                "items": {
                    "anyOf": [
                        reference("schemas", "SignedUrl"),
                        record({"outcome": reference("schemas", "OperationOutcome")}),
                    ]
                },
            }
        }
    ),
    "UploadForm": _with_prefix(_with_key(FormFields, "filename"), "starts-with"),
    "SignedForm": record(
        {**_URL, "fields": {"type": "object", "additionalProperties": _TEXT}},
        _DETAILS,
    ),
    "CheckRequest": of_body(CheckRequest),
    "AccountCheck": record(
        {
            "status": _CHECK_STATUS,
            "checks": {
                "type": "array",
                "items": record({"name": _TEXT, "status": _CHECK_STATUS, "output": _TEXT}, {"advice": _TEXT}),
            },
        }
    ),
    "WidgetRequest": _with_key(WidgetRequest, "key"),
    "Start": record({"name": _TEXT, "version": _TEXT, "links": {"type": "object", "additionalProperties": _TEXT}}),
    "Status": record({"status": {"type": "string", "const": "pass"}}),
    "Version": record(_ABOUT),
    "Health": record(
        {
            "status": {"type": "string", "enum": ["pass", "warn"]},
            "description": _TEXT,
            "about": record(_ABOUT),
            "checks": {"type": "object", "additionalProperties": record({"status": _CHECK_STATUS}, {"output": _TEXT})},
        }
    ),
    "TokenRequest": of_body(TokenRequest),
    "Token": record(
        {"token_type": {"type": "string", "const": "Bearer"}, "access_token": _TEXT, "expires_in": {"type": "integer"}}
    ),
    "RevocationRequest": of_body(RevocationRequest),
    "Revoked": record({}),
    "Rotation": of_body(Rotation),
    "RotatedSecret": record({"secret": _TEXT, "previous-expires": {"type": "string", "format": "date-time"}}),
    "DescribedRequest": of_body(DescribedRequest),
    "Explanation": record(
        {"allowed": {"type": "boolean"}},
        {
            "policy": _TEXT,
            "reason": _TEXT,
            "policies": {"type": "array", "items": record({"policy": _TEXT, "mismatch": _TEXT})},
        },
    ),
    "JsonPatch": {
        "type": "array",
        "items": {
            "type": "object",
            "properties": {
                "op": {"type": "string", "enum": ["add", "remove", "replace", "move", "copy", "test"]},
                "path": _TEXT,
                "from": _TEXT,
                "value": {},
            },
            "required": ["op", "path"],
        },
        "maxItems": MAX_OPERATIONS,
        "examples": [[{"op": "replace", "path": "/description", "value": "text"}]],
    },
    "CapabilityStatement": record(
        {
            "resourceType": {"type": "string", "const": "CapabilityStatement"},
            **dict.fromkeys(("status", "date", "kind", "fhirVersion"), _TEXT),
            **{name: {"type": "object"} for name in ("software", "implementation")},
            **{name: {"type": "array", "items": _TEXT} for name in ("format", "patchFormat")},
            "rest": {"type": "array", "items": {"type": "object"}},
        }
    ),
    "Text": _TEXT,
    "OpenApi": {
        "type": "object",
        "properties": {"openapi": _TEXT, "info": {"type": "object"}, "paths": {"type": "object"}},
        "required": ["openapi", "info", "paths"],
    },
}


def bundle(kind: str) -> Json:
    """Return the schema of a page of a listing."""
    relation = {"type": "string", "enum": ["first", "self", "next", "previous", "last"]}
    entry = record({"fullUrl": _TEXT, "resource": reference("schemas", kind)})
    return record(
        {
            "resourceType": {"type": "string", "const": "Bundle"},
            "type": {"type": "string", "const": "searchset"},
            "total": {"type": "integer", "minimum": 0},
            "link": {"type": "array", "items": record({"relation": relation, "url": _TEXT})},
        },
        {"entry": {"type": "array", "items": entry, "description": "absent if the request asks for the total only"}},
    )


_ID = {"type": "string", "pattern": f"^{ID.pattern}$"}

PATH_PARAMETERS: dict[str, Json] = {
    "id": {"description": "The resource's id.", "schema": _ID, "example": "my-account"},
    "account": {"description": "The AwsAccount's id.", "schema": _ID, "example": "my-account"},
    "bucket": {
        "description": "A bucket's name: no ARN and no directory bucket.",
        "schema": {"type": "string", "pattern": f"^{BUCKET_PATTERN}$"},
        "example": "my-bucket",
    },
    "key": {
        "description": "The rest of the path, percent-decoded exactly once as UTF-8. It may contain slashes."
        " 1 to 1024 bytes, no NUL, no . or .. segment.",
        "schema": {"type": "string", "pattern": f"^{KEY_PATTERN}$"},
        "example": "example.txt",
    },
}


def _parameter(name: str, location: str, description: str, schema: Json) -> Json:
    return {"name": name, "in": location, "description": description, "schema": schema}


def _header(description: str, schema: Json) -> Json:
    return {"description": description, "schema": schema, "required": True}


PARAMETERS: dict[str, Json] = {
    "_format": _parameter(
        "_format",
        "query",
        "The response's format. It overrides Accept.",
        {"type": "string", "enum": ["json", "yaml", *RESPONSE_TYPES]},
    ),
    "_pretty": _parameter("_pretty", "query", "Whether JSON is indented.", {"type": "boolean"}),
    "X-Request-Id": _parameter(
        "X-Request-Id",
        "header",
        "Taken as the request's id if it is 1 to 128 of A-Z a-z 0-9 . _ -; otherwise one is generated.",
        _TEXT,
    ),
    "If-Match": _parameter("If-Match", "header", 'The version that must be stored: W/"3", "3" or 3; * for any.', _TEXT),
    "If-None-Match": _parameter("If-None-Match", "header", "The version that the client has cached.", _TEXT),
    "If-None-Exist": _parameter(
        "If-None-Exist",
        "header",
        "The id that must not exist. If it does, nothing is created.",
        {"type": "string", "pattern": rf"^\??_id={ID.pattern}$", "examples": ["_id=my-account"]},
    ),
    IF_ABSENT: _parameter("If-None-Match", "header", "The resource must not exist.", {"type": "string", "enum": ["*"]}),
}

HEADERS: dict[str, Json] = {
    "X-Request-Id": _header("The request's id, which the log shows.", _TEXT),
    "X-Duration": _header("The duration of the request, in milliseconds.", {"type": "number"}),
    "ETag": _header("The version.", _TEXT),
    "Last-Modified": _header("The instant of the last change.", _TEXT),
    "Location": _header("The path of the resource or page.", {"type": "string", "format": "uri-reference"}),
    "Cache-Control": _header("Whether the response may be cached.", _TEXT),
    "Retry-After": _header("Seconds until the next attempt.", {"type": "integer"}),
    "WWW-Authenticate": {"description": "The supported authentication schemes.", "schema": _TEXT},
}

# By status: the name of the component, the meaning, and the headers of the response.
ERRORS: dict[int, tuple[str, str, tuple[str, ...]]] = {
    400: (
        "Malformed",
        "A malformed body or percent-encoding, an unknown or repeated query parameter, or an unsupported condition",
        (),
    ),
    401: ("Unauthenticated", "Missing or wrong credentials", ("WWW-Authenticate",)),
    403: ("Forbidden", "No policy allows the request, or the Host or Origin is foreign", ()),
    404: ("NotFound", "No such resource", ()),
    406: ("NotAcceptable", "The service supports no type that _format or Accept allows", ()),
    409: ("Duplicate", "The id exists already", ()),
    412: ("VersionConflict", "The precondition does not hold", ()),
    413: ("BodyTooLarge", "The body is larger than SIGNER_MAX_BODY, or than the limit of the route", ()),
    415: ("UnsupportedMediaType", "The Content-Type or Content-Encoding of the body is not supported", ()),
    422: ("Invalid", "The request is well-formed but invalid; the outcome has an issue for each fault", ()),
    429: ("Throttled", "A rate limit is exceeded", ("Retry-After",)),
    500: ("Internal", "An internal error; the log has details under the request's id", ()),
    503: ("StoreUnavailable", "The account store cannot be reached, or is too busy", ("Retry-After",)),
}

SECURITY_SCHEMES: dict[str, Json] = {
    "basic": {"type": "http", "scheme": "basic", "description": "A Client's id and secret."},
    "bearer": {"type": "http", "scheme": "bearer", "description": "A token from POST /auth/token, or an issuer's JWT."},
}
