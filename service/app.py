"""Build the application: its store, middlewares and routes, and the order in which resources open and close."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from aiohttp import web

from service.access.types import RESOURCE_TYPES
from service.bundle.apply import EmbeddedTarget, InitBundle, SharedTarget
from service.bundle.document import BundleError
from service.bundle.source import BundleFile, Contents
from service.errors import StoreUnavailable, Unavailable
from service.mounted_files import MountedFiles, UnusableFile, read_settled
from service.parts import follow_encryption_keys, make_access, make_repository, make_store
from service.resources.host_rules import accounts_that, is_ambiguous
from service.resources.secrets.hashing import Hasher
from service.resources.types import AwsAccount
from service.settings import Settings, SettingsError, load
from service.signing.credentials import BorrowedKeys
from service.signing.presigner import Presigner
from service.stores.memory import EmbeddedStore
from service.stores.store import Store
from service.telemetry import metrics, tracing
from service.telemetry.audit import AuditLog
from service.web import access_log, spans
from service.web.context import APP, AppContext, ServerState
from service.web.forwarded import TrustedProxies
from service.web.handlers import (
    account_check,
    batch,
    capabilities,
    client_secrets,
    health,
    pages,
    policy_explain,
    signing,
    token_endpoint,
    upload_form,
)
from service.web.handlers.resources import ResourceHandlers
from service.web.middleware import middlewares_for
from service.web.routing import Route, add_routes

# aiohttp reads the rest of a refused body for this long, so that the client sees the response.
LINGER_SECONDS = 2.0
_STDOUT = 1
_MAX_LOGGED_IDS = 20
_REPORT_SECONDS = 1.0

logger = logging.getLogger(__name__)

# aiohttp buffers this much of an unread body for each connection; its default is 64 KiB.
READ_BUFFER_BYTES = 16 * 1024
HANDLER_ARGS: Mapping[str, Any] = {
    "auto_decompress": False,
    "access_log": None,
    "lingering_time": LINGER_SECONDS,
    "read_bufsize": READ_BUFFER_BYTES,
}
"""Arguments of aiohttp's request handlers, for any runner. Compressed bodies are refused, not decompressed."""


def create_app(settings: Settings, *, store: Store | None = None, audit: AuditLog | None = None) -> web.Application:
    """Return the service as an application, for a runner or for ``add_subapp``.

    Args:
        settings: See ``service.settings.load``.
        store: Replaces the store of the settings.
        audit: Replaces the audit log on standard output. The application opens and closes it.

    Raises:
        SettingsError: for settings that only their use can check, such as files.
    """
    files = MountedFiles()
    store = store or make_store(settings, files)
    hasher = Hasher()
    trusted, header = settings.trusted_proxies, settings.forwarded_header
    repository = make_repository(settings, store, hasher)
    audit = audit or AuditLog(_STDOUT)
    context = AppContext(
        store=store,
        access=make_access(settings, store, repository, hasher, files),
        audit=audit,
        repository=repository,
        files=files,
        presigner=Presigner(default_use_ssl=settings.default_use_ssl),
        borrowed_keys=BorrowedKeys(ambient=settings.ambient_credentials),
        settings=settings,
        cors_origins=frozenset(settings.cors_origins),
        loopback_only=settings.is_open and settings.is_loopback and not settings.socket,
        proxies=TrustedProxies(trusted, header) if trusted else None,
        tracer=tracing.Tracer.from_environment(),
    )
    metrics.describe(settings.commit)
    follow_encryption_keys(settings, repository, files)
    app = _application(context, routes(settings))
    app.cleanup_ctx.append(_resources)
    return app


def create_app_from_environment() -> web.Application:
    """Return the service with the settings of the environment, for a server that calls a factory, such as gunicorn.

    Raises:
        SettingsError: for invalid settings.
    """
    if reason := tracing.problem(os.environ):
        logger.warning(reason)
    return create_app(load(os.environ))


def create_operations_app(main: web.Application) -> web.Application:
    """Return the application of the operations port. It uses the resources of ``main``, which opens and closes them."""
    # Both ports share the server state, but a kubelet sends no credentials and uses the pod's address.
    context = replace(main[APP], access=None, cors_origins=frozenset(), loopback_only=False, tracer=None)
    return _application(context, [*health.PROBES, *health.METRICS])


def routes(settings: Settings) -> list[Route]:
    """Return all routes of the main port."""
    fhir = [
        *signing.ROUTES,
        *batch.ROUTES,
        *upload_form.ROUTES,
        *(route for type_ in RESOURCE_TYPES for route in ResourceHandlers(type_).routes()),
        *account_check.ROUTES,
        *policy_explain.ROUTES,
        *client_secrets.ROUTES,
        *capabilities.ROUTES,
    ]
    api = [
        *fhir,
        # FHIR clients send all requests below one base.
        *(replace(route, path=f"/fhir{route.path}") for route in fhir),
        *token_endpoint.ROUTES,
        *health.ROUTES,
        *(health.METRICS if settings.ops_port is None else ()),
    ]
    return [*api, *pages.routes(api)]


def _application(context: AppContext, table: Iterable[Route]) -> web.Application:
    # aiohttp's instrumentations append middlewares, so it must be a list.
    middlewares = [
        *spans.middlewares(context.tracer),
        *access_log.middlewares(context.settings.access_log),
        *middlewares_for(context),
    ]
    app = web.Application(middlewares=middlewares, handler_args=HANDLER_ARGS)
    app[APP] = replace(context, routes=add_routes(app, table))
    return app


async def _resources(app: web.Application) -> AsyncIterator[None]:
    """Open the audit log, the store and the clients of the application; close them at its end."""
    context = app[APP]
    async with AsyncExitStack() as stack:
        if context.tracer:
            stack.push_async_callback(context.tracer.close)
        context.audit.open()
        stack.push_async_callback(context.audit.close)
        stack.push_async_callback(context.store.close)
        stack.push_async_callback(context.presigner.close)
        stack.push_async_callback(context.borrowed_keys.close)
        stack.push_async_callback(context.files.close)
        # The store logs in with the password in its file, which may be newer than the settings of this process.
        await context.files.open()
        await context.store.open()
        if context.settings.init_bundle:
            await _apply_bundle(context)
        if context.access:
            stack.push_async_callback(context.access.close)
            await context.access.open()
            warnings = asyncio.gather(_warn_about_accounts(context), context.access.policies.open())
            stack.callback(warnings.cancel)
        reporter = asyncio.create_task(_report_requests(context.state))
        stack.callback(reporter.cancel)
        yield


async def _report_requests(state: ServerState) -> None:
    """Write the number of requests in flight, for scrapes that another process answers."""
    while True:
        metrics.IN_FLIGHT.set(state.in_flight)
        await asyncio.sleep(_REPORT_SECONDS)


async def _apply_bundle(context: AppContext) -> None:
    """Apply the bundle of the settings, and follow its file.

    Raises:
        SettingsError: with a line for each fault.
    """
    file = BundleFile(Path(context.settings.init_bundle), os.environ)
    store, repository = context.store, context.repository
    target = EmbeddedTarget(repository, store) if isinstance(store, EmbeddedStore) else SharedTarget(repository)
    bundle = InitBundle(file, repository, target, context.audit)
    context.state.bundle_pending = True

    async def use(contents: Contents) -> None:
        await bundle.use(contents)
        context.state.bundle_pending = False

    used = None
    try:
        contents = await asyncio.to_thread(read_settled, bundle.read)
        await use(contents)
        used = contents
    except BundleError as error:
        raise SettingsError([f"SIGNER_INIT_BUNDLE {fault}" for fault in error.faults]) from None
    except UnusableFile as error:
        raise SettingsError([f"SIGNER_INIT_BUNDLE names a file that cannot be read: {error}"]) from None
    except Unavailable:
        # It is applied as soon as the store and the audit log are available.
        pass
    context.files.follow("SIGNER_INIT_BUNDLE", bundle.read, use, used=used)


async def _warn_about_accounts(context: AppContext) -> None:
    warnings = {"with a custom host do not state path-style; only the root client may sign with them": is_ambiguous}
    if context.settings.ambient_credentials:
        # Before the setting, any caller who may write accounts could store one.
        warnings["without access-key-id use the service's own credentials"] = _has_no_keys
    # The service starts without its store, and reports that elsewhere.
    with suppress(StoreUnavailable):
        for text, holds in warnings.items():
            if ids := await accounts_that(context.repository, holds):
                shown, more = ", ".join(ids[:_MAX_LOGGED_IDS]), ", ..." if len(ids) > _MAX_LOGGED_IDS else ""
                logger.warning("%d accounts %s: %s%s", len(ids), text, shown, more)


def _has_no_keys(account: AwsAccount) -> bool:
    return account.access_key_id is None
