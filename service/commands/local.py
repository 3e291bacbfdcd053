"""The store, the presigner and the audit log of a command, which acts for the operator on this machine."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from service.bundle.apply import EmbeddedTarget, InitBundle
from service.bundle.document import BundleError
from service.bundle.source import BundleFile
from service.errors import StoreUnavailable
from service.mounted_files import MountedFiles, UnusableFile
from service.parts import make_repository, make_store
from service.resources.repository import Repository
from service.resources.types import AWS_ACCOUNT
from service.serving.binding import StartError
from service.settings import Settings, SettingsError
from service.signing.credentials import BorrowedKeys
from service.signing.presigner import Presigner
from service.stores.memory import EmbeddedStore
from service.stores.record import Resource
from service.stores.store import Store
from service.telemetry.audit import AuditLog

_STDERR = 2
_RESTART_SECONDS = 1.0
_OWN_MEMORY = (
    "SIGNER_STORE_URL is memory://, so the accounts are in the process that serves: use its HTTP API, or set"
    " SIGNER_STORE_URL to a Redis"
)
_INCOMPLETE = "Redis refuses to list every AwsAccount; those that other programs have stored may be missing"


def caller() -> str:
    """Return the caller in audit lines: ``operator:`` and the id of the user who runs the command."""
    return f"operator:{os.getuid()}"


@dataclass(frozen=True, slots=True)
class Local:
    """What a command works with."""

    settings: Settings
    store: Store
    repository: Repository
    presigner: Presigner
    borrowed_keys: BorrowedKeys
    audit: AuditLog

    async def find_accounts(self) -> str:
        """Find every account for ``accounts``. Return why some may be missing, or an empty text.

        A command ends before a scan in the background does, so it waits for the scan.
        """
        is_complete = await self.repository.complete_listing(AWS_ACCOUNT)
        # The scan can have ended on a server that has become unusable since.
        await require_usable(self.store)
        return "" if is_complete else _INCOMPLETE

    def accounts(self) -> AsyncIterator[Resource]:
        """Yield every account that is known after ``find_accounts``."""
        return self.repository.each(AWS_ACCOUNT)

    def changed(self, operation: str, method: str, resource: str, **change: Any) -> None:
        """Record a change."""
        fields: Mapping[str, Any] = {"caller": caller(), "address": "", "policy": None, "request_id": "", **change}
        self.audit.changed(operation=operation, method=method, resource=resource, **fields)


@asynccontextmanager
async def opened(settings: Settings, *, audited: bool = False) -> AsyncIterator[Local]:
    """Open the store of the settings; in memory, it has the resources of the bundle. ``audited`` opens the audit log.

    Raises:
        SettingsError: for settings that only their use can check, such as files.
        StartError: if standard error is closed, so that nothing can be audited; at the end, if it could not be written.
    """
    # A command reads everything once.
    store = make_store(replace(settings, cache_size=0), MountedFiles())
    repository = make_repository(settings, store)
    presigner = Presigner(default_use_ssl=settings.default_use_ssl)
    borrowed_keys = BorrowedKeys(ambient=settings.ambient_credentials)
    audit = AuditLog(_STDERR)
    if audited:
        _open_audit(audit)
    await store.open()
    try:
        if settings.init_bundle and isinstance(store, EmbeddedStore):
            await _load_bundle(settings, store, repository)
        yield Local(settings, store, repository, presigner, borrowed_keys, audit)
    finally:
        await borrowed_keys.close()
        await presigner.close()
        await store.close()
        lost = await audit.close()
    if lost:
        # So a URL without its line is not printed, and a script sees that the line of a change is missing.
        raise StartError(f"Standard error, which gets the audit lines, could not be written: {lost} are lost")


def require_store(settings: Settings, *, bundle: bool = False) -> None:
    """Raise SettingsError if no other process shares the store. With ``bundle``, the accounts of a bundle suffice."""
    if settings.store_url == "memory://" and not (bundle and settings.init_bundle):
        raise SettingsError([_OWN_MEMORY])


async def require_usable(store: Store, kind: str = "", id: str = "") -> None:
    """Raise StoreUnavailable unless the server of a resource, without an id all servers, can be used.

    Calls alone do not show this: a replica that was never in sync answers that there is no account. A service learns it
    in its first second, which is longer than most commands take.
    """
    try:
        await store.check(kind, id)
    except StoreUnavailable:
        # A restart of Redis is over by then.
        await asyncio.sleep(_RESTART_SECONDS)
        await store.check(kind, id)


def _open_audit(audit: AuditLog) -> None:
    if sys.stderr is None:
        # Another file of this process may have its number.
        raise StartError("Standard error, which gets the audit lines, is closed")
    audit.open()


async def _load_bundle(settings: Settings, store: EmbeddedStore, repository: Repository) -> None:
    file = BundleFile(Path(settings.init_bundle), os.environ)
    # The service has audited these accounts, and this copy of them ends with the command.
    with open(os.devnull, "wb") as nowhere:  # noqa: ASYNC230, PTH123 - no file that could block
        audit = AuditLog(nowhere.fileno())
        audit.open()
        try:
            contents = await asyncio.to_thread(file.read)
            await InitBundle(file, repository, EmbeddedTarget(repository, store), audit).use(contents)
        except BundleError as error:
            raise SettingsError([f"SIGNER_INIT_BUNDLE {fault}" for fault in error.faults]) from None
        except UnusableFile as error:
            raise SettingsError([f"SIGNER_INIT_BUNDLE names a file that cannot be read: {error}"]) from None
        finally:
            await audit.close()
