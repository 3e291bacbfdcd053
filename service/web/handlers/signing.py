"""Sign URLs to upload, download or delete an object."""

from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache, partial
from time import time

from aiohttp import hdrs, web

from service.errors import Invalid, Issue, ResourceNotFound, StoreUnavailable
from service.resources.host_rules import is_ambiguous
from service.resources.queries import DEFAULT_EXPIRATION_SECONDS, SigningQuery, UploadSchema
from service.resources.schemas import ParsedBody, Reader
from service.resources.types import AWS_ACCOUNT, AwsAccount
from service.signing.endpoint import Endpoint
from service.signing.names import name_issues
from service.signing.operations import DELETE_OBJECT, GET_OBJECT, PUT_OBJECT, Operation
from service.signing.sigv4 import amz_date
from service.telemetry.metrics import SIGNED
from service.web import target
from service.web.access import client_address, require_permission
from service.web.context import CONTEXT
from service.web.openapi.metadata import documented
from service.web.rendering import render_url
from service.web.routing import Guard, Route

_UPLOAD = Reader(UploadSchema)
_QUERY = SigningQuery(text=True)
# Stands for a key that could not be read, so that the bucket is validated too.
_ANY_KEY = "key"
_STATE_STYLE = (
    "AwsAccount.path-style is required for an account with a custom host;"
    " set it to true for MinIO, Garage or Ceph, or to false if the server reads the bucket from the host name"
)
# The names of the operations in ``params``.
_OPERATIONS = {PUT_OBJECT.name: "upload", GET_OBJECT.name: "download", DELETE_OBJECT.name: "delete"}
_UPLOAD_FIELDS = UploadSchema().names


_documented_signing = partial(
    documented,
    response="SignedUrl",
    query=SigningQuery,
    response_headers=(hdrs.CACHE_CONTROL,),
    errors=(ResourceNotFound, StoreUnavailable),
)


@_documented_signing("signUpload", "A URL to upload with PUT", request_body="Upload")
async def upload(request: web.Request) -> web.Response:
    filename, issues = _filename(request[CONTEXT].body)
    return await _sign(request, PUT_OBJECT, filename, key_field="filename", body_issues=issues)


@_documented_signing("signDownload", "A URL to download with GET")
async def download(request: web.Request) -> web.Response:
    return await _sign(request, GET_OBJECT, request.match_info["key"])


@_documented_signing("signDelete", "A URL to delete with DELETE")
async def delete(request: web.Request) -> web.Response:
    return await _sign(request, DELETE_OBJECT, request.match_info["key"])


async def _sign(
    request: web.Request,
    operation: Operation,
    key: str,
    *,
    key_field: str = "key",
    body_issues: Sequence[Issue] = (),
) -> web.Response:
    context = request[CONTEXT]
    app = context.app
    account_id, bucket = request.match_info["account"], request.match_info["bucket"]
    expires_in, issues = _expiration(context.query, _UPLOAD_FIELDS if operation is PUT_OBJECT else ())
    names = name_issues(bucket, key, key_expression=key_field)
    if issues or names or body_issues or not AWS_ACCOUNT.is_id(account_id):
        raise Invalid(*issues, *AWS_ACCOUNT.id_faults(account_id), *names, *body_issues)
    # Policies are evaluated first, because a caller without permission must not learn whether an account exists.
    if not context.caller.unlimited:
        params = {
            "operation": _OPERATIONS[operation.name],
            "account": account_id,
            "bucket": bucket,
            "key": key,
            "expiration": expires_in,
        }
        await require_permission(request, params)
    account = app.repository.model(AWS_ACCOUNT, await app.repository.read(AWS_ACCOUNT, account_id))
    if not context.caller.unlimited and is_ambiguous(account):
        raise Invalid(Issue(_STATE_STYLE, "AwsAccount.path-style"))
    endpoint = await app.presigner.endpoint(account, bucket)
    now = int(time())
    url = app.presigner.sign(account, operation, endpoint, key=key, at=now, expires_in=expires_in)
    _audit(request, operation, account, endpoint, key=key, at=now, expires_in=expires_in)
    return render_url(request, url)


def _audit(
    request: web.Request,
    operation: Operation,
    account: AwsAccount,
    endpoint: Endpoint,
    *,
    key: str,
    at: int,
    expires_in: int,
) -> None:
    """Audit and count a URL. Raises AuditUnavailable; the URL must not be returned then."""
    context = request[CONTEXT]
    context.app.audit.signed(
        caller=context.caller.name,
        address=client_address(request),
        policy=context.policy,
        operation=operation.name,
        method=operation.method,
        account=account.id,
        access_key_id=account.access_key_id or "",
        host=endpoint.host,
        style=endpoint.style,
        path_prefix=endpoint.prefix,
        bucket=request.match_info["bucket"],
        key=key,
        signed_at=amz_date(at),
        expiration=expires_in,
        request_id=context.request_id,
    )
    SIGNED[operation.name,].inc()


def _filename(body: ParsedBody) -> tuple[str, Sequence[Issue]]:
    try:
        return _UPLOAD.read(body)["filename"], ()
    except Invalid as error:
        return _ANY_KEY, error.issues


def _expiration(query: Mapping[str, str], fields: Collection[str]) -> tuple[int, Sequence[Issue]]:
    if not query:
        return DEFAULT_EXPIRATION_SECONDS, ()
    given = target.reject_unknown_parameters(query, "expiration", fields=fields).get("expiration")
    if given is None:
        return DEFAULT_EXPIRATION_SECONDS, ()
    try:
        return _seconds(given), ()
    except Invalid as error:
        return DEFAULT_EXPIRATION_SECONDS, error.issues


# A schema takes as long as a signature, and clients use few different expirations.
@lru_cache(maxsize=256)
def _seconds(text: str) -> int:
    seconds: int = _QUERY.read({"expiration": text})["expiration"]
    return seconds


_BUCKET = "/aws/storage/{account:[^/]+}/{bucket:[^/]+}"
_KEY = _BUCKET + r"/{key:[\s\S]*}"

ROUTES = (
    Route(hdrs.METH_GET, _KEY, download, guard=Guard.HANDLER, operation=GET_OBJECT.name),
    Route(hdrs.METH_DELETE, _KEY, delete, guard=Guard.HANDLER, operation=DELETE_OBJECT.name),
    Route(hdrs.METH_POST, _BUCKET, upload, guard=Guard.HANDLER, operation=PUT_OBJECT.name),
)
