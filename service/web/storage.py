"""Signing: the account, bucket and key of a request, and the URL that answers it."""

from collections.abc import Mapping
from functools import lru_cache
from time import time

from aiohttp import hdrs, web

from service.errors import Invalid, Issue
from service.resources.schemas import DEFAULT_EXPIRATION_SECONDS, Reader, SigningQuery, UploadSchema
from service.resources.types import AWS_ACCOUNT
from service.signing.names import name_issues
from service.signing.operations import DELETE_OBJECT, GET_OBJECT, PUT_OBJECT, Operation
from service.telemetry.metrics import SIGNED
from service.web import target
from service.web.answer import Answer, respond_url
from service.web.context import EXCHANGE
from service.web.routing import Route

_UPLOAD = Reader(UploadSchema)
_QUERY = SigningQuery(text=True)


async def upload(request: web.Request) -> Answer:
    _, _, account, bucket = target.segments(request, 4)
    try:
        filename = _UPLOAD.read(request[EXCHANGE].body)["filename"]
    except Invalid as error:
        _, faults = _expiration(request[EXCHANGE].query)
        # Whatever the key was to be, the bucket can be judged.
        faults += [*AWS_ACCOUNT.id_faults(account), *name_issues(bucket, "k")]
        raise Invalid(*faults, *error.issues) from None
    return await _sign(request, PUT_OBJECT, account, bucket, filename, key_field="filename")


async def download(request: web.Request) -> Answer:
    _, _, account, bucket, key = target.segments(request, 5)
    return await _sign(request, GET_OBJECT, account, bucket, key)


async def delete(request: web.Request) -> Answer:
    _, _, account, bucket, key = target.segments(request, 5)
    return await _sign(request, DELETE_OBJECT, account, bucket, key)


async def _sign(
    request: web.Request, operation: Operation, account_id: str, bucket: str, key: str, *, key_field: str = "key"
) -> Answer:
    exchange = request[EXCHANGE]
    expires_in, faults = _expiration(exchange.query)
    faults += AWS_ACCOUNT.id_faults(account_id)
    faults += name_issues(bucket, key, key_expression=key_field)
    if faults:
        raise Invalid(*faults)
    account = AWS_ACCOUNT.model(await exchange.shared.repository.read(AWS_ACCOUNT, account_id))
    url = await exchange.shared.presigner.presign(
        account, operation, bucket=bucket, key=key, at=int(time()), expires_in=expires_in
    )
    SIGNED[operation.name,].inc()
    return respond_url(request, url)


def _expiration(query: Mapping[str, str]) -> tuple[int, list[Issue]]:
    if not query:
        return DEFAULT_EXPIRATION_SECONDS, []
    given = target.only(query, "expiration").get("expiration")
    try:
        return (DEFAULT_EXPIRATION_SECONDS if given is None else _seconds(given)), []
    except Invalid as error:
        return DEFAULT_EXPIRATION_SECONDS, list(error.issues)


# A schema takes as long as signing does, and callers use few different expirations.
@lru_cache(maxsize=256)
def _seconds(text: str) -> int:
    seconds: int = _QUERY.read({"expiration": text})["expiration"]
    return seconds


_BUCKET = "/aws/storage/{account:[^/]+}/{bucket:[^/]+}"
_KEY = _BUCKET + r"/{key:[\s\S]*}"

ROUTES = (
    Route(hdrs.METH_GET, _KEY, download),
    Route(hdrs.METH_DELETE, _KEY, delete),
    Route(hdrs.METH_POST, _BUCKET, upload),
)
