"""``s3-signer rekey``: re-encrypt every secret in the store with the first key, while other processes serve."""

import argparse
import asyncio
import logging
from typing import NamedTuple

from service.access.types import RESOURCE_TYPES
from service.commands import output
from service.commands.local import require_usable
from service.errors import ServiceError, StoreUnavailable
from service.mounted_files import MountedFiles
from service.parts import make_repository, make_store
from service.resources.repository import Repository
from service.resources.types import ResourceType
from service.serving.binding import StartError
from service.settings import Settings, SettingsError

logger = logging.getLogger(__name__)


class Count(NamedTuple):
    """Numbers of resources."""

    reencrypted: int
    failed: int


def run(settings: Settings, arguments: argparse.Namespace) -> int:
    """Re-encrypt all secrets and print the counts. Log and skip resources that cannot be decrypted.

    Returns 1 if a resource was skipped or may not have been found, else 0.

    Raises:
        SettingsError: if there is no key, or if the store is in memory.
        StartError: if Redis is unavailable.
    """
    if not settings.encryption_keys_file:
        raise SettingsError(["SIGNER_ENCRYPTION_KEYS_FILE is not set, so there is no key to encrypt with"])
    if settings.store_url == "memory://":
        raise SettingsError(["SIGNER_STORE_URL is memory://, which holds nothing to re-encrypt"])
    try:
        count, is_complete = asyncio.run(_rekey(settings))
    except StoreUnavailable as error:
        raise StartError(f"{error}; some secrets may be re-encrypted already, and rekey may be run again") from None
    status = output.print_data({"re-encrypted": count.reencrypted, "failed": count.failed}, arguments.format)
    return 1 if count.failed or not is_complete else status


async def _rekey(settings: Settings) -> tuple[Count, bool]:
    """Return the counts, and whether all resources were found."""
    store = make_store(settings, MountedFiles())
    await store.open()
    try:
        repository = make_repository(settings, store)
        await require_usable(store)
        are_complete, counts = [], []
        for type_ in RESOURCE_TYPES:
            if type_.secrets:
                are_complete.append(await _find_all(repository, type_))
                counts.append(await _rekey_type(repository, type_))
        # What was found on a server that has become unusable since may not be all.
        await require_usable(store)
    finally:
        await store.close()
    total = Count(sum(count.reencrypted for count in counts), sum(count.failed for count in counts))
    return total, all(are_complete)


async def _find_all(repository: Repository, type_: ResourceType) -> bool:
    if not (is_complete := await repository.complete_listing(type_)):
        logger.error(
            "Redis refuses to list every %s; those that other programs have stored may be unchanged", type_.kind
        )
    return is_complete


async def _rekey_type(repository: Repository, type_: ResourceType) -> Count:
    reencrypted = 0
    # Processes with older keys may have stored secrets meanwhile, so passes repeat until one re-encrypts nothing.
    while (count := await _rekey_once(repository, type_)).reencrypted:
        reencrypted += count.reencrypted
    return Count(reencrypted, count.failed)


async def _rekey_once(repository: Repository, type_: ResourceType) -> Count:
    reencrypted = failed = 0
    async for resource in repository.each(type_):
        try:
            reencrypted += await repository.reencrypt(type_, resource.id)
        except StoreUnavailable:
            raise
        except ServiceError as error:
            logger.error("%s/%s is unchanged: %s", type_.kind, resource.id, error)  # noqa: TRY400 - expected errors
            failed += 1
    return Count(reencrypted, failed)
