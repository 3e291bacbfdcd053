"""The statuses of the OpenAPI document, and its responses with errors. Pure data."""

from typing import NamedTuple

from service import errors

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
