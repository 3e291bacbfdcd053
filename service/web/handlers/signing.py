"""Sign URLs to upload, download, delete or list objects."""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import lru_cache, partial
from http import HTTPStatus
from typing import Any

from aiohttp import hdrs, web

from service.errors import Invalid, Issue, ResourceNotFound, StoreUnavailable
from service.resources.schemas import ParsedBody, Reader, WireSchema
from service.resources.signing_schemas.queries import DeleteObjectQuery, DownloadQuery, ListQuery, SigningQuery
from service.resources.signing_schemas.uploads import UploadSchema
from service.signing.operations import DELETE_OBJECT, GET_OBJECT, HEAD_OBJECT, LIST_OBJECTS, PUT_OBJECT, Operation
from service.signing.url_request import UrlRequest, check_names
from service.web import origin, target
from service.web.context import CONTEXT, RequestContext
from service.web.openapi.metadata import documented
from service.web.rendering import NO_STORE, render, render_url
from service.web.routing import Guard, Route
from service.web.signed_url import SignedUrl, authorize, sign, sign_url
from service.web.target import NOTHING

_UPLOAD = Reader(UploadSchema)
_QUERIES: Mapping[Operation, WireSchema] = {
    GET_OBJECT: DownloadQuery(text=True),
    DELETE_OBJECT: DeleteObjectQuery(text=True),
    LIST_OBJECTS: ListQuery(text=True),
}
_UPLOAD_QUERY = SigningQuery(text=True)
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
        return render_url(request, context, sign_url(request, context, wanted, granted))
    query, issues = read_query(context.query, _QUERIES[operation])
    check_names(account_id, bucket, key, issues)
    method = query.get("method")
    if query.get("redirect"):
        origin.check_redirect(request)
        # Most clients follow a redirect of a HEAD with a HEAD.
        method = request.method
    if method == HEAD_OBJECT.method:
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
