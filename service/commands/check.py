"""``s3-signer check``: say what is wrong with settings, store, clock and accounts, and what to do."""

import argparse
import asyncio
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial

from service.access.jwt.jwk import parse_jwks
from service.access.jwt.jwks import MAX_BYTES, JwksProvider
from service.commands import output
from service.commands.environment_warnings import environment_warnings
from service.commands.local import Local, caller, opened, require_usable
from service.errors import DecryptionFailed, Invalid, InvalidRequest, StoreUnavailable
from service.mounted_files import UnusableFile, read_file
from service.resources.types import AWS_ACCOUNT
from service.serving.tls import server_certificate
from service.settings import Settings, SettingsError
from service.signing.names import name_issues
from service.stores.record import Resource
from service.telemetry import tracing
from service.web.handlers.account_check import FAIL, PASS, WARN, Check, account_checks

EXIT_WRONG = 3
# Without a question to a server, the name does not matter.
ANY_BUCKET = "any-bucket"
_REPAIR = "change the server or the rights of its user"


def run(settings: Settings, arguments: argparse.Namespace) -> int:
    """Print what is wrong, and return 0 if nothing fails, else 3."""
    live = arguments.live is not None
    bucket = arguments.live if live else ANY_BUCKET
    if issues := name_issues(bucket, None):
        raise InvalidRequest(*issues)
    checks, accounts = asyncio.run(_check(settings, arguments.accounts, bucket, live=live))
    statuses = {it.status for it in checks}
    worst = next(status for status in (FAIL, WARN, PASS) if status in statuses)
    report = {"status": worst, "accounts": accounts, "checks": [output.without_empty(it._asdict()) for it in checks]}
    return output.print_data(report, arguments.format) or (EXIT_WRONG if worst == FAIL else 0)


async def _check(
    settings: Settings, ids: Sequence[str], bucket: str, *, live: bool
) -> tuple[list[Check], dict[str, int]]:
    checks = [*_settings(), *await _files(settings)]
    checked = right = 0
    async with opened(settings) as local:
        checks += [it async for it in _store(local)]
        output_ = f"this machine shows {datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
        advice = "" if live else "compare it, or use --live, which compares it with the clock of each S3 server"
        checks.append(Check("clock", PASS, output_, advice))
        try:
            if not ids and (problem := await local.find_accounts()):
                checks.append(Check("accounts", FAIL, problem, _REPAIR))
            async for id_, resource in _resources(local, ids):
                found = [it async for it in _account(local, id_, resource, bucket, live=live)]
                checked += 1
                right += not found
                checks += found
        except StoreUnavailable as error:
            checks.append(Check("accounts", FAIL, str(error), "repair the store"))
        # Only now is known what the store refuses.
        checks += [Check("store", WARN, warning, _REPAIR) for warning in local.store.warnings()]
    return checks, {"checked": checked, "right": right}


def _settings() -> Iterator[Check]:
    # Wrong settings have ended the command already.
    warnings = environment_warnings(os.environ)
    for warning in warnings:
        yield Check("settings", WARN, warning, "correct or unset it")
    if not warnings:
        yield Check("settings", PASS, "all settings are valid")


async def _files(settings: Settings) -> list[Check]:
    """Return what is wrong with files that the service reads only when it starts.

    Raises:
        SettingsError: if the service does not start with them.
    """
    if settings.tls_cert:
        server_certificate(settings)
    if tracer := tracing.Tracer.from_environment():
        await tracer.close()
    if not settings.jwt_issuer:
        return []
    try:
        path = JwksProvider.at(settings.jwt_jwks).path
    except ValueError as fault:
        raise SettingsError([f"SIGNER_JWT_JWKS {fault}"]) from None
    try:
        warnings = parse_jwks(read_file(path, limit=MAX_BYTES)).warnings if path else ()
    except UnusableFile as error:
        return [Check("key set", FAIL, f"SIGNER_JWT_JWKS cannot be used: {error}", "correct it; no JWT is accepted")]
    return [Check("key set", WARN, f"SIGNER_JWT_JWKS: {warning}", "correct the file") for warning in warnings]


async def _store(local: Local) -> AsyncIterator[Check]:
    if local.settings.store_url == "memory://":
        advice = "set SIGNER_STORE_URL to a Redis, so that accounts outlive the process"
        yield Check("store", WARN, "accounts are in the memory of the process that serves", advice)
        return
    try:
        await local.store.check()
    except StoreUnavailable as error:
        yield Check("store", FAIL, str(error), "check SIGNER_STORE_URL, the network, and the log of the server")
        return
    yield Check("store", PASS, f"{local.store.description} can be read")


async def _resources(local: Local, ids: Sequence[str]) -> AsyncIterator[tuple[str, Resource | Invalid | None]]:
    for id_ in ids:
        if AWS_ACCOUNT.is_id(id_):
            await require_usable(local.store, AWS_ACCOUNT.kind, id_)
            yield id_, await _find(local, id_)
        else:
            yield id_, None
    if not ids:
        async for resource in local.accounts():
            yield resource.id, resource


async def _find(local: Local, id_: str) -> Resource | Invalid | None:
    try:
        return await local.repository.find(AWS_ACCOUNT, id_)
    except Invalid as error:
        return error


async def _account(
    local: Local, id_: str, resource: Resource | Invalid | None, bucket: str, *, live: bool
) -> AsyncIterator[Check]:
    """Yield what is wrong with an account."""
    name = f"{AWS_ACCOUNT.kind}/{id_}"
    if resource is None:
        yield Check(name, FAIL, "there is no such account", "store it, or correct the id")
        return
    if isinstance(resource, Invalid):
        # A write of the account is refused, too.
        yield Check(name, FAIL, str(resource), "delete the key in Redis, then store the account again")
        return
    try:
        account = local.repository.model(AWS_ACCOUNT, resource)
        lend = partial(local.borrowed_keys.lend, caller=caller())
        ambient = local.settings.ambient_credentials
        async for it in account_checks(local.presigner, account, bucket, ambient=ambient, lend=lend, live=live):
            if it.status != PASS:
                yield it._replace(name=f"{name} {it.name}")
    except (Invalid, DecryptionFailed) as error:
        advice = (
            "add the key to SIGNER_ENCRYPTION_KEYS_FILE" if isinstance(error, DecryptionFailed) else "store it again"
        )
        yield Check(name, FAIL, str(error), advice)
