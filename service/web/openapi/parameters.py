"""Parameters, headers and security schemes of the OpenAPI document. Pure data."""

from service.signing.names import BUCKET_PATTERN, KEY_PATTERN
from service.stores.record import ID
from service.web.formats.media import RESPONSE_TYPES
from service.web.openapi.json_schema import Json
from service.web.openapi.metadata import IF_ABSENT

_TEXT: Json = {"type": "string"}
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

SECURITY_SCHEMES: dict[str, Json] = {
    "basic": {"type": "http", "scheme": "basic", "description": "The id and the secret of a Client."},
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "A token from POST /auth/token, or a JWT of the issuer that the service trusts.",
    },
}
