"""A request for one URL: its names, the limits of its account, and its audit line. For HTTP and the command line."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from service.errors import Invalid, Issue
from service.resources.types import AWS_ACCOUNT, AwsAccount
from service.signing.endpoint import Endpoint
from service.signing.names import name_issues
from service.signing.operations import PUT_OBJECT, UNBOUNDED_UPLOADS, UPLOAD_FORM, Operation
from service.signing.sigv4 import amz_date
from service.telemetry.audit import AuditLog
from service.telemetry.metrics import SIGNED

# The field that bounds the size of an upload.
_SIZE_FIELDS = {PUT_OBJECT: "content-length", UPLOAD_FORM: "max-size"}


# A field of a dataclass with slots is read in a tenth of the time of a named tuple's.
@dataclass(slots=True)
class UrlRequest:
    """A valid request for one URL. ``expiration`` is None if the request has none, ``key`` if the operation has none.

    ``values`` are by wire name; the URL carries those that the operation names.
    """

    operation: Operation
    account_id: str
    bucket: str
    key: str | None
    expiration: int | None
    values: Mapping[str, Any]
    audited_key: str | None = None
    """The key in the audit log, if the browser chooses the rest of it."""


Granted = tuple[AwsAccount, Endpoint, int, Mapping[str, Any]]
"""What an authorized URL is signed with: account, endpoint, lifetime in seconds, and the values that it carries."""


def check_names(
    account_id: str,
    bucket: str,
    key: str | None,
    issues: Sequence[Issue] = (),
    *,
    key_field: str = "key",
    body_issues: Sequence[Issue] = (),
) -> None:
    """Raise Invalid with all faults of a request: ``issues`` first, and those of the body last."""
    names = name_issues(bucket, key, key_expression=key_field)
    if issues or names or body_issues or not AWS_ACCOUNT.is_id(account_id):
        raise Invalid(*issues, *AWS_ACCOUNT.id_faults(account_id), *names, *body_issues)


def limit_issues(account: AwsAccount, wanted: UrlRequest, expires_in: int) -> Iterator[Issue]:
    """Return what exceeds the limits of the account."""
    if account.max_expiration and expires_in > account.max_expiration:
        yield Issue(f"expiration is more than max-expiration of the account, {account.max_expiration}", "expiration")
    if not account.max_size:
        return
    if wanted.operation in UNBOUNDED_UPLOADS:
        yield Issue(
            f"filename cannot be uploaded in parts: S3 does not limit their sum, and max-size of the account is"
            f" {account.max_size}",
            "filename",
        )
    if field := _SIZE_FIELDS.get(wanted.operation):
        size = wanted.values.get(field)
        if size is None:
            yield Issue(f"{field} is missing, and max-size of the account needs it; or use $upload-form", field)
        elif size > account.max_size:
            yield Issue(f"{field} is more than max-size of the account, {account.max_size}", field)
    if wanted.values.get("min-size", 0) > account.max_size:
        yield Issue(f"min-size is more than max-size of the account, {account.max_size}", "min-size")


def audit_url(
    audit: AuditLog,
    wanted: UrlRequest,
    granted: Granted,
    *,
    at: int,
    caller: str,
    address: str,
    policy: str | None,
    request_id: str,
) -> None:
    """Audit and count a URL that is signed at the Unix time ``at``.

    Raises:
        AuditUnavailable: the URL must not be returned.
    """
    operation = wanted.operation
    account, endpoint, expires_in, values = granted
    audit.signed(
        caller=caller,
        address=address,
        policy=policy,
        operation=operation.name,
        method=operation.method,
        account=account.id,
        access_key_id=account.access_key_id or "",
        role=None if account.role_session is None else (account.role_arn or "", account.role_session),
        host=endpoint.host,
        style=endpoint.style,
        path_prefix=endpoint.prefix,
        bucket=wanted.bucket,
        key=wanted.audited_key or wanted.key,
        bound=operation.bound_fields(values) if values else None,
        signed_at=amz_date(at),
        expiration=expires_in,
        request_id=request_id,
    )
    SIGNED[operation.name,].inc()
