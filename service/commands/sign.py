"""``s3-signer sign``: print a presigned URL."""

import argparse
import asyncio
from collections import Counter
from collections.abc import Mapping
from time import time
from typing import Any

from service.commands import output
from service.commands.local import Local, caller, opened, require_store, require_usable
from service.errors import Invalid, Issue
from service.resources.signing_schemas.queries import SigningQuery
from service.resources.types import AWS_ACCOUNT, AwsAccount
from service.settings import Settings
from service.signing.operations import DELETE_OBJECT, GET_OBJECT, HEAD_OBJECT, PUT_OBJECT, Operation
from service.signing.url_request import UrlRequest, audit_url, check_names, limit_issues

_OPERATIONS = {it.method: it for it in (GET_OBJECT, HEAD_OBJECT, PUT_OBJECT, DELETE_OBJECT)}


def run(settings: Settings, arguments: argparse.Namespace) -> int:
    """Print the URL.

    Raises:
        ServiceError: as the HTTP API answers.
        SettingsError: if no other process shares the store.
    """
    require_store(settings, bundle=True)
    operation = _OPERATIONS[arguments.method]
    wanted = UrlRequest(
        operation,
        arguments.account,
        arguments.bucket,
        arguments.key,
        _expiration(arguments.expiration),
        _fields(operation, arguments.field),
    )
    check_names(wanted.account_id, wanted.bucket, wanted.key)
    return output.print_line(asyncio.run(_sign(settings, wanted)))


def _expiration(text: str | None) -> int | None:
    values = SigningQuery(text=True).read({} if text is None else {"expiration": text})
    expiration: int | None = values.get("expiration")
    return expiration


def _fields(operation: Operation, texts: list[str]) -> Mapping[str, Any]:
    pairs = [text.partition("=") for text in texts]
    faults = [Issue(f"--field {name} must be NAME=VALUE") for name, sign, _ in pairs if not sign]
    given = Counter(name for name, _, _ in pairs)
    faults += [Issue(f"--field {name} is given twice") for name, times in given.items() if times > 1]
    if "expiration" in given:
        faults.append(Issue("--field expiration is an option of its own: write --expiration SECONDS"))
    if faults:
        raise Invalid(*faults)
    return operation.schema(text=True).read({name: value for name, _, value in pairs})


async def _sign(settings: Settings, wanted: UrlRequest) -> str:
    async with opened(settings, audited=True) as local:
        await require_usable(local.store, AWS_ACCOUNT.kind, wanted.account_id)
        account: AwsAccount = local.repository.model(
            AWS_ACCOUNT, await local.repository.read(AWS_ACCOUNT, wanted.account_id)
        )
        return await _signed(local, account, wanted)


async def _signed(local: Local, account: AwsAccount, wanted: UrlRequest) -> str:
    expires_in = wanted.expiration or account.url_expiration
    if issues := [*limit_issues(account, wanted, expires_in)]:
        raise Invalid(*issues)
    operation, now = wanted.operation, int(time())
    endpoint = await local.presigner.endpoint(account, wanted.bucket)
    if account.borrows_keys:
        account = await local.borrowed_keys.lend(account, caller())
    bound = operation.bind(wanted.values)
    url = local.presigner.sign(account, operation, endpoint, key=wanted.key, at=now, expires_in=expires_in, bound=bound)
    audit_url(
        local.audit,
        wanted,
        (account, endpoint, expires_in, wanted.values),
        at=now,
        caller=caller(),
        address="",
        policy=None,
        request_id="",
    )
    return url
