"""``python -m service rekey``: seal every secret in the store with the key that seals now, while others serve."""

import asyncio
import logging
from typing import NamedTuple

from service.access.types import RESOURCE_TYPES
from service.app import make_repository, make_store
from service.errors import ServiceError, StoreUnavailable
from service.resources.repository import Repository
from service.resources.types import ResourceType
from service.serving.listening import StartError
from service.settings.settings import Settings

PAGE = 250

logger = logging.getLogger(__name__)


class Count(NamedTuple):
    """How many resources were sealed anew, and how many could not be."""

    sealed: int
    failed: int


def run(settings: Settings) -> Count:
    """Seal all. What cannot be sealed is logged, and left as it is.

    Raises:
        StartError: where there is no key, no store that outlives this process, or it cannot be reached.
    """
    if not settings.encryption_keys_file:
        raise StartError("SIGNER_ENCRYPTION_KEYS_FILE is not set, and so there is no key to seal with")
    if settings.store_url == "memory://":
        raise StartError("SIGNER_STORE_URL is memory://, where nothing is stored that could be sealed")
    try:
        return asyncio.run(_rekey(settings))
    except StoreUnavailable as error:
        raise StartError(f"{error}; what was sealed until then stays sealed, and rekey may be run again") from None


async def _rekey(settings: Settings) -> Count:
    store = make_store(settings)
    await store.open()
    try:
        repository = make_repository(settings, store)
        counts = [await _rekey_type(repository, type_) for type_ in RESOURCE_TYPES if type_.secrets]
    finally:
        await store.close()
    return Count(sum(count.sealed for count in counts), sum(count.failed for count in counts))


async def _rekey_type(repository: Repository, type_: ResourceType) -> Count:
    sealed = 0
    # Where others delete meanwhile, a page may begin too late: only one that finds nothing to do is the last.
    while (count := await _once(repository, type_)).sealed:
        sealed += count.sealed
    return Count(sealed, count.failed)


async def _once(repository: Repository, type_: ResourceType) -> Count:
    sealed = failed = offset = 0
    while resources := (await repository.page(type_, offset=offset, count=PAGE)).resources:
        for resource in resources:
            try:
                sealed += await repository.reencrypt(type_, resource.id)
            except StoreUnavailable:
                raise
            except ServiceError as error:
                logger.error("%s/%s is left as it is: %s", type_.kind, resource.id, error)  # noqa: TRY400 - it says all
                failed += 1
        offset += PAGE
    return Count(sealed, failed)
