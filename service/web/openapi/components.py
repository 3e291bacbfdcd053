"""OpenAPI components: schemas that are no resource, and shared parameters, headers and errors. Pure data."""

from typing import Any, NamedTuple

from service import errors
from service.resources.json_patch import MAX_OPERATIONS
from service.resources.schemas import WireSchema
from service.resources.signing_schemas.batches import BatchSchema, WidgetRequest
from service.resources.signing_schemas.forms import FormFields
from service.resources.signing_schemas.uploads import UploadSchema
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
        "id": {"type": "string", "description": "The code of the first issue."},
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
                        "description": "The invalid field or query parameter.",
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
        "description": "The headers that the client must send exactly.",
    },
    "expiration": {"type": "integer"},
    "expires-at": {
        "type": "string",
        "format": "date-time",
        "description": "The end of the URL, or of the keys that sign it if they end before it.",
    },
    "warnings": {"type": "array", "items": _TEXT, "description": "Why the URL ends before its expiration."},
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
                "description": "The answers, in the order of the request.",
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
        {
            "entry": {
                "type": "array",
                "items": entry,
                "description": "The resources of the page. Absent if the request asks for the total only.",
            }
        },
    )


_ID = {"type": "string", "pattern": f"^{ID.pattern}$"}

PATH_PARAMETERS: dict[str, Json] = {
    "id": {"description": "The id of the resource.", "schema": _ID, "example": "my-account"},
    "account": {"description": "The id of the AwsAccount.", "schema": _ID, "example": "my-account"},
    "bucket": {
        "description": "The name of a bucket. It is no ARN and no directory bucket.",
        "schema": {"type": "string", "pattern": f"^{BUCKET_PATTERN}$"},
        "example": "my-bucket",
    },
    "key": {
        "description": "The key of the object: the rest of the path, percent-decoded once as UTF-8. It may contain"
        " slashes. It has 1 to 1024 bytes, no NUL, and no . or .. segment.",
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
        "The format of the response. It overrides Accept.",
        {"type": "string", "enum": ["json", "yaml", *RESPONSE_TYPES]},
    ),
    "_pretty": _parameter("_pretty", "query", "Whether JSON is indented.", {"type": "boolean"}),
    "X-Request-Id": _parameter(
        "X-Request-Id",
        "header",
        "The id of the request, in the response and in the log: 1 to 128 of A-Z a-z 0-9 . _ -. Otherwise one is"
        " generated.",
        _TEXT,
    ),
    "If-Match": _parameter(
        "If-Match", "header", 'The version that must be stored: W/"3", "3" or 3. * stands for any version.', _TEXT
    ),
    "If-None-Match": _parameter(
        "If-None-Match",
        "header",
        "The version that the client has cached. If it is current, the answer is a 304.",
        _TEXT,
    ),
    "If-None-Exist": _parameter(
        "If-None-Exist",
        "header",
        "The id that must not exist, as _id=my-account. If it does, nothing is created.",
        {"type": "string", "pattern": rf"^\??_id={ID.pattern}$", "examples": ["_id=my-account"]},
    ),
    IF_ABSENT: _parameter(
        "If-None-Match",
        "header",
        "Sends * to demand that the resource does not exist.",
        {"type": "string", "enum": ["*"]},
    ),
}

HEADERS: dict[str, Json] = {
    "X-Request-Id": _header("The id of the request, which the log shows.", _TEXT),
    "X-Duration": _header("The duration of the request, in milliseconds.", {"type": "number"}),
    "ETag": _header("The version.", _TEXT),
    "Last-Modified": _header("The instant of the last change.", _TEXT),
    "Location": _header("The path of the resource or page.", {"type": "string", "format": "uri-reference"}),
    "Cache-Control": _header("Whether the response may be cached.", _TEXT),
    "Retry-After": _header("Seconds until the next attempt.", {"type": "integer"}),
    "WWW-Authenticate": {"description": "The supported authentication schemes.", "schema": _TEXT},
}


SUCCESSES: dict[int, str] = {
    200: "The request succeeded.",
    201: "The resource was created. Location has its path.",
    204: "The request succeeded, and the answer has no content.",
    302: "A redirect to the signed URL.",
    304: "The client has the current version.",
}


class ErrorResponse(NamedTuple):
    """A response with an error: the name of its component, its causes, its headers, and an error as an example."""

    name: str
    causes: str
    headers: tuple[str, ...]
    example: errors.ServiceError


ERRORS: dict[int, ErrorResponse] = {
    400: ErrorResponse(
        "Malformed",
        "The request is malformed: its body cannot be parsed, its path has bad percent-encoding, a query parameter is"
        " unknown or repeated, or the route does not support a condition such as If-Match.",
        (),
        errors.MalformedBody("a key without a value", 1, 9),
    ),
    401: ErrorResponse(
        "Unauthenticated",
        "Credentials are missing or wrong. WWW-Authenticate names the schemes that the service accepts.",
        ("WWW-Authenticate",),
        errors.Unauthenticated("Credentials are required"),
    ),
    403: ErrorResponse(
        "Forbidden",
        "No policy allows the request, or its Host or Origin is foreign. POST /AccessPolicy/$explain tells which policy"
        " would allow it, or why each does not.",
        (),
        errors.Forbidden("No policy allows this request"),
    ),
    404: ErrorResponse(
        "NotFound",
        "There is no such resource, such as the account of the path.",
        (),
        errors.ResourceNotFound("AwsAccount", "my-account"),
    ),
    406: ErrorResponse(
        "NotAcceptable",
        "The service supports no format that _format or Accept allows.",
        (),
        errors.NotAcceptable("Nothing that Accept allows can be sent; allow one of application/json, text/yaml"),
    ),
    409: ErrorResponse(
        "Duplicate",
        "A resource with this id exists already. Use PUT to replace it.",
        (),
        errors.Duplicate("AwsAccount", "my-account"),
    ),
    412: ErrorResponse(
        "VersionConflict",
        "If-Match or If-None-Match does not hold: someone else has changed or created the resource. Read it again.",
        (),
        errors.VersionConflict("AwsAccount", "my-account", "1795910400000000"),
    ),
    413: ErrorResponse(
        "BodyTooLarge",
        "The body is larger than SIGNER_MAX_BODY, or than the limit of the route.",
        (),
        errors.BodyTooLarge(1048576),
    ),
    415: ErrorResponse(
        "UnsupportedMediaType",
        "The Content-Type or the Content-Encoding of the body is not supported. Send JSON or YAML.",
        (),
        errors.UnsupportedMediaType(
            "A body of this Content-Type cannot be read; send it with Content-Type: application/json or"
            " Content-Type: text/yaml"
        ),
    ),
    422: ErrorResponse(
        "Invalid",
        "The request can be read, but it is not valid. The outcome has an issue for each fault, with its field.",
        (),
        errors.Invalid(
            errors.Issue("AwsAccount.path_style is not known here; did you mean path-style?", "AwsAccount.path_style")
        ),
    ),
    429: ErrorResponse(
        "Throttled",
        "Too many logins failed, or too many are in progress. Retry-After has the seconds to wait.",
        ("Retry-After",),
        errors.Throttled("Too many failed logins; try again later"),
    ),
    500: ErrorResponse(
        "Internal",
        "The service has a fault, or no key decrypts the secret. The log has details under the id of the request.",
        (),
        errors.Internal("0123456789abcdef"),
    ),
    503: ErrorResponse(
        "StoreUnavailable",
        "The store is unavailable or too busy, or the audit log cannot be written. Retry-After has the seconds to"
        " wait.",
        ("Retry-After",),
        errors.StoreUnavailable("The account store cannot be reached"),
    ),
}

SECURITY_SCHEMES: dict[str, Json] = {
    "basic": {"type": "http", "scheme": "basic", "description": "The id and the secret of a Client."},
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "A token from POST /auth/token, or a JWT of the issuer that the service trusts.",
    },
}
