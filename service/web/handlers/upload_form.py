"""Sign forms with which a browser uploads a file."""

from collections.abc import Mapping
from time import time
from typing import Any

from aiohttp import hdrs, web

from service.errors import ResourceNotFound, StoreUnavailable
from service.resources.schemas import Reader
from service.resources.signing_schemas.forms import FILE_NAME_VARIABLE, FormFields
from service.resources.signing_schemas.queries import SigningQuery
from service.signing.operations import UPLOAD_FORM
from service.signing.url_request import UrlRequest, audit_url
from service.web.access import client_address
from service.web.context import CONTEXT
from service.web.handlers.signing import BUCKET, read_call
from service.web.openapi.metadata import documented
from service.web.rendering import NO_STORE, render
from service.web.routing import Guard, Route
from service.web.signed_url import SignedUrl, authorize

_FORM = Reader(FormFields)
_QUERY = SigningQuery(text=True)


@documented(
    "signUploadForm",
    "Sign an upload form",
    description="Returns the URL and the fields of an HTML form with which a browser uploads a file. S3 enforces the"
    " limits of size and, with `starts-with`, of the key.",
    response="SignedForm",
    query=SigningQuery,
    request_body="UploadForm",
    response_headers=(hdrs.CACHE_CONTROL,),
    errors=(ResourceNotFound, StoreUnavailable),
)
async def sign_form(request: web.Request) -> web.Response:
    context, place = request[CONTEXT], request.match_info
    account_id, bucket = place["account"], place["bucket"]
    query, given = read_call(request, context, _QUERY, _FORM, _key_of)
    values = dict(given)
    key, prefix = values.pop("filename", None), values.pop("starts-with", None)
    if key is None:
        values["key-prefix"] = prefix
    audited_key = f"{prefix}{FILE_NAME_VARIABLE}" if key is None else key
    wanted = UrlRequest(UPLOAD_FORM, account_id, bucket, key, query.get("expiration"), values, audited_key)
    account, endpoint, expires_in, carried = granted = await authorize(request, context, wanted)
    now = int(time())
    url, fields = context.app.presigner.sign_form(
        account,
        endpoint,
        bucket=bucket,
        key=key,
        values=carried,
        at=now,
        expires_in=expires_in,
    )
    audit_url(
        context.app.audit,
        wanted,
        granted,
        at=now,
        caller=context.caller.name,
        address=client_address(request),
        policy=context.policy,
        request_id=context.request_id,
    )
    form = {"url": url, "fields": fields}
    if query.get("details"):
        form |= SignedUrl(url, wanted, granted, now).details()
    return render(request, form, headers=NO_STORE)


def _key_of(values: Mapping[str, Any]) -> tuple[str, str | None]:
    if (key := values.get("filename")) is not None:
        return "filename", key
    # An empty beginning of a key is no name, but valid.
    return "starts-with", values.get("starts-with") or None


ROUTES = (Route(hdrs.METH_POST, f"{BUCKET}/$upload-form", sign_form, guard=Guard.HANDLER, operation=UPLOAD_FORM.name),)
