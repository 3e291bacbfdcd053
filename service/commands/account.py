"""``s3-signer account``: list, get, put and delete accounts."""

import argparse
import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from service.commands import output, standard_input
from service.commands.local import Local, opened, require_store, require_usable
from service.errors import Invalid, MalformedBody, ResourceNotFound
from service.mounted_files import UnusableFile, read_file
from service.resources.schemas import ParsedBody
from service.resources.types import AWS_ACCOUNT
from service.settings import Settings
from service.stores.record import Resource
from service.web.formats import codec

CHANGES = frozenset({"put", "delete"})
EXIT_INCOMPLETE = 1


def run(settings: Settings, arguments: argparse.Namespace) -> int:
    """Carry out one verb, and print the account or the accounts. Return 1 if some may be missing, else 0.

    Raises:
        ServiceError: as the HTTP API answers.
        SettingsError: if no other process shares the store.
    """
    is_change = arguments.verb in CHANGES
    require_store(settings, bundle=not is_change)
    body = _read_body(arguments.file, settings.max_body) if arguments.verb == "put" else None
    if arguments.verb == "list":
        accounts, problem = asyncio.run(_list(settings))
        status = output.print_data(accounts, arguments.format)
        output.print_problems([problem])
        return EXIT_INCOMPLETE if problem else status
    return output.print_data(asyncio.run(_carry_out(settings, arguments, body)), arguments.format)


async def _list(settings: Settings) -> tuple[list[Mapping[str, Any]], str]:
    """Return the accounts, and why some may be missing."""
    async with opened(settings) as local:
        problem = await local.find_accounts()
        return [AWS_ACCOUNT.represent(resource) async for resource in local.accounts()], problem


async def _carry_out(settings: Settings, arguments: argparse.Namespace, body: ParsedBody | None) -> Mapping[str, Any]:
    async with opened(settings, audited=arguments.verb in CHANGES) as local:
        if faults := AWS_ACCOUNT.id_faults(arguments.id):
            raise Invalid(*faults)
        await require_usable(local.store, AWS_ACCOUNT.kind, arguments.id)
        if body:
            return await _put(local, arguments.id, body)
        if arguments.verb == "delete":
            return await _delete(local, arguments.id)
        return AWS_ACCOUNT.represent(await local.repository.read(AWS_ACCOUNT, arguments.id))


async def _put(local: Local, id_: str, body: ParsedBody) -> Mapping[str, Any]:
    local.audit.check()
    resource, created = await local.repository.put(AWS_ACCOUNT, id_, body)
    _audit(local, "create" if created else "update", "PUT", resource, fields=resource.changed)
    return AWS_ACCOUNT.represent(resource)


async def _delete(local: Local, id_: str) -> Mapping[str, Any]:
    local.audit.check()
    resource = await local.repository.delete(AWS_ACCOUNT, id_)
    if resource is None:
        raise ResourceNotFound(AWS_ACCOUNT.kind, id_)
    _audit(local, "delete", "DELETE", resource)
    return AWS_ACCOUNT.represent(resource)


def _audit(local: Local, operation: str, method: str, resource: Resource, **change: Any) -> None:
    name = f"{resource.kind}/{resource.id}"
    local.changed(operation, method, name, host=resource.fields.get("host"), **change)


def _read_body(file: str, limit: int) -> ParsedBody:
    if file == standard_input.STANDARD_INPUT:
        content = standard_input.read(limit + 1)
    else:
        try:
            content = read_file(Path(file))
        except UnusableFile as error:
            raise MalformedBody(f"{file} cannot be read: {error}") from None
    if len(content) > limit:
        raise MalformedBody(f"it is larger than {limit} bytes")
    text = codec.detect_format(content) == "yaml"
    return ParsedBody(codec.load_yaml(content) if text else codec.load_json(content), text)
