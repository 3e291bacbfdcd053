"""Wiring: which store, which middlewares, which routes, and in what order they open and close."""

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import StreamReader, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import RawRequestMessage

from service.access.callers import Callers, Root
from service.access.policies import Policies
from service.access.sessions import KIND as SESSION
from service.access.sessions import Sessions
from service.access.types import RESOURCE_TYPES
from service.resources.hashing import Hasher
from service.resources.keeper import Keeper
from service.resources.repository import Repository
from service.resources.sealing import Sealer
from service.resources.store import EmbeddedStore, Store
from service.settings import Settings, SettingsError
from service.signing.presigner import Presigner
from service.telemetry import metrics
from service.telemetry.audit import AuditLog
from service.web import documentation, explanation, operations, session, storage
from service.web.access import Access
from service.web.context import Shared
from service.web.middleware import answered, stack
from service.web.resources import ResourceHandlers
from service.web.routing import Route, Router

if TYPE_CHECKING:
    from service.access.jwt import JwtVerifier


class App:
    """What answers the requests of a port: a handler for aiohttp's own server, and what makes requests for it.

    Source: https://docs.aiohttp.org/en/stable/web_lowlevel.html
    """

    def __init__(self, shared: Shared, routes: Iterable[Route]) -> None:
        self.shared = shared
        steps = partial(stack, closed=shared.access is not None)
        self.handle = Router(routes, shared=shared, entry=answered, stack=steps).handle

    def request(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: web.RequestHandler,
        writer: AbstractStreamWriter,
        task: "asyncio.Task[None]",
    ) -> web.BaseRequest:
        max_body = self.shared.max_body
        return web.BaseRequest(message, payload, protocol, writer, task, task.get_loop(), client_max_size=max_body)

    async def open(self) -> None:
        """Open what requests share. Never fails."""
        await self.shared.store.open()
        if self.shared.access:
            await self.shared.access.open()

    async def close(self) -> None:
        shared = self.shared
        if shared.access:
            await shared.access.close()
        await shared.presigner.close()
        await shared.store.close()
        await shared.audit.close()


def create_app(settings: Settings, audit: AuditLog, *, store: Store | None = None) -> App:
    """What serves the main port. ``store`` takes the place of the one that the settings name.

    It closes ``audit`` at its end. Raises SettingsError for settings that only show their faults when they are used.
    """
    store = store or make_store(settings)
    hasher = Hasher()
    repository = make_repository(settings, store, hasher)
    shared = Shared(
        store=store,
        access=None if settings.is_open else _access(settings, store, repository, hasher),
        audit=audit,
        repository=repository,
        presigner=Presigner(default_use_ssl=settings.default_use_ssl),
        commit=settings.commit,
        max_body=settings.max_body,
        max_concurrency=settings.max_concurrency or inf,
        cors_origins=frozenset(settings.cors_origins),
        loopback_only=settings.is_open and settings.is_loopback and not settings.socket,
    )
    metrics.describe(settings.commit)
    return App(shared, routes(settings))


def create_operations_app(main: App) -> App:
    """What serves the operators' own port, with what ``main`` has, opens and closes."""
    # The same requests in flight and the same drain, but a kubelet asks by the pod's address.
    shared = replace(main.shared, access=None, cors_origins=frozenset(), loopback_only=False)
    return App(shared, [*operations.PROBES, *operations.METRICS])


def routes(settings: Settings) -> list[Route]:
    """Every route of the main port."""
    own = [*_routes(settings)]
    return [*own, *documentation.routes(own)]


def _routes(settings: Settings) -> Iterator[Route]:
    # Signing comes first: the router tries the routes in this order.
    yield from storage.ROUTES
    for type_ in RESOURCE_TYPES:
        for base in ("", "/fhir"):
            yield from ResourceHandlers(type_).routes(base)
    yield from explanation.ROUTES
    yield from session.ROUTES
    yield from operations.ROUTES
    if settings.ops_port is None:
        yield from operations.METRICS


def make_repository(settings: Settings, store: Store, hasher: Hasher | None = None) -> Repository:
    """What keeps resources in ``store``. Raises SettingsError for a file of keys that is none."""
    return Repository(store, Keeper(_sealer(settings), hasher or Hasher()))


def _sealer(settings: Settings) -> Sealer:
    if not settings.encryption_keys_file:
        return Sealer()
    try:
        return Sealer.from_file(Path(settings.encryption_keys_file))
    except ValueError as fault:
        raise SettingsError([f"SIGNER_ENCRYPTION_KEYS_FILE {fault}"]) from None


def _access(settings: Settings, store: Store, repository: Repository, hasher: Hasher) -> Access:
    root = Root(settings.root_client_id, settings.root_client_secret)
    sessions = Sessions(store, repository, root, seconds=settings.token_seconds)
    callers = Callers(root, repository, hasher, sessions, _jwt(settings))
    return Access(callers, Policies(repository))


def _jwt(settings: Settings) -> "JwtVerifier | None":
    if not settings.jwt_issuer:
        return None
    # Its libraries take 10 MiB, which only those need who have an issuer.
    from service.access.jwt import JwtVerifier  # noqa: PLC0415
    from service.access.key_sets import KeySet  # noqa: PLC0415

    try:
        keys = KeySet.at(settings.jwt_jwks)
    except ValueError as fault:
        raise SettingsError([f"SIGNER_JWT_JWKS {fault}"]) from None
    return JwtVerifier(settings.jwt_issuer, settings.jwt_audience, keys)


def make_store(settings: Settings) -> Store:
    if settings.store_url == "memory://":
        return EmbeddedStore()
    # Who keeps accounts in memory need not load what Redis takes.
    from service.resources.cache import CachedStore  # noqa: PLC0415
    from service.resources.redis import RedisStore  # noqa: PLC0415
    from service.resources.tracking import Tracker  # noqa: PLC0415

    store = RedisStore.at(settings.store_url, prefix=settings.key_prefix)
    if not settings.cache_size:
        return store
    kinds = [*(type_.kind for type_ in RESOURCE_TYPES), SESSION]
    tracker = Tracker.at(settings.store_url, kinds=kinds, prefix=settings.key_prefix)
    return CachedStore(store, tracker, size=settings.cache_size, ttl=settings.cache_ttl, stale=settings.stale_seconds)
