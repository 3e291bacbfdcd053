"""Schemas of the OpenAPI document, of bodies that are no resource. Pure data."""

from service.resources.json_patch import MAX_OPERATIONS, MAX_PATH_LENGTH
from service.resources.schemas import WireSchema
from service.resources.signing_schemas.batches import BatchSchema, WidgetRequest
from service.resources.signing_schemas.forms import FormFields
from service.resources.signing_schemas.uploads import UploadSchema
from service.signing.names import KEY_PATTERN
from service.signing.operations import OPERATIONS
from service.web.handlers.account_check import CheckRequest
from service.web.handlers.client_secrets import Rotation
from service.web.handlers.policy_explain import DescribedRequest
from service.web.handlers.token_endpoint import RevocationRequest, TokenRequest
from service.web.openapi.json_schema import Json, of_body


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
                "path": {**_TEXT, "maxLength": MAX_PATH_LENGTH},
                "from": {**_TEXT, "maxLength": MAX_PATH_LENGTH},
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
