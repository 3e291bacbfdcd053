"""What is signed in all rows: accounts, a bucket, a key; and what aiobotocore, the oracle, signs for them."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from unittest import mock
from urllib.parse import parse_qs, urlsplit

import yaml
from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession

from benchmarks.load import Request
from service.resources.types import AwsAccount
from service.signing.operations import GET_OBJECT, PUT_OBJECT, Operation

# It reads what botocore knows of S3 once, which takes longer than all that a client is asked here.
SESSION = AioSession()

BUCKET, KEY = "my-bucket", "example.txt"
DAY_SECONDS, HALF_DAY_SECONDS = 86_400, 43_200

# The example credentials of AWS' own documentation.
AMAZON = AwsAccount(
    id="my-account",
    access_key_id="AKIAIOSFODNN7EXAMPLE",
    secret_access_key="wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",  # noqa: S106
)
MINIO_HOST = "minio.example.com:9000"
MINIO = AwsAccount(
    id="minio",
    access_key_id=AMAZON.access_key_id,
    secret_access_key=AMAZON.secret_access_key,
    host=MINIO_HOST,
    path_style=True,
)


def member(number: int) -> AwsAccount:
    """One of a crowd of accounts, each with keys of its own."""
    return AwsAccount(
        id=f"account-{number}",
        access_key_id=f"AKIA{number:016}",
        secret_access_key=f"wJalrXUtnFEMI/K7MDENG/{number:018}",
    )


def fields(account: AwsAccount) -> dict[str, str]:
    """The keys as they are stored."""
    return {"access-key-id": str(account.access_key_id), "secret-access-key": str(account.secret_access_key)}


def basic(id_: str, secret: str) -> str:
    return f"Basic {base64.b64encode(f'{id_}:{secret}'.encode()).decode()}"


STORE_ACCOUNT = Request(f"/AwsAccount/{AMAZON.id}", "PUT", "application/json", json.dumps(fields(AMAZON)))
ROOT_SECRET = "a secret of the benchmarks alone"  # noqa: S105
ROOT = basic("root", ROOT_SECRET)
POLICY = {"engine": "matcho", "matcho": {"request-method": "get", "params": {"account": AMAZON.id, "key": "#^example"}}}


def stored(path: str, resource: object) -> Request:
    """The root client's request that stores a resource."""
    return Request(path, "PUT", "application/json", json.dumps(resource), authorization=ROOT)


def store_member(number: int) -> Request:
    account = member(number)
    return Request(f"/AwsAccount/{account.id}", "PUT", "application/json", json.dumps(fields(account)))


def store_policy(number: int) -> Request:
    """A policy for every caller that does not allow ``DENIED``."""
    # Half of them need the engine, unless it can be told that plain text is missing.
    key = f"#[a-z]+-{number}/" if number % 2 else f"#^team-{number}/"
    params = {"account": AMAZON.id, "key": key}
    return stored(f"/AccessPolicy/policy-{number}", {"engine": "matcho", "matcho": {"params": params}})


LISTING = Request("/AwsAccount?_count=1000")
LISTED = 1000
DENIED = Request(f"/aws/storage/{AMAZON.id}/{BUCKET}/another.txt")
MIB = 1024 * 1024
# Nearly as many values as a body may have, and as long as it may then be.
VALUES = 19_900
VALUE = "a" * (MIB // VALUES - 4)
JSON_BODY = Request("/AwsAccount", "PUT", "application/json", json.dumps({"id": [VALUE] * VALUES}))
YAML_BODY = Request("/AwsAccount", "PUT", "text/yaml", "id:\n" + f"- {VALUE}\n" * VALUES)
TEXT_BODY = Request("/AwsAccount", "PUT", "application/json", json.dumps({"id": "a" * (MIB - 10)}))

# Of 400 halves, the service holds all.
UNFINISHED_BODY = Request("/AwsAccount", "PUT", "application/json", json.dumps({"id": "a" * (MIB // 8)}))
# Nearly as long as a body may be without credentials: as many fields as fit, and what takes longest in one and in many.
HOSTILE_FORMS = tuple(
    Request("/auth/token", "POST", "application/x-www-form-urlencoded", body)
    for body in (
        "&".join(f"{number:x}" for number in range(2000)),
        "x=" + "%41" * 2700,
        "&".join(f"{number}=" + "%41" * 25 for number in range(100)),
    )
)

CLIENT = {"secret": ROOT_SECRET, "grant_types": ["client_credentials"]}
STORE_ACCESS = [
    stored(path, resource)
    for path, resource in {
        f"/AwsAccount/{AMAZON.id}": fields(AMAZON),
        "/Client/reader": CLIENT,
        "/AccessPolicy/reader": {**POLICY, "link": [{"reference": "Client/reader"}]},
    }.items()
]
TOKEN = Request(
    "/auth/token",
    "POST",
    "application/json",
    json.dumps({"grant_type": "client_credentials"}),
    authorization=basic("reader", ROOT_SECRET),
)
GET = Request(f"/aws/storage/{AMAZON.id}/{BUCKET}/{KEY}")
GET_EXPIRING = Request(f"{GET.path}?expiration={HALF_DAY_SECONDS}")
UPLOAD = Request(f"/aws/storage/{AMAZON.id}/{BUCKET}", "POST", "text/yaml", f"filename: {KEY}")
GET_FIRST = Request(f"/aws/storage/account-{{}}/{BUCKET}/{KEY}", accounts=1)
GET_ANY_OF_10_000 = replace(GET_FIRST, accounts=10_000)
GET_ANY_OF_100_000 = replace(GET_FIRST, accounts=100_000)
BATCH_ITEMS = 1000
BATCH = Request(
    f"{UPLOAD.path}/$sign",
    "POST",
    "application/json",
    json.dumps({"items": [{"filename": KEY}, *({"filename": f"example-{n}.txt"} for n in range(1, BATCH_ITEMS))]}),
)
SIGNS = {
    GET: (AMAZON, GET_OBJECT, DAY_SECONDS),
    GET_EXPIRING: (AMAZON, GET_OBJECT, HALF_DAY_SECONDS),
    UPLOAD: (AMAZON, PUT_OBJECT, DAY_SECONDS),
    BATCH: (AMAZON, GET_OBJECT, DAY_SECONDS),
    GET_FIRST: (member(1), GET_OBJECT, DAY_SECONDS),
    GET_ANY_OF_10_000: (member(1), GET_OBJECT, DAY_SECONDS),
    GET_ANY_OF_100_000: (member(1), GET_OBJECT, DAY_SECONDS),
}


class WrongAnswer(Exception):
    """An answer is not what aiobotocore signs."""


@asynccontextmanager
async def client(account: AwsAccount) -> AsyncIterator[Any]:
    """A client of aiobotocore's, of a class that is made at run time."""
    config = AioConfig(signature_version="s3v4", s3={"addressing_style": "path" if account.path_style else "virtual"})
    async with SESSION.create_client(
        "s3",
        region_name=account.region,
        endpoint_url=account.host and f"http://{account.host}",
        use_ssl=False,
        aws_access_key_id=account.access_key_id,
        aws_secret_access_key=account.secret_access_key,
        config=config,
    ) as opened:
        yield opened


def check(request: Request, answer: bytes) -> None:
    """Raise WrongAnswer unless the answer has exactly the URL that aiobotocore signs for the same instant.

    Of a batch, all items must have a URL, and the first is compared.
    """
    account, operation, expires_in = SIGNS[request]
    body = yaml.safe_load(answer)
    items = body.get("items", [body])
    if wrong := next((item for item in items if set(item) != {"url"}), None):
        raise WrongAnswer(f"{request.method} {request.path} answers {wrong}")
    check_url(account, operation, expires_in, items[0]["url"])


def check_url(account: AwsAccount, operation: Operation, expires_in: int, url: str) -> None:
    """The same for a URL alone."""
    (date,) = parse_qs(urlsplit(url).query)["X-Amz-Date"]
    instant = datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    expected = asyncio.run(_presigned(account, operation, expires_in, instant))
    if url != expected:
        raise WrongAnswer(f"The URL is\n{url}\nand aiobotocore's is\n{expected}")


async def _presigned(account: AwsAccount, operation: Operation, expires_in: int, instant: datetime) -> str:
    with mock.patch("botocore.auth.get_current_datetime", return_value=instant):
        async with client(account) as opened:
            params = {"Bucket": BUCKET, "Key": KEY}
            url: str = await opened.generate_presigned_url(operation.name, Params=params, ExpiresIn=expires_in)
            return url
