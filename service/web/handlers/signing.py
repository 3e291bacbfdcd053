"""Sign URLs to upload, download, delete or list objects."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache, partial
from http import HTTPStatus
from time import time
from typing import Any

from aiohttp import hdrs, web

from service.errors import Invalid, Issue, ResourceNotFound, StoreUnavailable
from service.resources.host_rules import is_ambiguous
from service.resources.queries import DEFAULT_EXPIRATION_SECONDS
from service.resources.schemas import ParsedBody, Reader, WireSchema
from service.resources.signing_schemas import (
    DeleteObjectQuery,
    DownloadQuery,
    ListQuery,
    SigningQuery,
    UploadSchema,
)
from service.resources.types import AWS_ACCOUNT, AwsAccount
from service.signing.endpoint import Endpoint
from service.signing.names import name_issues
from service.signing.operations import (
    DELETE_OBJECT,
    GET_OBJECT,
    HEAD_OBJECT,
    LIST_OBJECTS,
    NOTHING_BOUND,
    PUT_OBJECT,
    UNBOUNDED_UPLOADS,
    UPLOAD_FORM,
    Operation,
)
from service.signing.sigv4 import amz_date
from service.telemetry.metrics import SIGNED
from service.web import origin, target
from service.web.access import client_address, require_permission
from service.web.context import CONTEXT, RequestContext
from service.web.openapi.metadata import documented
from service.web.rendering import NO_STORE, render, render_url
from service.web.routing import Guard, Route
from service.web.target import NOTHING

_UPLOAD = Reader(UploadSchema)
_QUERIES: Mapping[Operation, WireSchema] = {
    GET_OBJECT: DownloadQuery(text=True),
    DELETE_OBJECT: DeleteObjectQuery(text=True),
    LIST_OBJECTS: ListQuery(text=True),
}
_UPLOAD_QUERY = SigningQuery(text=True)
# The field that bounds the size of an upload.
_SIZE_FIELDS = {PUT_OBJECT: "content-length", UPLOAD_FORM: "max-size"}
_STATE_STYLE = (
    "AwsAccount.path-style is required for an account with a custom host;"
    " set it to true for MinIO, Garage or Ceph, or to false if the server reads the bucket from the host name"
)


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


@dataclass(slots=True)
class SignedUrl:
    """A signed URL, with what its user may ask about it."""

    url: str
    wanted: UrlRequest
    granted: Granted
    at: int

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers that its user must send."""
        return self.wanted.operation.bind(self.granted[-1]).headers

    def details(self) -> dict[str, Any]:
        """Return the answer to a request with ``details=true``."""
        account, _, expires_in, _ = self.granted
        wanted_end = self.at + expires_in
        # A URL ends with its keys.
        end = wanted_end if account.keys_end is None else min(wanted_end, account.keys_end)
        expires_at = f"{datetime.fromtimestamp(end, UTC):%Y-%m-%dT%H:%M:%SZ}"
        details: dict[str, Any] = {
            "url": self.url,
            "method": self.wanted.operation.method,
            "headers": dict(self.headers),
            "expiration": expires_in,
            "expires-at": expires_at,
        }
        if end < wanted_end:
            details["warnings"] = [
                f"the URL ends at {expires_at}, before its expiration, because the keys of the account end"
            ]
        return details


_documented_signing = partial(
    documented,
    response="SignedUrl",
    response_headers=(hdrs.CACHE_CONTROL,),
    errors=(ResourceNotFound, StoreUnavailable),
)


@_documented_signing(
    "signUpload",
    "Sign an upload",
    description="Returns a URL to which a client sends the content of an object with PUT. A field of the body besides"
    " `filename` becomes a signed header, which the client must send exactly; `details=true` lists these headers.",
    query=SigningQuery,
    request_body="Upload",
)
async def upload(request: web.Request) -> web.Response:
    context, place = request[CONTEXT], request.match_info
    account_id, bucket = place["account"], place["bucket"]
    query, values = read_call(request, context, _UPLOAD_QUERY, _UPLOAD, _file_name)
    wanted = UrlRequest(PUT_OBJECT, account_id, bucket, values["filename"], query.get("expiration"), values)
    return _answer(request, context, await sign(request, context, wanted), query)


@_documented_signing(
    "signDownload",
    "Sign a download",
    description="Returns a URL that downloads an object with GET, or that reads its headers alone with `method=HEAD`."
    " With `redirect=true` the answer is a redirect to this URL, so it can stand in a link.",
    query=DownloadQuery,
    statuses=(200, 302),
)
async def download(request: web.Request) -> web.Response:
    return await _sign_by_query(request, GET_OBJECT, request.match_info["key"])


@_documented_signing(
    "signDelete",
    "Sign a deletion",
    description="Returns a URL. S3 deletes the object when a client sends a DELETE to it.",
    query=DeleteObjectQuery,
)
async def delete(request: web.Request) -> web.Response:
    return await _sign_by_query(request, DELETE_OBJECT, request.match_info["key"])


@_documented_signing(
    "signList",
    "Sign a listing",
    description="Returns a URL that lists the objects of a bucket with GET, as XML of S3. Keys in this XML are"
    " percent-encoded. A policy allows a listing only if it names the operation `list`.",
    query=ListQuery,
)
async def list_objects(request: web.Request) -> web.Response:
    return await _sign_by_query(request, LIST_OBJECTS, None)


async def _sign_by_query(request: web.Request, operation: Operation, key: str | None) -> web.Response:
    context, place = request[CONTEXT], request.match_info
    account_id, bucket = place["account"], place["bucket"]
    if not context.query:
        check_names(account_id, bucket, key)
        wanted = UrlRequest(operation, account_id, bucket, key, None, NOTHING)
        granted = await authorize(request, context, wanted)
        return render_url(request, context, sign_url(request, context, wanted, granted, at=int(time())))
    query, issues = read_query(context.query, _QUERIES[operation])
    check_names(account_id, bucket, key, issues)
    if query.get("redirect"):
        origin.check_redirect(request)
    if query.get("method") == HEAD_OBJECT.method:
        operation = HEAD_OBJECT
        context.operation = operation.name
    wanted = UrlRequest(operation, account_id, bucket, key, query.get("expiration"), query)
    return _answer(request, context, await sign(request, context, wanted), query)


def _answer(request: web.Request, context: RequestContext, signed: SignedUrl, query: Mapping[str, Any]) -> web.Response:
    if query.get("redirect"):
        return web.Response(status=HTTPStatus.FOUND, headers={hdrs.LOCATION: signed.url, **NO_STORE})
    if query.get("details"):
        return render(request, signed.details(), headers=NO_STORE)
    return render_url(request, context, signed.url)


async def sign(
    request: web.Request, context: RequestContext, wanted: UrlRequest, *, instead: Mapping[str, Any] = NOTHING
) -> SignedUrl:
    """Authorize, sign, audit and count one URL: ``authorize`` and ``sign_url`` in one call."""
    granted = await authorize(request, context, wanted, instead=instead)
    now = int(time())
    return SignedUrl(sign_url(request, context, wanted, granted, at=now), wanted, granted, now)


# Each look-up of a context costs as much as a call, so functions get it as an argument.
async def authorize(
    request: web.Request, context: RequestContext, wanted: UrlRequest, *, instead: Mapping[str, Any] = NOTHING
) -> Granted:
    """Return what a URL is signed with, if the policies and the account allow it.

    Policies see the parts of ``instead`` in place of those of the request.

    Raises:
        Forbidden: no policy allows it.
        Invalid: the account does not allow it.
        KeysUnavailable: the account signs with keys that cannot be had at the moment.
        ResourceNotFound: there is no such account.
    """
    app, account_id = context.app, wanted.account_id
    try:
        # None if the account is missing or invalid.
        account: AwsAccount | None = app.repository.model_if_valid(
            AWS_ACCOUNT, await app.repository.find(AWS_ACCOUNT, account_id)
        )
    except StoreUnavailable:
        account = None
    expires_in = wanted.expiration or (account.url_expiration if account else DEFAULT_EXPIRATION_SECONDS)
    if wanted.operation is UPLOAD_FORM and account and account.max_size:
        wanted = replace(wanted, values={"max-size": account.max_size, **wanted.values})
    # Policies are evaluated first, because a caller without permission must not learn whether an account exists.
    if not context.caller.unlimited:
        await require_permission(request, _params(wanted, expires_in), instead=instead)
    if account is None:
        # Raises the reason, unless the account has just been stored.
        account = app.repository.model(AWS_ACCOUNT, await app.repository.read(AWS_ACCOUNT, account_id))
    if not context.caller.unlimited and is_ambiguous(account):
        raise Invalid(Issue(_STATE_STYLE, "AwsAccount.path-style"))
    if (account.max_expiration or account.max_size) and (issues := [*limit_issues(account, wanted, expires_in)]):
        raise Invalid(*issues)
    endpoint = await app.presigner.endpoint(account, wanted.bucket)
    if account.borrows_keys:
        account = await app.borrowed_keys.lend(account, context.caller.name)
    return account, endpoint, expires_in, wanted.values


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
            yield Issue(f"{field} is missing, and max-size of the account needs it", field)
        elif size > account.max_size:
            yield Issue(f"{field} is more than max-size of the account, {account.max_size}", field)
    if wanted.values.get("min-size", 0) > account.max_size:
        yield Issue(f"min-size is more than max-size of the account, {account.max_size}", "min-size")


def _params(wanted: UrlRequest, expires_in: int) -> dict[str, Any]:
    """Return the ``params`` that policies see."""
    params = {
        "operation": wanted.operation.policy_name,
        "account": wanted.account_id,
        "bucket": wanted.bucket,
        "key": wanted.key,
        "expiration": expires_in,
    }
    return params | wanted.operation.bound_fields(wanted.values) if wanted.values else params


def sign_url(request: web.Request, context: RequestContext, wanted: UrlRequest, granted: Granted, *, at: int) -> str:
    """Sign, audit and count a URL that ``authorize`` has granted.

    Raises:
        Invalid: the account has no keys.
        AuditUnavailable: the URL must not be returned.
    """
    account, endpoint, expires_in, values = granted
    operation = wanted.operation
    bound = operation.bind(values) if values or operation.query else NOTHING_BOUND
    url = context.app.presigner.sign(
        account, operation, endpoint, key=wanted.key, at=at, expires_in=expires_in, bound=bound
    )
    audit_url(request, context, wanted, granted, at=at)
    return url


def audit_url(request: web.Request, context: RequestContext, wanted: UrlRequest, granted: Granted, *, at: int) -> None:
    """Audit and count a URL. Raises AuditUnavailable; the URL must not be returned then."""
    operation = wanted.operation
    account, endpoint, expires_in, values = granted
    context.app.audit.signed(
        caller=context.caller.name,
        address=client_address(request),
        policy=context.policy,
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
        request_id=context.request_id,
    )
    SIGNED[operation.name,].inc()


def _file_name(values: Mapping[str, Any]) -> tuple[str, str | None]:
    return "filename", values.get("filename")


def read_call(
    request: web.Request,
    context: RequestContext,
    query_schema: WireSchema,
    reader: Reader,
    key_of: Callable[[Mapping[str, Any]], tuple[str, str | None]] = lambda _: ("key", None),
) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Return the values of the query and of the body. Raises Invalid with all faults of the request.

    ``key_of`` returns the field of the body that has the key, and the key, or None for a body without one.
    """
    query, issues = read_query(context.query, query_schema, fields=reader.typed.names)
    values, body_issues = _read_body(context.body, reader)
    field, key = key_of(values)
    place = request.match_info
    check_names(place["account"], place["bucket"], key, issues, key_field=field, body_issues=body_issues)
    return query, values


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


def _read_body(body: ParsedBody, reader: Reader) -> tuple[Mapping[str, Any], Sequence[Issue]]:
    """Return the values of a body by wire name, and its faults."""
    try:
        return reader.read(body), ()
    except Invalid as error:
        return NOTHING, error.issues


def read_query(
    query: Mapping[str, str], schema: WireSchema, *, fields: Collection[str] = ()
) -> tuple[Mapping[str, Any], Sequence[Issue]]:
    """Return the values of a query by wire name, and its faults. Raises InvalidRequest for unknown parameters."""
    if not query:
        return NOTHING, ()
    given = target.reject_unknown_parameters(query, *schema.names, fields=fields)
    try:
        return _values(schema, tuple(given.items())) if given else NOTHING, ()
    except Invalid as error:
        return NOTHING, error.issues


# A schema takes as long as a signature, and clients use few different queries.
@lru_cache(maxsize=256)
def _values(schema: WireSchema, given: tuple[tuple[str, str], ...]) -> Mapping[str, Any]:
    return schema.read(dict(given))


BUCKET = "/aws/storage/{account:[^/]+}/{bucket:[^/]+}"
_KEY = BUCKET + r"/{key:[\s\S]*}"

_route = partial(Route, guard=Guard.HANDLER)
ROUTES = (
    _route(hdrs.METH_GET, _KEY, download, operation=GET_OBJECT.name),
    _route(hdrs.METH_DELETE, _KEY, delete, operation=DELETE_OBJECT.name),
    _route(hdrs.METH_POST, BUCKET, upload, operation=PUT_OBJECT.name),
    _route(hdrs.METH_GET, BUCKET, list_objects, operation=LIST_OBJECTS.name),
)
