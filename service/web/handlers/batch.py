"""Sign many URLs in one request, and the requests of upload widgets."""

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from aiohttp import hdrs, web

from service.errors import (
    AuditUnavailable,
    Forbidden,
    Invalid,
    Issue,
    ResourceNotFound,
    ServiceError,
    StoreUnavailable,
    Unavailable,
)
from service.resources.schemas import ParsedBody, Reader, WireSchema
from service.resources.signing_schemas.batches import BatchSchema, WidgetRequest, item_schema
from service.resources.signing_schemas.queries import DetailsQuery
from service.signing.names import name_issues
from service.signing.operations import OPERATIONS, Operation
from service.signing.url_request import UrlRequest
from service.stores.pacing import paced
from service.web import target
from service.web.audit import audit_denial
from service.web.context import CONTEXT, RequestContext
from service.web.handlers.signing import BUCKET, read_call
from service.web.openapi.metadata import documented
from service.web.outcome import outcome
from service.web.rendering import NO_STORE, ItemsRenderer, render
from service.web.routing import Guard, Route
from service.web.signed_url import SignedUrl, sign

MAX_BATCH_BODY = 4 * 1024 * 1024
# Longer fields are read again for each item.
_MAX_CACHED_TEXT = 256

_BATCH, _WIDGET = Reader(BatchSchema), Reader(WidgetRequest)
_DETAILS = DetailsQuery(text=True)
# Items name operations as S3 does: by the method, and by whether they belong to a multipart upload.
_OPERATIONS: Mapping[tuple[str, bool], Operation] = {
    (operation.method, "upload-id" in operation.parameters): operation for operation in OPERATIONS if operation.has_key
}
_METHODS = tuple(dict.fromkeys(method for method, _ in _OPERATIONS))
_ITEMS: Mapping[Operation, Reader] = {
    operation: Reader(item_schema(operation.schema)) for operation in _OPERATIONS.values()
}
# The method of a request for one such URL to this service.
_REQUEST_METHODS = {"GET": "get", "HEAD": "get", "DELETE": "delete"}
# Issues are for the widget's own names. ``max-expiration`` is a name of the account.
_WIDGET_NAMES = {
    "method": "method",
    "key": "filename",
    "contentType": "content-type",
    "uploadId": "upload-id",
    "partNumber": "part-number",
    "expiresIn": "expiration",
}


@documented(
    "signMany",
    "Sign many requests at once",
    description="Takes up to 1000 items, and answers in their order with the URL of each, or with the outcome of an"
    " item that fails. Each item is authorized, audited and counted as if it were requested alone.",
    response="SignedUrls",
    query=DetailsQuery,
    request_body="Batch",
    response_headers=(hdrs.CACHE_CONTROL,),
    errors=(ResourceNotFound, StoreUnavailable),
)
async def sign_many(request: web.Request) -> web.Response:
    context = request[CONTEXT]
    query, body = read_call(request, context, _DETAILS, _BATCH)
    items = body["items"]
    answers = ItemsRenderer(request)
    async for item in paced(items):
        answer = await _answer(request, ParsedBody(item, context.body.text))
        if not isinstance(answer, SignedUrl):
            answers.add(answer)
        elif query.get("details"):
            answers.add(answer.details())
        else:
            answers.add_url(answer.url)
    return answers.response(headers=NO_STORE)


@documented(
    "signRequest",
    "Sign a request of Uppy",
    description="Takes the request object of `@uppy/aws-s3` with its own names, also the steps of an upload in parts,"
    " and answers as Uppy's `signRequest` expects it.",
    response="SignedUrl",
    query=DetailsQuery,
    request_body="WidgetRequest",
    response_headers=(hdrs.CACHE_CONTROL,),
    errors=(ResourceNotFound, StoreUnavailable),
)
async def sign_request(request: web.Request) -> web.Response:
    context = request[CONTEXT]
    query, body = read_call(request, context, _DETAILS, _WIDGET)
    wanted = {name: value for name, value in body.items() if value != ""}
    try:
        signed = await _sign(request, ParsedBody({_WIDGET_NAMES[name]: wanted[name] for name in wanted}, text=False))
    except Invalid as error:
        raise Invalid(*map(_widget_issue, error.issues)) from None
    if query.get("details"):
        return render(request, signed.details(), headers=NO_STORE)
    headers = signed.headers
    return render(request, {"url": signed.url, **({"headers": headers} if headers else {})}, headers=NO_STORE)


async def _answer(request: web.Request, item: ParsedBody) -> SignedUrl | Mapping[str, Any]:
    """Return the URL of one item, or the answer without one. Raises Unavailable, which concerns all items."""
    try:
        return await _sign(request, item)
    except Unavailable:
        raise
    except ServiceError as error:
        return {"outcome": _outcome(request, error)}


def _outcome(request: web.Request, error: ServiceError) -> Mapping[str, Any]:
    reported = audit_denial(request, error) if isinstance(error, Forbidden) else error
    if isinstance(reported, AuditUnavailable):
        raise reported from None
    return outcome(reported)


async def _sign(request: web.Request, item: ParsedBody) -> SignedUrl:
    context = request[CONTEXT]
    wanted = _read_item(request.match_info["account"], request.match_info["bucket"], item)
    context.operation, context.params = wanted.operation.name, target.NOTHING
    return await sign(request, context, wanted, instead=_single_request(context, wanted, item))


def _single_request(context: RequestContext, wanted: UrlRequest, item: ParsedBody) -> Mapping[str, Any]:
    """Return the request that policies see: the one that asks for this URL alone."""
    method = _REQUEST_METHODS.get(wanted.operation.method, "post")
    base = context.route.path.partition("/aws/storage/")[0]
    bucket = f"{base}/aws/storage/{wanted.account_id}/{wanted.bucket}"
    if method != "post":
        return {"request-method": method, "uri": f"{bucket}/{wanted.key}", "body": {}}
    body = {name: value for name, value in item.values.items() if name not in {"method", "expiration"}}
    return {"request-method": method, "uri": bucket, "body": body}


def _read_item(account_id: str, bucket: str, item: ParsedBody) -> UrlRequest:
    """Return the request of one item. Raises Invalid with all its faults."""
    given = item.values
    operation = _operation(given)
    reader = _ITEMS[operation]
    key, expiration, values = _read_fields(operation, reader.text if item.text else reader.typed, given)
    if issues := name_issues(bucket, key, key_expression="filename"):
        raise Invalid(*issues)
    return UrlRequest(operation, account_id, bucket, key, expiration, values)


def _operation(item: Mapping[str, Any]) -> Operation:
    method, in_parts = item.get("method"), item.get("upload-id") is not None
    key = ("GET" if method is None else method, in_parts)
    operation = _OPERATIONS.get(key) if isinstance(key[0], str) else None
    issues = [*_contradictions(item, operation)]
    if issues or operation is None:
        raise Invalid(*issues)
    return operation


def _contradictions(item: Mapping[str, Any], operation: Operation | None) -> Iterator[Issue]:
    method, in_parts = item.get("method"), item.get("upload-id") is not None
    if operation is None:
        if isinstance(method, str) and method in _METHODS:
            yield Issue(f"upload-id cannot be sent with method {method}; leave it out", "upload-id")
        else:
            yield Issue(f"method must be {', '.join(_METHODS)}, in capitals", "method")
        return
    if item.get("part-number") is not None and not in_parts:
        yield Issue("part-number needs upload-id, which is missing", "part-number")
    elif item.get("part-number") is not None and "part-number" not in operation.parameters:
        yield Issue(f"part-number cannot be sent with method {operation.method}, only with PUT", "part-number")


def _read_fields(
    operation: Operation, schema: WireSchema, item: Mapping[str, Any]
) -> tuple[str, int | None, Mapping[str, Any]]:
    """Return the key, the expiration and what the URL carries. Items mostly differ in their ``filename`` alone."""
    filename = item.get("filename")
    others = tuple(pair for pair in item.items() if pair[0] != "filename")
    # Other types can be equal without being the same: true, 1 and 1.0.
    is_plain = all(type(value) is int or (type(value) is str and len(value) <= _MAX_CACHED_TEXT) for _, value in others)
    if isinstance(filename, str) and is_plain and len(others) <= len(schema.names):
        return filename, *_read_others(operation, schema, others)
    values = schema.read(item)
    return values["filename"], values.get("expiration"), operation.bound_fields(values)


@lru_cache(maxsize=256)
def _read_others(
    operation: Operation, schema: WireSchema, others: tuple[tuple[str, Any], ...]
) -> tuple[int | None, Mapping[str, Any]]:
    values = schema.read({**dict(others), "filename": "any"})
    return values.get("expiration"), operation.bound_fields(values)


def _widget_issue(issue: Issue) -> Issue:
    """Return an issue with the widget's names."""
    theirs = {ours: name for name, ours in _WIDGET_NAMES.items()}
    text = re.sub(rf"(?<![\w-])(?:{'|'.join(theirs)})(?![\w-])", lambda found: theirs[found[0]], issue.diagnostics)
    return Issue(text, theirs.get(issue.expression or "", issue.expression))


ROUTES = (
    Route(hdrs.METH_POST, f"{BUCKET}/$sign", sign_many, guard=Guard.HANDLER, max_body=MAX_BATCH_BODY),
    Route(hdrs.METH_POST, f"{BUCKET}/$sign-request", sign_request, guard=Guard.HANDLER),
)
