"""Signing: the account, bucket and key of a exchange, and the URL that answers it."""

from collections.abc import Awaitable, Mapping, Sequence
from functools import lru_cache, partial
from time import time
from typing import NamedTuple

from aiohttp import hdrs

from service.errors import Invalid, Issue, ResourceNotFound, StoreUnavailable
from service.resources.schemas import DEFAULT_EXPIRATION_SECONDS, Reader, SigningQuery, UploadSchema
from service.resources.types import AWS_ACCOUNT, AwsAccount
from service.signing.endpoint import Endpoint
from service.signing.names import key_problem, name_issues
from service.signing.operations import DELETE_OBJECT, GET_OBJECT, PUT_OBJECT, Operation
from service.signing.presigner import presigned
from service.signing.sigv4 import timestamp
from service.telemetry.metrics import SIGNED
from service.web import target
from service.web.access import permit
from service.web.answer import Answer, respond_url
from service.web.context import Exchange
from service.web.description import described
from service.web.routing import Guard, Route

_UPLOAD = Reader(UploadSchema)
_QUERY = SigningQuery(text=True)


class Wanted(NamedTuple):
    """What a request wants to have signed. A fault in ``key`` is told of the field ``key_field``."""

    operation: Operation
    account: str
    bucket: str
    key: str
    expires_in: int
    key_field: str = "key"


_signs = partial(
    described,
    answer="SignedUrl",
    query=SigningQuery,
    headers=(hdrs.CACHE_CONTROL,),
    errors=(ResourceNotFound, StoreUnavailable),
)


@_signs("signUpload", "A URL to upload with PUT", body="Upload")
def upload(exchange: Exchange) -> Answer | Awaitable[Answer]:
    _, _, account, bucket = target.segments(exchange.path, 4)
    expires_in, faults = _expiration(exchange.query)
    values = exchange.body.values
    filename = values.get("filename")
    # A schema takes as long as signing does, and has nothing to add to a body that has this field and no other.
    if len(values) != 1 or not isinstance(filename, str):
        try:
            filename = _UPLOAD.read(exchange.body)["filename"]
        except Invalid as error:
            # Whatever the key was to be, the bucket can be judged.
            raise Invalid(*faults, *AWS_ACCOUNT.id_faults(account), *name_issues(bucket, "k"), *error.issues) from None
    return _sign(exchange, Wanted(PUT_OBJECT, account, bucket, filename, expires_in, "filename"), faults)


@_signs("signDownload", "A URL to download with GET")
def download(exchange: Exchange) -> Answer | Awaitable[Answer]:
    _, _, account, bucket, key = target.segments(exchange.path, 5)
    expires_in, faults = _expiration(exchange.query)
    return _sign(exchange, Wanted(GET_OBJECT, account, bucket, key, expires_in), faults)


@_signs("signDelete", "A URL to delete with DELETE")
def delete(exchange: Exchange) -> Answer | Awaitable[Answer]:
    _, _, account, bucket, key = target.segments(exchange.path, 5)
    expires_in, faults = _expiration(exchange.query)
    return _sign(exchange, Wanted(DELETE_OBJECT, account, bucket, key, expires_in), faults)


def _sign(exchange: Exchange, wanted: Wanted, faults: Sequence[Issue]) -> Answer | Awaitable[Answer]:
    shared = exchange.shared
    resource = None if faults else shared.repository.at_hand(AWS_ACCOUNT, wanted.account)
    # What is at hand under an id, or known of a bucket, was judged when it was first asked for. What was never worked
    # with may have faults, which are told to those alone who may use it.
    account: AwsAccount | None = resource.decoded if resource else None
    endpoint = shared.presigner.endpoint(account, wanted.bucket) if account else None
    if account and endpoint and not key_problem(wanted.key):
        waiting = _permit(exchange, wanted)
        return _sign_later(exchange, wanted, waiting) if waiting else _signed(exchange, wanted, account, endpoint)
    names = name_issues(wanted.bucket, wanted.key, key_expression=wanted.key_field)
    if names or faults or not AWS_ACCOUNT.is_id(wanted.account):
        raise Invalid(*faults, *AWS_ACCOUNT.id_faults(wanted.account), *names)
    return _sign_later(exchange, wanted, _permit(exchange, wanted))


async def _sign_later(exchange: Exchange, wanted: Wanted, permission: Awaitable[None] | None) -> Answer:
    # First: who may not use an account is not told whether it exists.
    if permission:
        await permission
    repository = exchange.shared.repository
    account = repository.model(AWS_ACCOUNT, await repository.read(AWS_ACCOUNT, wanted.account))
    presigner = exchange.shared.presigner
    endpoint = presigner.endpoint(account, wanted.bucket) or await presigner.resolve(account, wanted.bucket)
    return _signed(exchange, wanted, account, endpoint)


def _signed(exchange: Exchange, wanted: Wanted, account: AwsAccount, endpoint: Endpoint) -> Answer:
    at = int(time())
    url = presigned(account, wanted.operation, endpoint, key=wanted.key, at=at, expires_in=wanted.expires_in)
    exchange.shared.audit.signed(
        caller=exchange.caller.name,
        policy=exchange.policy,
        operation=wanted.operation.name,
        method=wanted.operation.method,
        account=wanted.account,
        access_key_id=account.access_key_id or "",
        host=endpoint.host,
        bucket=wanted.bucket,
        key=wanted.key,
        signed_at=timestamp(at),
        expiration=wanted.expires_in,
        request_id=exchange.request_id,
    )
    SIGNED[wanted.operation.name,].inc()
    return respond_url(exchange, url)


def _permit(exchange: Exchange, wanted: Wanted) -> Awaitable[None] | None:
    """Ask policies about what will be signed, never what was sent."""
    if exchange.caller.unlimited:
        return None
    params = {
        "account": wanted.account,
        "bucket": wanted.bucket,
        "key": wanted.key,
        "expiration": wanted.expires_in,
    }
    return permit(exchange, params)


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
    Route(hdrs.METH_GET, _KEY, download, guard=Guard.HANDLER, operation=GET_OBJECT.name),
    Route(hdrs.METH_DELETE, _KEY, delete, guard=Guard.HANDLER, operation=DELETE_OBJECT.name),
    Route(hdrs.METH_POST, _BUCKET, upload, guard=Guard.HANDLER, operation=PUT_OBJECT.name),
)
