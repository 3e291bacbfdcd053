"""Build the application: its store, middlewares and routes, and the order in which resources open and close."""

import asyncio
import logging
import os
import secrets
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiohttp import web

from service.access.callers.authenticator import Authenticator
from service.access.callers.credentials import CredentialVerifier
from service.access.callers.root import Root, RootTokens
from service.access.callers.tokens import KIND as SESSION
from service.access.callers.tokens import AccessTokens
from service.access.policies.policy_set import Policies
from service.access.types import RESOURCE_TYPES
from service.bundle.apply import EmbeddedTarget, InitBundle, SharedTarget
from service.bundle.document import BundleError
from service.bundle.source import BundleFile, Contents
from service.errors import StoreUnavailable, Unavailable
from service.mounted_files import MountedFiles, UnusableFile, read_settled, read_text
from service.resources.host_rules import HostRules, accounts_that, is_ambiguous
from service.resources.identity_rules import IdentityRules
from service.resources.repository import Repository
from service.resources.secrets.codec import SecretCodec
from service.resources.secrets.encryption import Encryptor
from service.resources.secrets.hashing import Hasher
from service.resources.types import AWS_ACCOUNT, AwsAccount
from service.settings import Settings, SettingsError, load
from service.settings.parsers import root_secret
from service.signing.credentials import BorrowedKeys
from service.signing.presigner import Presigner
from service.stores.memory import EmbeddedStore
from service.stores.store import Store
from service.telemetry import metrics, tracing
from service.telemetry.audit import AuditLog
from service.web import access_log, spans
from service.web.context import APP, Access, AppContext, ServerState
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

if TYPE_CHECKING:
    from service.access.jwt.verifier import JwtVerifier


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
        access=_access(settings, store, repository, hasher, files),
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
    _follow_encryption_keys(settings, repository, files)
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


def make_repository(settings: Settings, store: Store, hasher: Hasher | None = None) -> Repository:
    """Return the repository of resources in ``store``. Raises SettingsError for an invalid file of encryption keys."""
    rules = HostRules(settings.allowed_hosts, settings.require_ssl, settings.default_use_ssl)
    codec = SecretCodec(_encryptor(settings), hasher or Hasher(), canonical={AWS_ACCOUNT.kind: rules.canonical})
    identity = IdentityRules(rules.canonical, ambient=settings.ambient_credentials)
    return Repository(store, codec, checks={AWS_ACCOUNT.kind: rules.check}, limits={AWS_ACCOUNT.kind: identity.issues})


def _encryptor(settings: Settings) -> Encryptor:
    if not settings.encryption_keys_file:
        return Encryptor()
    try:
        return Encryptor.from_file(Path(settings.encryption_keys_file))
    except ValueError as fault:
        raise SettingsError([f"SIGNER_ENCRYPTION_KEYS_FILE {fault}"]) from None


def _follow_encryption_keys(settings: Settings, repository: Repository, files: MountedFiles) -> None:
    async def use(text: str) -> None:
        try:
            encryptor = Encryptor.parse(text)
        except ValueError as fault:
            raise UnusableFile(f"it {fault}") from None
        await repository.use_encryptor(encryptor, RESOURCE_TYPES)

    if path := settings.encryption_keys_file:
        files.follow("SIGNER_ENCRYPTION_KEYS_FILE", partial(read_text, Path(path)), use)


def _follow_root_secret(settings: Settings, root: Root, files: MountedFiles) -> None:
    async def use(text: str) -> None:
        try:
            secret = root_secret(text)
        except ValueError as fault:
            raise UnusableFile(f"it {fault}") from None
        if not secret:
            raise UnusableFile("it is empty")
        root.secret = secret

    if path := settings.secret_files.get("SIGNER_ROOT_CLIENT_SECRET"):
        files.follow("SIGNER_ROOT_CLIENT_SECRET_FILE", partial(read_text, Path(path)), use)


def _access(
    settings: Settings, store: Store, repository: Repository, hasher: Hasher, files: MountedFiles
) -> Access | None:
    if settings.is_open:
        return None
    root = Root(settings.root_client_id, settings.root_client_secret)
    if "SIGNER_ROOT_CLIENT_SECRET" in settings.secret_files:
        # The settings may be older than this process, whose parent has read them. Until the file has been read, nobody
        # knows the secret, so a secret that the file has replaced is never accepted.
        root.secret = secrets.token_urlsafe()
    _follow_root_secret(settings, root, files)
    credentials = CredentialVerifier(root, repository, hasher)
    tokens = AccessTokens(store, repository, seconds=settings.token_seconds)
    root_tokens = RootTokens(root, seconds=settings.token_seconds)
    authenticator = Authenticator(credentials, tokens, root_tokens, jwt=_jwt(settings, files))
    return Access(authenticator, Policies(repository))


def _jwt(settings: Settings, files: MountedFiles) -> "JwtVerifier | None":
    if not settings.jwt_issuer:
        return None
    # The libraries for JWTs take 10 MiB, so they are loaded only if an issuer is configured.
    from service.access.jwt.jwks import JwksProvider  # noqa: PLC0415
    from service.access.jwt.verifier import JwtVerifier  # noqa: PLC0415

    try:
        keys = JwksProvider.at(settings.jwt_jwks)
    except ValueError as fault:
        raise SettingsError([f"SIGNER_JWT_JWKS {fault}"]) from None
    if keys.path:
        files.follow("SIGNER_JWT_JWKS", partial(keys.read_file, keys.path), keys.use)
    return JwtVerifier(settings.jwt_issuer, settings.jwt_audience, keys, max_seconds=settings.jwt_max_seconds)


def make_store(settings: Settings, files: MountedFiles) -> Store:
    """Return the store that the settings name. With ``SIGNER_STORE_URL_FILE``, ``files`` gives it new passwords."""
    if settings.store_url == "memory://":
        return EmbeddedStore()
    # A store in memory does not need Redis' libraries.
    from service.stores.cache import CachedStore  # noqa: PLC0415
    from service.stores.credentials import StoreCredentials  # noqa: PLC0415
    from service.stores.redis import RedisStore  # noqa: PLC0415
    from service.stores.tracking import Tracker  # noqa: PLC0415
    from service.stores.url import StoreUrl  # noqa: PLC0415

    credentials = StoreCredentials(StoreUrl(settings.store_url))
    if path := settings.secret_files.get("SIGNER_STORE_URL"):
        files.follow("SIGNER_STORE_URL_FILE", partial(read_text, Path(path)), credentials.use)
    store = RedisStore.at(
        settings.store_url,
        prefix=settings.key_prefix,
        credentials=credentials,
        wait_replicas=settings.wait_replicas,
    )
    if not settings.cache_size:
        return store
    kinds = [*(type_.kind for type_ in RESOURCE_TYPES), SESSION]
    tracker = Tracker(store.topology, kinds=kinds, prefix=settings.key_prefix)
    return CachedStore(store, tracker, size=settings.cache_size, ttl=settings.cache_ttl, stale=settings.stale_seconds)
