"""Signing: the account, bucket and key of a exchange, and the URL that answers it."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from time import time

from aiohttp import hdrs

from service.errors import Invalid, Issue
from service.resources.schemas import DEFAULT_EXPIRATION_SECONDS, Reader, SigningQuery, UploadSchema
from service.resources.types import AWS_ACCOUNT
from service.signing.names import are_names, name_issues
from service.signing.operations import DELETE_OBJECT, GET_OBJECT, PUT_OBJECT, Operation
from service.signing.presigner import presigned
from service.telemetry.metrics import SIGNED
from service.web import target
from service.web.answer import Answer, respond_url
from service.web.context import Exchange
from service.web.routing import Route

_UPLOAD = Reader(UploadSchema)
_QUERY = SigningQuery(text=True)


async def upload(exchange: Exchange) -> Answer:
    _, _, account, bucket = target.segments(exchange.request, 4)
    try:
        filename = _UPLOAD.read(exchange.body)["filename"]
    except Invalid as error:
        _, faults = _expiration(exchange.query)
        # Whatever the key was to be, the bucket can be judged.
        raise Invalid(*faults, *AWS_ACCOUNT.id_faults(account), *name_issues(bucket, "k"), *error.issues) from None
    return await _sign(exchange, PUT_OBJECT, account, bucket, filename, key_field="filename")


async def download(exchange: Exchange) -> Answer:
    _, _, account, bucket, key = target.segments(exchange.request, 5)
    return await _sign(exchange, GET_OBJECT, account, bucket, key)


async def delete(exchange: Exchange) -> Answer:
    _, _, account, bucket, key = target.segments(exchange.request, 5)
    return await _sign(exchange, DELETE_OBJECT, account, bucket, key)


async def _sign(
    exchange: Exchange, operation: Operation, account_id: str, bucket: str, key: str, *, key_field: str = "key"
) -> Answer:
    expires_in, faults = _expiration(exchange.query)
    if faults or not (AWS_ACCOUNT.is_id(account_id) and are_names(bucket, key)):
        raise Invalid(*faults, *AWS_ACCOUNT.id_faults(account_id), *name_issues(bucket, key, key_expression=key_field))
    shared = exchange.shared
    resource = shared.repository.at_hand(AWS_ACCOUNT, account_id)
    if resource is None:
        resource = await shared.repository.read(AWS_ACCOUNT, account_id)
    account = AWS_ACCOUNT.model(resource)
    endpoint = shared.presigner.endpoint(account, bucket)
    if endpoint is None:
        endpoint = await shared.presigner.resolve(account, bucket)
    url = presigned(account, operation, endpoint, key=key, at=int(time()), expires_in=expires_in)
    SIGNED[operation.name,].inc()
    return respond_url(exchange, url)


def _expiration(query: Mapping[str, str]) -> tuple[int, Sequence[Issue]]:
    if not query:
        return DEFAULT_EXPIRATION_SECONDS, ()
    given = target.only(query, "expiration").get("expiration")
    try:
        return (DEFAULT_EXPIRATION_SECONDS if given is None else _seconds(given)), ()
    except Invalid as error:
        return DEFAULT_EXPIRATION_SECONDS, error.issues


# A schema takes as long as signing does, and callers use few different expirations.
@lru_cache(maxsize=256)
def _seconds(text: str) -> int:
    seconds: int = _QUERY.read({"expiration": text})["expiration"]
    return seconds


_BUCKET = "/aws/storage/{account}/{bucket}"
_KEY = _BUCKET + "/{key:path}"

ROUTES = (
    Route(hdrs.METH_GET, _KEY, download),
    Route(hdrs.METH_DELETE, _KEY, delete),
    Route(hdrs.METH_POST, _BUCKET, upload),
)
