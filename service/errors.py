"""The errors of the service, as classes with an HTTP status and a FHIR code. They know no request and no format."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

RETRY_AFTER_SECONDS = 1


@dataclass(frozen=True, slots=True)
class Issue:
    """One fault: its description, and its location (``AwsAccount.host``, or the name of a query parameter)."""

    diagnostics: str
    expression: str | None = None


class ServiceError(Exception):
    """An error that a caller sees. ``status`` is the HTTP status, ``code`` a FHIR issue type.

    Source: https://hl7.org/fhir/valueset-issue-type.html
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "exception"
    oauth_error: ClassVar[str | None] = None
    """The error code of RFC 6749 (section 5.2), if it does not follow from the status."""

    headers: Mapping[str, str] = {}

    def __init__(self, *issues: Issue | str) -> None:
        self.issues = tuple(Issue(issue) if isinstance(issue, str) else issue for issue in issues)
        super().__init__("; ".join(issue.diagnostics for issue in self.issues))


def drop_tracebacks(error: BaseException) -> None:
    """Let the frames that a handled error has passed be freed at once.

    Some of them refer to the error. With its traceback they would be garbage in a cycle, which waits for a collection,
    and a collection of much garbage blocks all requests.
    """
    link: BaseException | None = error
    while link:
        link.__traceback__ = None
        link = link.__context__


class Internal(ServiceError):
    """An unexpected error. Callers see only the request id."""

    def __init__(self, request_id: str) -> None:
        super().__init__(f"Internal error; the log has details under request id {request_id}")


class DecryptionFailed(ServiceError):
    """A stored secret cannot be decrypted. Operators must repair the keys or the store; callers cannot."""

    def __init__(self, kind: str, id: str, field: str, problem: str) -> None:
        super().__init__(Issue(f"The {field} of {kind}/{id} {problem}", f"{kind}.{field}"))


class MalformedBody(ServiceError):
    """A body that cannot be parsed. ``line`` and ``column`` count from 1."""

    status, code = 400, "structure"

    def __init__(self, problem: str, line: int | None = None, column: int | None = None) -> None:
        where = "" if line is None else f" at line {line}, column {column}"
        super().__init__(f"Malformed body: {problem}{where}")


class InvalidRequest(ServiceError):
    status, code = 400, "invalid"


class Unauthenticated(ServiceError):
    """Missing or wrong credentials. The answer does not show whether the client or its secret is wrong."""

    status, code = 401, "login"


class GrantNotAllowed(Unauthenticated):
    """The credentials are right, but the Client may not use this grant type."""

    oauth_error = "unauthorized_client"

    def __init__(self, grant: str) -> None:
        super().__init__(f"The client may not log in by {grant}")


class Forbidden(ServiceError):
    status, code = 403, "forbidden"


class RouteNotFound(ServiceError):
    status, code = 404, "not-found"

    def __init__(self, path: str) -> None:
        super().__init__(f"Route {path} not found")


class ResourceNotFound(ServiceError):
    status, code = 404, "not-found"

    def __init__(self, kind: str, id: str) -> None:
        super().__init__(f"Resource {kind}/{id} not found")


class MethodNotAllowed(ServiceError):
    status, code = 405, "not-supported"

    def __init__(self, method: str, path: str, allowed: Iterable[str]) -> None:
        allow = ", ".join(sorted(allowed))
        self.headers = {"Allow": allow}
        super().__init__(f"{method} is not supported on {path}; use {allow}")


class NotAcceptable(ServiceError):
    status, code = 406, "not-supported"


class Duplicate(ServiceError):
    status, code = 409, "duplicate"

    def __init__(self, kind: str, id: str) -> None:
        super().__init__(f"Resource {kind}/{id} already exists")


class VersionConflict(ServiceError):
    status, code = 412, "conflict"

    def __init__(self, kind: str, id: str, current: str | None, *, edited: bool = False) -> None:
        state = "does not exist" if current is None else f"is at version {current}"
        if edited:
            state = f"was changed by another program after version {current}"
        super().__init__(f"Resource {kind}/{id} {state}, so the precondition of the request does not hold")


class BodyTooLarge(ServiceError):
    status, code = 413, "too-long"

    def __init__(self, limit: int) -> None:
        super().__init__(f"The body is larger than {limit} bytes")


class UnsupportedMediaType(ServiceError):
    status, code = 415, "not-supported"


class Invalid(ServiceError):
    """A parsed request is not valid: one issue for each fault."""

    status, code = 422, "invalid"


class UnsupportedGrantType(Invalid):
    oauth_error = "unsupported_grant_type"

    def __init__(self) -> None:
        super().__init__(Issue("grant_type must be client_credentials", "grant_type"))


class UnsupportedTokenType(InvalidRequest):
    """Source: https://www.rfc-editor.org/rfc/rfc7009#section-2.2.1."""

    oauth_error = "unsupported_token_type"

    def __init__(self) -> None:
        super().__init__(Issue("A JWT or a token of the root client cannot be revoked; it expires by itself", "token"))


class TokenOfAnotherClient(InvalidRequest):
    """A Client asks to revoke a token that is not its own."""

    oauth_error = "invalid_grant"

    def __init__(self) -> None:
        super().__init__(Issue("The token was issued to another client", "token"))


class Throttled(ServiceError):
    """A limit is exceeded. The client can retry after ``seconds``."""

    status, code = 429, "throttled"

    def __init__(self, problem: str, seconds: int = RETRY_AFTER_SECONDS) -> None:
        self.headers = {"Retry-After": str(seconds)}
        super().__init__(problem)


class Unavailable(ServiceError):
    """A temporary failure; the client can retry."""

    status, code = 503, "transient"
    headers: Mapping[str, str] = {"Retry-After": str(RETRY_AFTER_SECONDS)}


class Overloaded(Unavailable):
    def __init__(self) -> None:
        super().__init__("The service has too many requests in progress; try again")


class StoreUnavailable(Unavailable):
    """The store cannot be reached, or too many writers compete for one resource."""


class KeysUnavailable(Unavailable):
    """An account signs with temporary keys, and there are none that are valid. ``problem`` has no secret."""

    def __init__(self, account_id: str, problem: str, *, seconds: int) -> None:
        self.headers = {"Retry-After": str(seconds)}
        super().__init__(f"AwsAccount/{account_id} cannot sign at the moment: {problem}")


class AuditUnavailable(Unavailable):
    """The audit log cannot be written, so the operation is refused."""

    def __init__(self) -> None:
        super().__init__("The audit log cannot be written at the moment, and nothing is done without it")
